"""A small made fleet on ports of its own, for tests that need real ticks without a cluster.

It is no mock of the controller: the controller and the core run as they are; only the ends are made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import (
    Capacity,
    Fallback,
    Fleet,
    Objective,
    Observation,
    Outcome,
    Plan,
    PolicyRef,
    RatePolicy,
    Readings,
    Recommendation,
    ScalingRules,
    ScalingSpec,
    SignalColumn,
)
from autoscaler.core.policy import Parameter, Params, PolicyType, Stateless
from autoscaler.core.signals import SignalState
from autoscaler.ports import Backfill

NO_RULES = ScalingRules(stabilization_s=0.0, select="Max", policies=())
HPA_UP = ScalingRules(
    stabilization_s=0.0,
    select="Max",
    policies=(RatePolicy(kind="Pods", value=4, period_s=15.0), RatePolicy(kind="Percent", value=100, period_s=15.0)),
)
HPA_DOWN = ScalingRules(stabilization_s=300.0, select="Max", policies=(RatePolicy(kind="Percent", value=100, period_s=15.0),))


def a_spec(name: str = "llama", namespace: str = "team", **changes: Any) -> ScalingSpec:
    """A service with no rules of its own, on the test policy ``per-replica``."""
    spec = ScalingSpec(
        namespace=namespace,
        name=name,
        target=f"Deployment/{name}",
        min_replicas=1,
        max_replicas=100,
        mode="Active",
        policies=(PolicyRef(name="per-replica", params={"target": 10.0}),),
        objective=Objective(signal="queue_wait_s", target=5.0, promised_ratio=0.995),
        capacity=Capacity(per_s=1.6, slots=32, slots_slowdown=64.0),
        lead_time_s=120.0,
        node_lead_time_s=180.0,
        scale_up=NO_RULES,
        scale_down=NO_RULES,
        fallback=Fallback(after_s=600.0, action="Hold"),
    )
    return replace(spec, **changes)


class PerReplica(Stateless):
    """concurrency ÷ target."""

    def recommend(self, observation: Observation) -> Recommendation:
        signal = observation.signals["concurrency"]
        replicas = np.where(signal.state == SignalState.UNKNOWN, np.nan, signal.values) / self.params["target"]
        return Recommendation(
            replicas=replicas, why=lambda row: f"{signal.values[row]:g} in flight ÷ {self.params['target'][row]:g}"
        )


def _make(params: Params, _rng: np.random.Generator) -> PerReplica:
    return PerReplica(params)


PER_REPLICA = PolicyType(
    name="per-replica",
    summary="concurrency ÷ target",
    parameters=(Parameter(name="target", kind="float", default=10.0, minimum=0.1, description="requests in flight per replica"),),
    make=_make,
    signals=lambda _params: ("concurrency",),
    counts_starting=True,
)


class MadeCluster:
    """Services whose replicas are ready at once; `writes` notes every written count."""

    def __init__(self, specs: Sequence[ScalingSpec], current: int = 5) -> None:
        self.specs = tuple(specs)
        self.current = np.full(len(specs), current, dtype=np.int64)
        self.starting = np.zeros(len(specs), dtype=np.int64)
        self.revision = 1
        self.changes: dict[str, Any] = {}
        self.writes: list[tuple[float, str, int]] = []

    async def observe(self, at_s: float) -> Fleet:
        n = len(self.specs)
        fleet = Fleet(
            revision=self.revision,
            specs=self.specs,
            current=self.current.copy(),
            ready=self.current - self.starting,
            starting=self.starting.copy(),
            draining=np.zeros(n, dtype=np.int64),
            lead_time_s=np.full(n, 120.0),
            node_lead_time_s=np.full(n, 180.0),
            hands_off=np.zeros(n, dtype=np.bool_),
        )
        return replace(fleet, **self.changes)

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        for row in np.flatnonzero(plan.act):
            self.current[row] = plan.replicas[row]
            self.writes.append((plan.at_s, fleet.specs[row].key, int(plan.replicas[row])))
        return Outcome(written=plan.act.astype(np.int8))


class MadeMetrics:
    """Signals from functions of time and row; NaN is unknown."""

    def __init__(self, signals: Mapping[str, Callable[[float, int], float]]) -> None:
        self.signals = dict(signals)
        self.past: Mapping[str, Callable[[float, int], float]] | None = None
        self.past_fault = ""
        """Why the past can't be read now."""
        self.asked: list[dict[str, Sequence[int]]] = []
        """What of the past was asked for, question by question."""

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        return self._at(fleet, wanted, at_s, self.signals)

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        past = self.past
        self.asked.append(dict(wanted))
        if self.past_fault:
            return Backfill(failed=dict.fromkeys({row for rows in wanted.values() for row in rows}, self.past_fault))
        return Backfill(readings=() if past is None else [self._at(fleet, wanted, at_s, past) for at_s in times_s])

    def _at(
        self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, signals: Mapping[str, Callable[[float, int], float]]
    ) -> Readings:
        columns = {}
        for name in wanted:
            if name in signals:
                values = np.array([signals[name](at_s, row) for row in range(len(fleet))])
                unknown = np.isnan(values)
                columns[name] = SignalColumn(
                    values=values,
                    age_s=np.where(unknown, np.inf, 0.0),
                    state=np.where(unknown, SignalState.UNKNOWN, SignalState.KNOWN).astype(np.int8),
                )
        return Readings(at_s=at_s, signals=columns)


def a_controller(
    specs: Sequence[ScalingSpec], concurrency: Callable[[float, int], float], **settings: Any
) -> tuple[Controller, MadeCluster, MadeMetrics, ManualClock]:
    """A controller over made ends, at time 0."""
    clock, cluster, metrics = ManualClock(), MadeCluster(specs), MadeMetrics({"concurrency": concurrency})
    controller = Controller(clock=clock, metrics=metrics, cluster=cluster, policies={"per-replica": PER_REPLICA}, **settings)
    return controller, cluster, metrics, clock
