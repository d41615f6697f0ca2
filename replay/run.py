"""One replay: the controller's own tick on a manual clock, over a plant that lives through a trace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler import spec
from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import Floats, PolicyRef, ScalingSpec
from autoscaler.core.policy import PolicyType
from autoscaler.errors import UsageError
from autoscaler.ports import Reporter
from replay.foresight import Foresight
from replay.ledger import Ledger, write_schedule
from replay.plant.pool_capacity import differs_by_pool
from replay.plugins import installed, policy_text
from replay.recording import RecordFile
from replay.rhythm import in_their_rhythm
from replay.scaling import scaled_by_per_s
from replay.scenario import Scenario, whole_s
from replay.score import fleet_score
from replay.traces.demand import Scaled, clumped_words, scaled
from replay.traces.requests import RequestLog, counted
from replay.traces.series import CountSeries
from replay.world import World, build_world, node_pools, services

Progress = Callable[[float], None]
"""Told now and then which share of the run is done."""
_PROGRESS_TICKS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished replay. score: as score.json. ledger: its ticks. offsets: where each tick's line begins in the records, if there are.
    warnings: what is doubtful about what was played."""

    score: dict[str, Any]
    world: World
    ledger: Ledger
    offsets: Sequence[int] = ()
    warnings: Sequence[str] = ()

    def write_schedules(self, folder: Path) -> None:
        """schedule.csv of the first service, and schedule-<namespace>-<name>.csv of each where there are several."""
        for row, one in enumerate(self.world.specs):
            if row == 0:
                write_schedule(self.ledger, folder / "schedule.csv", self.world.start_s, row)
            if len(self.world.specs) > 1:
                write_schedule(self.ledger, folder / f"schedule-{one.namespace}-{one.name}.csv", self.world.start_s, row)


def run_replay(
    manifests: Sequence[spec.Manifest],
    scenario: Scenario,
    trace: CountSeries | RequestLog,
    *,
    policy: PolicyRef | None = None,
    policies: dict[str, PolicyType] | None = None,
    records: Path | None = None,
    progress: Progress | None = None,
    watch: Callable[[World], Reporter] | None = None,
) -> Result:
    """Replays a trace; every service of the manifests gets all of it, scaled to its own replicas (the roles of a service by one scale).

    trace: counts, or single requests, which only the plant `requests` sees as such. policy: instead of the manifests' own. policies: what
    may be named; the installed ones where left out. records: a file to write TickRecords to. watch: makes a further reporter, told of every
    tick. Raises UsageError where manifests, scenario and trace don't fit.
    """
    specs = services(manifests, policy)
    named = {ref.name for one in specs for ref in one.policies}
    types = installed(named) if policies is None else policies
    scenario = in_their_rhythm(scenario, [types[name] for name in sorted(named) if name in types])
    series = counted(trace) if isinstance(trace, RequestLog) else trace
    played = _scaled(specs, scenario, series)
    # Smoothing leaves no single requests: then they are drawn from the smooth counts.
    log = trace if isinstance(trace, RequestLog) and scenario.smoothing is None else None
    world = build_world(specs, node_pools(manifests), scenario, _stacked(specs, played), log=log)
    with RecordFile(records, seed=scenario.seed) as recorder:
        result = play(
            world,
            scenario,
            policies=types,
            trace=trace.name,
            policy="" if policy is None else policy_text(policy),
            recorder=recorder,
            progress=progress,
            reporters=() if watch is None else (watch(world),),
        )
    factors = [played[per_s].factor for per_s in scaled_by_per_s(specs)]
    return replace(
        result,
        score=_with_factors(result.score, factors),
        warnings=_doubts(specs, scenario, trace.name, played),
    )


def _with_factors(score: dict[str, Any], factors: Sequence[float]) -> dict[str, Any]:
    """The score with what the trace's rates were multiplied by; of several services together only where it is the same for each."""
    rounded = [round(factor, 9) for factor in factors]
    each = {key: {**one, "scale_factor": factor} for (key, one), factor in zip(score["services"].items(), rounded, strict=True)}
    return {**score, "scale_factor": rounded[0] if len(set(rounded)) == 1 else None, "services": each}


def demand_of(specs: Sequence[ScalingSpec], scenario: Scenario, trace: CountSeries) -> Floats:
    """(n, T): the trace for every service; services with the same capacity share the very numbers (a view, no copies)."""
    return _stacked(specs, _scaled(specs, scenario, trace))


def doubts(specs: Sequence[ScalingSpec], scenario: Scenario, trace: CountSeries | RequestLog) -> list[str]:
    """What a Result's warnings say of the trace, for commands that show no Result. Raises UsageError as ``run_replay`` does."""
    return _doubts(
        specs, scenario, trace.name, _scaled(specs, scenario, counted(trace) if isinstance(trace, RequestLog) else trace)
    )


def _doubts(specs: Sequence[ScalingSpec], scenario: Scenario, trace: str, played: dict[float, Scaled]) -> list[str]:
    clumped = [one.factor for one in played.values() if one.clumped]
    found = [clumped_words(trace, max(clumped))] if clumped else []
    if scenario.plant == "requests" and (faster := [one.key for one in specs if differs_by_pool(one)]):
        found.append(
            f"{', '.join(faster)}: nodePools give requests/s by pool, which the plant `requests` can't play: replicas do what the slowest pool's do, "
            "wherever they run (the plant `fluid` has each pool's)"
        )
    return found


def _scaled(specs: Sequence[ScalingSpec], scenario: Scenario, trace: CountSeries) -> dict[float, Scaled]:
    """By the capacity that it is scaled by."""
    capacities = sorted(set(scaled_by_per_s(specs)), key=lambda value: (value != value, value))
    return {capacity: scaled(trace, scenario, capacity) for capacity in capacities}


def _stacked(specs: Sequence[ScalingSpec], made: dict[float, Scaled]) -> Floats:
    if len(made) == 1:
        (only,) = made.values()
        return np.broadcast_to(only.arrivals, (len(specs), len(only.arrivals)))
    return np.stack([made[per_s].arrivals for per_s in scaled_by_per_s(specs)])


def play(
    world: World,
    scenario: Scenario,
    *,
    policies: dict[str, PolicyType],
    trace: str = "",
    policy: str = "",
    recorder: RecordFile | None = None,
    keep_rows: bool = True,
    progress: Progress | None = None,
    reporters: Sequence[Reporter] = (),
) -> Result:
    """Runs the controller over a world from its start to its end, and scores it."""
    interval_s = whole_s(scenario.interval)
    plant = world.plant
    began_s = time.perf_counter()
    scored_from_s = world.start_s + plant.settings.warmup_s
    ledger = Ledger(plant, -(-plant.end_s // interval_s), scored_from_s, keep_rows=keep_rows)
    clock = ManualClock(world.start_s)
    foresight = Foresight(plant, world.start_s, scored_from_s, interval_s)
    told: list[Reporter] = [ledger, foresight, *reporters]
    if recorder is not None and recorder.wanted:
        told.append(recorder)
    controller = Controller(
        clock=clock,
        metrics=world.metrics,
        cluster=world.cluster,
        node_pools=world.node_pools,
        policies=policies,
        reporters=told,
        interval_s=float(interval_s),
        seed=scenario.seed,
    )
    if recorder is not None:
        recorder.of(controller)
    asyncio.run(_run(controller, world, clock, interval_s, progress))
    if controller.reporter_failures:
        raise RuntimeError(f"{controller.reporter_failures} ticks could not be noted; see the log")
    wall_s = time.perf_counter() - began_s
    score = fleet_score(world, ledger, foresight, trace=trace, policy=policy, wall_s=wall_s)
    return Result(score=score, world=world, ledger=ledger, offsets=() if recorder is None else recorder.offsets)


async def _run(controller: Controller, world: World, clock: ManualClock, interval_s: int, progress: Progress | None) -> None:
    plant = world.plant
    for number, at_s in enumerate(range(0, plant.end_s, interval_s)):
        plant.advance_to(at_s)
        clock.advance_to(world.start_s + at_s)
        tick = await controller.tick()
        if number == 0 and controller.engine.faults:
            raise UsageError(next(iter(controller.engine.faults.values())))
        if tick.problems and number == 0:
            raise UsageError(tick.problems[0])
        if progress is not None and number % _PROGRESS_TICKS == 0:
            progress(at_s / plant.end_s)
    plant.advance_to(plant.end_s)
    if progress is not None:
        progress(1.0)
