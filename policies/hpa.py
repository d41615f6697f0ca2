"""``hpa``: a Kubernetes HorizontalPodAutoscaler, as exactly as the signals allow; a rival to compare with, also in Shadow mode.

Metric → count is ``hpa_counts``, behavior and state ``hpa_behavior``. Pods are seen as counts: ``ready`` ones have a sample, ``starting``
ones have none and are Pending or not sampled yet (`starting`); both together are the target's status.replicas. That is all that the
algorithm asks of pods, but for the samples of a CPU metric that it drops in a ready pod's first five minutes: which those are, and what the
mean is without them, takes each pod's own times and sample, and no policy sees those.

What it can't know keeps its count: an unknown signal (the HPA fails to compute one), a mean over no pods.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints, Observation, ParamValue, RatePolicy, Recommendation, ScalingRules
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved
from autoscaler.core.seen import seen
from autoscaler.core.signals import SIGNALS
from autoscaler.core.value import maker
from policies.hpa_behavior import LEGACY_WINDOW_S, Behavior, Rules
from policies.hpa_counts import PodsKind, Tolerance, average_value, mean_over_pods, thousandths, total_value

_recommendation = maker(Recommendation)
FILL: Final = 0.7
"""Without a target: this share of what one replica holds, the usual setting. 22.4 in flight for 32 slots."""
IN_FLIGHT: Final = frozenset({"queue", "running", "concurrency"})
KINDS: Final = ("External", "ExternalValue", "Pods", "Resource")


@dataclass(frozen=True, slots=True)
class _Use:
    """Rows that share a signal and a kind of metric; rows None means all of them."""

    signal: str
    kind: str
    missing: bool
    rows: Ints | None

    def take(self, column: Any) -> Any:
        return column if self.rows is None else column[self.rows]


class MetricCounts:
    """What the metric alone asks for, (n,). Parameters: signal, metric, target, starting and the tolerances."""

    def __init__(self, params: Params) -> None:
        n = len(params["target"])
        signals, kinds = params["signal"].tolist(), params["metric"].tolist()
        rows: dict[tuple[str, str, bool], list[int]] = {}
        for row in range(n):
            kind = kinds[row] or usual_kind(signals[row])
            rows.setdefault((signals[row], kind, params["starting"][row] == "missing"), []).append(row)
        self._uses = [
            _Use(*key, rows=None if len(rows) == 1 else np.array(its_rows, dtype=np.int64)) for key, its_rows in rows.items()
        ]
        self._n = n
        self._given: Floats = params["target"]
        low, high = 1.0 - params["scale_down_tolerance"], 1.0 + params["scale_up_tolerance"]
        self._tolerances = [Tolerance(use.take(low), use.take(high)) for use in self._uses]
        self._targets: list[Floats] = []
        self._counted: tuple[Ints | None, Ints | None] = (None, None)
        self._pod_counts: Floats = np.empty(0)
        self._targets_for: tuple[Floats, Floats] | None = None

    def targets(self, observation: Observation) -> list[Floats]:
        """Each use's targets in whole thousandths (percents for a Resource), for its rows."""
        known = self._targets_for
        if known is None or known[0] is not observation.slots or known[1] is not observation.capacity_per_s:
            self._targets_for = (observation.slots, observation.capacity_per_s)
            self._targets = [self._target(use, observation) for use in self._uses]
        return self._targets

    def _target(self, use: _Use, observation: Observation) -> Floats:
        holds = observation.slots if use.signal in IN_FLIGHT else observation.capacity_per_s
        usual = np.full(self._n, FILL) if SIGNALS[use.signal].per_replica else FILL * holds
        target = use.take(np.where(self._given > 0, self._given, usual))
        whole: Floats = np.maximum(np.rint(target * (100.0 if use.kind == "Resource" else 1000.0)), 1.0)
        return np.where(np.isnan(target), np.nan, whole)

    def target(self, observation: Observation) -> Floats:
        """Each row's target in its signal's unit, (n,)."""
        column = np.full(self._n, np.nan)
        for use, target in zip(self._uses, self.targets(observation), strict=True):
            column[slice(None) if use.rows is None else use.rows] = target / (100.0 if use.kind == "Resource" else 1000.0)
        return column

    def wishes(self, observation: Observation) -> Floats:
        targets = self.targets(observation)
        if len(self._uses) == 1:
            return self._wish(self._uses[0], targets[0], self._tolerances[0], observation)
        wishes = np.full(self._n, np.nan)
        for use, target, tolerance in zip(self._uses, targets, self._tolerances, strict=True):
            wishes[use.rows] = self._wish(use, target, tolerance, observation)
        return wishes

    def _wish(self, use: _Use, target: Floats, tolerance: Tolerance, observation: Observation) -> Floats:
        value: Floats = use.take(seen(observation, use.signal))
        if use.kind == "External":
            return average_value(thousandths(value), target, use.take(self._pods(observation)), tolerance)
        ready, away = use.take(observation.ready), use.take(observation.starting)
        current = use.take(observation.current)
        if use.kind == "ExternalValue":
            return total_value(thousandths(value), target, ready, current, tolerance)
        percents = use.kind == "Resource"
        kind = PodsKind(100.0 if percents else 1000.0, use.missing, 100.0 if percents else 0.0)
        return mean_over_pods(value, target, ready, away, current, tolerance, kind)

    def _pods(self, observation: Observation) -> Floats:
        """status.replicas, worked out anew when pods come or go."""
        counted = (observation.ready, observation.starting)
        if counted[0] is not self._counted[0] or counted[1] is not self._counted[1]:
            self._counted, self._pod_counts = counted, (counted[0] + counted[1]).astype(np.float64)
        return self._pod_counts

    def words(self, observation: Observation, row: int, wish: float) -> str:
        place, use = next((i, u) for i, u in enumerate(self._uses) if u.rows is None or row in u.rows)
        position = row if use.rows is None else int(np.searchsorted(use.rows, row))
        unit = 100.0 if use.kind == "Resource" else 1000.0
        target = float(self.targets(observation)[place][position]) / unit
        value = float(seen(observation, use.signal)[row])
        if value != value:
            return f"{use.signal} is unknown: the HPA computes no count"
        if wish != wish:
            missing = "neither target nor capacity is known" if target != target else "no pod has a sample"
            return f"{use.signal} is {value:.4g}, but {missing}: the HPA computes no count"
        pods = f"{int(observation.ready[row])} ready and {int(observation.starting[row])} starting"
        return f"{use.kind} metric {use.signal} {value:.4g} at {target:.4g} with {pods}: {wish:.0f}"


class Hpa:
    """n HPAs."""

    def __init__(self, params: Params) -> None:
        self._counts = MetricCounts(params)
        self._behavior = Behavior(rules_of(params))
        self._answered: Observation | None = None
        self._answer: tuple[Floats, Floats, Bools | None] | None = None

    def observe(self, observation: Observation) -> None:
        self._behavior.note_changes(observation)
        wish, desired, outside = self._answer = self._answer_to(observation)
        self._answered = observation
        self._behavior.remember(observation, wish, desired, outside)

    def recommend(self, observation: Observation) -> Recommendation:
        answer = self._answer
        if answer is None or self._answered is not observation:
            answer = self._answer_to(observation)
        wish, desired, _ = answer
        return _recommendation(replicas=desired, why=lambda row: self._words(observation, row, wish, desired))

    def _answer_to(self, observation: Observation) -> tuple[Floats, Floats, Bools | None]:
        wish = self._counts.wishes(observation)
        outside = self._behavior.outside(observation)
        return wish, self._behavior.limited(observation, wish, outside), outside

    def _words(self, observation: Observation, row: int, wish: Floats, desired: Floats) -> str:
        words = self._counts.words(observation, row, float(wish[row]))
        count = float(desired[row])
        if count == count and count != wish[row]:
            words += f"; its behavior makes {count:.0f} of it"
        return words

    def rearrange(self, rows: Ints, params: Params) -> None:
        self._counts = MetricCounts(params)
        self._behavior.rearrange(rows, rules_of(params))
        self._answer = None

    def shift(self, by_s: float) -> None:
        self._behavior.shift(by_s)
        self._answer = None

    def save(self) -> Saved:
        return {"version": 1, **self._behavior.save()}

    def load(self, state: Saved) -> None:
        if state.get("version") == 1:
            self._behavior.load(state)
            self._answer = None


# ---------------------------------------------------------------- parameters


def usual_kind(signal: str) -> str:
    """Pods for a mean per replica, External for work that is counted."""
    return "Pods" if SIGNALS[signal].per_replica else "External"


_POLICY = re.compile(r"(?P<value>[0-9]+) *(?P<kind>Pods|Percent|%) */ *(?P<period>[0-9]+) *s")


def scaling_policies(text: str) -> tuple[RatePolicy, ...]:
    """``4 Pods/15s; 100 Percent/15s`` as HPA v2 means it; ValueError with what is wrong."""
    found = []
    for part in text.split(";"):
        match = _POLICY.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"'{part.strip()}' is no scaling policy; such as '4 Pods/15s; 100 Percent/15s'")
        value, period_s = int(match["value"]), int(match["period"])
        if not (0 < value < 2**31 and 0 < period_s <= 1800):
            raise ValueError(f"'{part.strip()}': a value above 0 and a period of 1 to 1800 s are allowed")
        kind: Literal["Pods", "Percent"] = "Pods" if match["kind"] == "Pods" else "Percent"
        found.append(RatePolicy(kind=kind, value=value, period_s=float(period_s)))
    return tuple(found)


def rules_of(params: Params) -> list[Rules]:
    """Each row's behavior."""
    made: dict[tuple[Any, ...], Rules] = {}
    rows = []
    for row in range(len(params["behavior"])):
        key = tuple(params[parameter.name][row] for parameter in BEHAVIOR)
        if key not in made:
            made[key] = _rules({parameter.name: value for parameter, value in zip(BEHAVIOR, key, strict=True)})
        rows.append(made[key])
    return rows


def _rules(params: Mapping[str, Any]) -> Rules:
    if not params["behavior"]:
        free = ScalingRules(stabilization_s=0.0, select="Max", policies=())
        return Rules(free, ScalingRules(stabilization_s=LEGACY_WINDOW_S, select="Max", policies=()), legacy=True)
    up, down = (
        ScalingRules(
            stabilization_s=float(params[f"scale_{side}_window_s"]),
            select=cast(Literal["Max", "Min", "Disabled"], str(params[f"scale_{side}_select"])),
            policies=scaling_policies(str(params[f"scale_{side}"])),
        )
        for side in ("up", "down")
    )
    return Rules(up, down)


def _side(side: str, window_s: float, policies: str) -> tuple[Parameter, ...]:
    field = f"behavior.scale{side.capitalize()}"
    return (
        Parameter(
            name=f"scale_{side}_window_s",
            kind="float",
            default=window_s,
            description=f"{field}.stabilizationWindowSeconds",
            unit="s",
            minimum=0,
            maximum=3600,
            tunable=True,
            search=(0, 120) if side == "up" else (0, 900),
            step=15,
        ),
        Parameter(
            name=f"scale_{side}",
            kind="str",
            default=policies,
            description=f"{field}.policies, such as '4 Pods/15s; 100 Percent/15s'",
        ),
        Parameter(
            name=f"scale_{side}_select",
            kind="str",
            default="Max",
            description=f"{field}.selectPolicy",
            choices=("Max", "Min", "Disabled"),
        ),
    )


BEHAVIOR: Final = (
    Parameter(
        name="behavior",
        kind="bool",
        default=True,
        description="whether the HPA has a spec.behavior; without one it holds counts for 300 s and grows to twice the count or 4 at most",
    ),
    *_side("up", 0.0, "4 Pods/15s; 100 Percent/15s"),
    *_side("down", 300.0, "100 Percent/15s"),
)
TOLERANCES: Final = tuple(
    Parameter(
        name=f"scale_{side}_tolerance",
        kind="float",
        default=0.1,
        description=f"behavior.scale{side.capitalize()}.tolerance: ratios so close to 1 change nothing",
        unit="ratio",
        minimum=0,
        maximum=10 if side == "up" else 1,
        tunable=True,
        search=(0, 0.3),
    )
    for side in ("up", "down")
)
SIGNAL: Final = (
    Parameter(name="signal", kind="signal", default="concurrency", description="the signal that the metric carries"),
    Parameter(
        name="target",
        kind="float",
        default=0.0,
        description=(
            f"its averageValue (a share of 1 for a Resource, a value for ExternalValue); 0: {FILL:.0%} of what a replica holds (of its slots "
            "for requests in flight, of its capacity for demand, of 1 for a utilization)"
        ),
        unit="the signal's unit",
        minimum=0,
        maximum=1e9,
        tunable=True,
        log_scale=True,
        search=(0.3, 1.1),
        search_of="held",
    ),
)


def check_rules(params: Mapping[str, ParamValue]) -> list[str]:
    faults = []
    for name in ("scale_up", "scale_down"):
        try:
            scaling_policies(str(params[name]))
        except ValueError as fault:
            faults.append(f"{name}: {fault}")
    return faults


def check_signal(params: Mapping[str, ParamValue]) -> list[str]:
    signal = SIGNALS[str(params["signal"])]
    if params["target"] == 0 and signal.unit not in ("requests", "requests/s", "ratio"):
        return [f"target: signal '{signal.name}' ({signal.unit}) has no usual value, so the target must be given"]
    return []


def _check(params: Mapping[str, ParamValue]) -> Sequence[str]:
    faults = [*check_signal(params), *check_rules(params)]
    signal, kind = SIGNALS[str(params["signal"])], str(params["metric"])
    if kind == "ExternalValue" and params["target"] == 0:
        faults.append("target: a Value has no usual one, so the target must be given")
    if kind == "Resource" and signal.unit != "ratio":
        faults.append(f"metric: Resource compares shares of what was asked for, and '{signal.name}' is no ratio")
    if kind == "Pods" and not signal.per_replica:
        faults.append(f"metric: '{signal.name}' counts the work of all replicas together; External is the metric for it")
    if kind == "External" and signal.per_replica:
        faults.append(
            f"metric: '{signal.name}' is a mean per replica already; Pods, Resource or ExternalValue are the metrics for it"
        )
    return faults


POLICY = PolicyType(
    name="hpa",
    summary="a Kubernetes HorizontalPodAutoscaler with its own behavior, to compare with",
    parameters=(
        *SIGNAL,
        Parameter(
            name="metric",
            kind="str",
            default="",
            description="the kind of metric; '': External for work that is counted, Pods for a mean per replica",
            choices=("", *KINDS),
        ),
        Parameter(
            name="starting",
            kind="str",
            default="pending",
            description="how pods on their way look: pending, or missing (they run, but have no sample yet)",
            choices=("pending", "missing"),
        ),
        *TOLERANCES,
        *BEHAVIOR,
    ),
    make=lambda params, _rng: Hpa(params),
    signals=lambda params: (str(params["signal"]),),
    counts_starting=True,  # its own corrections for pods on their way are all that it has
    check=_check,
    source="kubernetes pkg/controller/podautoscaler (1.36): horizontal.go, replica_calculator.go",
)
