// Numbers and times in words that people read.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export const MISSING = "–";

export function count(value) {
  return value === null || value === undefined ? MISSING : whole.format(value);
}

export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return MISSING;
  return Math.abs(value) >= 1000 ? whole.format(value) : fine.format(value);
}

/** A share 0…1. Never rounded up to a promise that wasn't kept: 0.99496 is 99.49 %, not 99.5 %. */
export function percent(ratio, digits = 2) {
  if (ratio === null || ratio === undefined || Number.isNaN(ratio)) return MISSING;
  const scale = 10 ** digits;
  return `${Math.floor(ratio * 100 * scale + 1e-6) / scale} %`;
}

export function timeOfDay(seconds) {
  return clock.format(seconds * 1000);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return MISSING;
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return `${s} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

/** A signal's value with its unit. */
export function withUnit(value, unit) {
  if (value === null || value === undefined) return MISSING;
  if (unit === "ratio") return percent(value, 0);
  if (unit === "requests/s" || unit === "tokens/s") return `${number(value)}/s`;
  if (unit === "s") return value !== 0 && Math.abs(value) < 1 ? `${number(value * 1000)} ms` : `${number(value)} s`;
  return number(value);
}

const SIGNALS = {
  demand: "Demand", throughput: "Throughput", queue: "Queue", running: "Running", concurrency: "In flight", utilization: "Utilization",
  gpu_utilization: "GPU utilization", gpu_memory_utilization: "GPU memory", kv_cache_utilization: "KV cache",
  ttft_s: "Time to first token", itl_s: "Inter-token latency", latency_s: "Latency", queue_wait_s: "Queue wait",
  prompt_tokens: "Prompt tokens", output_tokens: "Output tokens",
};

export function signalName(name) {
  return SIGNALS[name] ?? name;
}

/** Sets text only where it differs, so that nothing is announced or laid out for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
