// The nodes of every pool as a strip: each node a box with its GPUs, what runs on them, and why there are as many.

import { get } from "./connection.js";
import { count, duration, make, setText } from "./format.js";

const EVERY_MS = 500;
const MOST = 240; // boxes on the page, all pools together; the rest is told in numbers
const MOST_NARROW = 96;
const BOXES_WITH_WORDS = 24;
const MOST_CELLS = 16;
const NAMED_ON_A_BOX = 3;
const STATES = {
  silent: ["Ready without any GPU", "!", "without any GPU: its driver or device plugin doesn't come up"],
  noticed: ["told to go", "!", "told to go soon"],
  unready: ["not Ready", "!", "not Ready any more"],
  cordoned: ["closed", "–", "closed to new pods by somebody"],
  leaving: ["leaving", "×", "on its way out"],
  asked: ["asked for", "+", "asked for, not there yet"],
  starting: ["starting", "↑", "starting"],
  ready: ["ready", "", "ready"],
};

const byId = (id) => document.getElementById(id);

export class Nodes {
  constructor() {
    this.pools = new Map();
    this.answer = null;
    this.key = null;
    this.asking = this.newer = false;
    this.due = 0;
    this.at = -EVERY_MS;
  }

  /** Follows at most twice a second, and never stays behind the last message. */
  follow(fleet, key) {
    byId("nodes-card").hidden = !fleet.pools?.length;
    if (this.key !== key) {
      this.key = key;
      if (this.answer) this.#show();
    }
    if (!fleet.pools?.length) return;
    if (this.due) this.newer = this.asking;
    else this.#askSoon();
  }

  #askSoon() {
    this.due = setTimeout(() => this.#refresh(), Math.max(0, this.at + EVERY_MS - performance.now()));
  }

  async #refresh() {
    this.at = performance.now();
    this.asking = true;
    this.newer = false;
    try {
      this.answer = await get(`/api/nodes?limit=${innerWidth < 720 ? MOST_NARROW : MOST}`);
      this.#show();
    } catch {
      // The connection's own banner says what is wrong.
    } finally {
      this.asking = false;
      this.due = 0;
      if (this.newer) this.#askSoon(); // told of while this was under way, and perhaps the last for long
    }
  }

  #show() {
    const { pools, more_pools: more, at_s: now } = this.answer;
    const box = byId("pools");
    const names = new Set(pools.map((pool) => pool.name));
    for (const [name, pool] of this.pools) if (!names.has(name)) { pool.box.remove(); this.pools.delete(name); }
    pools.forEach((pool, index) => {
      if (!this.pools.has(pool.name)) this.pools.set(pool.name, new Pool(pool.name));
      const shown = this.pools.get(pool.name);
      if (box.children[index] !== shown.box) box.insertBefore(shown.box, box.children[index] ?? null);
      shown.show(pool, now, this.key);
    });
    byId("pools-more").hidden = !more;
    setText(byId("pools-more"), `and ${count(more)} more ${more === 1 ? "pool" : "pools"}: /api/nodes?pool=NAME tells of each.`);
    setText(byId("legend-mine"), this.key ? this.key.split("/")[1] : "this service");
  }
}

/** One pool: its numbers, its reason, its boxes. */
class Pool {
  constructor(name) {
    this.name = name;
    this.nodes = new Map();
    this.picked = null;
    this.title = make("h3", {}, name);
    this.figures = make("p", { class: "pool-figures" });
    this.question = make("strong");
    this.reason = make("span");
    this.coming = make("p", { class: "pool-coming" });
    this.trouble = make("p", { class: "pool-trouble" });
    this.strip = make("ul", { class: "strip", role: "list", "aria-label": `Nodes of ${name}; the arrow keys go from one to the next` });
    this.said = make("p", { class: "node-said" });
    this.more = make("p", { class: "muted small pool-more" });
    this.box = make("article", { class: "pool", "data-pool": name }, make("div", { class: "pool-head" }, this.title, this.figures),
      make("p", { class: "pool-why" }, this.question, " ", this.reason), this.coming, this.trouble, this.strip, this.said, this.more);
    this.strip.addEventListener("keydown", (event) => this.#move(event));
    for (const kind of ["focusin", "click"]) this.strip.addEventListener(kind, (event) => this.#pick(event.target.closest("button")));
  }

  show(pool, now, key) {
    this.pool = pool;
    this.now = now;
    setText(this.figures, figures(pool));
    const planned = pool.planned ?? 0;
    setText(this.question, `Why ${count(planned)} ${planned === 1 ? "node" : "nodes"}?`);
    setText(this.reason, pool.words ? sentence(pool.words) : "Nothing is planned for it.");
    tell(this.coming, pool.coming_words && sentence(pool.coming_words));
    tell(this.trouble, trouble(pool));
    const compact = pool.nodes.length > BOXES_WITH_WORDS;
    this.strip.classList.toggle("compact", compact);
    this.#boxes(pool, now, key);
    tell(this.more, pool.counts === null ? "Its nodes can't be seen one by one here." : left(pool));
    this.#say();
  }

  #boxes(pool, now, key) {
    let asked = 0;
    const shown = pool.nodes.map((node) => [node.name ?? `asked ${++asked}`, node]);
    const names = new Set(shown.map(([name]) => name));
    const focused = document.activeElement?.closest?.("li")?.dataset.node;
    for (const [name, item] of this.nodes) if (!names.has(name)) { item.remove(); this.nodes.delete(name); }
    shown.forEach(([name, node], index) => {
      const item = this.nodes.get(name) ?? this.#item(name);
      if (this.strip.children[index] !== item) this.strip.insertBefore(item, this.strip.children[index] ?? null);
      fill(item.firstChild, node, pool, now, key);
    });
    if (this.picked !== null && !this.nodes.has(this.picked)) this.picked = null;
    if (focused !== undefined && this.nodes.has(focused) && document.activeElement === document.body) this.nodes.get(focused).firstChild.focus();
    const stop = this.nodes.get(this.picked) ?? this.strip.firstChild;
    for (const item of this.nodes.values()) item.firstChild.tabIndex = item === stop ? 0 : -1;
  }

  #item(name) {
    const button = make("button", { type: "button", class: "node" }, make("span", { class: "node-name" }), make("span", { class: "gpus" }), make("span", { class: "node-words" }));
    const item = make("li", { "data-node": name }, button);
    this.nodes.set(name, item);
    return item;
  }

  #move(event) {
    const at = [...this.strip.children].indexOf(event.target.closest("li"));
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: this.strip.children.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.strip.children[to]?.firstChild.focus();
  }

  #pick(button) {
    if (!button) return;
    this.picked = button.parentElement.dataset.node;
    for (const item of this.nodes.values()) item.firstChild.tabIndex = item.firstChild === button ? 0 : -1;
    this.#say();
  }

  /** The picked node in full, its services as links; the text that its button has for screen readers. */
  #say() {
    const item = this.picked === null ? undefined : this.nodes.get(this.picked);
    for (const other of this.nodes.values()) other.firstChild.classList.toggle("picked", other === item);
    this.said.hidden = !item;
    if (!item) return;
    const node = this.pool.nodes[[...this.strip.children].indexOf(item)];
    const words = nodeWords(node, this.pool, this.now) + (node.runs.length ? ": " : ".");
    const text = `${words}${node.runs.map(runWords).join(", ")}${others(node)}`;
    if (this.said.dataset.text === text) return;
    this.said.dataset.text = text;
    const links = node.runs.flatMap((runs, index) => [index ? ", " : "", make("a", { href: `#/${runs.service.split("/").map(encodeURIComponent).join("/")}` }, runWords(runs))]);
    this.said.replaceChildren(words, ...links, others(node));
  }
}

// ------------------------------------------------------------------ words

function figures(pool) {
  const parts = [`${count(pool.planned)} planned`];
  if (pool.asked !== null) parts.push(`${count(pool.asked)} asked for`);
  if (pool.counts !== null) {
    parts.push(`${count(pool.ready)} ready`);
    const coming = (pool.counts.asked ?? 0) + (pool.counts.starting ?? 0);
    if (coming) parts.push(`${count(coming)} on the way`);
    for (const state of ["silent", "noticed", "unready", "cordoned", "leaving"]) if (pool.counts[state]) parts.push(`${count(pool.counts[state])} ${STATES[state][0]}`);
    if (pool.free !== null) parts.push(`${count(pool.free)} of ${count(pool.ready * pool.accelerators_per_node)} GPUs free`);
  }
  parts.push(`${count(pool.min)} to ${count(pool.max)} allowed`);
  if (pool.cost_per_h !== null) parts.push(`${count(pool.cost_per_h)} an hour`);
  return parts.join(" · ");
}

function trouble(pool) {
  const { system } = pool;
  if (!system) return "";
  const parts = [];
  if (!system.ok) parts.push(system.message || system.reason);
  if (system.owner) parts.push(`${system.owner} owns the count`);
  if (system.short && !(system.message ?? "").includes(system.short)) parts.push(system.short);
  return parts.length ? sentence(parts.join("; ")) : "";
}

function left(pool) {
  if (!pool.more) return "";
  const states = Object.entries(pool.more_counts).map(([state, nodes]) => `${count(nodes)} ${STATES[state][0]}`);
  return `and ${count(pool.more)} more: ${states.join(", ")}.`;
}

function nodeWords(node, pool, now) {
  return `${node.name ?? "A node"}: ${stateWords(node, pool, now)}; ${use(node, pool)}`;
}

function stateWords(node, pool, now) {
  const words = STATES[node.state][2];
  if (node.state === "noticed") return `${words} (${node.why})${node.replaced ? "; another one, if it takes one, comes without us" : ""}`;
  if (node.since_s === null) return words;
  const passed = duration(now - node.since_s);
  if (node.state === "asked") return `asked for ${passed} ago, not there yet${usual(pool)}`;
  if (node.state === "starting") return `starting for ${passed}${usual(pool)}`;
  return `${words}, Ready for ${passed}`;
}

function usual(pool) {
  return pool.lead_time_s === null ? "" : `; one takes about ${duration(pool.lead_time_s)}`;
}

function use(node, pool) {
  if (node.state === "asked" || node.state === "starting") return `${count(pool.accelerators_per_node)} GPUs`;
  return node.accelerators ? `${count(node.taken)} of ${count(node.accelerators)} GPUs in use` : "no GPUs told";
}

function podsOf(runs) {
  return runs.ready + runs.starting + runs.draining;
}

function runWords(runs) {
  const parts = [];
  if (runs.starting) parts.push(`${count(runs.starting)} starting`);
  if (runs.draining) parts.push(`${count(runs.draining)} leaving`);
  return `${runs.service} × ${count(podsOf(runs))}${parts.length ? ` (${parts.join(", ")})` : ""}`;
}

function others(node) {
  return node.others ? `${node.runs.length ? ", " : " "}${count(node.others)} GPUs by pods of others` : "";
}

function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function tell(element, words) {
  element.hidden = !words;
  setText(element, words || "");
}

/** Of a cloud's long names the part that differs: a host without its domain, the end of what is still too long. */
function shortName(name) {
  const host = name.split(".")[0];
  return host.length > 15 ? `…${host.slice(-12)}` : host;
}

// ------------------------------------------------------------------ a box

function fill(button, node, pool, now, key) {
  const [name, gpus, words] = button.children;
  button.dataset.state = node.state;
  button.dataset.mark = STATES[node.state][1];
  const label = `${nodeWords(node, pool, now)}${node.runs.length ? `: ${node.runs.map(runWords).join(", ")}` : ""}${others(node)}`;
  if (button.getAttribute("aria-label") !== label) {
    button.setAttribute("aria-label", label);
    button.title = label;
  }
  setText(name, node.name === null ? "a node" : shortName(node.name));
  showCells(gpus, cellsOf(node, pool, key));
  showWords(words, node, pool, now, key);
}

/** [kind, GPUs] along the node: who runs there, then what is free. */
function cellsOf(node, pool, key) {
  const cells = [];
  for (const runs of node.runs) {
    const pods = podsOf(runs);
    const whose = runs.service === key ? "mine" : "in-use";
    let told = 0;
    let given = 0;
    for (const [kind, of] of [[whose, runs.ready], [`${whose} starting`, runs.starting], [`${whose} draining`, runs.draining]]) {
      told += of;
      const upTo = Math.round(((runs.accelerators || pods) * told) / pods);
      if (upTo > given) cells.push([kind, upTo - given]);
      given = upTo;
    }
  }
  if (node.others) cells.push(["others", node.others]);
  const taken = cells.reduce((sum, [, gpus]) => sum + gpus, 0);
  const all = node.accelerators || (node.state === "silent" ? taken : Math.max(pool.accelerators_per_node, taken));
  if (all > taken) cells.push([node.state === "ready" ? "free" : "closed", all - taken]);
  return cells;
}

function showCells(box, cells) {
  const text = JSON.stringify(cells);
  if (box.dataset.cells === text) return;
  box.dataset.cells = text;
  const all = cells.reduce((sum, [, gpus]) => sum + gpus, 0);
  const wide = all > MOST_CELLS; // slices of GPUs by the dozen: one piece for each who runs there
  box.replaceChildren(...cells.flatMap(([kind, gpus]) => (wide
    ? [make("i", { class: kind })]
    : Array.from({ length: gpus }, () => make("i", { class: kind })))));
  if (wide) cells.forEach(([, gpus], index) => { box.children[index].style.flexGrow = gpus; });
}

function showWords(box, node, pool, now, key) {
  const lines = [];
  if (node.state !== "ready") {
    const passed = node.since_s === null ? "" : duration(now - node.since_s);
    lines.push(["state", node.state === "asked" ? `asked for ${passed} ago` : node.state === "starting" ? `starting, ${passed}` : STATES[node.state][0]]);
  }
  const mineFirst = [...node.runs].sort((a, b) => (b.service === key) - (a.service === key));
  for (const runs of mineFirst.slice(0, NAMED_ON_A_BOX)) {
    lines.push([runs.service === key ? "mine" : "", `${runs.service.split("/")[1]} × ${count(podsOf(runs))}`]);
  }
  if (node.runs.length > NAMED_ON_A_BOX) lines.push(["", `${count(node.runs.length - NAMED_ON_A_BOX)} more services`]);
  if (node.others) lines.push(["", `others × ${count(node.others)}`]);
  if (node.state === "ready" && node.accelerators > node.taken) lines.push(["free-words", `${count(node.accelerators - node.taken)} free`]);
  const text = JSON.stringify(lines);
  if (box.dataset.lines === text) return;
  box.dataset.lines = text;
  box.replaceChildren(...lines.map(([kind, words]) => make("span", { class: kind || null }, words)));
}
