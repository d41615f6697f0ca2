// All services together: the figures on top, and the table to pick a service from.

import { count, make, number, percent, setText } from "./format.js";
import { get } from "./connection.js";

const PAGE = 200;
const STATUS = {
  blind: ["unknown", "Signals unknown: holding"],
  partial: ["unknown", "Some signals unknown: no scale-down"],
  "hands-off": ["held", "Not ours to write"],
  paused: ["held", "Paused"],
  late: ["late", "Over the objective now"],
  starting: ["busy", "Replicas starting"],
  ok: ["ok", "Within the objective"],
};

const byId = (id) => document.getElementById(id);

export function showFigures(fleet) {
  const { replicas, statuses = {} } = fleet;
  const nodes = fleet.pools?.reduce((sum, pool) => sum + (pool.nodes ?? pool.planned ?? 0), 0) ?? 0;
  const troubled = (statuses.blind ?? 0) + (statuses.partial ?? 0);
  const figures = [
    ["Services", count(fleet.services), troubled ? `${count(troubled)} with unknown signals` : "all signals known"],
    ["Demand", fleet.demand_per_s === null ? "unknown" : `${number(fleet.demand_per_s)}/s`, "requests arriving"],
    ["Replicas ready", count(replicas.ready), replicas.starting ? `${count(replicas.starting)} starting` : `of ${count(replicas.planned)} planned`],
    ["Nodes", fleet.pools?.length ? count(nodes) : "–", fleet.pools?.length ? `in ${count(fleet.pools.length)} ${fleet.pools.length === 1 ? "pool" : "pools"}` : "no pools"],
    ["Promise kept", percent(fleet.attained_ratio), fleet.attained_basis === "requests" ? "of all requests" : "of the demand, by ticks"],
  ];
  const box = byId("figures");
  if (box.children.length !== figures.length) {
    box.replaceChildren(...figures.map(([name]) => make("div", {}, make("dt", {}, name), make("dd", {}), make("dd", { class: "muted small" }))));
  }
  figures.forEach(([, value, words], index) => {
    const [, strong, small] = box.children[index].children;
    setText(strong, value);
    setText(small, words);
  });
}

export class Table {
  /** onPick(key) when a person picks a service. */
  constructor(onPick) {
    this.onPick = onPick;
    this.sort = "name";
    this.order = "asc";
    this.limit = PAGE;
    this.picked = null;
    this.lines = new Map();
    this.body = document.querySelector("#table tbody");
    this.busy = false;
    this.again = false;
    for (const head of document.querySelectorAll("#table th")) {
      head.querySelector("button").addEventListener("click", () => this.#sortBy(head));
    }
    let typing = 0;
    byId("filter").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => { this.limit = PAGE; this.refresh(); }, 120);
    });
    byId("more").addEventListener("click", () => { this.limit = Math.min(this.limit + PAGE, 1000); this.refresh(); });
  }

  async refresh() {
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    try {
      const query = new URLSearchParams({ sort: this.sort, order: this.order, limit: this.limit, filter: byId("filter").value });
      this.#show(await get(`/api/services?${query}`));
    } catch {
      // The connection's own banner says what is wrong.
    } finally {
      this.busy = false;
      if (this.again) { this.again = false; this.refresh(); }
    }
  }

  pick(key) {
    this.picked = key;
    for (const [name, line] of this.lines) this.#mark(line, name === key);
  }

  #sortBy(head) {
    const sort = head.dataset.sort;
    // Numbers are looked at from the largest, names from A, what was kept from the worst.
    const first = sort === "name" || sort === "attained" ? "asc" : "desc";
    this.order = this.sort === sort ? (this.order === "asc" ? "desc" : "asc") : first;
    this.sort = sort;
    for (const other of document.querySelectorAll("#table th")) {
      if (other === head) other.setAttribute("aria-sort", this.order === "asc" ? "ascending" : "descending");
      else other.removeAttribute("aria-sort");
    }
    this.refresh();
  }

  #show({ total, services }) {
    const focused = document.activeElement?.closest?.("tr")?.dataset.key;
    const keys = new Set(services.map((service) => service.key));
    for (const [key, line] of this.lines) if (!keys.has(key)) { line.remove(); this.lines.delete(key); }
    services.forEach((service, index) => {
      const line = this.lines.get(service.key) ?? this.#line(service);
      if (this.body.children[index] !== line) this.body.insertBefore(line, this.body.children[index] ?? null);
      this.#fill(line, service);
    });
    if (focused && document.activeElement?.closest?.("tr")?.dataset.key !== focused) this.lines.get(focused)?.querySelector("a").focus();
    const empty = byId("table-empty");
    empty.hidden = services.length > 0;
    setText(empty, byId("filter").value ? `No service's name holds “${byId("filter").value}”.` : "No services yet: apply an InferenceAutoscaler and it appears here.");
    const more = byId("more");
    more.hidden = services.length >= total;
    setText(more, `Show more: ${count(services.length)} of ${count(total)} shown`);
    more.disabled = this.limit >= 1000;
  }

  #line(service) {
    const link = make("a", { href: `#/${encodeURIComponent(service.namespace)}/${encodeURIComponent(service.name)}` },
      make("span", { class: "name" }, service.name), make("span", { class: "muted small" }, service.namespace));
    const mark = make("span", { class: "mark" }, make("i", { "aria-hidden": "true" }), make("span", { class: "hidden" }));
    const line = make("tr", { "data-key": service.key },
      make("td", {}, make("div", { class: "who" }, mark, link)),
      make("td", { class: "number" }), make("td", { class: "number" }), make("td", { class: "number" }));
    line.addEventListener("click", (event) => { if (!event.target.closest("a")) this.onPick(service.key); });
    this.lines.set(service.key, line);
    this.#mark(line, service.key === this.picked);
    return line;
  }

  #fill(line, service) {
    const [kind, words] = STATUS[service.status] ?? ["ok", service.status];
    const mark = line.querySelector(".mark");
    mark.dataset.kind = kind;
    mark.title = words;
    setText(mark.lastChild, words);
    const [, demand, replicas, kept] = line.children;
    setText(demand, number(service.demand));
    setText(replicas, service.ready === service.planned ? count(service.ready) : `${count(service.ready)} → ${count(service.planned)}`);
    setText(kept, percent(service.attained_ratio, 1));
    kept.classList.toggle("short", service.attained_ratio !== null && service.attained_ratio < service.promised_ratio);
  }

  #mark(line, picked) {
    line.classList.toggle("picked", picked);
    const link = line.querySelector("a");
    if (picked) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}
