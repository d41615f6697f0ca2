"""From manifests, scenario and traces to a plant with the controller's ports on it. What ``replay run`` and ``autoscaler demo`` share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from autoscaler import spec
from autoscaler.compiled import pool_spec, scaling_spec
from autoscaler.core.allocation.nodes import cost_per_h
from autoscaler.core.capacity import service_s
from autoscaler.core.model import Floats, PolicyRef, PoolSpec, ScalingSpec
from autoscaler.core.node_pools import PoolTable
from autoscaler.errors import UsageError
from autoscaler.ports import MetricSource
from replay.plant.durations import Durations
from replay.plant.faults import Faults, scenario_fault
from replay.plant.fluid import FluidPlant
from replay.plant.kernel import Kernel
from replay.plant.node_facts import NodeFacts
from replay.plant.nodes import Pool
from replay.plant.plant import Plant, PlantSettings
from replay.plant.ports import PlantCluster, PlantMetrics, PlantNodePools
from replay.plant.requests.build import requests_plant
from replay.plant.signals import OUTPUT_TOKENS, PREFILL_TOKENS
from replay.plant.throughput import throughput_of
from replay.plant.times import Times
from replay.plant.updates import Updates, scenario_updates
from replay.scenario import Nodes, Replicas, Scenario, start_unix_s, whole_s
from replay.traces.requests import RequestLog

USUAL_WAIT_S = 5.0
"""What a wait is judged by where the objective is none of a fluid's (a utilization, an inter-token latency)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A plant and its doors. start_s: Unix time of second 0. node_pools: None where the pools' rule owns the node counts."""

    specs: tuple[ScalingSpec, ...]
    pools: tuple[PoolSpec, ...]
    plant: Plant
    metrics: MetricSource
    cluster: PlantCluster
    node_pools: PlantNodePools | None
    start_s: float


def services(manifests: Sequence[spec.Manifest], policy: PolicyRef | None = None) -> tuple[ScalingSpec, ...]:
    """The services of manifests, with `policy` in the place of their own where it is given. All are Active: a replay acts on nothing but
    the plant, and a manifest is tried before it may act in a cluster."""
    found = [replace(scaling_spec(m), mode="Active", sources=None) for m in manifests if isinstance(m, spec.InferenceAutoscaler)]
    if not found:
        raise UsageError("the manifest holds no InferenceAutoscaler")
    return tuple(found if policy is None else [replace(one, policies=(policy,)) for one in found])


def node_pools(manifests: Sequence[spec.Manifest]) -> tuple[PoolSpec, ...]:
    return tuple(pool_spec(m) for m in manifests if isinstance(m, spec.AcceleratorPool))


def build_world(
    specs: Sequence[ScalingSpec],
    pools: Sequence[PoolSpec],
    scenario: Scenario,
    demand: Floats,
    *,
    log: RequestLog | None = None,
    keep_series: bool = True,
    kernel: Kernel | None = None,
    fast: bool = True,
) -> World:
    """demand (n, T): requests in each second. log: the single requests behind it, for the plant `requests`; fast: its compiled
    kernel, where numba is there. Raises UsageError where the scenario can't be played."""
    specs = tuple(specs)
    settings = PlantSettings(
        times=Times(
            start_s=whole_s(scenario.replicas.start),
            drain_s=whole_s(scenario.replicas.drain),
            node_s=whole_s(scenario.nodes.start),
            spare_s=whole_s(scenario.nodes.spare),
            check_s=whole_s(scenario.nodes.check),
            start=_varied(scenario.replicas),
            node=_varied(scenario.nodes),
            swap_s=None if scenario.replicas.swap is None else whole_s(scenario.replicas.swap),
        ),
        initial=scenario.replicas.initial,
        scrape_s=whole_s(scenario.metrics.period),
        window_s=whole_s(scenario.metrics.window),
        late=scenario.metrics.late,
        samples=scenario.metrics.samples,
        warmup_s=whole_s(scenario.warmup),
        tick_s=whole_s(scenario.interval),
        keep_series=keep_series,
        throughput=throughput_of(scenario.replicas),
    )
    if settings.warmup_s >= demand.shape[1]:
        raise UsageError(f"scenario.warmup: {scenario.warmup} leaves nothing to score of {demand.shape[1]} s")
    faults = Faults(np.random.Generator(np.random.PCG64([scenario.seed, 1])))
    on_pools, pools_of = plant_pools(specs, pools, scenario.nodes.slots)
    plant: Plant
    if scenario.plant == "requests":
        plant = requests_plant(specs, demand, settings, faults, on_pools, pools_of, scenario, log, fast=fast)
    else:
        plant = FluidPlant(specs, demand, settings, faults, on_pools, pools_of, allowed_waits_s(specs), kernel)
    row_of = {one.key: row for row, one in enumerate(specs)}
    number_of = {pool.name: number for number, pool in enumerate(on_pools)}
    for window in scenario.faults:
        if window.service and window.service not in row_of:
            raise UsageError(f"scenario.faults: service '{window.service}' is not there; there are {', '.join(row_of)}")
        if window.pool and window.pool not in number_of:
            raise UsageError(f"scenario.faults: pool '{window.pool}' is not there; there are {', '.join(number_of)}")
        plant.add_fault(scenario_fault(window, row_of, number_of))
    for rollout in scenario.updates:
        if rollout.service and rollout.service not in row_of:
            raise UsageError(f"scenario.updates: service '{rollout.service}' is not there; there are {', '.join(row_of)}")
    if scenario.updates:
        plant.life.updates = Updates(plant.life, scenario_updates(scenario.updates, row_of))
    start_s = start_unix_s(scenario)
    by_plan = scenario.nodes.owner == "Plan"
    if by_plan and not pools:
        raise UsageError("scenario.nodes.owner: Plan needs an AcceleratorPool in the manifest that the services name")
    # Nodes that are never lost always come as they are asked for: nothing of them is worth telling then, and telling it costs time in each tick.
    told = any(window.kind in ("SpotLoss", "ScarceNodes") for window in scenario.faults)
    nodes = NodeFacts(plant.life, specs, pools, start_s) if told else None
    return World(
        specs=specs,
        pools=tuple(pools),
        plant=plant,
        metrics=PlantMetrics(plant, specs, start_s),
        cluster=PlantCluster(plant, specs, pools, start_s, nodes),
        node_pools=PlantNodePools(plant, tells=told) if by_plan else None,
        start_s=start_s,
    )


def _varied(of: Replicas | Nodes) -> Durations | None:
    """The start times where they vary."""
    found = Durations(
        usual_s=whole_s(of.start),
        spread=of.start_spread,
        measured_s=tuple(map(math.ceil, of.start_measured_seconds)),
    )
    return found if found.varies else None


def plant_pools(specs: Sequence[ScalingSpec], pools: Sequence[PoolSpec], slots: int) -> tuple[list[Pool], list[tuple[int, ...]]]:
    """A pool for each one that services name, and one of its own (without bounds) for every other service; by service the places of its pools."""
    made: list[Pool] = []
    number: dict[str, int] = {}
    known = {pool.name: pool for pool in pools}
    pools_of = []
    for names in _names(specs, pools):
        for name in names:
            if name in number:
                continue
            number[name] = len(made)
            pool = known.get(name)
            made.append(
                Pool(name, slots)
                if pool is None
                else Pool(
                    name,
                    pool.accelerators_per_node,
                    pool.min_nodes,
                    pool.max_nodes,
                    cache(partial(cost_per_h, pool)) if pool.cost_per_hour else None,
                )
            )
        pools_of.append(tuple(number[name] for name in names))
    return made, pools_of


def _names(specs: Sequence[ScalingSpec], pools: Sequence[PoolSpec]) -> list[list[str]]:
    """By service its pools: of several those on which the plan may place it (that are there, of one resource, and large enough)."""
    known = {pool.name for pool in pools}
    fits: dict[int, set[str]] = {}
    if any(len(one.pool_names) > 1 for one in specs):
        table = PoolTable(specs, tuple(pools))
        for row, place in zip(table.row.tolist(), table.pool.tolist(), strict=True):
            fits.setdefault(row, set()).add(pools[place].name)
    named = [[name for name in one.pool_names if name in known] for one in specs]
    return [
        [name for name in own if name in fits.get(row, own)] or [one.key]
        for row, (one, own) in enumerate(zip(specs, named, strict=True))
    ]


def allowed_waits_s(specs: Sequence[ScalingSpec]) -> Floats:
    """The longest queue wait that keeps each objective, (n,): its target less the time in service at the full batch, where the objective
    is a latency (the cautious reading: an emptier batch is faster)."""
    allowed = []
    for one in specs:
        objective, capacity = one.objective, one.capacity
        full_s = float(service_s(float(capacity.slots), capacity.per_s, float(capacity.slots), capacity.slots_slowdown))
        service = {"queue_wait_s": 0.0, "ttft_s": full_s * PREFILL_TOKENS / OUTPUT_TOKENS, "latency_s": full_s}
        allowed.append(max(objective.target - service[objective.signal], 0.0) if objective.signal in service else USUAL_WAIT_S)
    return np.array(allowed)
