"""``wva``: the saturation rule of llm-d's Workload Variant Autoscaler, for a model with one variant, to compare with.

V1: spare room below two thresholds, in the KV cache and in the queue of a replica; one replica more where it is short, one less where it
would not be short without that one. V2: demand against supply, both in KV cache. A replica's cache is the unit here (V2 counts
tokens), so that no size is needed: what runs holds `kv_cache_utilization` of it, what waits will hold `request_share` each.

What it finds is a number that an HPA follows (AverageValue 1 of ``wva_desired_replicas``), with the HPA's tolerances and behavior: that part
is ``hpa``'s own code.

It reads replicas one by one; here all are taken to be alike (a mean each), which is what a router that balances aims at.

Source: llm-d workload-variant-autoscaler internal/saturation (V1), internal/engines/analyzers/saturation_v2,
internal/engines/pipeline/cost_aware_optimizer.go, docs saturation-scaling-config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.columns import floats, plain
from autoscaler.core.model import Bools, Floats, Ints, Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved
from autoscaler.core.seen import seen
from policies.hpa import BEHAVIOR, TOLERANCES, check_rules, rules_of
from policies.hpa_behavior import Behavior
from policies.hpa_counts import Tolerance, average_value

LOOKBACK_S: Final = 60.0
OBSERVED: Final = 10
"""How many observations of a replica that had as much as it could do make V2's capacity."""
_EPSILON: Final = 1e-9
"""Float noise must neither cost a replica nor cross a trigger."""


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is seen of n services: KV cache use and queue, and V2's capacity of a replica and demand, in caches."""

    kv: Floats
    queue: Floats
    capacity: Floats
    demand: Floats


class Wva:
    """n models. Learnt a row: how full the cache was the last times that the queue was long, newest first (NaN: not yet)."""

    def __init__(self, params: Params) -> None:
        self._take(params)
        self._full: Floats = np.full((self._n, OBSERVED), np.nan)
        self._behavior = Behavior(rules_of(params))

    def _take(self, params: Params) -> None:
        self.params = params
        self._n = len(params["window_s"])
        self._tolerance = Tolerance(1.0 - params["scale_down_tolerance"], 1.0 + params["scale_up_tolerance"])
        self._one: Floats = np.ones(self._n)
        self._answered: Observation | None = None
        self._answer: tuple[Floats, Floats, _Figures] | None = None

    def observe(self, observation: Observation) -> None:
        kv, queue, ready = self._seen(observation)
        full = self._saturated(queue, ready) & (kv > 0)
        if np.count_nonzero(full):
            shifted = np.column_stack([kv, self._full[:, :-1]])
            self._full = np.where(full[:, None], shifted, self._full)
        figures = _Figures(kv, queue, self._capacity(kv, queue, ready), self._demand(observation, kv, queue))
        published = self._published(observation, figures)
        wish = average_value(published, self._one, (ready + observation.starting).astype(np.float64), self._tolerance)
        wish = np.where(np.isnan(published), np.nan, wish)
        self._behavior.note_changes(observation)
        outside = self._behavior.outside(observation)
        desired = self._behavior.limited(observation, wish, outside)
        self._behavior.remember(observation, wish, desired, outside)
        self._answer = desired, published, figures
        self._answered = observation

    def _seen(self, observation: Observation) -> tuple[Floats, Floats, Ints]:
        """KV cache use of a replica and the queue of all, the highest of the window each, (n,); NaN where it is unknown now."""
        return self._highest(observation, "kv_cache_utilization"), self._highest(observation, "queue"), observation.ready

    def _highest(self, observation: Observation, name: str) -> Floats:
        now = seen(observation, name)
        signal = observation.signals.get(name)
        if signal is None:
            return now
        highest = now
        for window_s in np.unique(self.params["window_s"]).tolist():
            past = signal.history.since(observation.at_s - window_s)
            if past.shape[1]:
                rows = self.params["window_s"] == window_s
                highest = np.where(rows, np.fmax(np.fmax.reduce(past, axis=1), now), highest)
        return np.where(np.isnan(now), np.nan, highest)

    def _saturated(self, queue: Floats, ready: Ints) -> Bools:
        return (ready > 0) & (queue / np.maximum(ready, 1) >= self.params["queue_length_threshold"])

    def _published(self, observation: Observation, figures: _Figures) -> Floats:
        """wva_desired_replicas, (n,), NaN where a signal is unknown."""
        kv, queue, ready = figures.kv, figures.queue, observation.ready
        counts = np.where(
            self.params["analyzer"] == "V1",
            self._by_spare(observation, kv, queue / np.maximum(ready, 1)),
            self._by_demand(observation, figures.capacity, figures.demand),
        )
        # Without a ready replica there are no figures: it stays as it is.
        counts = np.where(ready > 0, counts, observation.current)
        known: Floats = np.where(np.isnan(kv) | np.isnan(queue), np.nan, counts)
        return known

    def recommend(self, observation: Observation) -> Recommendation:
        answer = self._answer
        if answer is None or self._answered is not observation:
            unknown = np.full(len(observation), np.nan)
            return Recommendation(replicas=unknown, why=lambda _row: "it has not seen this tick")
        return Recommendation(replicas=answer[0], why=lambda row: self._words(observation, row, *answer))

    # ------------------------------------------------------------ V1

    def _by_spare(self, observation: Observation, kv: Floats, waiting: Floats) -> Floats:
        params, ready, current = self.params, observation.ready, observation.current
        most_kv, most_waiting = params["kv_cache_threshold"], params["queue_length_threshold"]
        saturated = (kv >= most_kv) | (waiting >= most_waiting)
        grows = saturated | self._short(kv, waiting)
        # One replica less: the others take its load over. At least two are needed for that.
        more = ready / np.maximum(ready - 1, 1)
        shrinks = ~grows & (ready > 1) & ~self._short(kv * more, waiting * more)
        count = ready + np.where(grows, 1.0, np.where(shrinks, -1.0, 0.0))
        # While replicas are on their way nothing is decided.
        settled = (observation.starting == 0) & (ready == current)
        return np.where(settled, count, current)

    def _short(self, kv: Floats, waiting: Floats) -> Bools:
        """Whether one of the spare rooms is smaller than its trigger."""
        params = self.params
        short: Bools = (params["kv_cache_threshold"] - kv < params["kv_spare_trigger"] - _EPSILON) | (
            params["queue_length_threshold"] - waiting < params["queue_spare_trigger"] - _EPSILON
        )
        return short

    # ------------------------------------------------------------ V2

    def _capacity(self, kv: Floats, queue: Floats, ready: Ints) -> Floats:
        """What a replica can hold, in caches, (n,): its cache up to the threshold, or what it held while as much as it could do."""
        seen_full = ~np.isnan(self._full)
        number = seen_full.sum(axis=1)
        usual = np.where(seen_full, self._full, 0.0).sum(axis=1) / np.maximum(number, 1)
        most: Floats = self.params["kv_cache_threshold"]
        bound = np.where(number > 0, np.minimum(most, usual), most)
        full = self._saturated(queue, ready) & (kv > 0)
        capacity: Floats = np.where(full, np.minimum(most, kv), bound)
        return capacity

    def _demand(self, observation: Observation, kv: Floats, queue: Floats) -> Floats:
        slots = observation.slots if observation.full_slots is None else observation.full_slots
        share = np.where(self.params["request_share"] > 0, self.params["request_share"], 1.0 / slots)
        demand: Floats = kv * observation.ready + queue * share
        return demand

    def _by_demand(self, observation: Observation, capacity: Floats, demand: Floats) -> Floats:
        params, current = self.params, observation.current
        required = demand / params["scale_up_threshold"] - (observation.ready + observation.starting) * capacity
        spare = observation.ready * capacity - demand / params["scale_down_boundary"]
        more = np.ceil(np.maximum(required, 0.0) / capacity - _EPSILON)
        less = np.floor(np.maximum(spare, 0.0) / capacity + _EPSILON)
        fewer = np.minimum(np.maximum(current - less, 1.0), current)
        return np.where(more > 0, current + more, fewer)

    # ------------------------------------------------------------ words, state

    def _words(self, observation: Observation, row: int, desired: Floats, published: Floats, figures: _Figures) -> str:
        wish, count, ready = float(published[row]), float(desired[row]), int(observation.ready[row])
        if wish != wish:
            return "KV cache use or queue is unknown: no count"
        words = f"KV cache {figures.kv[row]:.0%} full, {figures.queue[row]:.4g} waiting for {ready} ready"
        if str(self.params["analyzer"][row]) == "V2":
            words += f", {figures.demand[row]:.3g} caches' worth at {figures.capacity[row]:.3g} a replica"
        elif observation.starting[row] > 0 or ready != observation.current[row]:
            words += ", some on their way"
        return f"{words}: {wish:.0f}" + (f"; its HPA makes {count:.0f} of it" if count != wish else "")

    def rearrange(self, rows: Ints, params: Params) -> None:
        unknown = np.full((1, OBSERVED), np.nan)
        self._full = np.concatenate([self._full, unknown])[np.where(rows < 0, self._n, rows)]
        self._behavior.rearrange(rows, rules_of(params))
        self._take(params)

    def save(self) -> Saved:
        full = [plain(row) for row in self._full]
        return {"version": 1, "full": full, "behavior": self._behavior.save()}

    def load(self, state: Saved) -> None:
        if state.get("version") == 1 and len(state["full"]) == self._n:
            self._full = np.array([floats(row) for row in state["full"]]).reshape(self._n, OBSERVED)
            self._behavior.load(state["behavior"])
            self._answer = None


def _number(name: str, default: float, description: str, unit: str, minimum: float, maximum: float) -> Parameter:
    return Parameter(
        name=name,
        kind="float",
        default=default,
        description=description,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        tunable=name != "window_s",
    )


def _check(params: Mapping[str, ParamValue]) -> Sequence[str]:
    faults = check_rules(params)
    for trigger, threshold in (("kv_spare_trigger", "kv_cache_threshold"), ("queue_spare_trigger", "queue_length_threshold")):
        if float(params[trigger]) > float(params[threshold]):
            faults.append(
                f"{trigger}: {params[trigger]} is more than {threshold} ({params[threshold]}), so it would grow for ever"
            )
    if float(params["scale_down_boundary"]) >= float(params["scale_up_threshold"]):
        faults.append(
            f"scale_down_boundary: {params['scale_down_boundary']} is not less than scale_up_threshold ({params['scale_up_threshold']})"
        )
    return faults


POLICY = PolicyType(
    name="wva",
    summary="llm-d's Workload Variant Autoscaler, its saturation rule, to compare with",
    parameters=(
        Parameter(
            name="analyzer",
            kind="str",
            default="V2",
            description="V2: demand against supply, its default since v0.9; V1: spare room, a replica at a time",
            choices=("V1", "V2"),
        ),
        _number("kv_cache_threshold", 0.8, "kvCacheThreshold: a cache as full as this is saturated", "ratio", 0.05, 1),
        _number("queue_length_threshold", 5.0, "queueLengthThreshold: so is a replica with as many waiting", "requests", 1, 1000),
        _number("kv_spare_trigger", 0.1, "kvSpareTrigger: V1 grows where less is spare", "ratio", 0, 1),
        _number("queue_spare_trigger", 3.0, "queueSpareTrigger: V1 grows where less is spare", "requests", 0, 1000),
        _number("scale_up_threshold", 0.85, "scaleUpThreshold: V2 grows above this share of the supply", "ratio", 0.05, 1),
        _number("scale_down_boundary", 0.7, "scaleDownBoundary: V2 shrinks below this share of it", "ratio", 0.01, 1),
        _number(
            "request_share",
            0.0,
            "the share of a replica's KV cache that a whole request takes (its prompt and output tokens ÷ those of the cache); 0: 1 ÷ slots",
            "ratio",
            0,
            1,
        ),
        _number("window_s", LOOKBACK_S, "its queries take the highest value of this time", "s", 0, LOOKBACK_S),
        *TOLERANCES,
        *BEHAVIOR,
    ),
    make=lambda params, _rng: Wva(params),
    signals=lambda _params: ("kv_cache_utilization", "queue"),
    lookback_s=LOOKBACK_S,
    counts_starting=True,
    check=_check,
    source="llm-d workload-variant-autoscaler v0.9: saturation analyzers V1 and V2, cost-aware optimizer",
)
