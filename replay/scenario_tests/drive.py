"""Runs a scenario test: the controller's own tick over the plant, with the test's series and events, and what each tick decided."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import Floats, Pause
from autoscaler.errors import UsageError
from autoscaler.ports import Tick
from autoscaler.spec import duration_s
from replay.ledger import Ledger
from replay.plugins import installed
from replay.report.words import words_of
from replay.scenario import whole_s
from replay.scenario_tests.form import Event
from replay.scenario_tests.load import Test
from replay.scenario_tests.ports import ScriptedCluster, ScriptedMetrics
from replay.score import fleet_score
from replay.world import World, build_world, node_pools, services


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One service at one tick. counts: as it saw them, `replicas` as it left them, `nodes` after it; recommended may be NaN."""

    at_s: float
    counts: Mapping[str, float]
    flags: Mapping[str, bool]
    limits: Sequence[str]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """seen: by service, one a tick. score: as score.json."""

    interval_s: int
    seen: Mapping[str, Sequence[Seen]]
    score: dict[str, Any]


class _Notes:
    """A Reporter that keeps what expectations ask for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seen: dict[str, list[Seen]] = {one.key: [] for one in world.specs}
        self.last: Tick | None = None

    async def report(self, tick: Tick) -> None:
        self.last = tick
        fleet, decisions, plant = tick.fleet, tick.decisions, self._world.plant
        for row, one in enumerate(self._world.specs):
            counts = {
                "replicas": int(tick.plan.replicas[row]),
                "recommended": float(decisions.recommended[row]),
                "current": int(fleet.current[row]),
                "ready": int(fleet.ready[row]),
                "starting": int(fleet.starting[row]),
                "draining": int(fleet.draining[row]),
                "nodes": plant.life.nodes(row),
                "queue": float(plant.queues()[row]),
            }
            self.seen[one.key].append(
                Seen(
                    at_s=decisions.at_s - self._world.start_s,
                    counts=counts,
                    flags={"blind": bool(decisions.blind[row]), "partial": bool(decisions.partial[row])},
                    limits=[limit.name for limit in tick.limits(row)],
                    words=words_of(tick, row),
                )
            )


def run_test(test: Test) -> Run:
    """Raises UsageError where the test can't be played."""
    return asyncio.run(_run(test))


async def _run(test: Test) -> Run:
    interval_s = whole_s(test.scenario.interval)
    specs = services(test.manifests)
    ticks = -(-int(np.ceil(test.end_s)) // interval_s)
    demand = np.broadcast_to(_demand(test, ticks, interval_s), (len(specs), ticks * interval_s))
    world = build_world(specs, node_pools(test.manifests), test.scenario, demand)
    plant = world.plant
    cluster = ScriptedCluster(world.cluster)
    metrics = ScriptedMetrics(
        None if test.traffic is None else world.metrics,
        test.series,
        {one.key: row for row, one in enumerate(specs)},
        world.start_s,
        interval_s,
    )
    clock = ManualClock(world.start_s)
    ledger = Ledger(plant, ticks, world.start_s + plant.settings.warmup_s)
    notes = _Notes(world)

    def begin() -> Controller:
        return Controller(
            clock=clock,
            metrics=metrics,
            cluster=cluster,
            node_pools=world.node_pools,
            policies=installed({ref.name for one in specs for ref in one.policies}),
            reporters=[ledger, notes],
            interval_s=float(interval_s),
            seed=test.scenario.seed,
            waits_for_past=True,
        )

    controller = begin()
    events = sorted(test.events, key=lambda event: duration_s(event.at))
    for at_s in range(0, ticks * interval_s, interval_s):
        plant.advance_to(at_s)
        clock.advance_to(world.start_s + at_s)
        while events and duration_s(events[0].at) <= at_s:
            event = events.pop(0)
            _happen(event, world, cluster)
            if event.restart:
                _remember(notes.last, cluster)
                controller = begin()
        tick = await controller.tick()
        if controller.engine.faults:
            raise UsageError(next(iter(controller.engine.faults.values())))
        if tick.problems:
            raise UsageError(tick.problems[0])
        if controller.reporter_failures:
            raise RuntimeError("a tick could not be noted; see the log")
    plant.advance_to(plant.end_s)
    score = fleet_score(world, ledger, trace=test.name, policy="", wall_s=0.0)
    return Run(interval_s=interval_s, seen=notes.seen, score=score)


def _demand(test: Test, ticks: int, interval_s: int) -> Floats:
    """Requests in each second, nothing after the traffic's end."""
    if test.traffic is None:
        return np.zeros(ticks * interval_s)
    rates = np.repeat(test.traffic.values, interval_s)
    return np.concatenate([rates, np.zeros(ticks * interval_s - len(rates))])


def _happen(event: Event, world: World, cluster: ScriptedCluster) -> None:
    if event.pause is not None:
        cluster.paused = None if event.pause == "None" else Pause(direction=event.pause, until_s=None, reason="set by the test")
    if event.replicas is not None:
        for row, one in enumerate(world.specs):
            if event.service in ("", one.key):
                world.plant.life.set_replicas(row, event.replicas, world.plant.now_s)


def _remember(tick: Tick | None, cluster: ScriptedCluster) -> None:
    """What the status of objects and pools holds after the last tick."""
    if tick is None:
        return
    cluster.memories = {one.key: tick.memory(row) for row, one in enumerate(tick.fleet.specs)}
    if tick.plan.bounds is not None:
        cluster.pool_memories = {name: bound.state for name, bound in tick.plan.bounds.pools.items()}
