"""Services that may run on several pools: where replicas are, stories worked out by hand and what holds in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import PoolUse
from replay.plant.durations import Durations
from replay.plant.faults import Fault, Faults
from replay.plant.fluid import FluidPlant
from replay.plant.lifecycle import Lifecycle
from replay.plant.nodes import Pool
from replay.plant.placing import Placing
from replay.plant.plant import PlantSettings
from replay.plant.ports import PlantCluster
from replay.plant.times import Times
from replay.plant.updates import Update, Updates
from tests.replay.made import TIMES, specs
from tests.replay.test_lifecycle import live


def a_life(
    pools: Sequence[Pool],
    pools_of: Sequence[Sequence[int]],
    priorities: Sequence[int] | None = None,
    times: Times = TIMES,
    each: Sequence[int] | None = None,
) -> Lifecycle:
    n = len(pools_of)
    made = [
        replace(one, priority=priority, accelerators_per_replica=size)
        for one, priority, size in zip(specs(n), priorities or [0] * n, each or [1] * n, strict=True)
    ]
    return Lifecycle(made, pools, pools_of, times, Faults(np.random.Generator(np.random.PCG64(1))))


def on(life: Lifecycle, row: int = 0) -> list[tuple[int, int, int]]:
    """Ready, starting, draining by pool of the service."""
    return [life.on_nodes(row, life.pools[number]) for number in life.pools_of[row]]


def test_who_finds_the_first_pool_full_gets_a_node_of_the_second() -> None:
    life = a_life([Pool("h100", 8, 0, 1), Pool("l40s", 8, 0, 2)], [(0, 1)])
    life.begin_with(0, 6)
    life.set_replicas(0, 12, 0)
    # Two slots are free on h100, which has its only node; the other four are worth a node of l40s.
    assert on(life) == [(6, 2, 0), (0, 0, 0)]
    assert [(pool.ready, pool.coming) for pool in life.pools] == [(1, 0), (0, 1)]
    assert life.nodes(0) == 2
    live(life, 0, 180)
    assert on(life) == [(8, 0, 0), (0, 4, 0)]
    live(life, 181, 300)
    assert on(life) == [(8, 0, 0), (4, 0, 0)]
    life.set_replicas(0, 9, 300)  # the newest leave
    assert on(life) == [(8, 0, 0), (1, 0, 3)]
    life.set_replicas(0, 7, 310)
    assert on(life) == [(7, 0, 1), (0, 0, 4)]
    live(life, 310, 320)
    assert on(life) == [(7, 0, 1), (0, 0, 1)]
    live(life, 321, 330 + 600)
    assert on(life) == [(7, 0, 0), (0, 0, 0)]
    assert life.nodes(0) == 1
    # Replica-seconds on nodes: h100 six for 330 s more than the seventh, the eighth until it has drained; l40s from the node's coming.
    assert life.replica_s_by_pool(0, 930) == [7.0 * 930 + 330, 3 * (320 - 180) + (330 - 180)]
    assert life.replica_s(0, 930) == 7.0 * 930 + 330 + 3 * 320 + 330


def test_whichever_pool_has_room_first_is_taken_and_no_other_node_is_kept_for_it() -> None:
    life = a_life([Pool("h100", 8, 0, 1), Pool("l40s", 8, 0, 1)], [(0, 1), (0,)])
    life.begin_with(0, 4)
    life.begin_with(1, 4)
    life.set_replicas(0, 6, 0)
    life.set_replicas(1, 2, 10)
    assert [pool.total for pool in life.pools] == [1, 1]
    live(life, 0, 30)  # the other service's have drained before the node of l40s is there
    assert on(life) == [(4, 2, 0), (0, 0, 0)]
    live(life, 31, 30 + 600)
    assert [pool.total for pool in life.pools] == [1, 0]


def test_slots_of_any_pool_go_by_priority_then_to_who_asked_first() -> None:
    low, high, other = 0, 1, 2
    life = a_life([Pool("h100", 8, 0, 1), Pool("l40s", 8, 0, 1)], [(0, 1), (0, 1), (1,)], priorities=[0, 10, 0])
    life.begin_with(low, 8)
    life.begin_with(high, 4)
    life.begin_with(other, 4)
    assert (on(life, low), on(life, high)) == ([(8, 0, 0), (0, 0, 0)], [(0, 0, 0), (4, 0, 0)])
    life.set_replicas(low, 12, 0)
    life.set_replicas(high, 6, 10)
    life.set_replicas(other, 1, 20)
    live(life, 0, 40)
    # Three slots of l40s: the higher priority's two, and one for who asked before it.
    assert (on(life, low), on(life, high)) == ([(8, 0, 0), (0, 1, 0)], [(0, 0, 0), (4, 2, 0)])
    assert life.starting[low] == 4


def test_only_the_lost_pool_s_replicas_go_and_start_where_there_is_room() -> None:
    life = a_life([Pool("spot", 8, 0, 1), Pool("h100", 8, 0, 1)], [(0, 1), (0,)])
    life.begin_with(1, 2)
    life.begin_with(0, 9)
    assert on(life) == [(6, 0, 0), (3, 0, 0)]
    life.lose_nodes(Fault(kind="SpotLoss", from_s=100, until_s=100, share=1.0, row=1))
    live(life, 0, 100)
    # Five find a slot on h100; the sixth and the other service's two wait for another node.
    assert (on(life), on(life, 1)) == ([(0, 0, 0), (3, 5, 0)], [(0, 0, 0)])
    assert [(pool.ready, pool.coming) for pool in life.pools] == [(0, 1), (1, 0)]
    live(life, 101, 100 + 180 + 120)
    assert (on(life), on(life, 1)) == ([(1, 0, 0), (8, 0, 0)], [(2, 0, 0)])


def test_a_loss_of_a_service_s_nodes_is_on_each_of_its_pools() -> None:
    life = a_life([Pool("a", 8, 0, 2), Pool("b", 8, 0, 2)], [(0, 1)])
    life.begin_with(0, 24)
    life.lose_nodes(Fault(kind="SpotLoss", from_s=10, until_s=10, share=0.5, row=0))
    live(life, 0, 10)
    assert [pool.ready for pool in life.pools] == [1, 0]
    assert on(life) == [(8, 0, 0), (0, 0, 0)]


def test_each_pool_begins_with_its_lower_bound_of_nodes() -> None:
    life = a_life([Pool("a", 8, 0, 2), Pool("b", 4, 3, 3)], [(0, 1)])
    life.begin_with(0, 6)
    assert [pool.ready for pool in life.pools] == [1, 3]


def test_what_a_loss_leaves_free_goes_to_the_higher_priority() -> None:
    life = a_life([Pool("a", 8, 0, 1), Pool("b", 4, 0, 2)], [(0, 1), (0, 1)], priorities=[0, 5])
    life.begin_with(0, 4)
    life.begin_with(1, 4)
    life.faults.add(Fault(kind="ScarceNodes", from_s=0, until_s=900))
    life.pools[1].ready = 2
    life.lose_nodes(Fault(kind="SpotLoss", from_s=10, until_s=10, share=0.5))
    life.happen(10)
    # One node of each pool goes, and nobody who was lost on the one is lost once more on the other.
    assert [pool.ready for pool in life.pools] == [0, 1]
    assert on(life, 1) == [(0, 0, 0), (0, 4, 0)]
    assert on(life, 0) == [(0, 0, 0), (0, 0, 0)]


def test_no_node_is_made_for_who_was_leaving_when_it_was_lost() -> None:
    life = a_life([Pool("a", 4)], [(0,), (0,)])
    life.begin_with(0, 4)
    life.begin_with(1, 4)
    life.set_replicas(1, 0, 0)
    life.lose_nodes(Fault(kind="SpotLoss", from_s=10, until_s=10, share=1.0))
    life.happen(10)
    (pool,) = life.pools
    assert (pool.ready, pool.coming, pool.held) == (0, 1, 4)


def test_the_plan_s_nodes_are_taken_whatever_the_order() -> None:
    life = a_life([Pool("h100", 8, 0, 4), Pool("l40s", 8, 0, 4)], [(0, 1)])
    life.begin_with(0, 8)
    for number, nodes in enumerate((1, 1)):
        life.set_nodes(number, nodes, 0)
    life.set_replicas(0, 12, 0)
    live(life, 0, 180)
    assert on(life) == [(8, 0, 0), (0, 4, 0)]
    assert [pool.total for pool in life.pools] == [1, 1]


def test_headroom_is_made_where_there_is_room_then_on_the_first_pool_that_may_grow() -> None:
    life = a_life([Pool("h100", 8, 0, 1), Pool("l40s", 4, 0, 3)], [(0, 1)])
    life.begin_with(0, 6)
    life.set_headroom(0, 2, 0)
    assert [pool.total for pool in life.pools] == [1, 0]
    life.set_headroom(0, 7, 0)
    assert [pool.total for pool in life.pools] == [1, 2]
    life.set_headroom(0, 0, 0)
    live(life, 0, 600)
    assert [pool.total for pool in life.pools] == [1, 0]


def test_where_no_node_is_to_be_had_it_is_asked_for_again() -> None:
    life = a_life([Pool("h100", 8, 0, 1), Pool("l40s", 8, 0, 1)], [(0, 1)])
    life.begin_with(0, 8)
    life.faults.add(Fault(kind="ScarceNodes", from_s=0, until_s=1000))
    life.set_replicas(0, 10, 10)
    live(life, 10, 999)
    assert [pool.total for pool in life.pools] == [1, 0]
    live(life, 1000, 1005 + 180 + 120)
    assert on(life) == [(8, 0, 0), (2, 0, 0)]


async def test_who_leaves_with_a_node_that_is_told_to_go_is_told_once() -> None:
    """As in a cluster, where it needs no node any more."""
    (one,) = specs()
    made = [replace(one, pools=(PoolUse(name="a"), PoolUse(name="b")))]
    faults = Faults(np.random.Generator(np.random.PCG64(1)))
    pools = [Pool("a", 8, 0, 1), Pool("b", 8, 0, 1)]
    plant = FluidPlant(made, np.ones((1, 900)), PlantSettings(times=TIMES, initial=12), faults, pools, [(0, 1)], np.array([5.0]))
    cluster = PlantCluster(plant, made, (), 0.0)
    plant.life.lose_nodes(Fault(kind="SpotLoss", from_s=200, until_s=200, share=1.0, notice_s=100, pool=1))
    plant.life.set_replicas(0, 10, 0)
    assert (await cluster.observe(0.0)).draining_on == {0: {"a": 0, "b": 2}}
    plant.advance_to(95)
    plant.life.set_replicas(0, 7, 95)
    before = await cluster.observe(95.0)
    assert (before.draining_on, before.draining_lost) == ({0: {"a": 1, "b": 2}}, {})
    plant.advance_to(101)
    told = await cluster.observe(101.0)
    assert (told.draining_on, told.draining_lost) == ({0: {"a": 1, "b": 0}}, {0: 2})
    assert before.draining_on == {0: {"a": 1, "b": 2}}, "a fleet that was handed over stays as it is"


def test_an_update_takes_the_old_ones_from_where_they_are() -> None:
    life = a_life([Pool("h100", 8, 0, 1), Pool("l40s", 8, 0, 2)], [(0, 1)])
    life.begin_with(0, 12)
    life.updates = Updates(life, [Update(at_s=0, version="v2", surge_ratio=0.25, unavailable_ratio=0.0, row=0)])
    live(life, 0, 130)
    # Three of the new version have come beside the old ones on l40s, and one more starts there; three of the oldest leave h100.
    assert on(life) == [(5, 0, 3), (7, 1, 0)]


def test_a_new_node_takes_as_long_as_the_slowest_pool_s_once_all_are_known() -> None:
    life = a_life([Pool("h100", 8, 0, 1), Pool("l40s", 8, 0, 2)], [(0, 1)])
    told_s = life.node_lead_time_s.item(0)
    life.orders.measured.add(0, 500, (0,))
    assert life.node_lead_time_s.item(0) == told_s
    life.orders.measured.add(1, 300, (0,))
    assert life.node_lead_time_s.item(0) == 500.0
    life.orders.measured.add(1, 700, (0,))
    life.orders.measured.add(1, 700, (0,))
    assert life.node_lead_time_s.item(0) == 700.0


def test_each_pool_s_strip_shows_what_is_on_it() -> None:
    life = a_life([Pool("h100", 8, 0, 1), Pool("l40s", 8, 0, 2)], [(0, 1)])
    life.begin_with(0, 10)
    for pool, running in zip(life.pools, (8, 2), strict=True):
        seen = Placing(pool, specs(1), [0], partial(life.on_nodes, pool=pool), 0.0).seen()
        assert [(node.name, [runs.ready for runs in node.runs]) for node in seen.pick(9)] == [(f"{pool.name}-1", [running])]


steps = st.tuples(st.integers(0, 150), st.integers(0, 3), st.integers(0, 24))
MANY: list[tuple[int, ...]] = [(0, 1), (1, 0, 2), (1,), (2,)]
"""The last one's pool hangs together with the others."""
EACH = [1, 3, 2, 1]


@given(
    st.lists(steps, max_size=14),
    st.lists(st.tuples(st.integers(0, 1500), st.floats(0, 1), st.sampled_from([None, 0, 1, 2])), max_size=3),
    st.sampled_from([None, 0, 30]),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=4),
    st.booleans(),
)
def test_every_replica_is_somewhere_and_no_pool_has_more_than_its_slots(
    wishes: list[tuple[int, int, int]],
    losses: list[tuple[int, float, int | None]],
    swap: int | None,
    planned: list[tuple[int, int]],
    by_plan: bool,
) -> None:
    times = replace(TIMES, start=Durations(usual_s=100, spread=0.4), swap_s=swap)
    pools = [Pool("a", 8, 0, 2), Pool("b", 4, 1, 3), Pool("c", 8, 0, 2)]
    life = a_life(pools, MANY, priorities=[0, 5, 0, 2], times=times, each=EACH)
    for row in range(4):
        life.begin_with(row, 2)
    for at_s, share, of in losses:
        life.lose_nodes(Fault(kind="SpotLoss", from_s=at_s, until_s=at_s, share=share, row=of))
    life.faults.add(Fault(kind="FailedStarts", from_s=0, until_s=400, share=0.3))
    at_s = 0
    for turn, (after_s, row, replicas) in enumerate(wishes):
        live(life, at_s, at_s + after_s)
        at_s += after_s + 1
        if by_plan and turn < len(planned):
            life.set_nodes(*planned[turn], at_s)
        life.set_replicas(row, replicas, at_s)
        life.set_headroom(row, replicas % 3, at_s)
        in_order(life)


def in_order(life: Lifecycle) -> None:
    for number, pool in enumerate(life.pools):
        rows = [row for row, own in enumerate(life.pools_of) if number in own]
        there = sum(EACH[row] * sum(life.on_nodes(row, pool)) for row in rows)
        assert min(*(count for row in rows for count in life.on_nodes(row, pool)), pool.warm, pool.coming, pool.owed) >= 0
        assert pool.used == there
        assert 0 <= pool.used <= pool.ready * pool.slots
        own = [one for row in rows if len(life.pools_of[row]) == 1 for one in life._starts.of[row]]
        assert pool.held == there + sum(EACH[one.row] * one.count for one in own if one.on is None)
    for row, own_pools in enumerate(life.pools_of):
        ready, starting, draining = map(sum, zip(*on(life, row), strict=True))
        waiting = [one for one in life._starts.of[row] if one.on is None]
        assert (ready, draining) == (life.ready[row], life.draining[row])
        assert starting + sum(one.count for one in waiting) == life.starting[row]
        assert life.ready[row] + life.starting[row] == life.current[row]
        # Whoever waits does so on each of its pools, and has no room on any.
        for cohort in waiting:
            for number in own_pools:
                pool = life.pools[number]
                assert pool.waiting.count(cohort) == 1
                ahead = pool.waiting[0]
                assert pool.free < EACH[ahead.row] or ahead.count == 0


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 20), st.integers(0, 4)), max_size=12),
    st.lists(st.tuples(st.integers(0, 1500), st.floats(0, 1)), max_size=2),
)
def test_who_may_run_on_a_pool_without_nodes_as_well_lives_as_on_the_other_alone(
    wishes: list[tuple[int, int, int]], losses: list[tuple[int, float]]
) -> None:
    alone = a_life([Pool("a", 8, 0, 2)], [(0,)])
    both = a_life([Pool("a", 8, 0, 2), Pool("none", 8, 0, 0)], [(1, 0)])
    for life in (alone, both):
        life.begin_with(0, 3)
        for at_s, share in losses:
            life.lose_nodes(Fault(kind="SpotLoss", from_s=at_s, until_s=at_s, share=share))
    at_s = 0
    for after_s, replicas, headroom in wishes:
        told = []
        for life in (alone, both):
            live(life, at_s, at_s + after_s)
            life.set_headroom(0, headroom, at_s + after_s)
            life.set_replicas(0, replicas, at_s + after_s)
            pool = life.pools[0]
            counts = (life.ready[0], life.starting[0], life.draining[0], life.nodes(0), life.replica_s(0, at_s + after_s))
            told.append((*counts, pool.used, pool.warm, pool.node_s(at_s + after_s)))
        assert told[0] == told[1]
        at_s += after_s + 1
