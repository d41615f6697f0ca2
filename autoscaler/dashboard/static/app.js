// The page's conductor: which service is shown, what came in, and who draws it.

import { Connection, get } from "./connection.js";
import { DemoControls } from "./demo.js";
import { showFigures, Table } from "./fleet.js";
import { setText, timeOfDay } from "./format.js";
import { Nodes } from "./nodes.js";
import { Plots } from "./plots.js";
import { showWhy } from "./why.js";

const KEPT_POINTS = 2000;
const TABLE_EVERY_MS = 500;

const byId = (id) => document.getElementById(id);

let key = keyOfHash();
let history = null;
let tableAt = -TABLE_EVERY_MS;
let tableDue = 0;
let picking = 0; // counts picks, so that the answer to an older one is dropped

const plots = new Plots();
const table = new Table((picked) => { location.hash = hashOf(picked); });
const nodes = new Nodes();
const demo = new DemoControls(() => key);
const connection = new Connection({ urlOf: streamUrl, onMessage, onState });

setText(byId("zone"), Intl.DateTimeFormat().resolvedOptions().timeZone);
for (const radio of document.querySelectorAll("input[name=range]")) radio.addEventListener("change", () => plots.setRange(Number(radio.value)));
addEventListener("hashchange", () => { if (keyOfHash() && keyOfHash() !== key) { notice(""); pick(keyOfHash()); } });
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which service is shown
  byId("service").focus();
});

start();

async function start() {
  table.refresh();
  const fleet = await get("/api/fleet").catch(() => null);
  if (key && fleet?.tick) return pick(key);
  // Before the first tick there is nothing to ask of a service; the stream brings its whole history then.
  if (key) table.pick(key);
  connection.open();
}

/** Shows another service: its whole history first, then what comes. */
async function pick(next) {
  key = next;
  const mine = ++picking;
  table.pick(key);
  byId("service").setAttribute("aria-busy", "true");
  connection.close();
  try {
    const service = await get(`/api/services/${key.split("/").map(encodeURIComponent).join("/")}`);
    if (mine !== picking) return;
    history = service.history;
    show(service);
  } catch (fault) {
    if (mine !== picking) return;
    history = null;
    if (fault.status === 404) {
      notice(`${fault.message}. Showing another one.`);
      key = null;
      location.hash = "";
    }
  }
  connection.open();
}

function streamUrl() {
  const query = new URLSearchParams();
  if (key) query.set("service", key);
  if (key && history?.times_s.length) query.set("since_s", history.times_s[history.times_s.length - 1]);
  else if (key) query.set("since_s", "0");
  return `/api/stream?${query}`;
}

function onMessage(message) {
  const { fleet, service } = message;
  demo.show(message.demo);
  byId("reads-only").hidden = Boolean(message.demo);
  byId("simulated").hidden = !message.demo;
  if (message.demo?.finished) ended(message.demo);
  if (!fleet.tick) {
    setText(byId("live-words"), "Live, waiting for the first tick");
    return;
  }
  setText(byId("live-words"), liveWords(fleet, message.demo));
  showFigures(fleet);
  nodes.follow(fleet, key);
  problems(fleet);
  tableSoon();
  if (!key && !fleet.services) {
    setText(byId("why-lead"), "There is no service yet. Apply an InferenceAutoscaler, and its decisions are explained here.");
    byId("service").setAttribute("aria-busy", "false");
  } else if (!key) firstService();
  else if (service && service.key === key) {
    append(service.history);
    show(service);
  } else if (!service) {
    notice(`${key} is no longer there. Pick another service.`);
  }
}

/** The table follows at most twice a second, and never stays behind the last message. */
function tableSoon() {
  if (tableDue) return;
  tableDue = setTimeout(() => {
    tableDue = 0;
    tableAt = performance.now();
    table.refresh();
  }, Math.max(0, tableAt + TABLE_EVERY_MS - performance.now()));
}

function liveWords(fleet, demoState) {
  const standby = fleet.leading ? "" : " · standby";
  const speed = demoState ? (demoState.speed ? ` · demo at ${demoState.speed}×` : " · demo, time stopped") : "";
  return `${timeOfDay(fleet.at_s)} · tick ${fleet.tick}${standby}${speed}`;
}

async function firstService() {
  const mine = picking;
  const found = await get("/api/services?limit=1").catch(() => null);
  if (found?.services.length && mine === picking && !key) {
    // Not in the address: whoever shares the link then shares the page, not an accident.
    await pick(found.services[0].key);
  }
}

function show(service) {
  showWhy(service);
  plots.show(service, history);
  byId("service").setAttribute("aria-busy", "false");
  document.title = `${service.name}: ${service.planned} replicas – Inference Autoscaler`;
}

/** Adds what is newer; what came twice (after a reconnect) is left out. */
function append(newer) {
  if (!history) { history = newer; return; }
  const last = history.times_s[history.times_s.length - 1] ?? -Infinity;
  newer.times_s.forEach((time, index) => {
    if (time <= last) return;
    history.times_s.push(time);
    for (const [name, values] of Object.entries(newer.columns)) history.columns[name].push(values[index]);
  });
  const surplus = history.times_s.length - KEPT_POINTS;
  if (surplus > 0) {
    history.times_s.splice(0, surplus);
    for (const values of Object.values(history.columns)) values.splice(0, surplus);
  }
}

function onState(state, retryS) {
  byId("live").dataset.state = state;
  const lost = byId("lost");
  if (state === "lost") {
    setText(byId("live-words"), "Not connected");
    setText(lost, `Connection lost. What you see is from the last tick that arrived; trying again in ${Math.round(retryS)} s.`);
    lost.hidden = false;
  } else if (state === "live") {
    lost.hidden = true;
  }
}

let problemWords = "";
function problems(fleet) {
  const words = [...fleet.problems];
  if (fleet.paused) words.unshift(`Scaling is paused for the whole cluster${fleet.paused.reason ? `: ${fleet.paused.reason}` : ""}.`);
  const text = words.join(" · ");
  if (text !== problemWords) { problemWords = text; notice(text); }
}

function notice(text) {
  const box = byId("notices");
  box.hidden = !text;
  setText(box, text);
}

function ended(state) {
  connection.end();
  byId("ended").hidden = false;
  setText(byId("ended-words"), state.summary ?? "");
  byId("live").dataset.state = "ended";
  setTimeout(() => setText(byId("live-words"), "The demo has ended"));
  byId("lost").hidden = true;
}

function keyOfHash() {
  const parts = location.hash.replace(/^#\//, "").split("/");
  if (!location.hash.startsWith("#/") || parts.length !== 2) return null;
  try {
    return parts.map(decodeURIComponent).join("/");
  } catch {
    return null; // a mangled address is no reason to show nothing
  }
}

function hashOf(picked) {
  return `#/${picked.split("/").map(encodeURIComponent).join("/")}`;
}
