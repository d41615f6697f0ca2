from __future__ import annotations

import numpy as np
import pytest

from autoscaler.core.capacity import batch_at, service_s
from autoscaler.core.model import Fleet, Plan, Readings
from autoscaler.core.signals import SIGNALS, SignalState
from autoscaler.errors import UsageError
from replay.plant.faults import Fault
from replay.plant.fluid import FluidPlant
from replay.scenario import Scenario
from replay.world import World, build_world
from tests.replay.made import noise, scenario, specs


def world(demand_per_s: float = 8.0, seconds: int = 7200, n: int = 1, setting: Scenario | None = None) -> World:
    return build_world(specs(n), (), setting or scenario(), np.full((n, seconds), demand_per_s))


async def seen(world: World, at_s: int, fleet: Fleet | None = None) -> Readings:
    world.plant.advance_to(at_s)
    fleet = fleet or await world.cluster.observe(world.start_s + at_s)
    return await world.metrics.read(fleet, {name: [0] for name in SIGNALS}, world.start_s + at_s, 1.0)


def value(readings: Readings, name: str, row: int = 0) -> float:
    return float(readings.signals[name].values[row])


async def test_every_signal_has_its_documented_formula() -> None:
    here = world(demand_per_s=11.2)  # 0.7 of ten replicas
    found = await seen(here, 600)
    batch = float(batch_at(0.7, 32.0, 64.0))
    took = float(service_s(batch, 1.6, 32.0, 64.0))
    expected = {
        "demand": 11.2,
        "throughput": 11.2,
        "queue": 0.0,
        "running": 10 * batch,
        "concurrency": 10 * batch,
        "utilization": 0.7,
        "gpu_utilization": 1 - np.exp(-batch),
        "gpu_memory_utilization": 0.9,
        "kv_cache_utilization": batch / 32,
        "ttft_s": took / 20,
        "itl_s": took / 200,
        "latency_s": took,
        "queue_wait_s": 0.0,
        "prompt_tokens": 600 * 11.2,
        "output_tokens": 200 * 11.2,
    }
    assert set(expected) == set(SIGNALS)
    for name, number in expected.items():
        assert value(found, name) == pytest.approx(number, rel=1e-6), name
        assert found.signals[name].state[0] == SignalState.KNOWN


async def test_a_decision_sees_the_scrape_before_the_latest() -> None:
    here = world()
    here.plant.demand = here.plant.demand.copy()
    here.plant.demand[0, 600:] = 24.0  # ten replicas do 16
    assert value(await seen(here, 615), "demand") == 8.0
    at_630 = await seen(here, 630)
    assert value(at_630, "demand") == 24.0
    assert value(at_630, "queue") == pytest.approx(8 * 15)
    assert at_630.signals["demand"].age_s[0] == 15.0
    assert value(at_630, "queue_wait_s") == pytest.approx(8 * 15 / 16)


async def test_nothing_is_known_before_the_first_scrapes() -> None:
    here = world()
    for at_s in (0, 15):
        assert (await seen(here, at_s)).signals["demand"].state[0] == SignalState.UNKNOWN
    assert (await seen(here, 30)).signals["demand"].state[0] == SignalState.KNOWN


async def test_windows_longer_than_a_scrape() -> None:
    here = world(setting=scenario(metrics__window="60s"))
    here.plant.demand = here.plant.demand.copy()
    here.plant.demand[0, 600:] = 16.0
    assert (await seen(here, 60)).signals["demand"].state[0] == SignalState.UNKNOWN
    assert value(await seen(here, 645), "demand") == pytest.approx((30 * 8 + 30 * 16) / 60)


async def test_a_dead_source_is_unknown_and_a_gap_gets_old_first() -> None:
    here = world()
    here.plant.add_fault(Fault(kind="MetricsOutage", from_s=600, until_s=700))
    here.plant.add_fault(Fault(kind="ScrapeGap", from_s=1200, until_s=1500))
    dead = await seen(here, 615)
    assert {int(column.state[0]) for column in dead.signals.values()} == {SignalState.UNKNOWN}
    assert dead.why("demand", 0)
    assert (await seen(here, 735)).signals["demand"].state[0] == SignalState.KNOWN
    old = await seen(here, 1230)
    assert old.signals["demand"].state[0] == SignalState.KNOWN
    assert old.signals["demand"].age_s[0] == 60.0
    stale = await seen(here, 1260)
    assert stale.signals["demand"].state[0] == SignalState.UNKNOWN
    assert "90 s ago" in stale.why("demand", 0)


async def test_without_replicas_only_the_queue_is_known() -> None:
    here = world(demand_per_s=0.0, setting=scenario(replicas__initial="0"))
    idle = await seen(here, 60)
    assert idle.signals["utilization"].state[0] == SignalState.IDLE
    assert idle.signals["latency_s"].state[0] == SignalState.IDLE
    assert value(idle, "queue") == 0.0
    here.plant.surge(1.0, 10)
    here.plant.demand[0, 60:] = 1.0
    waiting = await seen(here, 120)
    assert waiting.signals["utilization"].state[0] == SignalState.UNKNOWN
    assert waiting.signals["queue_wait_s"].state[0] == SignalState.UNKNOWN
    assert value(waiting, "queue") == pytest.approx(45.0)


async def test_a_surge_by_hand_touches_one_service_and_leaves_shared_demand_alone() -> None:
    shared = np.broadcast_to(np.full(7200, 8.0), (2, 7200))
    here = build_world(specs(2), (), scenario(), shared)
    here.plant.advance_to(600)
    here.plant.surge(3.0, 300, row=1)
    found = await seen(here, 660)
    assert (value(found, "demand", 0), value(found, "demand", 1)) == (8.0, 24.0)
    assert shared[1, 700] == 8.0


async def test_the_plant_as_a_cluster() -> None:
    here = world(n=2)
    fleet = await here.cluster.observe(here.start_s)
    assert (fleet.current.tolist(), fleet.ready.tolist()) == ([10, 10], [10, 10])
    assert await here.cluster.observe(here.start_s) is fleet  # nothing changed: the very same
    plan = Plan(at_s=here.start_s, replicas=np.array([12, 7]), act=np.array([True, False]), headroom=np.array([0, 9]), nodes={})
    outcome = await here.cluster.act(fleet, plan, 1.0)
    assert outcome.written.tolist() == [1, 0]
    here.plant.advance_to(60)
    fleet = await here.cluster.observe(here.start_s + 60)
    assert (fleet.current.tolist(), fleet.ready.tolist(), fleet.starting.tolist()) == ([12, 10], [10, 10], [2, 0])
    assert [here.plant.life.nodes(row) for row in (0, 1)] == [2, 3]


def test_one_service_is_a_row_of_many() -> None:
    """A fleet of services, each with its own demand, gives what each gives alone, whatever kernel runs."""
    demand = np.repeat(noise(5, 20, 60), 60, axis=1) * 30
    many = build_world(specs(20), (), scenario(), demand)
    many.plant.advance_to(1800)
    for row in range(20):
        many.plant.life.set_replicas(row, 3 + row, 1800)
    many.plant.advance_to(3600)
    counts = many.plant.wait_counts()
    for row in (0, 7, 19):
        alone = build_world(specs(1), (), scenario(), demand[row : row + 1])
        alone.plant.advance_to(1800)
        alone.plant.life.set_replicas(0, 3 + row, 1800)
        alone.plant.advance_to(3600)
        assert alone.plant.wait_counts()[0].tolist() == counts[row].tolist()
        assert alone.plant.replica_s()[0] == many.plant.replica_s()[row]
        assert alone.plant.node_s()[0] == many.plant.node_s()[row]
        assert isinstance(alone.plant, FluidPlant)
        assert isinstance(many.plant, FluidPlant)
        assert alone.plant.state.running[0] == many.plant.state.running[row]


def test_steps_of_any_length_lead_to_the_same_place() -> None:
    demand = np.repeat(noise(6, 1, 120), 60, axis=1) * 40
    once, often = (build_world(specs(1), (), scenario(), demand) for _ in range(2))
    once.plant.advance_to(7200)
    at_s = 0
    while at_s < 7200:
        at_s += 1 + at_s % 37
        often.plant.advance_to(at_s)
        if at_s % 11 == 0:
            often.plant.wait_counts()  # a score in between, as a live page asks for it, changes nothing
    np.testing.assert_array_equal(often.plant.wait_counts()[0], once.plant.wait_counts()[0])
    assert isinstance(often.plant, FluidPlant)
    assert isinstance(once.plant, FluidPlant)
    assert often.plant.state.queue[0] == once.plant.state.queue[0]
    assert often.plant.queue_by_tick.tolist() == once.plant.queue_by_tick.tolist()
    assert once.plant.wait_counts()[0].sum() == pytest.approx(demand.sum())


def test_what_can_t_be_played_is_said() -> None:
    from dataclasses import replace

    (one,) = specs(1)
    nameless = replace(one, capacity=replace(one.capacity, per_s=float("nan")))
    with pytest.raises(UsageError, match=r"capacity\.requestsPerSecond"):
        build_world((nameless,), (), scenario(), np.ones((1, 600)))
    with pytest.raises(UsageError, match="leaves nothing to score"):
        build_world((one,), (), scenario(warmup="10m"), np.ones((1, 600)))
    with pytest.raises(UsageError, match="service 'a/b' is not there"):
        build_world((one,), (), scenario(faults="[{kind: Surge, at: 1m, service: a/b}]"), np.ones((1, 600)))
