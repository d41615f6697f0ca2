// The demo's buttons. They are there only when the server says that this is a demo.

import { duration, make, setText } from "./format.js";

const byId = (id) => document.getElementById(id);
const SURGE_S = 600;
const OUTAGE_S = 120;
const SLOW_S = 900;

export class DemoControls {
  /** chosen() gives the key of the service that the page shows. */
  constructor(chosen) {
    this.chosen = chosen;
    this.state = null;
    byId("demo").addEventListener("click", (event) => {
      const button = event.target.closest("button[data-do]");
      if (button) this.#press(button);
    });
    for (const radio of document.querySelectorAll("input[name=speed]")) {
      radio.addEventListener("change", () => this.#post("speed", { speed: Number(radio.value) }, radio.value === "0" ? "Time stands still." : `Time runs ${radio.value} times as fast.`));
    }
  }

  show(state) {
    byId("demo").hidden = !state || state.finished;
    if (!state) return;
    this.state = state;
    const left = state.ends_at_s === null ? "until you stop it" : `ends in ${duration(state.ends_at_s - state.now_s)}`;
    setText(byId("demo-clock"), `${state.trace} · ${left}`);
    const pause = document.querySelector("[data-do=pause]");
    pause.setAttribute("aria-pressed", String(state.scaling_paused));
    for (const radio of document.querySelectorAll("input[name=speed]")) {
      if (document.activeElement !== radio) radio.checked = Number(radio.value) === state.speed;
    }
    const on = byId("demo-on");
    const words = state.on.map((fault) => `${nameOf(fault)}, ${duration(fault.until_s - state.now_s)} left`);
    if (state.scaling_paused) words.push("scaling paused");
    if (on.children.length !== words.length) on.replaceChildren(...words.map(() => make("li", { class: "chip", "data-state": "on" }, make("i", { "aria-hidden": "true" }), make("span"))));
    words.forEach((text, index) => setText(on.children[index].lastChild, text));
  }

  #press(button) {
    const factor = Number(button.dataset.factor);
    const key = byId("surge-scope").value === "one" ? this.chosen() : null;
    switch (button.dataset.do) {
      case "surge":
        return this.#post("surge", { factor, for_s: SURGE_S, ...(key ? { key } : {}) }, `Demand of ${key ?? "all services"} × ${factor} for ${duration(SURGE_S)}.`);
      case "outage":
        return this.#post("outage", { for_s: OUTAGE_S }, `No metrics for ${duration(OUTAGE_S)}: unknown is not zero, so nothing shrinks.`);
      case "slow":
        return this.#post("slow-starts", { factor: 5, for_s: SLOW_S }, `Replicas take five times as long to start, for ${duration(SLOW_S)}.`);
      case "pause":
        return this.state?.scaling_paused
          ? this.#post("resume", {}, "Scaling resumed.")
          : this.#post("pause", {}, "Scaling paused: everything is decided, nothing is written.");
      default:
        return this.#post("calm", {}, "All calm again.");
    }
  }

  async #post(action, body, said) {
    const words = byId("demo-said");
    try {
      const response = await fetch(`/api/demo/${action}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Autoscaler-Demo": "1" },
        body: JSON.stringify(body),
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer?.error?.message ?? `answered ${response.status}`);
      this.show(answer);
      words.textContent = said;
    } catch (fault) {
      words.textContent = `That did not work: ${fault.message}`;
    }
  }
}

function nameOf(fault) {
  if (fault.what === "surge") return `surge ×${fault.factor} on ${fault.key ?? "all services"}`;
  if (fault.what === "outage") return "metrics outage";
  return `slow starts ×${fault.factor}`;
}
