"""The loop itself: what a tick does, what a restart doesn't, and what survives a fault in any port."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.allocation import ChangeBudget
from autoscaler.core.model import Fleet, Memory, Pause, PolicyRef, RatePolicy, ScalingRules, ScalingSpec
from autoscaler.plugins import load_policies
from autoscaler.ports import Tick
from tests.ticks import HPA_DOWN, NO_RULES, PER_REPLICA, MadeCluster, MadeMetrics, PerReplica, a_controller, a_spec


async def test_a_tick_writes_what_the_policy_wishes_and_says_why() -> None:
    controller, cluster, _, _ = a_controller([a_spec()], lambda _at_s, _row: 72.0)
    tick = await controller.tick()
    assert cluster.writes == [(0.0, "team/llama", 8)]
    assert tick.decisions.reason(0) == "per-replica: 72 in flight ÷ 10"


async def test_nothing_is_written_twice() -> None:
    controller, cluster, _, clock = a_controller([a_spec()], lambda _at_s, _row: 72.0)
    for _ in range(5):
        await controller.tick()
        clock.advance_to(clock.now_s() + 15)
    assert len(cluster.writes) == 1


async def test_a_standby_learns_and_decides_but_does_not_write() -> None:
    leads = False
    controller, cluster, _, clock = a_controller([a_spec(scale_down=HPA_DOWN)], lambda _at_s, _row: 72.0, may_act=lambda: leads)
    tick = await controller.tick()
    assert tick.decisions.desired[0] == 8
    assert not tick.leading
    assert not cluster.writes
    leads = True
    clock.advance_to(15)
    await controller.tick()
    assert cluster.writes == [(15.0, "team/llama", 8)]


@pytest.mark.parametrize("mode", ["Shadow", "Recommend"])
async def test_only_active_objects_are_written(mode: str) -> None:
    controller, cluster, _, _ = a_controller([a_spec(mode=mode)], lambda _at_s, _row: 72.0)
    tick = await controller.tick()
    assert tick.plan.replicas[0] == 8
    assert not cluster.writes


async def test_unknown_holds_and_says_since_when() -> None:
    controller, cluster, _, clock = a_controller([a_spec()], lambda at_s, _row: 72.0 if at_s < 20 else math.nan)
    for _ in range(10):
        tick = await controller.tick()
        clock.advance_to(clock.now_s() + 15)
    assert cluster.current[0] == 8
    assert tick.decisions.reason(0).startswith("signals unknown for 105 s: holding 8 (per-replica: ")


async def test_a_restart_does_not_scale_down_by_itself_within_the_down_window() -> None:
    # The signals of the past are gone (no backfill), and what is read now says 1.
    controller, cluster, _, clock = a_controller([a_spec(scale_down=HPA_DOWN)], lambda _at_s, _row: 1.0)
    cluster.current[:] = 40
    for _ in range(20):
        await controller.tick()
        clock.advance_to(clock.now_s() + 15)
    assert not cluster.writes
    await controller.tick()
    clock.advance_to(clock.now_s() + 15)
    await controller.tick()
    assert [count for _, _, count in cluster.writes] == [1]


async def test_a_restart_goes_on_with_the_window_the_status_remembers() -> None:
    controller, cluster, _, clock = a_controller([a_spec(scale_down=HPA_DOWN)], lambda _at_s, _row: 1.0)
    clock.advance_to(1000)
    cluster.current[:] = 20
    cluster.changes = {"memories": {"team/llama": Memory(desired=20, recommendations=((900.0, 25), (980.0, 20)))}}
    await controller.tick()
    memory = controller.engine.memory(0)
    assert 25 in [count for _, count in memory.recommendations]
    assert not cluster.writes


async def test_blindness_keeps_its_start_over_a_restart() -> None:
    spec = a_spec(fallback=replace(a_spec().fallback, after_s=600, action="AtLeast", replicas=9))
    controller, cluster, _, clock = a_controller([spec], lambda _at_s, _row: math.nan)
    clock.advance_to(1000)
    cluster.changes = {"memories": {"team/llama": Memory(desired=5, blind_since_s=395.0)}}
    tick = await controller.tick()
    assert tick.decisions.desired[0] == 9
    assert tick.decisions.limits(0)[0].name == "Fallback"


async def test_a_cold_start_learns_from_past_samples_before_it_acts() -> None:
    controller, cluster, metrics, clock = a_controller([a_spec()], lambda _at_s, _row: 30.0)
    clock.advance_to(10_000)
    metrics.past = {"concurrency": lambda _at_s, _row: 90.0}
    await controller.tick()
    assert cluster.writes[0][2] == 3


async def test_one_switch_pauses_everybody() -> None:
    controller, cluster, _, _ = a_controller([a_spec("a"), a_spec("b")], lambda _at_s, _row: 72.0)
    cluster.changes = {"paused": Pause(direction="Both", until_s=None, reason="an incident")}
    tick = await controller.tick()
    assert not cluster.writes
    assert "paused for the whole cluster: an incident" in tick.decisions.limits(0)[0].why


async def test_the_budget_bounds_a_tick() -> None:
    controller, cluster, _, _ = a_controller(
        [a_spec("a"), a_spec("b")], lambda _at_s, _row: 200.0, budget=ChangeBudget(add=10, remove=0)
    )
    await controller.tick()
    assert int(cluster.current.sum()) == 20


async def test_a_policy_that_is_not_installed_blinds_its_own_services_only() -> None:
    strange = a_spec("strange", policies=(PolicyRef(name="crystal-ball"),))
    controller, cluster, _, _ = a_controller([a_spec("a"), strange], lambda _at_s, _row: 72.0)
    tick = await controller.tick()
    assert "policy 'crystal-ball' is not installed" in tick.decisions.reason(1)
    assert cluster.writes == [(0.0, "team/a", 8)]


async def test_objects_come_and_go_without_disturbing_the_others() -> None:
    controller, cluster, _, clock = a_controller([a_spec("a", scale_down=HPA_DOWN)], lambda _at_s, _row: 72.0)
    await controller.tick()
    cluster.specs = (a_spec("new"), cluster.specs[0])
    cluster.current, cluster.starting = np.array([5, 8]), np.zeros(2, dtype=np.int64)
    cluster.revision += 1
    clock.advance_to(15)
    tick = await controller.tick()
    assert tick.fleet.specs[0].name == "new"
    assert controller.engine.memory(1).recommendations[-1] == (15.0, 8)
    assert cluster.writes[-1] == (15.0, "team/new", 8)


async def test_a_failing_reporter_is_counted_and_felt_by_nobody() -> None:
    class Broken:
        async def report(self, tick: Tick) -> None:
            raise OSError("disk full")

    controller, cluster, _, _ = a_controller([a_spec()], lambda _at_s, _row: 72.0, reporters=[Broken()])
    await controller.tick()
    assert controller.reporter_failures == 1
    assert len(cluster.writes) == 1


async def test_saved_state_continues_exactly() -> None:
    rules = ScalingRules(stabilization_s=120.0, select="Max", policies=HPA_DOWN.policies)
    wave = lambda at_s, _row: 100 + 60 * math.sin(at_s / 60)  # noqa: E731
    one, one_cluster, _, one_clock = a_controller([a_spec(scale_up=NO_RULES, scale_down=rules)], wave)
    for _ in range(30):
        await one.tick()
        one_clock.advance_to(one_clock.now_s() + 15)
    two, two_cluster, _, two_clock = a_controller([a_spec(scale_up=NO_RULES, scale_down=rules)], wave)
    two_clock.advance_to(one_clock.now_s())
    two_cluster.current[:] = one_cluster.current
    two.engine.prepare(await two_cluster.observe(0.0), 0.0)
    two.engine.load(one.engine.save())
    for _ in range(30):
        a, b = await one.tick(), await two.tick()
        assert a.decisions.desired.tolist() == b.decisions.desired.tolist()
        for clock in (one_clock, two_clock):
            clock.advance_to(clock.now_s() + 15)


async def test_the_loop_goes_on_after_a_fault_and_stops_when_told() -> None:
    controller, cluster, _, _ = a_controller([a_spec()], lambda _at_s, _row: 72.0)
    stop = asyncio.Event()
    calls = 0
    observe = cluster.observe

    async def sometimes(at_s: float) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("a fault of ours")
        if calls == 4:
            stop.set()
        return await observe(at_s)

    cluster.observe = sometimes  # type: ignore[method-assign,assignment]
    await controller.run(stop)
    assert calls == 4


async def test_becoming_the_leader_means_a_tick_at_once() -> None:
    class Standing(ManualClock):
        """Time that never comes: only an event ends a wait."""

        async def sleep_until(self, at_s: float) -> None:
            await asyncio.Event().wait()

    ticks: asyncio.Queue[int] = asyncio.Queue()

    class Told:
        async def report(self, tick: Tick) -> None:
            ticks.put_nowait(tick.number)

    cluster = MadeCluster([a_spec()])
    metrics = MadeMetrics({"concurrency": lambda _at_s, _row: 72.0})
    policies = {"per-replica": PER_REPLICA}
    controller = Controller(clock=Standing(), metrics=metrics, cluster=cluster, policies=policies, reporters=[Told()])
    stop = asyncio.Event()
    running = asyncio.create_task(controller.run(stop))
    async with asyncio.timeout(5):
        assert await ticks.get() == 1
        controller.wake.set()
        assert await ticks.get() == 2
        stop.set()
        await running


async def test_a_tick_that_fails_is_no_sign_of_health() -> None:
    controller, cluster, _, clock = a_controller([a_spec()], lambda _at_s, _row: 72.0)
    assert not controller.ticked.is_set()
    await controller.tick()
    assert controller.ticked.is_set()
    before_s = controller.last_tick_s

    async def never(_at_s: float) -> Fleet:
        raise RuntimeError("a fault of ours")

    cluster.observe = never  # type: ignore[method-assign,assignment]
    clock.advance_to(15.0)
    with pytest.raises(RuntimeError):
        await controller.tick()
    assert controller.last_tick_s == before_s


class Settable(ManualClock):
    """A clock whose wall time can be set while its monotonic one goes on."""

    set_by_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.set_by_s


def on_a_settable_clock(spec: ScalingSpec, concurrency: Callable[[float], float]) -> tuple[Controller, MadeCluster, Settable]:
    """concurrency: by the seconds that really passed."""
    clock, cluster = Settable(1_750_000_000.0), MadeCluster([spec], current=10)
    metrics = MadeMetrics({"concurrency": lambda _at_s, _row: concurrency(clock.monotonic_s() - 1_750_000_000.0)})
    metrics.signals["demand"] = lambda _at_s, _row: concurrency(clock.monotonic_s() - 1_750_000_000.0) / 10.0
    metrics.signals["queue"] = lambda _at_s, _row: 0.0
    policies = {"per-replica": PER_REPLICA, **load_policies()}
    return Controller(clock=clock, metrics=metrics, cluster=cluster, policies=policies), cluster, clock


CASES = {
    "a down window": (a_spec(scale_down=HPA_DOWN), lambda after_s: 100.0 if after_s < 60 else 20.0),
    "a rate limit": (
        a_spec(scale_up=replace(HPA_DOWN, stabilization_s=0.0, policies=(RatePolicy(kind="Pods", value=2, period_s=300.0),))),
        lambda _after_s: 500.0,
    ),
    "blindness": (
        a_spec(fallback=replace(a_spec().fallback, after_s=120.0, action="Exactly", replicas=1)),
        lambda after_s: 100.0 if after_s < 60 else math.nan,
    ),
    "a policy's own hold": (
        a_spec(policies=(PolicyRef(name="reactive", params={"hold_s": 300.0}),)),
        lambda after_s: 100.0 if after_s < 60 else 20.0,
    ),
    "an HPA's window": (
        a_spec(policies=(PolicyRef(name="hpa", params={"signal": "concurrency", "target": 10.0}),)),
        lambda after_s: 100.0 if after_s < 60 else 20.0,
    ),
    "Knative's delay": (
        a_spec(policies=(PolicyRef(name="kpa", params={"signal": "concurrency", "target": 10.0, "scale_down_delay_s": 240.0}),)),
        lambda after_s: 100.0 if after_s < 60 else 20.0,
    ),
    "KEDA's window": (
        a_spec(policies=(PolicyRef(name="keda", params={"signal": "concurrency", "threshold": 10.0}),)),
        lambda after_s: 100.0 if after_s < 60 else 20.0,
    ),
    "settling": (a_spec(policies=(PolicyRef(name="reactive", params={"hold_s": 0.0}),)), lambda _after_s: 20.0),
}


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
@pytest.mark.parametrize("case", CASES)
async def test_setting_the_clock_ages_nothing(case: str, by_s: float) -> None:
    spec, concurrency = CASES[case]
    undisturbed, _, steady = on_a_settable_clock(spec, concurrency)
    controller, cluster, clock = on_a_settable_clock(spec, concurrency)
    counts = []
    for number in range(40):
        expected, got = await undisturbed.tick(), await controller.tick()
        assert got.decisions.desired.tolist() == expected.decisions.desired.tolist(), f"tick {number}"
        assert got.unrecorded == (number == 8)
        counts.append(int(got.decisions.desired[0]))
        for one in (steady, clock):
            one.advance_to(one.monotonic_s() + 15.0)
        if number == 7:
            clock.set_by_s = by_s
    assert len(set(counts[7:])) > 1, "what was waited for has come after all"
    remembered = controller.engine.memory(0)
    assert all(at_s <= clock.now_s() for at_s, _ in (*remembered.recommendations, *remembered.scale_events)), "in wall time"
    assert all(at_s > clock.now_s() - 1800 for at_s, _ in remembered.recommendations)
    assert cluster.writes


async def test_a_pause_means_the_wall_clock() -> None:
    spec = a_spec(pause=Pause(direction="Both", until_s=1_750_000_000.0 + 1800.0))
    controller, cluster, clock = on_a_settable_clock(spec, lambda _after_s: 500.0)
    await controller.tick()
    assert not cluster.writes
    clock.advance_to(clock.monotonic_s() + 15.0)
    clock.set_by_s = 3600.0
    await controller.tick()
    assert cluster.writes


class CannotShift(PerReplica):
    def shift(self, by_s: float) -> None:
        raise RuntimeError("what clock?")


async def test_a_policy_that_fails_when_the_clock_is_set_leaves_the_others_holds_whole() -> None:
    """The neighbour is blind for a minute when the clock jumps by an hour; its fallback of 2 replicas comes after half an hour."""
    stranger = replace(PER_REPLICA, name="stranger", make=lambda params, _rng: CannotShift(params))
    fallback = replace(a_spec().fallback, after_s=1800.0, action="Exactly", replicas=2)
    specs = [a_spec("a", policies=(PolicyRef(name="stranger"),)), a_spec("b", fallback=fallback)]
    clock, cluster = Settable(1_750_000_000.0), MadeCluster(specs, current=30)
    metrics = MadeMetrics({"concurrency": lambda _at_s, row: math.nan if row else 300.0})
    policies = {"per-replica": PER_REPLICA, "stranger": stranger}
    controller = Controller(clock=clock, metrics=metrics, cluster=cluster, policies=policies)
    for number in range(8):
        tick = await controller.tick()
        assert tick.decisions.desired.tolist() == [30, 30], f"tick {number}"
        failed = ("policy 'stranger' failed to move its times when the clock was set: RuntimeError: what clock?",)
        assert tick.problems == (failed if number == 5 else ())
        clock.advance_to(clock.monotonic_s() + 15.0)
        if number == 4:
            clock.set_by_s = 3600.0
