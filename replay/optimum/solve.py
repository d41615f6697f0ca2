"""The optimum of one service: searched, then run on the plant, whose books give the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np

from autoscaler.core.model import Floats, Ints, PoolSpec, ScalingSpec
from replay.optimum.forward import late_of
from replay.optimum.nodes import NodeNeed, PoolShare, node_need, on_its_pool
from replay.optimum.orders import held_in_warmup, ordered
from replay.optimum.prices import Progress
from replay.optimum.problem import Problem, settings_of
from replay.optimum.search import Found, most_ready, search
from replay.plant.plant import Plant
from replay.plant.waits import attained_ratio
from replay.scenario import Scenario, whole_s
from replay.world import allowed_waits_s, build_world

_HOUR_S: Final = 3600.0
_WIDER: Final = 2
_OFTEN: Final = 0.002
_ENDLESS: Final = 1 << 30
_REPLICAS: Final = 0.7
"""Of the time; the rest is the nodes'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The clairvoyant schedule of one service. orders (ticks,): the count to ask for at each decision, from the trace's start on; ready
    (ticks,): the replicas that it needs to serve then.

    replica_hours: since the warm-up, node_wait_hours included (what replicas cost while they wait for a new node, each ordered so much
    earlier). lower_bound_replica_hours: no schedule that keeps the promise (or, where that can't be
    kept, the attained ratio) costs less, even where nodes are at hand. attained_ratio: as
    the plant ran the orders, nodes at hand. work_replica_hours: what the requests alone take. share, need: its place on its pool, and
    how few nodes it needs there; what the pool as a whole needs is ``replay.optimum.pools``' to say. initial, drain_s, warmup_s, seconds: of the run.
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
    ready: Ints
    tick_s: int
    initial: int
    drain_s: int
    warmup_s: int
    seconds: int
    share: PoolShare
    need: NodeNeed

    @property
    def kept(self) -> bool:
        """Whether the promise can be kept at all (with the manifest's largest count, and from the scenario's first one)."""
        return self.attained_ratio >= self.promised_ratio - 1e-9


def optimum(
    spec: ScalingSpec,
    pools: Sequence[PoolSpec],
    scenario: Scenario,
    demand: Floats,
    share: PoolShare,
    progress: Progress | None = None,
) -> Optimum:
    """The optimum of one service. demand (T,): requests in each second. share: its place on its pool.

    The fluid plant's, without rate limits, windows and calendars of the manifest, and without faults other than surges, which are part
    of the traffic. Of several pools it knows the one of its share. Raises UsageError where the scenario can't be played.
    """
    spec = on_its_pool(spec, share)
    scenario = calm(scenario)
    # A surge is for one service by its name or for all.
    surges = [fault for fault in scenario.faults if fault.service in ("", spec.key)]
    scenario = msgspec.structs.replace(scenario, faults=surges)
    arrivals = _at_hand(spec, pools, scenario, demand).demand[0]
    (allowed_s,) = allowed_waits_s([spec]).tolist()
    settings = settings_of(spec, scenario, allowed_s)
    problem = Problem(arrivals, settings)
    # A hair less than promised: the plant adds the same numbers up in another order. With all promised, a hair of them.
    allowed_late = max((1.0 - spec.objective.promised_ratio) * (1.0 - 1e-9), 1e-10) * problem.requests
    held = held_in_warmup(problem)
    fewest = _fewest_late(Problem(arrivals, settings, spec.max_replicas))
    while problem.most < spec.max_replicas and _fewest_late(problem) > max(allowed_late, fewest):
        problem = Problem(arrivals, settings, min(_WIDER * problem.most, spec.max_replicas))
        held = held_in_warmup(problem)
    tell = progress or (lambda _done: None)
    found = search(problem, allowed_late, held, lambda done: tell(_REPLICAS * done))
    if np.count_nonzero(found.ready >= problem.counts[-1]) > _OFTEN * len(found.ready) and problem.most < spec.max_replicas:
        # The largest count that was looked at is in use for long: larger ones may be better.
        problem = Problem(arrivals, settings, min(_WIDER * problem.most, spec.max_replicas))
        held = held_in_warmup(problem)
        found = search(problem, allowed_late, held, lambda done: tell(_REPLICAS * done))
    need = node_need(problem, found, allowed_late, share, lambda done: tell(_REPLICAS + (1.0 - _REPLICAS) * done))
    return _as_run(spec, pools, scenario, problem, found, held, allowed_s, share, need)


def _fewest_late(problem: Problem) -> float:
    return late_of(problem, most_ready(problem, held_in_warmup(problem)))


def _as_run(
    spec: ScalingSpec,
    pools: Sequence[PoolSpec],
    scenario: Scenario,
    problem: Problem,
    found: Found,
    held: int,
    allowed_s: float,
    share: PoolShare,
    need: NodeNeed,
) -> Optimum:
    orders = ordered(problem, found.ready, held)
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
        ready=np.concatenate([np.full(problem.first_tick, held, dtype=np.int64), found.ready]),
        tick_s=problem.settings.tick_s,
        initial=problem.settings.initial,
        drain_s=problem.settings.drain_s,
        warmup_s=problem.settings.warmup_s,
        seconds=problem.seconds,
        share=share,
        need=need,
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
