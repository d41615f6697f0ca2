"""``keda``: a ScaledObject with a Prometheus trigger, a cron trigger or both, as it acts through the HPA that KEDA makes of it.

From one replica on it is ``hpa``'s own code on what KEDA's metrics server serves: the trigger's value, 0 where the query's result is empty
(ignoreNullValues), the fallback's figure, nothing where it fails; and the cron trigger's count as a metric of its own. To and from zero it
is the operator (``keda_scaling``).

Source: keda pkg/scalers/prometheus_scaler.go, cron_scaler.go, pkg/fallback/fallback.go, pkg/scaling/executor; keda-docs 2.17.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from autoscaler.core.columns import rearranged
from autoscaler.core.model import Bools, Floats, Ints, Observation, ParamValue, Recommendation, Signal
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved
from autoscaler.core.seen import any_unknown, seen
from autoscaler.core.signals import KNOWN, SIGNALS, UNKNOWN
from policies.hpa import BEHAVIOR, SIGNAL, TOLERANCES, MetricCounts, check_rules, check_signal, rules_of
from policies.hpa_behavior import Behavior
from policies.hpa_counts import Tolerance, average_value
from policies.keda_cron import CronWindow, expression
from policies.keda_scaling import Operator

TRIGGERS: Final = ("prometheus", "cron", "prometheus+cron")
_PER_REPLICA: Final = 1000.0
"""A cron trigger's target: one replica a replica, in thousandths."""


class Keda:
    """n ScaledObjects."""

    def __init__(self, params: Params) -> None:
        self._take(params)
        self._behavior = Behavior(rules_of(params))
        self._operator = Operator(params)
        self._ever: Bools = np.zeros(self._n, dtype=np.bool_)
        """Whether the trigger's signal was ever known: one that never was is taken for not being there, rather than for 0."""

    def _take(self, params: Params) -> None:
        self.params = params
        self._n = n = len(params["threshold"])
        triggers = params["triggers"]
        self._queries: Bools = triggers != "cron"
        has_cron = np.flatnonzero(triggers != "prometheus").tolist()
        windows: dict[tuple[str, str, str], CronWindow] = {}
        self._windows: list[tuple[int, CronWindow]] = []
        for row in has_cron:
            key = (str(params["start"][row]), str(params["end"][row]), str(params["timezone"][row]))
            self._windows.append((row, windows.setdefault(key, CronWindow(*key))))
        self._tolerance = Tolerance(1.0 - params["scale_down_tolerance"], 1.0 + params["scale_up_tolerance"])
        kinds = np.full(n, "External", dtype=object)
        kinds[params["metric_type"] == "Value"] = "ExternalValue"
        pods = np.full(n, "pending", dtype=object)
        self._metric = MetricCounts({**params, "target": params["threshold"], "metric": kinds, "starting": pods})
        # A null that is not ignored is an error, as a query that fails is one.
        self._nulls: Bools = (params["unknown"] == "null") & params["ignore_null_values"]
        self._names = {str(name) for name in params["signal"][self._queries]}
        self._answered: Observation | None = None
        self._answer: tuple[Floats, Floats, Floats, Bools] | None = None

    # ------------------------------------------------------------ a tick

    def observe(self, observation: Observation) -> None:
        self._operator.meet(observation)
        value = self._value(observation)
        self._ever = self._ever | (value == value) | ~self._queries
        failed = self._queries & np.isnan(value) & ~self._nulls
        value = np.where(np.isnan(value) & self._nulls, 0.0, value)
        cron = self._cron(observation.at_s)
        active = (self._queries & (value > self.params["activation_threshold"])) | (cron > 0)

        hpa = self._hpa(observation)
        falls = self._operator.falls_back(failed, (observation.current > 0) & self._ever)
        if np.count_nonzero(falls):
            figure = self._metric.target(observation) * self._operator.fallback_replicas(observation.current)
            value = np.where(falls, figure, value)
        self._behavior.note_changes(hpa)
        wish = self._wish(hpa, value, cron)
        outside = self._behavior.outside(hpa)
        desired = self._behavior.limited(hpa, wish, outside)
        own = self._operator.scale(observation, active, failed, self._ever)
        acts = own == own
        # What the operator sets is no scale event of the HPA's.
        self._behavior.remember(hpa, wish, np.where(acts, observation.current, desired), outside)
        counts = np.where(self._ever, np.where(acts, own, desired), np.nan)
        self._answer = counts, value, cron, falls
        self._answered = observation

    def _value(self, observation: Observation) -> Floats:
        """What each query answers, (n,), NaN where it is unknown (and for those without one)."""
        value = np.full(self._n, np.nan)
        for name in self._names:
            rows = self._queries & (self.params["signal"] == name)
            value[rows] = seen(observation, name)[rows]
        return value

    def _cron(self, at_s: float) -> Floats:
        """The count of each cron trigger that is between its start and its end, 0 elsewhere, (n,)."""
        counts = np.zeros(self._n)
        for row, window in self._windows:
            if window.active(at_s):
                counts[row] = self.params["desired_replicas"][row]
        return counts

    def _hpa(self, observation: Observation) -> Observation:
        """What KEDA's HPA sees of it: its minimum is never 0."""
        least = self._operator.min_replica_count(observation)
        return replace(observation, min_replicas=np.maximum(least, 1))

    def _wish(self, hpa: Observation, value: Floats, cron: Floats) -> Floats:
        """The highest count of the metrics, (n,); NaN where the HPA computes none. With one metric in error nothing shrinks."""
        wish = np.full(self._n, np.nan)
        if self._names:
            wish = np.where(self._queries, self._metric.wishes(replace(hpa, signals=self._served(hpa, value))), np.nan)
        if not self._windows:
            return wish
        pods = (hpa.ready + hpa.starting).astype(np.float64)
        # Outside of its window a cron trigger's metric is 1.
        of_cron = average_value(np.maximum(cron, 1.0) * _PER_REPLICA, np.full(self._n, _PER_REPLICA), pods, self._tolerance)
        has_cron = np.zeros(self._n, dtype=np.bool_)
        has_cron[[row for row, _ in self._windows]] = True
        both = np.where(has_cron, np.fmax(wish, of_cron), wish)
        if any_unknown(wish):
            both = np.where(self._queries & np.isnan(wish) & (both < hpa.current), np.nan, both)
        return both

    def _served(self, hpa: Observation, value: Floats) -> Mapping[str, Signal]:
        """The signals as KEDA's metrics server gives them to the HPA."""
        state = np.where(np.isnan(value), UNKNOWN, KNOWN).astype(np.int8)
        return {name: replace(hpa.signals[name], values=value, state=state) for name in self._names if name in hpa.signals}

    def recommend(self, observation: Observation) -> Recommendation:
        answer = self._answer
        if answer is None or self._answered is not observation:
            unknown = np.full(len(observation), np.nan)
            return Recommendation(replicas=unknown, why=lambda _row: "it has not seen this tick")
        return Recommendation(replicas=answer[0], why=lambda row: self._words(observation, row, *answer))

    def _words(self, observation: Observation, row: int, counts: Floats, value: Floats, cron: Floats, falls: Bools) -> str:
        parts = []
        if self._queries[row]:
            name = str(self.params["signal"][row])
            target = float(self._metric.target(observation)[row])
            if not self._ever[row]:
                return f"prometheus: {name} was never known: no count"
            if falls[row]:
                parts.append(f"prometheus: {name} fails, the fallback's {value[row] / target:.0f} replicas in its place")
            elif value[row] != value[row]:
                parts.append(f"prometheus: {name} fails")
            else:
                parts.append(f"prometheus: {name} {value[row]:.4g} at {target:.4g}")
        if str(self.params["triggers"][row]) != "prometheus":
            parts.append(f"cron: {cron[row]:.0f} now" if cron[row] > 0 else "cron: not now")
        count = float(counts[row])
        return "; ".join(parts) + (": no count" if count != count else f": {count:.0f}")

    # ------------------------------------------------------------ what survives

    def rearrange(self, rows: Ints, params: Params) -> None:
        self._ever = rearranged(self._ever, rows, False)
        self._take(params)
        self._behavior.rearrange(rows, rules_of(params))
        self._operator.rearrange(rows, params)

    def shift(self, by_s: float) -> None:
        self._behavior.shift(by_s)
        self._operator.shift(by_s)  # cron triggers mean the wall clock

    def save(self) -> Saved:
        return {
            "version": 1,
            "ever": self._ever.tolist(),
            "behavior": self._behavior.save(),
            "operator": self._operator.save(),
        }

    def load(self, state: Saved) -> None:
        if state.get("version") != 1 or len(state["ever"]) != self._n:
            return
        self._ever = np.array(state["ever"], dtype=np.bool_)
        self._behavior.load(state["behavior"])
        self._operator.load(state["operator"])
        self._answer = None


# ---------------------------------------------------------------- parameters


def _number(name: str, default: float, description: str, unit: str, maximum: float, minimum: float = 0.0) -> Parameter:
    return Parameter(
        name=name, kind="float", default=default, description=description, unit=unit, minimum=minimum, maximum=maximum
    )


def _count(name: str, default: int, description: str, minimum: int = -1, maximum: int = 100000) -> Parameter:
    return Parameter(name=name, kind="int", default=default, description=description, minimum=minimum, maximum=maximum)


def _check(params: Mapping[str, ParamValue]) -> Sequence[str]:
    faults = check_rules(params)
    if params["triggers"] != "prometheus":
        faults += _check_cron(params)
    if params["triggers"] == "cron":
        return faults
    signal, is_value = SIGNALS[str(params["signal"])], params["metric_type"] == "Value"
    faults += [fault.replace("target", "threshold") for fault in check_signal({**params, "target": params["threshold"]})]
    if is_value and params["threshold"] == 0:
        faults.append("threshold: a Value has no usual one, so the threshold must be given")
    if signal.per_replica and not is_value:
        faults.append(f"metric_type: '{signal.name}' is a mean per replica already; Value is the metric type for it")
    if is_value and int(params["fallback_replicas"]) >= 0:
        faults.append("fallback_replicas: a fallback is for metrics of type AverageValue only")
    return faults


def _check_cron(params: Mapping[str, ParamValue]) -> list[str]:
    faults = []
    for name in ("start", "end"):
        try:
            expression(str(params[name]))
        except ValueError as fault:
            faults.append(f"{name}: {fault}")
    if params["start"] == params["end"]:
        faults.append("end: a cron trigger's start and end must differ")
    try:
        ZoneInfo(str(params["timezone"]))
    except (ValueError, OSError, KeyError):
        faults.append(f"timezone: '{params['timezone']}' is no IANA time zone; such as UTC or Europe/Berlin")
    return faults


POLICY = PolicyType(
    name="keda",
    summary="KEDA's Prometheus and cron triggers as they act through its HPA, to compare with",
    parameters=(
        Parameter(name="triggers", kind="str", default="prometheus", description="the ScaledObject's triggers", choices=TRIGGERS),
        replace(SIGNAL[0], description="what the Prometheus trigger's query asks for"),
        replace(SIGNAL[1], name="threshold", description=SIGNAL[1].description.replace("its averageValue", "threshold")),
        Parameter(
            name="metric_type",
            kind="str",
            default="AverageValue",
            description="metricType",
            choices=("AverageValue", "Value"),
        ),
        _number("activation_threshold", 0.0, "activationThreshold: active above it", "the signal's unit", 1e9),
        Parameter(name="ignore_null_values", kind="bool", default=True, description="ignoreNullValues: an empty result is 0"),
        Parameter(
            name="unknown",
            kind="str",
            default="null",
            description="what an unknown signal is to the trigger: an empty result (null), or a query that fails (error)",
            choices=("null", "error"),
        ),
        Parameter(name="start", kind="str", default="0 8 * * *", description="the cron trigger's start"),
        Parameter(name="end", kind="str", default="0 20 * * *", description="the cron trigger's end"),
        Parameter(name="timezone", kind="str", default="UTC", description="the cron trigger's timezone"),
        _count("desired_replicas", 1, "the cron trigger's desiredReplicas", minimum=1),
        _number("polling_interval_s", 30.0, "pollingInterval: how often the operator looks", "s", 86400, minimum=1.0),
        _number("cooldown_period_s", 300.0, "cooldownPeriod: to zero only so long after it was last active", "s", 604800),
        _number("initial_cooldown_period_s", 0.0, "initialCooldownPeriod: to zero only so long after the start", "s", 604800),
        _count("min_replica_count", -1, "minReplicaCount; -1: the manifest's minReplicas"),
        _count("idle_replica_count", -1, "idleReplicaCount, which KEDA allows to be 0 only; -1: none", maximum=0),
        _count("fallback_replicas", -1, "fallback.replicas; -1: no fallback"),
        _count("fallback_failure_threshold", 3, "fallback.failureThreshold: it acts after more failures in a row", minimum=0),
        Parameter(
            name="fallback_behavior",
            kind="str",
            default="static",
            description="fallback.behavior",
            choices=("static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"),
        ),
        *TOLERANCES,
        # KEDA's HPA has a behavior only where advanced.horizontalPodAutoscalerConfig gives one.
        replace(BEHAVIOR[0], default=False),
        *BEHAVIOR[1:],
    ),
    make=lambda params, _rng: Keda(params),
    signals=lambda params: () if params["triggers"] == "cron" else (str(params["signal"]),),
    counts_starting=True,
    check=_check,
    source="keda pkg/scalers, pkg/scaling/executor, pkg/fallback; keda-docs 2.17",
)
