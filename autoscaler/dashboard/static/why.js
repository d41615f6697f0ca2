// "Why 7 replicas?": the decision of one service in words, step by step.

import { count, duration, make, percent, setText, signalName, withUnit } from "./format.js";

const byId = (id) => document.getElementById(id);

// What each limit is to a person; the step below it has the numbers.
const LIMITS = {
  Fallback: "the manifest's fallback",
  PartialData: "partial data, on which nothing shrinks,",
  Settling: "too short a history to shrink on",
  StartingReplicas: "what is still starting, which counts as coming capacity,",
  Stabilized: "the stabilization window",
  RateLimit: "the rate limit",
  DrainLimit: "the drain limit",
  ScaleToZero: "the last replica, which goes only after known idle time,",
  ScaleFromZero: "what wakes a service of which nothing is ready",
  Bounds: "a bound of the manifest",
  ReplicaMultiple: "the replica multiple",
  ScalingDisabled: "a target that was set to zero",
  Paused: "a pause",
  RolesHeld: "another role of its service that changed or can't be seen",
  Roles: "another role of its service",
  ChangeBudget: "the cluster's budget of changes",
  NodePoolFull: "a node pool that is full",
  NamespaceQuota: "the namespace's quota",
  NoNodeFits: "nodes that are too small for a replica",
};
const TITLES = {
  Fallback: "Fallback", PartialData: "Partial data", Settling: "Settling", StartingReplicas: "Replicas starting", Stabilized: "Stabilization window",
  RateLimit: "Rate limit", DrainLimit: "Drain limit", ScaleToZero: "To zero",
  ScaleFromZero: "From zero", Bounds: "Bounds", ReplicaMultiple: "Replica multiple", ScalingDisabled: "Scaling disabled",
  Paused: "Paused", RolesHeld: "Roles held", Roles: "Roles", ChangeBudget: "Change budget", NodePoolFull: "Node pool full", NamespaceQuota: "Namespace quota", NoNodeFits: "No node fits", Write: "Planned",
};
const SPEAK_AT_MOST_EVERY_MS = 5000;

let spokenAt = 0;
let spoken = "";
let speaking = 0;

export function showWhy(service) {
  const why = service.explanation;
  setText(byId("crumb"), [`${service.namespace} / ${service.name}`, service.target, service.mode].join("  ·\u00a0 "));
  const title = `Why ${count(why.planned)} ${why.planned === 1 ? "replica" : "replicas"}?`;
  setText(byId("why-title"), title);
  const lead = leadOf(why);
  setText(byId("why-lead"), lead);
  speak(`${service.name}: ${count(why.planned)} replicas. ${lead}`);
  showLadder(why);
  showPromise(service);
  showSignals(service, why);
  setText(byId("capacity"), why.capacity ? sentence(why.capacity.words) : "");
  showForecast(why.forecasts ?? []);
  setText(byId("role"), why.role ? sentence(`role ${why.role.name} of service ${why.role.service}${why.role.words ? `: ${why.role.words}` : ""}`) : "");
}

function leadOf(why) {
  const asked = why.steps[0].after;
  const parts = [];
  if (asked === null) parts.push(`No policy can tell how many are needed, so ${count(why.planned)} are held.`);
  else if (!why.limits.length) parts.push(`The policy asks for ${count(asked)} and nothing limits it.`);
  else {
    const last = why.limits.length - 1;
    const bites = why.limits.map((limit, index) => {
      const name = LIMITS[limit.name] ?? limit.name;
      return `${index && index === last ? "and " : ""}${name} makes it ${count(limit.after)}`;
    });
    parts.push(`The policy asks for ${count(asked)}; ${bites.join(", ")}.`);
  }
  const going = [`${count(why.ready)} ${why.ready === 1 ? "is" : "are"} ready`];
  if (why.starting) going.push(`${count(why.starting)} starting`);
  if (why.draining) going.push(`${count(why.draining)} draining`);
  parts.push(`${going.join(", ")}.`);
  return parts.join(" ");
}

/** Screen readers hear a changed decision, not every tick. */
function speak(words) {
  if (words === spoken) return;
  const wait = Math.max(0, spokenAt + SPEAK_AT_MOST_EVERY_MS - Date.now());
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    spoken = words;
    spokenAt = Date.now();
    setText(byId("why-said"), words);
  }, wait);
}

function showLadder(why) {
  const list = byId("ladder");
  while (list.children.length > why.steps.length) list.lastChild.remove();
  while (list.children.length < why.steps.length) {
    list.append(make("li", {}, make("span", { class: "step-count" }), make("div", {}, make("h3", {}), make("p", {}))));
  }
  why.steps.forEach((step, index) => {
    const item = list.children[index];
    item.dataset.step = step.step;
    const [figure, words] = item.children;
    setText(figure, step.after === null ? "?" : count(step.after));
    const change = step.step === "limit" ? step.after - step.before : 0;
    const title = step.step === "policy" ? `Policy ${step.name}` : TITLES[step.name] ?? step.name;
    setText(words.children[0], change ? `${title}  ${change > 0 ? "▲" : "▼"} ${count(Math.abs(change))}` : title);
    const prefix = `${step.name}: `;
    setText(words.children[1], sentence(step.words.startsWith(prefix) ? step.words.slice(prefix.length) : step.words));
  });
}

function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** What is expected, from what, and whether it is trusted; a forecast without a vote is set apart. */
function showForecast(forecasts) {
  const place = byId("forecast-words");
  setText(place, forecasts.flatMap((told) => told.words).map(sentence).join(" "));
  place.classList.toggle("muted", !forecasts.some((told) => told.trusted === false));
}

function showPromise(service) {
  const { promised_ratio: promised } = service.objective;
  const attained = service.attained_ratio;
  byId("promise").hidden = false;
  setText(byId("promise-now"), percent(attained));
  byId("promise-now").classList.toggle("short", attained !== null && attained < promised);
  setText(byId("promise-words"), `so far, ${percent(promised, 3)} promised`);
  const objective = `${signalName(service.objective.signal)} ≤ ${withUnit(service.objective.target, service.objective.unit)}`;
  const basis = service.attained_basis === "requests" ? "of the requests" : "of the demand, judged tick by tick,";
  setText(byId("promise-basis"), attained === null ? `${objective}; nothing seen yet` : `${basis} with ${objective.charAt(0).toLowerCase()}${objective.slice(1)}`);
  // What matters lies between 90 % and 100 %, so that is what the bar shows.
  const place = (ratio) => `${Math.max(0, Math.min(100, (ratio - 0.9) * 1000))}%`;
  byId("promise-bar").style.width = attained === null ? "0" : place(attained);
  byId("promise-bar").classList.toggle("short", attained !== null && attained < promised);
  byId("promise-mark").style.left = place(promised);
}

const FIRST = ["demand", "queue"];
const STATE = { known: "known", idle: "idle", unknown: "unknown" };

function showSignals(service, why) {
  const order = [...FIRST, service.objective.signal, "gpu_utilization"];
  const rank = (signal) => (order.includes(signal.name) ? order.indexOf(signal.name) : order.length);
  const signals = [...why.signals].sort((a, b) => rank(a) - rank(b));
  const list = byId("signals");
  if (!signals.length) {
    list.replaceChildren(make("li", { class: "chip", "data-state": "unknown" }, "No signal was read in this tick"));
    setText(byId("signals-age"), "");
    return;
  }
  while (list.children.length > signals.length) list.lastChild.remove();
  while (list.children.length < signals.length || list.firstChild.children.length !== 4) {
    if (list.children.length && list.firstChild.children.length !== 4) list.replaceChildren();
    list.append(make("li", { class: "chip" }, make("i", { "aria-hidden": "true" }), make("span"), make("strong"), make("span", { class: "muted" })));
  }
  // Signals of one scrape have one age: said once, and again only beside those that differ.
  const ages = signals.map((signal) => (signal.age_s === null ? "" : `${duration(signal.age_s)} old`));
  const usual = ages.find((age) => age && ages.filter((other) => other === age).length * 2 > ages.length) ?? "";
  setText(byId("signals-age"), usual && `, ${usual}`);
  signals.forEach((signal, index) => {
    const chip = list.children[index];
    chip.dataset.state = signal.state;
    const [, name, value, age] = chip.children;
    setText(name, signalName(signal.name));
    setText(value, signal.state === "known" ? withUnit(signal.value, signal.unit) : STATE[signal.state] ?? signal.state);
    setText(age, ages[index] === usual ? "" : ages[index]);
    if (signal.why) chip.title = signal.why;
    else chip.removeAttribute("title");
  });
  const reasons = [...new Set(signals.map((signal) => signal.why).filter(Boolean))];
  setText(whyUnknown(), reasons.length ? sentence(reasons.join("; ")) : "");
}

function whyUnknown() {
  return byId("signals-why") ?? byId("signals").insertAdjacentElement("afterend", make("p", { id: "signals-why", class: "muted small" }));
}
