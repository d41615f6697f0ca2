"""The joint plan: replicas and nodes of a large fleet on many pools, most of them full, with quotas, groups and services on several pools."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.model import Decisions, Fleet, PoolSpec, PoolUse, Quota, ScalingSpec
from autoscaler.core.table import Table
from tests.benchmarks.registry import Figure, benchmark, cpu_times_s, one_core, spread
from tests.core.allocation.fleets import decided, fleet_of
from tests.ticks import a_spec

SIZES = ((100, 10), (1_000, 30), (10_000, 100), (30_000, 300))
TEAMS = 50


@benchmark("plan_10k_s")
def bench_plan() -> dict[str, Figure]:
    """scarce: the pools can't hold a quarter of what is wished. ample: they can. without_pools: what allocation costs where nobody has a pool.
    compile: once for each change of the fleet or its pools."""
    found: dict[str, dict[str, list[float]]] = {}
    with one_core():
        for services, pools in SIZES:
            found[f"{services} × {pools}"] = _measured(services, pools)
    at = found["10000 × 100"]
    return {
        "plan_10k_s": Figure(
            value=statistics.median(at["scarce"]),
            unit="s",
            goal="< 1",
            detail={
                "by_size": {size: {name: statistics.median(times) for name, times in run.items()} for size, run in found.items()},
                "scarce": spread(at["scarce"]),
            },
        )
    }


def _measured(services: int, pools: int) -> dict[str, list[float]]:
    found = {}
    for name, nodes in (("scarce", 0.7), ("ample", 4.0)):
        fleet, decisions = a_world(services, pools, nodes)
        table = Table(fleet)
        found[name] = cpu_times_s(lambda t=table, f=fleet, d=decisions: allocate(t, f, d, ChangeBudget()))  # type: ignore[misc]
    found["compile"] = cpu_times_s(lambda: Table(fleet).node_pools(fleet.pools))
    bare = replace(fleet, pools=(), revision=2)
    table = Table(bare)
    found["without_pools"] = cpu_times_s(lambda: allocate(table, bare, decisions, ChangeBudget()))
    return found


def a_world(services: int, pools: int, nodes: float) -> tuple[Fleet, Decisions]:
    """nodes: about how much of the wishes pools of the middle size can hold."""
    rng = np.random.default_rng([services, pools])
    names = [f"pool-{number:03d}" for number in range(pools)]
    wishes = rng.geometric(1 / 6, services)
    sizes = rng.choice((1, 1, 2, 3, 4, 8), services)
    multiples = rng.choice((1, 1, 1, 1, 2), services)
    specs = [_service(row, rng, names, int(sizes[row]), int(multiples[row])) for row in range(services)]
    wishes = -(-wishes // multiples) * multiples
    needed = (wishes * sizes).sum() / 8 / pools
    made = tuple(
        PoolSpec(
            name=name,
            min_nodes=0,
            max_nodes=round(nodes * needed * float(rng.choice((0.6, 0.9, 1.6)))) + 1,
            accelerators_per_node=8,
            cost_per_hour=float(rng.integers(5, 40)),
            quotas=tuple(Quota(namespace=f"team-{team}", accelerators=round(needed), weight=2) for team in range(0, TEAMS, 10)),
        )
        for name in names
    )
    before = fleet_of(specs, [0] * services, pools=made)
    current = allocate(Table(before), before, decided(wishes.tolist()), ChangeBudget()).replicas
    wishes = np.maximum(wishes + rng.integers(-3, 4, services) * multiples, 0)
    fleet = fleet_of(specs, current.tolist(), pools=made, draining=rng.integers(0, 2, services))
    return fleet, decided(wishes.tolist(), rng.integers(0, 2, services).tolist())


def _service(row: int, rng: np.random.Generator, names: list[str], size: int, multiple: int) -> ScalingSpec:
    named = rng.choice(len(names), 3, replace=False)[: int(rng.choice((1, 1, 1, 2, 3)))].tolist()
    return a_spec(
        f"service-{row:05d}",
        f"team-{row % TEAMS}",
        pool=names[named[0]],
        pools=tuple(PoolUse(name=names[number], per_s=float(rng.integers(1, 9))) for number in named) if len(named) > 1 else (),
        priority=int(rng.integers(0, 4)),
        accelerators_per_replica=size,
        replica_multiple=multiple,
    )
