// The line to the server: one stream, watched, and opened again by itself when it breaks.

const SILENCE_MS = 40000; // the server says something every 15 s
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15000;

export async function get(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" }, cache: "no-store" });
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    const fault = new Error(body?.error?.message ?? `${path} answered ${response.status}`);
    fault.status = response.status;
    throw fault;
  }
  return body;
}

export class Connection {
  /** onMessage(message), onState("connecting" | "live" | "lost", secondsToRetry); urlOf() gives the stream's address anew each time. */
  constructor({ urlOf, onMessage, onState }) {
    this.urlOf = urlOf;
    this.onMessage = onMessage;
    this.onState = onState;
    this.retryMs = FIRST_RETRY_MS;
    this.source = null;
    this.timer = 0;
    this.ended = false;
    addEventListener("online", () => this.#lostNow() || this.open());
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", (event) => event.persisted && this.open());
  }

  open() {
    this.close();
    if (this.ended) return;
    const source = new EventSource(this.urlOf());
    this.source = source;
    this.#watch();
    source.addEventListener("open", () => this.#watch());
    source.addEventListener("heart", () => this.#watch());
    source.addEventListener("tick", (event) => {
      this.retryMs = FIRST_RETRY_MS;
      this.#watch();
      this.onState("live");
      this.onMessage(JSON.parse(event.data));
    });
    source.addEventListener("error", () => this.#retry());
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  /** No more of it: the demo is over. */
  end() {
    this.ended = true;
    this.close();
  }

  #lostNow() {
    return this.source !== null && this.source.readyState === EventSource.OPEN;
  }

  #watch() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#retry(), SILENCE_MS);
  }

  #retry() {
    this.close();
    if (this.ended) return;
    this.onState("lost", this.retryMs / 1000);
    this.timer = setTimeout(() => this.open(), this.retryMs);
    this.retryMs = Math.min(this.retryMs * 2, LONGEST_RETRY_MS);
  }
}
