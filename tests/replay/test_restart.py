"""What a restart costs: a new controller that learns the past decides beside the one that went on, on all that this one sees.

The new one knows what a restarted one does: what the status remembers, which is written every ten minutes, and what a Prometheus gives it:
an hour at the controller's own interval, before that a value every five minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller, nothing_written
from autoscaler.core.model import Fleet, Ints, Memory, Outcome, Plan, Readings
from autoscaler.learning import FAR_STEP_S
from autoscaler.manifests import load_manifests
from autoscaler.ports import Backfill, Tick
from replay.plugins import installed, policy_ref
from replay.run import demand_of
from replay.scenario import load_scenario
from replay.traces.registry import read_any
from replay.traces.series import CountSeries
from replay.world import World, build_world, node_pools, services

STANDARD = Path("replay/standard")
STEP_S = 15
HOUR = 240
REMEMBERED_EVERY = 40
"""Ticks: a status whose numbers stay the same is written again after ten minutes."""
POLICIES = installed({"predictive"})
MOMENTS_H = {
    "in the night": 27.0,
    "at the foot of the morning's ramp": 30.5,
    "on the ramp": 31.75,
    "in the forenoon": 34.2,
    "at noon": 36.0,
    "in the afternoon": 39.6,
    "on the evening's way down": 42.9,
    "at midnight": 48.0,
}
"""When it restarts: hours from the trace's start, on its second day and after it."""


class Beside:
    """The ends of a restarted controller: what the other one saw, and what is remembered of the time before."""

    def __init__(self, past: Sequence[Readings], memories: Mapping[str, Memory]) -> None:
        self.past = past
        self.memories = memories
        self.tick: Tick | None = None

    def _now(self) -> Tick:
        assert self.tick is not None
        return self.tick

    async def observe(self, at_s: float) -> Fleet:
        return replace(self._now().fleet, memories=self.memories)

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        return nothing_written(fleet)

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        return self._now().readings

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        """Of each moment what was read then; a range query takes no means over its step."""
        assert all(later - earlier in (STEP_S, FAR_STEP_S) for earlier, later in pairwise(times_s))
        first_s = self.past[0].at_s
        found = []
        for at_s in times_s:
            place = round((at_s - first_s) / STEP_S)
            signals = self.past[place].signals if 0 <= place < len(self.past) else {}
            found.append(Readings(at_s=at_s, signals={name: column for name, column in signals.items() if name in wanted}))
        return Backfill(readings=found)


def standard_world(hours: float) -> World:
    manifests = load_manifests([STANDARD / "manifest.yaml"])
    scenario = load_scenario(STANDARD / "scenario.yaml")
    specs = services(manifests, policy_ref("predictive"))
    trace = read_any(STANDARD / "traces/office-week.csv.gz")
    assert isinstance(trace, CountSeries)
    demand = demand_of(specs, scenario, trace)
    return build_world(specs, node_pools(manifests), scenario, demand[:, : int(hours * 3600)], keep_series=False)


async def differences(hours: float, restarts: Mapping[str, tuple[float, bool]]) -> dict[str, Ints]:
    """By name of (hour, whether the status' memory is there): by how many replicas each decision of the hour after differed."""
    world = standard_world(hours)
    clock, readings = ManualClock(world.start_s), list[Readings]()
    running = Controller(
        clock=clock,
        metrics=world.metrics,
        cluster=world.cluster,
        policies=POLICIES,
        interval_s=float(STEP_S),
        waits_for_past=True,
    )
    memory = Memory()
    key = world.specs[0].key
    others: dict[str, tuple[Controller, Beside, ManualClock]] = {}
    found: dict[str, list[int]] = {name: [] for name in restarts}
    for number in range(int(hours * HOUR)):
        for name, (hour, remembers) in restarts.items():
            if number == round(hour * HOUR):
                known = memory if remembers else replace(memory, learnt={})
                ends, its_clock = Beside(readings[:], {key: known}), ManualClock(world.start_s + STEP_S * number)
                controller = Controller(
                    clock=its_clock, metrics=ends, cluster=ends, policies=POLICIES, interval_s=float(STEP_S), waits_for_past=True
                )
                others[name] = controller, ends, its_clock
        at_s = STEP_S * number
        world.plant.advance_to(at_s)
        clock.advance_to(world.start_s + at_s)
        tick = await running.tick()
        readings.append(tick.readings)
        for name, (controller, ends, its_clock) in others.items():
            if len(found[name]) < HOUR:
                ends.tick = tick
                its_clock.advance_to(world.start_s + at_s)
                again = await controller.tick()
                found[name].append(int(again.decisions.desired[0] - tick.decisions.desired[0]))
        if number % REMEMBERED_EVERY == 0:
            memory = running.engine.memory(0)
    return {name: np.array(values) for name, values in found.items()}


async def test_a_restart_changes_no_decision_of_predictive_by_more_than_a_replica() -> None:
    restarts = {name: (hour, True) for name, hour in MOMENTS_H.items()}
    found = await differences(49.0, {**restarts, "without what the status remembers": (MOMENTS_H["in the afternoon"], False)})
    lost = found.pop("without what the status remembers")
    for name, values in found.items():
        assert len(values) == HOUR
        assert np.abs(values).max() <= 1, f"restarted {name}: {values[np.abs(values) > 1]}"
    assert np.mean([np.abs(values) for values in found.values()]) < 0.1
    assert lost.max() > 1, "the memory is what keeps it so"
    assert lost.min() >= -1, "who has lost it knows less, and is more careful for that"
