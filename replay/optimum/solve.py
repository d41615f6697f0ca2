"""The optimum of one service: searched, then run on the plant, whose books give the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np

from autoscaler.core.model import Floats, Ints, PoolSpec, ScalingSpec
from replay.optimum.orders import held_in_warmup, ordered
from replay.optimum.problem import Problem, settings_of
from replay.optimum.search import Found, Progress, search
from replay.plant.plant import Plant
from replay.plant.waits import attained_ratio
from replay.scenario import Scenario, whole_s
from replay.world import allowed_waits_s, build_world

_HOUR_S: Final = 3600.0
_WIDER: Final = 2
_OFTEN: Final = 0.002
_ENDLESS: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The clairvoyant schedule of one service. orders (ticks,): the count to ask for at each decision, from the trace's start on.

    replica_hours: since the warm-up, node_wait_hours included (what replicas cost while they wait for a new node, each ordered so much
    earlier). lower_bound_replica_hours: no schedule that keeps the promise (or, where that can't be
    kept, the attained ratio) costs less, even where nodes are at hand. attained_ratio: as
    the plant ran the orders, nodes at hand. work_replica_hours: what the requests alone take.
    """

    key: str
    promised_ratio: float
    attained_ratio: float
    replica_hours: float
    node_wait_hours: float
    lower_bound_replica_hours: float
    work_replica_hours: float
    requests: float
    orders: Ints
    tick_s: int

    @property
    def kept(self) -> bool:
        """Whether the promise can be kept at all (with the manifest's largest count, and from the scenario's first one)."""
        return self.attained_ratio >= self.promised_ratio


def optimum(
    spec: ScalingSpec, pools: Sequence[PoolSpec], scenario: Scenario, demand: Floats, progress: Progress | None = None
) -> Optimum:
    """The optimum of one service. demand (T,): requests in each second.

    The fluid plant's, without rate limits, windows and calendars of the manifest, and without faults other than surges, which are part
    of the traffic. Raises UsageError where the scenario can't be played.
    """
    scenario = calm(scenario)
    # A surge is for one service by its name or for all.
    surges = [fault for fault in scenario.faults if fault.service in ("", spec.key)]
    scenario = msgspec.structs.replace(scenario, faults=surges)
    arrivals = _at_hand(spec, pools, scenario, demand).demand[0]
    (allowed_s,) = allowed_waits_s([spec]).tolist()
    settings = settings_of(spec, scenario, allowed_s)
    problem = Problem(arrivals, settings)
    # A hair less than promised: the plant adds the same numbers up in another order.
    allowed_late = (1.0 - spec.objective.promised_ratio) * problem.requests * (1.0 - 1e-9)
    held = held_in_warmup(problem)
    found = search(problem, allowed_late, held, progress)
    if np.count_nonzero(found.ready >= problem.counts[-1]) > _OFTEN * len(found.ready) and problem.most < spec.max_replicas:
        # The largest count that was looked at is in use for long: larger ones may be better.
        problem = Problem(arrivals, settings, min(_WIDER * problem.most, spec.max_replicas))
        held = held_in_warmup(problem)
        found = search(problem, allowed_late, held, progress)
    if found.late > allowed_late:
        # The promise can't be kept. What as much as can be kept costs, and at least costs, is worth knowing all the same.
        found = search(problem, found.late * (1.0 + 1e-9), held, progress)
    return _as_run(spec, pools, scenario, problem, found, ordered(problem, found.ready, held), allowed_s)


def _as_run(
    spec: ScalingSpec,
    pools: Sequence[PoolSpec],
    scenario: Scenario,
    problem: Problem,
    found: Found,
    orders: Ints,
    allowed_s: float,
) -> Optimum:
    plain = msgspec.structs.replace(scenario, faults=[])
    plant = _at_hand(spec, pools, plain, problem.arrivals[: problem.seconds])
    waited = follow(plant, orders, problem.settings.tick_s)
    node_wait_h = waited * whole_s(scenario.nodes.start) / _HOUR_S
    return Optimum(
        key=spec.key,
        promised_ratio=spec.objective.promised_ratio,
        attained_ratio=attained_ratio(plant.wait_counts()[0], allowed_s),
        replica_hours=float(plant.replica_s()[0]) / _HOUR_S + node_wait_h,
        node_wait_hours=node_wait_h,
        lower_bound_replica_hours=found.bound_replica_s / _HOUR_S,
        work_replica_hours=problem.work_replica_s / _HOUR_S,
        requests=problem.requests,
        orders=orders,
        tick_s=problem.settings.tick_s,
    )


def calm(scenario: Scenario) -> Scenario:
    """The scenario as the clairvoyant has it: the fluid plant, every start as usual (the mean where starts were measured), surges only."""

    def usual(of: Any) -> Any:
        measured = of.start_measured_seconds
        start = f"{math.ceil(sum(measured) / len(measured))}s" if measured else of.start
        return msgspec.structs.replace(of, start=start, start_spread=0.0, start_measured_seconds=[])

    replicas = msgspec.structs.replace(usual(scenario.replicas), swap=None)
    surges = [fault for fault in scenario.faults if fault.kind == "Surge"]
    return msgspec.structs.replace(scenario, plant="fluid", replicas=replicas, nodes=usual(scenario.nodes), faults=surges)


def _at_hand(spec: ScalingSpec, pools: Sequence[PoolSpec], scenario: Scenario, demand: Floats) -> Plant:
    """A plant whose nodes are there at once and without end."""
    nodes = msgspec.structs.replace(scenario.nodes, start="0s", owner="Rule")
    at_hand = msgspec.structs.replace(scenario, nodes=nodes)
    endless = [replace(pool, max_nodes=_ENDLESS) for pool in pools]
    return build_world([spec], endless, at_hand, demand[None, :], keep_series=False).plant


def follow(plant: Plant, orders: Ints, tick_s: int) -> int:
    """Lives through the plant's whole demand with the ordered counts. Returns how many of the replicas asked for since the warm-up found no
    free slot on the nodes that were there."""
    waited = 0
    for tick, count in enumerate(orders.tolist()):
        plant.advance_to(tick * tick_s)
        plant.life.set_replicas(0, count, plant.now_s)
        if plant.now_s >= plant.settings.warmup_s:
            waited += sum(cohort.count for pool in plant.life.pools for cohort in pool.waiting)
    plant.advance_to(plant.end_s)
    return waited
