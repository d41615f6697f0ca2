"""``reactive``: as many replicas as the demand of the last minute and the backlog need, by the queueing rule of ``core.sizing``.

Capacity for the demand: the smallest C with (C − λ)·C ≥ z²φλ ÷ (4X), where λ is the rate of the last `window_s` with `headroom` on
top, but at least `floor` × the latest rate; X the wait that the objectives leave; φ the measured burstiness of the demand. A backlog
of B requests adds B ÷ `drain_s`. Replicas: that, divided by what one replica can do; and they stay for `hold_s` after they were last
needed, because a replica that goes now may take minutes to come back.

What is missing changes the basis, never the rule that unknown is not zero:

- demand unknown: the rate is read off the batches that run (``core.capacity``); a full batch tells only that it is at least that much,
  and the backlog says the rest.
- capacity unknown: the requests in flight must fit into `fill` of the slots, the only thing known of a replica then.
- backlog unknown: the demand alone counts. None of these can scale down (the tick is partial), but each can scale up.
- neither demand nor what runs is known: can't tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.core.capacity import slots_needed, throughput_per_s, utilization_at
from autoscaler.core.dispersion import Dispersion
from autoscaler.core.hold import Hold
from autoscaler.core.model import Bools, Floats, Ints, Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved
from autoscaler.core.seen import any_unknown, seen
from autoscaler.core.sizing import capacity_with_slack_per_s, whole_replicas

LONGEST_WINDOW_S: Final = 300.0
LONGEST_STEP_S: Final = 90.0
"""Longer steps are a cold start's view of the distant past; their counts are not held."""


class Reactive:
    """Learns the demand's burstiness, and remembers its own counts for the hold."""

    def __init__(self, params: Params) -> None:
        self._dispersion = Dispersion(len(params["z"]))
        self._hold = Hold(params["hold_s"])
        self._take(params)

    def _take(self, params: Params) -> None:
        self.params = params
        self._answered: Observation | None = None
        self._need: _Need | None = None
        self._windows: list[tuple[int, Ints | None, Floats]] = []
        self._windows_for_s = float("nan")
        self._lift: Floats = 1.0 + params["headroom"]
        self._z_squared: Floats = params["z"] ** 2
        self._wait_s: Floats | None = params["wait_s"] if np.count_nonzero(params["wait_s"]) else None
        self._given_sample_s: Floats | None = params["sample_s"] if np.count_nonzero(params["sample_s"]) else None
        self._span_s: Floats | None = None
        self._spans_for_s = float("nan")
        self._sample_s: Any = float("nan")
        self._floor: Floats = params["floor"]
        self._has_floor = bool(np.count_nonzero(self._floor))
        self._drain_per_s: Floats = 1.0 / params["drain_s"]
        self._by_running: Bools | None = params["basis"] == "running"
        if not np.count_nonzero(self._by_running):
            self._by_running = None

    # ------------------------------------------------------------ learning

    def observe(self, observation: Observation) -> None:
        self.learn(observation)
        interval_s = observation.interval_s
        if interval_s <= LONGEST_STEP_S:
            self._answered, self._need = observation, self._needed(observation)
            self._hold.push(observation.at_s, self._need.replicas, interval_s)

    def learn(self, observation: Observation) -> None:
        """Learns how bursty the demand is, without a count of its own: for a policy that only now and then lets this one speak."""
        interval_s = observation.interval_s
        signal = observation.signals.get("demand")
        span_s = None if signal is None else signal.span_s
        if span_s is not self._span_s or interval_s != self._spans_for_s:
            self._take_spans(span_s, interval_s)
        self._dispersion.learn(seen(observation, "demand"), observation.at_s, self._sample_s)

    def _take_spans(self, span_s: Floats | None, interval_s: float) -> None:
        """Over how long a value of the demand is a mean: what a parameter says, else the signal itself, else one interval."""
        self._span_s, self._spans_for_s, self._windows_for_s = span_s, interval_s, float("nan")
        known: Any = interval_s if span_s is None else np.where(span_s > 0, span_s, interval_s)
        if span_s is not None and (known == known[:1]).all() and len(known):
            known = float(known[0])
        given = self._given_sample_s
        self._sample_s = known if given is None else np.where(given > 0, given, known)

    # ------------------------------------------------------------ recommending

    def needed(self, observation: Observation) -> Floats:
        """What demand and backlog need now, (n,), without the hold."""
        return self._needed(observation).replicas

    def recommend(self, observation: Observation) -> Recommendation:
        need = self._need
        if need is None or self._answered is not observation:
            need = self._needed(observation)
        replicas = self._hold.highest(observation.at_s, need.replicas)
        return Recommendation(replicas=replicas, why=lambda row: self._words(observation, row, need, float(replicas[row])))

    def _needed(self, observation: Observation) -> _Need:
        latest = seen(observation, "demand")
        queue = seen(observation, "queue")
        rate = self._window_rate(observation, latest)
        if self._has_floor:
            rate = np.maximum(rate, self._floor * latest)
        slack = self._slack(observation)
        capacity: Floats = capacity_with_slack_per_s(rate, slack)
        exact = (capacity + queue * self._drain_per_s) / observation.capacity_per_s
        basis: Floats | None = None
        if any_unknown(exact) or self._by_running is not None:
            rate = np.where(np.isnan(rate), self._known_rate(observation, latest), rate)
            rate, capacity, exact, basis = self._with_gaps(observation, rate, queue, slack)
        return _Need(rate, capacity, queue, whole_replicas(exact), basis)

    def _slack(self, observation: Observation) -> Floats:
        allowed_s = observation.objective_target
        if self._wait_s is not None:
            allowed_s = np.where(self._wait_s > 0, self._wait_s, allowed_s)
        slack: Floats = self._z_squared * self._dispersion.value / allowed_s
        return slack

    def _window_rate(self, observation: Observation, latest: Floats) -> Floats:
        """The mean rate of each row's window with its headroom on top; NaN where a part of it is missing (see _known_rate)."""
        signal = observation.signals.get("demand")
        if signal is None:
            return latest
        if self._windows_for_s != observation.interval_s:
            self._windows = self._columns(observation.interval_s)
            self._windows_for_s = observation.interval_s
        if len(self._windows) == 1:
            columns, _, weight = self._windows[0]
            past = signal.history.last(columns)
            return np.add.reduce(past, 1) * weight if past.shape[1] == columns else latest * np.nan
        rate = np.full(len(latest), np.nan)
        for columns, rows, weight in self._windows:
            past = signal.history.last(columns)
            if past.shape[1] == columns:
                rate[rows] = np.add.reduce(past, 1)[rows] * weight
        return rate

    def _columns(self, interval_s: float) -> list[tuple[int, Ints | None, Floats]]:
        """Window length k in columns, the rows that have it (None: all), and their (1 + headroom) ÷ k."""
        span_s: Any = interval_s if self._span_s is None else np.where(self._span_s > 0, self._span_s, interval_s)
        # Values that are means over longer than an interval reach back by themselves: k of them over (k − 1) intervals and one span.
        columns = np.maximum(np.rint((self.params["window_s"] - span_s) / interval_s) + 1, 1).astype(np.int64)
        weights = self._lift / columns
        distinct = np.unique(columns)
        if len(distinct) == 1:
            return [(int(distinct[0]), None, weights)]
        groups = [(int(k), np.flatnonzero(columns == k)) for k in distinct]
        return [(k, rows, weights[rows]) for k, rows in groups]

    def _known_rate(self, observation: Observation, latest: Floats) -> Floats:
        """As _window_rate from what is known of the window; NaN only where the latest rate is unknown."""
        signal = observation.signals.get("demand")
        if signal is None:
            return latest
        rate = latest.copy()
        for columns, rows, _ in self._windows:
            past = signal.history.last(columns)
            known = past == past
            counts = known.sum(axis=1)
            mean = np.where(known, past, 0.0).sum(axis=1) / np.maximum(counts, 1)
            mean = np.where(counts > 0, mean, latest)
            if rows is None:
                rate = mean
            else:
                rate[rows] = mean[rows]
        rate = np.where(np.isnan(latest), np.nan, rate * self._lift)
        return np.maximum(rate, self._floor * latest)

    def _with_gaps(
        self, observation: Observation, rate: Floats, queue: Floats, slack: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """The same with what is missing replaced where something else tells (see the module's text).

        Returns rate, capacity, unrounded replicas, and each row's basis: 0 demand, 1 what runs, 2 slots."""
        running = seen(observation, "running")
        ready = observation.ready
        own = observation.capacity_per_s
        waiting = np.fmax(queue, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            batch = np.where(ready > 0, running / ready, np.where(running == 0, 0.0, np.nan))
        # Requests wait although we can't see what runs: then what is ready is full.
        batch = np.where(np.isnan(batch) & (queue > 0) & (ready > 0), observation.slots, batch)
        served = ready * self._throughput(observation, batch)
        by_running = np.isnan(rate)
        if self._by_running is not None:
            by_running |= self._by_running
        rate = np.where(by_running, served * self._lift, rate)
        capacity: Floats = capacity_with_slack_per_s(rate, slack)
        exact = (capacity + waiting * self._drain_per_s) / own
        in_flight = np.where(np.isnan(running), seen(observation, "concurrency"), running + waiting)
        by_slots = np.isnan(own)
        exact = np.where(by_slots, slots_needed(in_flight, observation.slots, self.params["fill"]), exact)
        return rate, capacity, exact, np.where(by_slots, 2.0, np.where(by_running, 1.0, 0.0))

    @staticmethod
    def _throughput(observation: Observation, batch: Floats) -> Floats:
        """Requests/s of a replica at a batch, which may be fuller than an objective allows."""
        most = observation.slots if observation.full_slots is None else observation.full_slots
        within = utilization_at(observation.slots, most, observation.slots_slowdown)
        served: Floats = throughput_per_s(batch, observation.capacity_per_s / within, most, observation.slots_slowdown)
        return served

    def _words(self, observation: Observation, row: int, need: _Need, held: float) -> str:
        kind = 0 if need.basis is None else int(need.basis[row])
        count, waits, own = float(need.replicas[row]), float(need.queue[row]), float(observation.capacity_per_s[row])
        if count != count:
            missing = "neither requests in flight nor a replica's capacity" if kind == 2 else "neither demand nor what runs"
            return f"{missing} is known: no count"
        if kind == 2:
            slots, fill = float(observation.slots[row]), float(self.params["fill"][row])
            words = (
                f"a replica's capacity is unknown, so the requests in flight take {fill:.0%} of its {slots:g} slots: {count:.0f}"
            )
        else:
            capacity = float(need.capacity[row])
            alone = float(whole_replicas(capacity / own))
            source = "demand" if kind == 0 else "the load of what runs, taken as demand,"
            rate = float(need.rate[row])
            words = f"{source} {rate:.3g}/s needs capacity {capacity:.3g}/s at {own:.3g}/s a replica: {alone:.0f}"
            if waits != waits:
                words += "; the backlog is unknown"
            elif waits > 0:
                words += f"; backlog {waits:.0f} requests in {float(self.params['drain_s'][row]):.0f} s adds {count - alone:.0f}"
        if held > count:
            words += f"; {held:.0f} were needed within the last {float(self.params['hold_s'][row]):.0f} s and stay"
        return words

    # ------------------------------------------------------------ what survives

    def rearrange(self, rows: Ints, params: Params) -> None:
        self._dispersion.rearrange(rows)
        self._hold.rearrange(rows, params["hold_s"])
        self._take(params)

    def adopt(self, other: Reactive, rows: Ints) -> None:
        self._dispersion.adopt(other._dispersion, rows)
        self._hold.adopt(other._hold, rows)
        self._answered = self._need = None

    def shift(self, by_s: float) -> None:
        self._dispersion.shift(by_s)
        self._hold.shift(by_s)

    def save(self) -> Saved:
        return {"version": 1, "services": len(self._lift), "dispersion": self._dispersion.save(), "hold": self._hold.save()}

    def load(self, state: Saved) -> None:
        if state.get("version") == 1 and state["services"] == len(self._lift):
            self._dispersion.load(state["dispersion"])
            self._hold.load(state["hold"])
            self._need = None


@dataclass(frozen=True, slots=True)
class _Need:
    """What one observation needs, (n,) each: rate with headroom, capacity for it, backlog, whole replicas, and the basis of each row
    (0 demand, 1 what runs, 2 slots; None: demand for all)."""

    rate: Floats
    capacity: Floats
    queue: Floats
    replicas: Floats
    basis: Floats | None


def _signals(params: Mapping[str, ParamValue]) -> Sequence[str]:
    return (str(params["basis"]), "queue")


POLICY = PolicyType(
    name="reactive",
    summary="what the demand of the last minute and the backlog need, by a queueing rule",
    parameters=(
        Parameter(
            name="z",
            kind="float",
            default=2.0,
            description="how many standard deviations of the arrivals are provided for",
            minimum=0,
            maximum=6,
            tunable=True,
            search=(0, 4),
        ),
        Parameter(
            name="headroom",
            kind="float",
            default=0.1,
            description="share put on top of the demand, for its growth while a replica starts",
            unit="ratio",
            minimum=0,
            maximum=3,
            tunable=True,
            search=(0, 0.6),
        ),
        Parameter(
            name="floor",
            kind="float",
            default=0.95,
            description="share of the latest rate that is served whatever the window's mean says",
            unit="ratio",
            minimum=0,
            maximum=2,
            tunable=True,
            search=(0, 1.2),
        ),
        Parameter(
            name="window_s",
            kind="float",
            default=60.0,
            description="the demand is its mean over this time",
            unit="s",
            minimum=1,
            maximum=LONGEST_WINDOW_S,
            tunable=True,
            search=(15, LONGEST_WINDOW_S),
            log_scale=True,
        ),
        Parameter(
            name="drain_s",
            kind="float",
            default=30.0,
            description="a backlog is worked off within this time",
            unit="s",
            minimum=1,
            maximum=3600,
            tunable=True,
            search=(5, 300),
            log_scale=True,
        ),
        Parameter(
            name="hold_s",
            kind="float",
            default=300.0,
            description=(
                "a count stays until nothing has asked for it for this time; it adds to behavior.scaleDown's stabilization window, "
                "so one of the two is best 0"
            ),
            unit="s",
            minimum=0,
            maximum=3600,
            tunable=True,
            search=(0, 900),
            step=15,
        ),
        Parameter(
            name="wait_s",
            kind="float",
            default=0.0,
            description="the wait that is allowed; 0: what the most demanding objective leaves",
            unit="s",
            minimum=0,
            maximum=3600,
        ),
        Parameter(
            name="sample_s",
            kind="float",
            default=0.0,
            description="over how long a value of demand is a mean, for its burstiness; 0: what the signal says, else the control interval",
            unit="s",
            minimum=0,
            maximum=3600,
        ),
        Parameter(
            name="fill",
            kind="float",
            default=0.7,
            description="share of the slots to take where a replica's capacity is unknown",
            unit="ratio",
            minimum=0.05,
            maximum=1,
        ),
        Parameter(
            name="basis",
            kind="str",
            default="demand",
            description="where the rate comes from: demand, or running where arrivals can't be measured",
            choices=("demand", "running"),
        ),
    ),
    make=lambda params, _rng: Reactive(params),
    signals=_signals,
    optional_signals=("running", "concurrency"),
    lookback_s=LONGEST_WINDOW_S,
    counts_starting=True,
    source="queueing rule of core.sizing; the capacity and backlog parts of the recipe PRED-1, without its forecast",
)
