"""``kpa``: Knative's pod autoscaler: a mean over a stable window, another over a short one, and a panic mode between them.

Source: knative serving pkg/autoscaler/scaling/autoscaler.go (Scale), pkg/autoscaler/aggregation (window averages), config/core
configmap config-autoscaler (defaults). Its loop runs every 2 s on samples of every second that it takes itself: a replay gives it that
(``interval_s``, ``sample_s``). In a cluster it sees what the controller sees, once an interval; its windows then hold fewer samples.

What it asks for is the count itself: replicas that start are not in it and change nothing, because the requests in flight are
counted in all, those that wait among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.history import History
from autoscaler.core.model import Bools, Floats, Ints, Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved
from autoscaler.core.rows import some
from autoscaler.core.seen import any_unknown, seen
from policies.kpa_windows import Samples, resized, spans

LOOP_S: Final = 2.0
SAMPLE_S: Final = 1.0
FILL: Final = 0.7
_STABLE, _PANIC = 0, 1
_STATE: Final = ("panic_since_s", "panic_pods", "met_s")


class Kpa:
    """n deciders. State a row: when it panicked last (NaN: it doesn't), the most pods asked for since then, its samples."""

    def __init__(self, params: Params) -> None:
        n = len(params["target"])
        self._delayed: History | None = None
        self._interval_s = 0.0
        self._panic_since_s: Floats = np.full(n, np.nan)
        self._panic_pods: Floats = np.full(n, np.nan)
        self._met_s: Floats = np.full(n, np.nan)
        """When a service was first seen."""
        self._any_new = True
        self._take(params)
        self._samples = Samples(self._windows_s)

    def _take(self, params: Params) -> None:
        self.params = params
        self._n = len(params["target"])
        self._given: Floats = params["target"]
        self._usual_for: Floats | None = None
        self._target: Floats = self._given
        stable_s: Floats = params["stable_window_s"]
        self._windows_s = [stable_s, np.maximum(stable_s * params["panic_window"], SAMPLE_S)]
        self._by_rate: Bools = params["signal"] == "demand"
        self._rates = int(np.count_nonzero(self._by_rate))
        activation: Ints = params["activation_scale"]
        self._activation = activation if int(activation.max(initial=1)) > 1 else None
        self._delay = [(span_s, rows) for span_s, rows in spans(params["scale_down_delay_s"]) if span_s > 0]
        self._answered: Observation | None = None
        self._answer: tuple[Floats, Floats, Floats] | None = None

    # ------------------------------------------------------------ a tick

    def observe(self, observation: Observation) -> None:
        if self._interval_s != observation.interval_s:
            self._interval_s = observation.interval_s
            self._arrange(np.arange(self._n))
        if self._any_new:
            self._meet(observation)
        self._samples.push(observation.at_s, observation.interval_s, self._sampled(observation))
        self._answer = self._scale(observation)
        self._answered = observation

    def _sampled(self, observation: Observation) -> Floats:
        if self._rates == 0:
            return seen(observation, "concurrency")
        rates = seen(observation, "demand")
        return rates if self._rates == self._n else np.where(self._by_rate, rates, seen(observation, "concurrency"))

    def _meet(self, observation: Observation) -> None:
        """One that runs more than one pod begins in panic: a restart knows no past, and must not scale down for want of it."""
        new = np.isnan(self._met_s)
        panics = new & (observation.ready > 1)
        self._met_s = np.where(new, observation.at_s, self._met_s)
        self._panic_since_s = np.where(panics, observation.at_s, self._panic_since_s)
        self._panic_pods = np.where(new, observation.ready, self._panic_pods)
        self._any_new = False

    def _scale(self, observation: Observation) -> tuple[Floats, Floats, Floats]:
        """The counts (NaN without a sample within the stable window), and the means over both windows."""
        at_s, params = observation.at_s, self.params
        target = self._targets(observation)
        stable, panic = self._samples.means(_STABLE, at_s), self._samples.means(_PANIC, at_s)
        if any_unknown(panic):
            panic = np.where(np.isnan(panic), 0.0, panic)
        pods = np.maximum(observation.ready, 1)
        most = np.ceil(params["max_scale_up_rate"] * pods)
        least = np.floor(pods / params["max_scale_down_rate"])
        panic_pods = np.ceil(panic / target)
        wanted = self._activated(stable, np.minimum(np.maximum(np.ceil(stable / target), least), most))
        over: Bools = panic_pods / pods >= params["panic_threshold"]
        known = stable == stable
        panics = self._panics(at_s, over, known)
        if some(panics):
            now = np.maximum(wanted, self._activated(panic, np.minimum(np.maximum(panic_pods, least), most)))
            self._panic_pods = np.where(panics & known, np.maximum(self._panic_pods, now), self._panic_pods)
            wanted = np.where(panics & known, self._panic_pods, wanted)
        if self._delayed is not None:
            self._delayed.push(at_s, wanted)
            wanted = self._highest(at_s, wanted)
        return wanted, stable, panic

    def _activated(self, mean: Floats, wanted: Floats) -> Floats:
        """No fewer than the activation scale where there is anything to do."""
        return wanted if self._activation is None else np.where(mean > 0, np.maximum(wanted, self._activation), wanted)

    def _panics(self, at_s: float, over: Bools, known: Bools) -> Bools:
        """Rows in panic mode now, (n,)."""
        since_s = self._panic_since_s
        if some(over):
            over = over & known
            self._panic_since_s = since_s = np.where(over, at_s, since_s)
        panics: Bools = since_s == since_s
        if some(panics):
            calm = panics & ~over & known & (since_s + self.params["stable_window_s"] < at_s)
            if some(calm):
                self._panic_since_s = np.where(calm, np.nan, since_s)
                self._panic_pods = np.where(calm, 0.0, self._panic_pods)
                panics = panics & ~calm
        return panics

    def _targets(self, observation: Observation) -> Floats:
        if self._usual_for is not observation.slots:
            self._usual_for = observation.slots
            holds = np.where(self._by_rate, observation.capacity_per_s, observation.slots)
            # Rounded: 0.7 × 1.6 is a hair less than 1.12, which would cost a pod at 1.12 × any number.
            self._target = np.where(self._given > 0, self._given, np.round(FILL * holds, 9))
        return self._target

    def _highest(self, at_s: float, wanted: Floats) -> Floats:
        """The highest count of the scale-down delay."""
        assert self._delayed is not None
        result = wanted
        for span_s, rows in self._delay:
            highest = np.fmax.reduce(self._delayed.since(at_s - span_s), axis=1)
            highest = np.where(np.isnan(wanted), np.nan, np.fmax(highest, wanted))
            if rows is None:
                return highest
            result = result.copy() if result is wanted else result
            result[rows] = highest[rows]
        return result

    def recommend(self, observation: Observation) -> Recommendation:
        answer = self._answer
        if answer is None or self._answered is not observation:
            unknown = np.full(len(observation), np.nan)
            answer = unknown, unknown, unknown
        counts, stable, panic = answer
        return Recommendation(replicas=counts, why=lambda row: self._words(observation, row, counts, stable, panic))

    def _words(self, observation: Observation, row: int, counts: Floats, stable: Floats, panic: Floats) -> str:
        name, window_s = str(self.params["signal"][row]), float(self.params["stable_window_s"][row])
        target, count = float(self._targets(observation)[row]), float(counts[row])
        if count != count:
            why = "neither target nor capacity is known" if target != target else f"{name} was unknown for {window_s:.0f} s"
            return f"{why}: no count"
        short_s = max(window_s * float(self.params["panic_window"][row]), 1.0)
        words = f"{name} {stable[row]:.4g} in {window_s:.0f} s and {panic[row]:.4g} in {short_s:.0f} s at {target:.4g} a replica: {count:.0f}"
        since_s = float(self._panic_since_s[row])
        return (
            words
            if since_s != since_s
            else f"{words}, in panic since {observation.at_s - since_s:.0f} s: no fewer than {self._panic_pods[row]:.0f}"
        )

    # ------------------------------------------------------------ what survives

    def _arrange(self, rows: Ints) -> None:
        longest_s = max((span_s for span_s, _ in self._delay), default=0.0)
        self._delayed = resized(self._delayed, rows, longest_s, self._interval_s) if longest_s else None

    def rearrange(self, rows: Ints, params: Params) -> None:
        for name in _STATE:
            setattr(self, f"_{name}", rearranged(getattr(self, f"_{name}"), rows))
        self._any_new = bool(np.isnan(self._met_s).any())
        self._take(params)
        self._samples.rearrange(rows, self._windows_s)
        if self._interval_s:
            self._arrange(rows)

    def shift(self, by_s: float) -> None:
        self._samples.shift(by_s)
        if self._delayed is not None:
            self._delayed.shift(by_s)
        self._panic_since_s = self._panic_since_s + by_s
        self._met_s = self._met_s + by_s

    def save(self) -> Saved:
        columns = {name: plain(getattr(self, f"_{name}")) for name in _STATE}
        delayed = None if self._delayed is None else self._delayed.save()
        samples = self._samples.save() if self._interval_s else None
        return {"version": 1, "interval_s": self._interval_s, **columns, "samples": samples, "delayed": delayed}

    def load(self, state: Saved) -> None:
        if state.get("version") != 1 or len(state["met_s"]) != self._n or not state["interval_s"]:
            return
        for name in _STATE:
            setattr(self, f"_{name}", floats(state[name]))
        self._any_new = bool(np.isnan(self._met_s).any())
        self._samples.load(state["samples"])
        self._interval_s = float(state["interval_s"])
        self._arrange(np.arange(self._n))
        if self._delayed is not None and state["delayed"] is not None:
            self._delayed.load(state["delayed"])
        self._answer = None


def _number(
    name: str,
    default: float,
    description: str,
    unit: str,
    minimum: float,
    maximum: float,
    search: tuple[float, float],
    *,
    log_scale: bool = False,
    search_of: Literal["value", "held"] = "value",
    step: float | None = None,
) -> Parameter:
    return Parameter(
        name=name,
        kind="float",
        default=default,
        description=description,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        tunable=True,
        log_scale=log_scale,
        search=search,
        search_of=search_of,
        step=step,
    )


def _check(params: Mapping[str, ParamValue]) -> Sequence[str]:
    short_s = float(params["stable_window_s"]) * float(params["panic_window"])
    return (
        []
        if short_s >= SAMPLE_S
        else [f"panic_window: {short_s:g} s of the stable window hold no sample; at least {SAMPLE_S:g} s"]
    )


POLICY = PolicyType(
    name="kpa",
    summary="Knative's pod autoscaler in its own 2 s loop, to compare with",
    parameters=(
        Parameter(
            name="signal",
            kind="str",
            default="concurrency",
            description="autoscaling.knative.dev/metric: concurrency, or demand for rps",
            choices=("concurrency", "demand"),
        ),
        _number(
            "target",
            0.0,
            f"what one replica is to hold of it (target × target-utilization); 0: {FILL:.0%} of its slots, or of its capacity for demand",
            "the signal's unit",
            0,
            1e9,
            (0.3, 1.1),
            log_scale=True,
            search_of="held",
        ),
        _number("stable_window_s", 60.0, "stable-window", "s", 6, 3600, (15, 600), log_scale=True),
        _number("panic_window", 0.1, "panic-window-percentage, as a share of the stable window", "ratio", 0.01, 1, (0.1, 0.5)),
        _number(
            "panic_threshold",
            2.0,
            "panic-threshold-percentage: panics where it needs this multiple of what is ready",
            "ratio",
            1.1,
            10,
            (1.2, 4),
        ),
        _number(
            "max_scale_up_rate",
            1000.0,
            "max-scale-up-rate: at most this multiple of what is ready",
            "ratio",
            1.01,
            1e6,
            (1.5, 1000),
            log_scale=True,
        ),
        _number(
            "max_scale_down_rate",
            2.0,
            "max-scale-down-rate: at least what is ready divided by it",
            "ratio",
            1.01,
            1e6,
            (1.1, 10),
            log_scale=True,
        ),
        Parameter(
            name="activation_scale",
            kind="int",
            default=1,
            description="activation-scale: no fewer while there is anything to do",
            minimum=1,
            maximum=100000,
        ),
        _number("scale_down_delay_s", 0.0, "scale-down-delay: the highest count of this time", "s", 0, 3600, (0, 900), step=15),
    ),
    make=lambda params, _rng: Kpa(params),
    signals=lambda params: (str(params["signal"]),),
    counts_starting=True,
    interval_s=LOOP_S,
    sample_s=SAMPLE_S,
    check=_check,
    source="knative serving pkg/autoscaler/scaling/autoscaler.go, config-autoscaler's defaults",
)
