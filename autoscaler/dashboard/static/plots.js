// The plots: one x axis of time, linked cursors, colours from the style sheet so that both themes have their own.

import { count, duration, make, number, percent, setText, timeOfDay, withUnit } from "./format.js";

const FORECAST_AHEAD_S = 3600;
const SYNC = "service";
const WHOLE = [1, 2, 5].flatMap((step) => [1, 10, 100, 1e3, 1e4, 1e5, 1e6].map((power) => step * power)).sort((a, b) => a - b); // no half replicas

const counts = (value) => count(value);
const perSecond = (value) => (value === null ? "–" : `${number(value)}/s`);
const share = (value) => percent(value, 0);

// color: a custom property of the style sheet. draw: line | step | area | band edges. dash in CSS pixels.
const PLOTS = [
  {
    id: "replicas", title: "Replicas", wide: true, height: 250, format: counts, floor: 1, whole: true,
    series: [
      { name: "starting", label: "Starting", color: "--plot-starting", draw: "area", stackOn: "ready" },
      { name: "ready", label: "Ready", color: "--plot-ready", draw: "area" },
      { name: "recommended", label: "Policy asks", color: "--plot-asked", draw: "step", dash: [2, 4], width: 1.75, wild: true },
      { name: "current", label: "Current", color: "--plot-current", draw: "step", width: 1 },
      { name: "desired", label: "Desired", color: "--plot-desired", draw: "step", dash: [8, 4], width: 2 },
      { name: "planned", label: "Planned", color: "--plot-planned", draw: "step", width: 2 },
    ],
  },
  {
    id: "demand", title: "Demand", height: 180, format: perSecond, floor: 1, forecast: true,
    series: [{ name: "demand", label: "Requests arriving", color: "--plot-demand", draw: "line", width: 1.75, fill: true }],
  },
  {
    id: "queue", title: "Queue", height: 180, format: counts, floor: 5, whole: true,
    series: [{ name: "queue", label: "Requests waiting", color: "--plot-queue", draw: "line", width: 1.75, fill: true }],
  },
  {
    id: "objective", title: "Objective", height: 180, format: number, floor: 1, objective: true,
    series: [{ name: "objective", label: "Value", color: "--plot-objective", draw: "line", width: 1.75 }],
  },
  {
    id: "gpu", title: "Utilization", height: 180, format: share, top: 1,
    series: [
      { name: "gpu_utilization", label: "GPU busy", color: "--plot-gpu", draw: "line", width: 1.75, fill: true },
      { name: "utilization", label: "Of full throughput", color: "--plot-queue", draw: "line", width: 1.75, dash: [8, 4] },
    ],
  },
];

export class Plots {
  constructor() {
    this.box = document.getElementById("plots");
    this.moment = document.getElementById("plots-at");
    this.rangeS = 7200;
    this.service = null;
    this.history = null;
    this.plots = PLOTS.map((plan) => this.#frame(plan));
    this.pending = false;
    new ResizeObserver(() => this.#resize()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#rebuild());
  }

  /** history: {times_s, columns}; service: the latest of it (objective, forecast). */
  show(service, history) {
    const other = this.service?.key !== service.key;
    this.service = service;
    this.history = history;
    if (other) this.#rebuild();
    else this.#draw();
  }

  setRange(seconds) {
    this.rangeS = seconds;
    this.#draw();
  }

  #frame(plan) {
    const legend = make("ul", { class: "legend" });
    const canvas = make("div", { class: "canvas", role: "img" });
    const empty = make("p", { class: "muted empty" }, "Waiting for the first ticks …");
    const title = make("span", { class: "plot-title" }, plan.title);
    const figure = make("figure", { class: `card plot${plan.wide ? " wide" : ""}`, id: `plot-${plan.id}` },
      make("figcaption", {}, title, legend), canvas, empty);
    this.box.append(figure);
    return { plan, figure, legend, canvas, empty, title, drawn: null, data: null };
  }

  #series(plot) {
    const { plan } = plot;
    const series = plan.series.map((line) => ({ ...line }));
    if (plan.objective && this.service) {
      const { signal, target, unit } = this.service.objective;
      series[0].label = signal.endsWith("_s") ? "Now" : "Value";
      plot.format = (value) => withUnit(value, unit);
      series.push({ name: "target", label: "Promised at most", color: "--plot-limit", draw: "line", dash: [6, 4], width: 1.5, constant: target });
    } else plot.format = plan.format;
    if (plan.forecast && this.service?.forecast) {
      series.push({ name: "forecast-low", label: "Forecast, low", color: "--plot-forecast", draw: "line", width: 1, quantile: "low" });
      series.push({ name: "forecast-high", label: "Forecast, high", color: "--plot-forecast", draw: "line", width: 1, quantile: "high", bandTo: true });
    }
    return series;
  }

  #rebuild() {
    for (const plot of this.plots) {
      plot.drawn?.destroy();
      plot.drawn = null;
    }
    this.#draw();
  }

  #draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      for (const plot of this.plots) this.#drawOne(plot);
    });
  }

  #drawOne(plot) {
    const history = this.history;
    const some = Boolean(history && history.times_s.length > 1);
    plot.empty.hidden = some;
    plot.canvas.hidden = !some;
    if (!some) return;
    if (plot.plan.objective) setText(plot.title, objectiveTitle(this.service.objective));
    const hadForecast = plot.series?.some((line) => line.quantile) ?? false;
    if (plot.drawn && plot.plan.forecast && hadForecast !== Boolean(this.service.forecast)) {
      plot.drawn.destroy();
      plot.drawn = null;
    }
    if (!plot.drawn) {
      plot.series = this.#series(plot);
      this.#legend(plot);
    }
    plot.data = this.#data(plot);
    if (plot.drawn) plot.drawn.setData(plot.data);
    else plot.drawn = new uPlot(this.#options(plot), plot.data, plot.canvas);
    this.#values(plot);
    this.#describe(plot);
    plot.figure.dataset.drawn = "true";
  }

  #data(plot) {
    const { times_s: times, columns } = this.history;
    const newest = times[times.length - 1];
    const from = this.rangeS ? firstAfter(times, newest - this.rangeS) : 0;
    const forecast = plot.series.some((line) => line.quantile) ? this.service.forecast : null;
    const x = times.slice(from);
    const ahead = forecast ? forecast.times_s.map((time, index) => [time, index]).filter(([time]) => time > newest && time <= newest + FORECAST_AHEAD_S) : [];
    const lines = plot.series.map((line) => {
      if (line.constant !== undefined) return [...x.map(() => line.constant), ...ahead.map(() => line.constant)];
      if (line.quantile) {
        const row = line.quantile === "low" ? 0 : forecast.quantiles.length - 1;
        return [...columns[`forecast_${line.quantile}`].slice(from), ...ahead.map(([, index]) => forecast.values[row][index])];
      }
      const values = columns[line.name].slice(from);
      const base = line.stackOn ? columns[line.stackOn].slice(from) : null;
      const drawn = base ? values.map((value, index) => (value === null || base[index] === null ? null : value + base[index])) : values;
      return [...drawn, ...ahead.map(() => null)];
    });
    return [[...x, ...ahead.map(([time]) => time)], ...lines];
  }

  #options(plot) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const ink = color("--muted");
    const grid = { stroke: color("--grid"), width: 1 };
    const font = `11px ${style.getPropertyValue("--font")}`;
    const step = uPlot.paths.stepped({ align: 1 });
    const top = plot.plan.top;
    const floor = plot.plan.floor ?? 1;
    const target = plot.plan.objective ? this.service.objective.target : 0;
    return {
      width: plot.canvas.clientWidth || 300,
      height: plot.plan.height,
      padding: [8, 26, 0, 0], // half a label of hours, minutes and seconds
      legend: { show: false },
      cursor: {
        sync: { key: SYNC }, drag: { x: false, y: false }, focus: { prox: -1 },
        points: { size: 6 }, y: false,
      },
      scales: {
        x: { time: true },
        y: { range: (drawn, _low, high) => [0, top ?? niceTop(Math.max(this.#high(plot, drawn, high), floor, target * 1.2))] },
      },
      axes: [
        { stroke: ink, grid, ticks: { ...grid, size: 4 }, font, size: 26, gap: 4, space: 64, values: clockLabels },
        { stroke: ink, grid, ticks: { show: false }, font, size: 46, gap: 6, space: 34, ...(plot.plan.whole ? { incrs: WHOLE } : {}), values: (_plot, ticks) => ticks.map((tick) => axisLabel(tick, plot)) },
      ],
      series: [
        {},
        ...plot.series.map((line) => ({
          label: line.label,
          stroke: color(line.color),
          width: line.draw === "area" ? 0 : line.width ?? 1.5,
          dash: line.dash,
          fill: line.draw === "area" ? color(line.color) : line.fill ? translucent(color(line.color)) : undefined,
          paths: line.draw === "step" || line.draw === "area" ? step : undefined,
          points: { show: false },
          spanGaps: false,
        })),
      ],
      bands: plot.series.flatMap((line, index) => (line.bandTo ? [{ series: [index + 1, index], fill: translucent(color(line.color)) }] : [])),
      hooks: { setCursor: [() => this.#values(plot)] },
    };
  }

  /** The highest value to make room for. A backlog can make a policy ask for ten times what is allowed: that line may leave the plot
      (the legend says its value), or nobody could read the counts that are. */
  #high(plot, drawn, high) {
    const wild = plot.series.findIndex((line) => line.wild);
    if (wild < 0 || high === null) return high ?? 0;
    const others = drawn.data.slice(1).filter((_values, index) => index !== wild);
    const tame = others.reduce((most, values) => values.reduce((a, b) => (b !== null && b > a ? b : a), most), 0);
    return Math.min(high, tame * 1.5);
  }

  #legend(plot) {
    const shown = plot.series.filter((line) => line.quantile !== "low");
    plot.legend.replaceChildren(...shown.map((line) => {
      const item = make("li", {}, make("i", { class: `swatch ${line.dash ? (line.dash[0] < 4 ? "dotted" : "dashed") : line.draw}`, "aria-hidden": "true" }),
        make("span", {}, line.quantile ? "Foretold need" : line.label), make("strong", {}));
      item.firstChild.style.setProperty("--swatch", `var(${line.color})`);
      item.dataset.series = line.name;
      return item;
    }));
  }

  /** The values under the cursor, or the latest. */
  #values(plot) {
    if (!plot.data || !plot.drawn) return;
    const cursor = plot.drawn.cursor.idx;
    const index = cursor ?? plot.data[0].length - 1;
    plot.series.forEach((line, position) => {
      const item = [...plot.legend.children].find((other) => other.dataset.series === line.name);
      if (!item) return;
      let value = plot.data[position + 1][index] ?? null;
      if (cursor === null || cursor === undefined) value = lastKnown(plot.data[position + 1]);
      if (line.stackOn && value !== null) {
        const below = plot.series.findIndex((other) => other.name === line.stackOn);
        value -= (cursor === null || cursor === undefined ? lastKnown(plot.data[below + 1]) : plot.data[below + 1][index]) ?? 0;
      }
      setText(item.lastChild, line.quantile ? "" : plot.format(value));
    });
    setText(this.moment, cursor === null || cursor === undefined ? "" : `at ${timeOfDay(plot.data[0][index])}`);
  }

  /** What a plot says to those who can't see it. */
  #describe(plot) {
    const [times] = plot.data;
    const parts = plot.series.flatMap((line, position) => {
      if (line.quantile || line.constant !== undefined || line.stackOn) return [];
      const known = plot.data[position + 1].filter((value) => value !== null);
      if (!known.length) return [`${line.label}: unknown`];
      const low = known.reduce((a, b) => Math.min(a, b));
      const high = known.reduce((a, b) => Math.max(a, b));
      return [`${line.label}: ${plot.format(known[known.length - 1])} now, from ${plot.format(low)} to ${plot.format(high)}`];
    });
    const span = duration(times[times.length - 1] - times[0]);
    plot.canvas.setAttribute("aria-label", `${plot.title.textContent} over ${span}. ${parts.join(". ")}.`);
  }

  #resize() {
    for (const plot of this.plots) {
      const width = plot.canvas.clientWidth;
      if (plot.drawn && width && width !== plot.drawn.width) plot.drawn.setSize({ width, height: plot.plan.height });
    }
  }
}

function objectiveTitle({ signal, target, unit }) {
  const names = { queue_wait_s: "Queue wait", latency_s: "Latency", ttft_s: "Time to first token", itl_s: "Inter-token latency" };
  return `${names[signal] ?? signal}, at most ${withUnit(target, unit)} promised`;
}

function axisLabel(value, plot) {
  if (plot.plan.top === 1) return `${Math.round(value * 100)} %`;
  if (value >= 1e6) return `${number(value / 1e6)} M`;
  if (value >= 1e4) return `${number(value / 1e3)} k`;
  return number(value);
}

const hourMinute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

function clockLabels(_plot, ticks, _axis, _space, step) {
  return ticks.map((tick) => (step < 60 ? timeOfDay(tick) : hourMinute.format(tick * 1000)));
}

function niceTop(high) {
  const power = 10 ** Math.floor(Math.log10(high));
  const steps = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
  return steps.find((step) => step * power >= high * 1.04) * power || high * 1.1;
}

function firstAfter(times, moment) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < moment) low = middle + 1;
    else high = middle;
  }
  return low;
}

function lastKnown(values) {
  for (let index = values.length - 1; index >= 0; index--) if (values[index] !== null) return values[index];
  return null;
}

/** #rrggbb, as the style sheet writes its plot colours, at 16 % (a canvas understands this in every browser). */
function translucent(color) {
  return `${color}29`;
}
