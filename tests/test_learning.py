"""Learning from the past: for whom, how often, beside which ticks; and that a late one makes no difference in the end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import Fleet, PolicyRef, ScalingSpec
from autoscaler.core.policy import Params, Policy
from autoscaler.learning import FAR_TRIES, RETRY_LONGEST_S
from autoscaler.plugins import load_policies
from autoscaler.ports import Backfill, Tick
from tests.ticks import PER_REPLICA, MadeCluster, MadeMetrics, PerReplica, a_spec

START_S = 1_750_000_000.0
USUAL = (PolicyRef(name="reactive"), PolicyRef(name="seasonal"))


def demand(at_s: float, row: int) -> float:
    """Bursty, of a size of its own for each row, and different by the hour."""
    return 20.0 + 5.0 * row + 8.0 * math.sin(at_s / 1800.0) + 3.0 * math.sin(at_s * 0.7 + row)


SIGNALS = {"demand": demand, "queue": lambda _at_s, _row: 0.0}


def a_loop(
    specs: Sequence[ScalingSpec], past: Mapping[str, Any] | None = SIGNALS, **settings: Any
) -> tuple[Controller, MadeCluster, MadeMetrics, ManualClock]:
    clock, cluster, metrics = ManualClock(START_S), MadeCluster(specs, current=30), MadeMetrics(SIGNALS)
    metrics.past = past
    settings = {"waits_for_past": True, "policies": load_policies(), **settings}
    controller = Controller(clock=clock, metrics=metrics, cluster=cluster, **settings)
    return controller, cluster, metrics, clock


async def ticked(controller: Controller, clock: ManualClock, times: int) -> list[list[int]]:
    """What was decided at each tick."""
    found = []
    for _ in range(times):
        found.append((await controller.tick()).decisions.desired.tolist())
        clock.advance_to(clock.now_s() + 15.0)
    return found


def spec(name: str, **changes: Any) -> ScalingSpec:
    return a_spec(name, **{"policies": USUAL, **changes})


async def test_a_service_is_taught_at_once_and_does_not_settle() -> None:
    controller, _, metrics, clock = a_loop([spec("a")])
    tick = await controller.tick()
    assert "Settling" not in [limit.name for limit in tick.decisions.limits(0)]
    assert not tick.unlearnt
    assert tick.unrecorded
    asked = len(metrics.asked)
    assert asked == 2, "the far and the near past"
    await ticked(controller, clock, 5)
    assert len(metrics.asked) == asked, "what is known is not asked for again"


async def test_a_past_that_comes_late_makes_no_difference_in_the_end() -> None:
    """Prometheus' past is away for the first ticks of one controller only."""
    early, _, _, early_clock = a_loop([spec("a"), spec("b")])
    late, _, metrics, late_clock = a_loop([spec("a"), spec("b")])
    metrics.past_fault = "no connection"
    for controller, clock in ((early, early_clock), (late, late_clock)):
        await ticked(controller, clock, 4)
    tick = await late.tick()
    assert set(tick.unlearnt) == {0, 1}
    assert "no connection" in tick.unlearnt[0]
    metrics.past_fault = ""
    late_clock.advance_to(late_clock.now_s() + 15.0)
    await ticked(early, early_clock, 1)
    while not late.past.told.is_set() or (await late.tick()).unlearnt:
        late_clock.advance_to(late_clock.now_s() + 15.0)
    late_clock.advance_to(late_clock.now_s() + 15.0)
    early_clock.advance_to(late_clock.now_s() - 15.0)
    await ticked(early, early_clock, 1)
    for _ in range(60):  # an hour's quarter: bursts, bins and holds have all come round
        one, other = await ticked(early, early_clock, 1), await ticked(late, late_clock, 1)
    assert one == other


async def test_a_service_added_later_is_as_one_that_was_there_at_the_start() -> None:
    there, _, _, there_clock = a_loop([spec("a"), spec("b")])
    joined, cluster, metrics, joined_clock = a_loop([spec("a")])
    await ticked(there, there_clock, 10)
    await ticked(joined, joined_clock, 10)
    cluster.specs = (spec("a"), spec("b"))
    cluster.current, cluster.starting = np.array([30, 30]), np.zeros(2, dtype=np.int64)
    cluster.revision += 1
    metrics.asked.clear()
    one, other = await ticked(there, there_clock, 1), await ticked(joined, joined_clock, 1)
    assert one == other, "from its first tick on"
    assert all(list(rows) == [1] for wanted in metrics.asked for rows in wanted.values()), "only the new one is asked for"
    a, b = there.engine.save(), joined.engine.save()
    for part in ("before", "squares", "pairs"):
        kept, had = (state["policies"]["reactive"]["dispersion"][part][0] for state in (a, b))
        assert kept == had, "what was learnt of the other one is as it was, to the bit"
    assert a["signals"] == b["signals"]
    assert await ticked(there, there_clock, 40) == await ticked(joined, joined_clock, 40)


async def test_other_policies_or_signals_mean_another_past() -> None:
    controller, cluster, metrics, clock = a_loop(
        [spec("a"), spec("b", policies=(PolicyRef(name="fixed", params={"replicas": 3}),))]
    )
    await ticked(controller, clock, 3)
    metrics.asked.clear()
    cluster.specs = (spec("a", min_replicas=2), spec("b"))
    cluster.revision += 1
    await ticked(controller, clock, 1)
    assert all(list(rows) == [1] for wanted in metrics.asked for rows in wanted.values())
    assert metrics.asked
    metrics.asked.clear()
    cluster.specs = (spec("a", min_replicas=2), spec("b", sources="another server"))
    cluster.revision += 1
    metrics.past_fault = "no connection"
    tick = await controller.tick()
    assert list(tick.unlearnt) == [1]
    assert tick.unrecorded, "no record tells that it settles again"
    assert metrics.asked


async def test_no_past_is_an_answer_and_not_asked_for_again() -> None:
    controller, _, metrics, clock = a_loop([spec("a")], past=None)
    tick = await controller.tick()
    assert not tick.unlearnt
    asked = len(metrics.asked)
    clock.advance_to(clock.now_s() + 2 * RETRY_LONGEST_S)
    await controller.tick()
    assert len(metrics.asked) == asked


async def test_tries_grow_apart_but_never_more_than_five_minutes() -> None:
    controller, _, metrics, clock = a_loop([spec("a")])
    metrics.past_fault = "no connection"
    tries: list[float] = []
    for _ in range(400):
        before = len(metrics.asked)
        await controller.tick()
        if len(metrics.asked) > before:
            tries.append(clock.now_s())
        clock.advance_to(clock.now_s() + 15.0)
    gaps = np.diff(tries)
    assert gaps[0] <= 15.0
    assert gaps.max() <= RETRY_LONGEST_S + 15.0
    assert len(tries) < 40, "in 100 minutes"


class NoFarPast(MadeMetrics):
    """The far past of some rows is too much for the server; the near one is there."""

    rows: tuple[int, ...] = (0,)

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        found = await super().backfill(fleet, wanted, times_s)
        far = times_s[0] < START_S - 86_400.0
        asked = {row for rows in wanted.values() for row in rows}
        return Backfill(readings=found.readings, failed={row: "too many samples" for row in self.rows if far and row in asked})


async def test_a_far_past_that_never_comes_is_given_up_and_said() -> None:
    clock, cluster, metrics = ManualClock(START_S), MadeCluster([spec("a"), spec("b")], current=30), NoFarPast(SIGNALS)
    metrics.past = SIGNALS
    controller = Controller(clock=clock, metrics=metrics, cluster=cluster, policies=load_policies(), waits_for_past=True)
    tick = await controller.tick()
    assert list(tick.unlearnt) == [0]
    assert "Settling" not in [limit.name for limit in tick.decisions.limits(0)], "the near past is known"
    clock.advance_to(clock.now_s() + 15.0)
    await ticked(controller, clock, 400)
    assert len(metrics.asked) == 2 * FAR_TRIES
    samples = controller.engine.save()["policies"]["seasonal"]["samples"]
    tick = await controller.tick()
    assert tick.unlearnt == {0: f"its far past was given up after {FAR_TRIES} tries: too many samples"}
    assert samples[0] > 0
    # Another past is another matter.
    metrics.rows = ()
    cluster.specs = (spec("a", sources="another server"), spec("b"))
    cluster.revision += 1
    clock.advance_to(clock.now_s() + 15.0)
    assert not (await controller.tick()).unlearnt


async def test_one_that_fails_does_not_hold_up_one_that_is_new() -> None:
    controller, cluster, metrics, clock = a_loop([spec("a")])
    metrics.past_fault = "no connection"
    await ticked(controller, clock, 100)
    metrics.past_fault = ""
    cluster.specs = (spec("a"), spec("b"))
    cluster.current, cluster.starting = np.array([30, 30]), np.zeros(2, dtype=np.int64)
    cluster.revision += 1
    tick = await controller.tick()
    assert 1 not in tick.unlearnt


async def test_ticks_go_on_beside_a_slow_past_and_take_it_over_when_it_is_there() -> None:
    class Slow(MadeMetrics):
        def __init__(self) -> None:
            super().__init__(SIGNALS)
            self.past = SIGNALS
            self.go_on = asyncio.Event()

        async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
            await self.go_on.wait()
            return await super().backfill(fleet, wanted, times_s)

    clock, cluster, metrics = ManualClock(START_S), MadeCluster([spec("a")], current=30), Slow()
    controller = Controller(clock=clock, metrics=metrics, cluster=cluster, policies=load_policies(), interval_s=1.0)
    ticks: list[Tick] = []
    for _ in range(3):
        ticks.append(await controller.tick())
        clock.advance_to(clock.now_s() + 1.0)
    assert all(tick.unlearnt == {0: "its past is being read"} for tick in ticks)
    assert all(tick.decisions.desired[0] == 30 for tick in ticks), "it settles meanwhile"
    assert not controller.past.told.is_set()
    metrics.go_on.set()
    async with asyncio.timeout(20):
        while (tick := await controller.tick()).unlearnt:
            await asyncio.sleep(0)
            clock.advance_to(clock.now_s() + 1.0)
    assert tick.unrecorded
    assert tick.decisions.desired[0] < 30
    await controller.past.close()


async def test_a_standby_learns_as_the_leader_does() -> None:
    leader, _, _, leader_clock = a_loop([spec("a")])
    standby, cluster, _, standby_clock = a_loop([spec("a")], may_act=lambda: False)
    await ticked(leader, leader_clock, 3)
    await ticked(standby, standby_clock, 3)
    assert not cluster.writes
    assert leader.engine.save()["policies"]["seasonal"] == standby.engine.save()["policies"]["seasonal"]


async def test_a_fault_of_ours_in_the_past_does_not_end_the_ticks() -> None:
    class Broken(MadeMetrics):
        async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
            raise RuntimeError("a fault of ours")

    cluster = MadeCluster([spec("a")], current=30)
    controller = Controller(clock=ManualClock(START_S), metrics=Broken(SIGNALS), cluster=cluster, policies=load_policies())
    tick = await controller.tick()
    assert "a fault of ours" in tick.unlearnt[0]


# ---------------------------------------------------------------- strangers' policies

STRANGER = (PolicyRef(name="reactive"), PolicyRef(name="stranger"))


def with_a_stranger(make: Callable[[Params], Policy]) -> dict[str, Any]:
    """The settings of a loop whose policies are the shipped ones and one that is nobody's friend."""
    stranger = replace(
        PER_REPLICA,
        name="stranger",
        make=lambda params, _rng: make(params),
        signals=lambda _params: ("demand",),
        optional_signals=("concurrency",),
        lookback_s=300.0,
    )
    return {"policies": {**load_policies(), "stranger": stranger}}


@pytest.mark.parametrize("waits_for_past", [True, False])
@pytest.mark.parametrize("made_before", [0, 1])
async def test_a_policy_that_cannot_be_made_hurts_nobody_elses_past(waits_for_past: bool, made_before: int) -> None:
    """Not for the engine, or for the engine but not where a past is learnt."""
    made: list[Params] = []

    def make(params: Params) -> Policy:
        made.append(params)
        if len(made) > made_before:
            raise RuntimeError("not today")
        return PerReplica(params)

    specs = [spec("a", policies=STRANGER), spec("b", policies=USUAL)]
    controller, _, _, clock = a_loop(specs, waits_for_past=waits_for_past, interval_s=15.0, **with_a_stranger(make))
    async with asyncio.timeout(20):
        while (tick := await controller.tick()) and 1 in tick.unlearnt:
            await asyncio.sleep(0)
            clock.advance_to(clock.now_s() + 0.01)
    assert controller.past.told.is_set()
    assert tick.decisions.desired[1] < 30, "the other one knows its past and acts"
    if made_before:
        assert "policy 'stranger' can't be made: RuntimeError: not today" in tick.unlearnt[0]
    else:
        assert not tick.unlearnt, "what can't be made here can't take anything over either"
        assert "not today" in tick.decisions.reason(0)
    await controller.past.close()
