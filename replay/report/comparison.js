const $ = id => document.getElementById(id);
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (v, digits = 1) => v.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: 0 });
const fixed = (v, digits) => v.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
const percent = (v, digits = 2) => fixed(100 * v, digits) + " %";
function element(tag, text, cls) { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (cls) e.className = cls; return e; }
function span(s) { const d = s / 86400, h = s / 3600; return d >= 2 ? number(d) + " days" : h >= 2 ? number(h) + " hours" : number(s / 60) + " minutes"; }
const unique = list => [...new Set(list)];
const policies = unique(data.rows.map(r => name(r))), single = data.traces.length === 1;
function name(row) { return row.score.policy + (row.score.loop === "open" ? " (not simulated)" : ""); }
// A policy has one colour everywhere; from the ninth on lines are dashed as well.
const colour = row => css("--p" + policies.indexOf(name(row)) % 8), dash = row => policies.indexOf(name(row)) < 8 ? undefined : [6, 3];
const kept = s => s.attained_ratio !== null && s.attained_ratio >= s.promised_ratio;

// ---------------------------------------------------------------- the top: what it says in one sentence

$("title").textContent = data.title;
for (const v of data.verdicts) {
  const p = element("p", undefined, "verdict" + (v.best ? "" : v.judged === false ? " open" : " none"));
  if (!single) p.append(element("b", v.trace));
  p.append(v.words); $("verdicts").append(p);
}
if (data.made.length) { $("made").hidden = false; for (const line of data.made) $("made").append(element("p", line, "dim")); }
for (const note of data.notes) $("verdicts").append(element("p", note, "dim"));
if (data.gate) {
  const missed = data.gate.missed;
  $("gate").hidden = false; $("gate").className = missed.length ? "bad" : "";
  $("gate").append(missed.length ? "The gate is not met:" : "The gate is met.");
  if (missed.length) { const list = element("ul"); for (const line of missed) list.append(element("li", line)); $("gate").append(list); }
}
const lengths = unique(data.rows.map(r => span(r.score.evaluated_s) + (r.score.warmup_s ? " after a warm-up of " + span(r.score.warmup_s) : "")));

// ---------------------------------------------------------------- the table

const dearest = {};
for (const r of data.rows) dearest[r.score.trace] = Math.max(dearest[r.score.trace] || 0, r.score.replica_hours);
function sign(s) {
  if (s.attained_ratio === null) return element("span", "not told");
  if (s.requests === 0) return element("span", "no requests");
  const short = s.promised_ratio - s.attained_ratio;
  return element("span", kept(s) ? "✓ kept" : "✗ by " + fixed(100 * short, 100 * short < 0.1 ? 3 : 2) + " pp", "sign " + (kept(s) ? "good" : "bad"));
}
function hours(s) {
  const cell = document.createDocumentFragment(), bar = element("span", undefined, "share"), filled = element("i");
  filled.style.width = 100 * s.replica_hours / (dearest[s.trace] || 1) + "%"; bar.append(filled);
  cell.append(number(s.replica_hours), bar); return cell;
}
// What a promise is judged by: the heading of its plot, what the late requests did, what is promised.
const JUDGED = { queue_wait_s: ["Longest wait", "had to wait longer than", "wait at most"], ttft_s: ["Longest time to the first token", "had their first token later than", "have their first token within"],
  latency_s: ["Longest time to the end", "took longer than", "end within"] };
const promises = unique(data.rows.flatMap(r => r.services.filter(s => s.judged).map(s => number(100 * r.score.promised_ratio, 3) + " % of the requests " + JUDGED[s.judged][2] + " " + number(s.allowed_s) + " s")));
const told = (v, words) => v === null ? "" : words(v);
const COLUMNS = [
  { id: "policy", label: "Policy", text: true, value: r => name(r), show: r => name(r) },
  ...(single ? [] : [{ id: "trace", label: "Trace", text: true, value: r => r.score.trace, show: r => r.score.trace }]),
  { id: "promise", label: "Promise", text: true, value: r => r.score.attained_ratio === null ? 9 : r.score.promised_ratio - r.score.attained_ratio, show: r => sign(r.score),
    means: data.rows.some(r => r.score.requests) && "Promise: " + (promises.length === 1 ? promises[0] + "; " : "") + "kept, or missed by so many percentage points (pp)." },
  { id: "attained", label: "Attained", means: data.rows.some(r => r.score.requests) && "Attained: the share of the requests that kept it.", value: r => r.score.attained_ratio ?? -1, show: r => told(r.score.attained_ratio, v => percent(v, 3)) },
  { id: "hours", label: "Replica hours", means: "Replica hours: each replica's, from its creation to the end of its draining.", value: r => r.score.replica_hours, show: r => hours(r.score) },
  ...(data.rows.some(r => r.score.cost_ratio !== null) ? [{ id: "ratio", label: "÷ optimum", means: "÷ optimum: replica hours divided by those of the optimum, which knows the traffic beforehand.", value: r => r.score.cost_ratio ?? Infinity, show: r => told(r.score.cost_ratio, v => fixed(v, 3)) }] : []),
  ...(data.rows.some(r => r.score.regret_replica_hours !== undefined) ? [{ id: "saved", label: "Hours saved", means: "Hours saved: the replica hours of what ran, less these.", value: r => r.score.regret_replica_hours, show: r => number(r.score.regret_replica_hours) }] : []),
  { id: "nodes", label: "Node hours", means: "Node hours: each node's, from its request to its end.", value: r => r.score.node_hours ?? Infinity, show: r => told(r.score.node_hours, v => number(v)) },
  ...(data.rows.some(r => (r.score.node_bound_ratio ?? null) !== null) ? [{ id: "bound", label: "Nodes ÷ bound", means: "Nodes ÷ bound: the nodes' slot hours, divided by what no schedule that keeps the promise goes below.",
    value: r => r.score.node_bound_ratio ?? Infinity, show: r => told(r.score.node_bound_ratio ?? null, v => fixed(v, 3)) }] : []),
  ...(data.rows.some(r => (r.score.idle_accelerator_hours ?? null) !== null) ? [{ id: "idle", label: "Idle hours", means: "Idle hours: of the nodes' accelerators, those on which no replica was.",
    value: r => r.score.idle_accelerator_hours ?? Infinity, show: r => told(r.score.idle_accelerator_hours ?? null, v => number(v)) }] : []),
  ...(data.rows.some(r => r.score.cost !== null) ? [{ id: "cost", label: "Cost", means: "Cost: node hours at their price.", value: r => r.score.cost ?? Infinity, show: r => told(r.score.cost, v => fixed(v, 2)) }] : []),
  ...(data.rows.some(r => (r.score.regret_cost ?? null) !== null) ? [{ id: "money", label: "Cost saved", value: r => r.score.regret_cost ?? -Infinity, show: r => told(r.score.regret_cost ?? null, v => fixed(v, 2)) }] : []),
  ...(data.rows.some(r => r.score.node_losses && r.score.node_losses.nodes) ? [{ id: "lost", label: "Hours missing", means: "Hours missing: replica hours that lost nodes took, from each loss until as many replicas were ready again.",
    value: r => r.score.node_losses ? r.score.node_losses.missing_replica_hours : Infinity, show: r => told(r.score.node_losses ?? null, v => fixed(v.missing_replica_hours, 2)) }] : []),
  { id: "wait", label: "p99 wait", means: data.rows.some(r => r.score.wait_s) && "p99 wait: of 100 requests 99 waited no longer.", value: r => r.score.wait_s === null ? Infinity : r.score.wait_s.p99, show: r => told(r.score.wait_s, v => number(v.p99) + " s") },
  ...[["ttft_s", "p99 first token"], ["latency_s", "p99 end to end"]].filter(([key]) => data.rows.some(r => r.score[key])).map(([key, label]) => (
    { id: key, label, value: r => r.score[key] ? r.score[key].p99 : Infinity, show: r => r.score[key] ? number(r.score[key].p99) + " s" : "" })),
  { id: "actions", label: "Changes/h", means: "Changes/h: decisions an hour that changed the number of replicas.", value: r => r.score.actions_per_h, show: r => number(r.score.actions_per_h) },
  ...(data.rows.some(r => r.score.blind_scale_downs) ? [{ id: "blind", label: "Down while blind", means: "Down while blind: decisions for fewer replicas while a signal that they need was unknown.", value: r => r.score.blind_scale_downs, show: r => String(r.score.blind_scale_downs) }] : []),
];
$("setting").textContent = [lengths.length === 1 ? lengths[0] + " scored." : "", ...COLUMNS.map(c => c.means)].filter(Boolean).join(" ");
let order = { id: "", down: false };
function sortBy(id, down) {
  order = { id, down };
  for (const th of $("scores").querySelectorAll("th")) th.setAttribute("aria-sort", th.dataset.id !== id ? "none" : down ? "descending" : "ascending");
  $("sort").value = id; rows();
}
const head = element("tr");
for (const c of COLUMNS) {
  const th = element("th", undefined, c.text ? "text" : ""), button = element("button", c.label);
  th.scope = "col"; th.dataset.id = c.id; button.type = "button"; th.append(button, element("span", c.label, "paper")); head.append(th);
  button.onclick = () => sortBy(c.id, order.id === c.id && !order.down);
  $("sort").append(new Option(c.label, c.id));
}
$("scores").tHead.append(head);
$("sort").prepend(new Option("as given", "")); $("sort").value = "";
$("sort").onchange = e => sortBy(e.target.value, false);
function rows() {
  const column = COLUMNS.find(c => c.id === order.id), sorted = [...data.rows];
  if (column) sorted.sort((a, b) => { const x = column.value(a), y = column.value(b); return (x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1); });
  $("scores").tBodies[0].replaceChildren(...sorted.map(r => {
    const best = data.verdicts.some(v => v.trace === r.score.trace && v.best === r.score.policy && r.score.loop !== "open"), tr = element("tr", undefined, best ? "best" : "");
    for (const c of COLUMNS) { const td = element("td", undefined, c.text ? "text" : ""); td.dataset.label = c.label; td.append(c.show(r)); tr.append(td); }
    return tr;
  }));
}
rows();

$("cut").hidden = !data.cuts.length;
for (const one of data.cuts) {
  const list = element("ul");
  for (const words of one.words) list.append(element("li", words));
  $("cuts").append(element("h3", one.policy + (single ? "" : " on " + one.trace)), list);
}

// ---------------------------------------------------------------- what is shown below

const hidden = new Set();
let trace = data.traces[0], service = "", start = 0, shown = [];
for (const t of data.traces) $("trace").append(new Option(t));
$("trace-pick").hidden = single;
function choose() {
  const those = data.rows.filter(r => r.score.trace === trace), keys = unique(those.flatMap(r => r.services.map(s => s.service)));
  if (!keys.includes(service)) service = keys[0] || "";
  $("service").replaceChildren(...keys.map(k => new Option(k))); $("service").value = service;
  $("service-pick").hidden = keys.length < 2;
  start = those[0].start_s;
  $("how").textContent = "How it went" + (single ? "" : " on " + trace);
  shown = those.map(row => ({ row, picture: row.services.find(s => s.service === service) })).filter(one => one.picture);
  $("policies").replaceChildren(element("legend", "Policies"));
  for (const { row } of shown) {
    const label = element("label"), box = element("input"), mark = element("i");
    box.type = "checkbox"; box.checked = !hidden.has(name(row)); mark.style.background = colour(row); mark.className = "mark";
    box.onchange = () => { if (box.checked) hidden.delete(name(row)); else hidden.add(name(row)); draw(); };
    label.append(box, " ", mark, name(row)); $("policies").append(label);
  }
  worst(); draw();
}
$("trace").onchange = e => { trace = e.target.value; choose(); };
$("service").onchange = e => { service = e.target.value; choose(); };

// ---------------------------------------------------------------- where it went wrong

let small = [];
function worst() {
  for (const p of small) p.destroy();
  small = [];
  const at = (single ? "The" : "On " + trace + ": the"), box = element("div", undefined, "cards");
  $("worst").replaceChildren(box);
  const judged = shown.filter(one => !one.picture.recorded);
  $("worst-note").textContent = !shown.length ? "Nothing of this was simulated." : !judged.length ? trace + " holds no demand, so whom a policy kept waiting can't be told." : at + " ten minutes in which the most requests came that " + JUDGED[shown[0].picture.judged][1] + " "
    + number(shown[0].picture.allowed_s) + " s, for each policy, and what it said then.";
  for (const { row, picture } of judged) {
    const card = element("article", undefined, "worst"), title = element("h3"), mark = element("i");
    mark.style.background = colour(row); card.style.borderLeftColor = colour(row); title.append(mark, name(row)); card.append(title); box.append(card);
    if (!picture.worst.length) { card.append(element("p", "Nowhere: no request " + JUDGED[picture.judged][1] + " " + number(picture.allowed_s) + " s.")); continue; }
    picture.worst.forEach((w, index) => {
      let into = card;
      if (index) { into = element("details"); into.append(element("summary", w.at + ": " + number(w.late, 0) + " too late")); card.append(into); }
      else into.append(element("strong", w.at + ": " + number(w.late, 0) + " requests too late"));
      const list = element("dl"), range = r => r[0] === r[1] ? String(r[0]) : r[0] + " to " + r[1];
      const line = (a, b) => list.append(element("dt", a), element("dd", b));
      line("Demand", "up to " + number(w.demand, 2) + " requests/s" + (w.needed === null ? "" : ", for which " + w.needed + " replicas are needed"));
      line("Replicas", range(w.ready) + " ready, " + range(w.desired) + " desired");
      if (w.optimum) line("Optimum", range(w.optimum) + " ready then");
      line("Queue", "up to " + number(w.queue, 0) + " requests; " + JUDGED[picture.judged][0].toLowerCase() + " " + number(w.wait) + " s");
      for (const [when, words] of w.said) line("Said " + when, words);
      const look = element("button", "Show in the plots"); look.type = "button";
      look.onclick = () => { zoom(start + w.from_s - 900, start + w.to_s + 900); $("how").scrollIntoView(); };
      into.append(list);
      if (w.detail) close(into, w, picture);
      into.append(look);
    });
  }
}
function close(into, w, picture) {
  const figure = element("figure"), d = w.detail; into.append(figure);
  figure.append(element("figcaption", "Replicas needed (area), ready (line), desired (dashed)" + (d.optimum ? ", the optimum's (thin line)" : "") + "; queue on the right (dotted)"));
  figure.firstChild.style = "font-weight:400;font-size:.82rem;padding:0";
  const need = picture.capacity_per_s ? d.demand.map(v => v === null ? null : v / picture.capacity_per_s) : d.demand;
  const u = new uPlot({
    ...frame(figure, 150), cursor: { show: false }, legend: { show: false },
    axes: [xAxis(), { ...yAxis(), size: 40 }, { ...yAxis(), scale: "q", side: 1, size: 48, grid: { show: false } }],
    scales: { y: { range: upTo }, q: { range: upTo } },
    series: [{}, { stroke: css("--edge"), width: 1, fill: css("--area"), points: { show: false } }, { stroke: css("--p2"), width: 2, paths: stepped, points: { show: false } },
      { stroke: css("--p1"), width: 1.5, dash: [6, 3], paths: stepped, points: { show: false } }, { scale: "q", stroke: css("--p3"), width: 1.5, dash: [2, 3], points: { show: false } },
      ...(d.optimum ? [{ stroke: css("--ink"), width: 1, paths: stepped, points: { show: false } }] : [])],
  }, [d.times_s.map(t => start + t), need, d.ready, d.desired, d.queue, ...(d.optimum ? [d.optimum] : [])], figure);
  small.push(u);
}

// ---------------------------------------------------------------- the plots

// uPlot's date axis: [step, text, then what is added where a year, month, day, hour, minute, second begins, mode]
const DATES = [[86400 * 28, "{MMM} {YYYY}", null, null, null, null, null, null, 1], [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [3600, "{HH}:00", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1], [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1]];
const stepped = uPlot.paths.stepped({ align: 1 }), upTo = (_u, _min, max) => [0, max > 0 ? max * 1.05 : 1];
const compact = v => v.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
const yAxis = () => ({ values: (_u, values) => values.map(v => v === null ? "" : compact(v)), stroke: css("--dim"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 }, font: "12px system-ui, sans-serif" });
const xAxis = () => ({ ...yAxis(), values: DATES });
const frame = (box, height) => ({ width: Math.max(box.clientWidth - 16, 200), height, tzDate: ts => uPlot.tzDate(new Date(ts * 1e3), "UTC") });
let plots = [], zooming = false, view = null, whole = [0, 1];
function zoom(min, max) {
  const room = Math.max(max - min, 60);
  min = Math.min(Math.max(min, whole[0]), whole[1] - Math.min(room, whole[1] - whole[0]));
  view = { min, max: Math.min(min + room, whole[1]) };
  zooming = true; for (const p of plots) p.setScale("x", view); zooming = false;
}
function follow(u, key) {
  if (key !== "x" || zooming || !plots.includes(u)) return;
  view = { min: u.scales.x.min, max: u.scales.x.max };
  zooming = true; for (const p of plots) if (p !== u) p.setScale("x", view); zooming = false;
}
function plot(title, note, lines) {
  const figure = element("figure"), caption = element("figcaption", title + " "); caption.append(element("small", note)); figure.append(caption); $("plots").append(figure);
  // Runs that decide at other moments have other grids.
  const joined = uPlot.join(lines.map(l => [l.x, l.values]));
  plots.push(new uPlot({
    ...frame(figure, innerWidth < 600 ? 180 : 220), cursor: { sync: { key: "compare" }, drag: { x: true, y: false } }, axes: [xAxis(), { ...yAxis(), size: 52 }],
    scales: { y: { range: upTo } }, hooks: { setScale: [follow] },
    series: [{ label: "UTC", value: (_u, v) => v == null ? "" : new Date(v * 1e3).toISOString().slice(5, 19).replace("T", " ") },
      ...lines.map(l => ({ label: l.label, stroke: l.colour, width: l.width || 1.5, dash: l.dash, fill: l.fill, spanGaps: true, paths: l.step ? stepped : undefined, points: { show: false },
        value: (_u, v) => v == null ? "" : number(v, 2) }))],
  }, joined, figure));
}
function draw() {
  for (const p of plots) p.destroy();
  plots = []; $("plots").replaceChildren();
  const visible = shown.filter(one => !hidden.has(name(one.row)));
  if (!visible.length) return;
  const times = picture => data.grids[picture.grid].map(t => start + t), first = visible[0].picture, x = times(first), demand = first.recorded ? [] : data.demands[first.demand];
  whole = [x[0], x[x.length - 1]];
  const of = (key, extra) => visible.map(({ row, picture }) => ({ label: name(row), x: times(picture), values: picture.curves[key], colour: colour(row), dash: dash(row), ...extra }));
  const need = first.capacity_per_s ? [{ label: "needed", x, values: demand.map(v => v === null ? null : v / first.capacity_per_s), colour: css("--edge"), fill: css("--area"), width: 1 }] : [];
  const optimum = (data.optima[trace] || []).find(o => o.service === service);
  const best = optimum ? [{ label: "optimum", x: data.grids[optimum.grid].map(t => start + t), values: optimum.ready, colour: css("--ink"), width: 1, step: true }] : [];
  plot("Ready replicas", [need.length ? "and what the demand needs (area)" : "", best.length ? "thin line: the optimum, which knows the traffic beforehand" : ""].filter(Boolean).join("; "), [...need, ...best, ...of("ready", { step: true })]);
  for (const [signal, place] of Object.entries(first.recorded || {}))
    plot("Recorded " + signal, "", [{ label: signal, x, values: data.demands[place], colour: css("--edge"), fill: css("--area"), width: 1 }]);
  if (!first.recorded) waits(x, first, demand, of);
  plot("Paid replicas", "starting, ready and draining", of("paid", { step: true }));
  plot("Nodes", "", of("nodes", { step: true }));
  if (view && view.min < whole[1] && view.max > whole[0]) zoom(view.min, view.max); else view = null;
}
function waits(x, first, demand, of) {
  plot("Demand", "requests/s", [{ label: "demand", x, values: demand, colour: css("--edge"), fill: css("--area"), width: 1 }]);
  plot("Queue", "requests that wait", of("queue"));
  plot(JUDGED[first.judged][0], "seconds, by time of arrival", [{ label: "promise", x, values: x.map(() => first.allowed_s), colour: css("--dim"), dash: [6, 4], width: 1 }, ...of("wait")]);
}
const move = (by, times) => { const v = view || { min: whole[0], max: whole[1] }, half = (v.max - v.min) / 2 * times, middle = (v.max + v.min) / 2 + by * (v.max - v.min); zoom(middle - half, middle + half); };
$("all").onclick = () => zoom(whole[0], whole[1]);
$("in").onclick = () => move(0, 0.5);
$("out").onclick = () => move(0, 2);
$("back").onclick = () => move(-0.5, 1);
$("on").onclick = () => move(0.5, 1);

function again() {
  for (const i of document.querySelectorAll("fieldset .mark")) i.style.background = "";
  choose();
}
choose();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; again(); } });
addEventListener("beforeprint", () => { document.documentElement.classList.add("printing"); again(); });
addEventListener("afterprint", () => { document.documentElement.classList.remove("printing"); again(); });
