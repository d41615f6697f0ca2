from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.plant.faults import Fault, Faults
from replay.plant.lifecycle import Lifecycle
from replay.plant.nodes import Pool
from replay.plant.times import Times
from tests.replay.made import TIMES, lifecycle, specs


def live(life: Lifecycle, from_s: int, to_s: int) -> None:
    for at_s in range(from_s, to_s + 1):
        life.happen(at_s)
        if at_s % 15 == 0:
            life.check_nodes(at_s)


def counts(life: Lifecycle, row: int = 0) -> tuple[int, int, int, int]:
    return int(life.ready[row]), int(life.starting[row]), int(life.draining[row]), life.nodes(row)


def test_a_replica_with_a_free_slot_takes_its_start_time_only() -> None:
    life = lifecycle()
    life.begin_with(0, 10)
    assert counts(life) == (10, 0, 0, 2)
    life.set_replicas(0, 16, 0)
    live(life, 0, 119)
    assert counts(life) == (10, 6, 0, 2)
    live(life, 120, 120)
    assert counts(life) == (16, 0, 0, 2)
    assert life.lead_time_s[0] == 120.0


def test_a_replica_without_a_free_slot_waits_for_a_node_first() -> None:
    life = lifecycle()
    life.begin_with(0, 10)
    life.set_replicas(0, 18, 0)
    assert counts(life) == (10, 8, 0, 3)
    live(life, 0, 120)
    assert counts(life) == (16, 2, 0, 3)
    live(life, 121, 299)
    assert counts(life) == (16, 2, 0, 3)
    live(life, 300, 300)
    assert counts(life) == (18, 0, 0, 3)


def test_the_newest_that_are_not_ready_are_cancelled_first() -> None:
    life = lifecycle()
    life.begin_with(0, 8)
    life.set_replicas(0, 12, 0)  # four wait for a node
    live(life, 0, 30)
    life.set_replicas(0, 14, 30)
    life.set_replicas(0, 11, 45)  # the two of second 30 and one of second 0 go, at once
    assert counts(life) == (8, 3, 0, 2)
    life.set_replicas(0, 6, 60)
    assert counts(life) == (6, 0, 2, 2)
    live(life, 46, 79)
    assert counts(life)[2] == 2
    live(life, 80, 80)
    assert counts(life) == (6, 0, 0, 2)


def test_a_drained_slot_is_taken_by_one_that_waits() -> None:
    life = lifecycle(times=Times(start_s=120, drain_s=20, node_s=10_000, spare_s=600, check_s=15))
    life.begin_with(0, 8)
    life.set_replicas(0, 6, 0)
    life.set_replicas(0, 8, 5)  # both slots are still held by the draining ones
    live(life, 0, 139)
    assert counts(life)[:3] == (6, 2, 0)
    live(life, 140, 140)
    assert counts(life)[:3] == (8, 0, 0)


def test_spare_nodes_go_together_after_ten_minutes_without_a_break() -> None:
    life = lifecycle()
    life.begin_with(0, 24)
    life.set_replicas(0, 8, 0)
    live(life, 0, 615)
    assert life.nodes(0) == 3
    life.set_replicas(0, 24, 616)  # a break
    live(life, 616, 700)
    life.set_replicas(0, 8, 701)  # those were starting, and leave at once: spare from the check at 705 on
    live(life, 701, 1304)
    assert life.nodes(0) == 3
    live(life, 1305, 1305)
    assert life.nodes(0) == 1


def test_headroom_holds_nodes_and_nothing_else() -> None:
    life = lifecycle()
    life.begin_with(0, 8)
    life.set_headroom(0, 3, 0)
    assert counts(life) == (8, 0, 0, 2)
    live(life, 0, 200)
    life.set_replicas(0, 11, 200)
    live(life, 201, 320)
    assert counts(life) == (11, 0, 0, 2)
    life.set_headroom(0, 0, 320)
    assert life.replica_s(0, 320) == 8 * 200 + 11 * 120
    assert life.pools[0].node_s(320) == 2 * 320


def test_a_plan_s_node_count_is_followed_and_no_busy_node_goes() -> None:
    life = lifecycle()
    life.begin_with(0, 10)
    life.set_nodes(0, 5, 0)
    assert life.nodes(0) == 5
    live(life, 0, 5000)
    assert life.nodes(0) == 5
    life.set_nodes(0, 1, 5000)
    assert life.nodes(0) == 2
    life.set_replicas(0, 20, 5001)
    live(life, 5001, 6000)
    assert counts(life) == (16, 4, 0, 2)  # the plan gives no third node


def test_scarce_nodes_and_shared_pools() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    life = Lifecycle(specs(2), [Pool("shared", 8, 0, 2)], [(0,), (0,)], TIMES, Faults(rng))
    life.begin_with(0, 4)
    life.begin_with(1, 4)
    life.set_replicas(0, 12, 0)
    life.set_replicas(1, 8, 0)
    live(life, 0, 1000)
    assert life.pools[0].total == 2
    assert (counts(life, 0)[:2], counts(life, 1)[:2]) == ((12, 0), (4, 4))
    life.set_replicas(0, 4, 1000)
    live(life, 1000, 1200)
    assert counts(life, 1)[:2] == (8, 0)


def test_slow_and_failed_starts_are_felt_and_measured() -> None:
    life = lifecycle()
    life.faults.add(Fault(kind="SlowStarts", from_s=0, until_s=100, factor=2.5))
    life.begin_with(0, 4)
    life.set_replicas(0, 6, 0)
    live(life, 0, 299)
    assert counts(life)[:2] == (4, 2)
    live(life, 300, 300)
    assert counts(life)[:2] == (6, 0)
    assert life.lead_time_s[0] == 300.0
    life.faults.add(Fault(kind="FailedStarts", from_s=0, until_s=500, share=1.0))
    life.set_replicas(0, 8, 301)
    live(life, 301, 500)
    assert counts(life)[:2] == (6, 2)
    live(life, 501, 541)
    assert counts(life)[:2] == (8, 0)


@given(
    wishes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60), st.integers(0, 10)), min_size=1, max_size=25),
    slots=st.integers(1, 9),
)
def test_whatever_is_asked_for_the_books_balance(wishes: list[tuple[int, int, int]], slots: int) -> None:
    life = lifecycle(slots=slots)
    life.begin_with(0, 10)
    at_s, replica_s, node_s = 0, 0, 0
    for after_s, replicas, headroom in [*wishes, (1500, 1, 0), (1500, 1, 0)]:
        for now in range(at_s, at_s + after_s):
            live(life, now, now)
            ready, starting, draining, nodes = counts(life)
            pool = life.pools[0]
            assert ready + starting == life.current[0]
            assert ready + starting + draining == pool.held
            assert min(ready, starting, draining, pool.used, pool.coming) >= 0
            assert pool.used <= pool.ready * slots
            assert pool.held + pool.headroom <= nodes * slots
            assert sum(cohort.count for cohort in life._starts.of[0]) == starting
            replica_s += ready + starting + draining
            node_s += nodes
        at_s += after_s
        life.happen(at_s)
        life.set_headroom(0, headroom, at_s)
        life.set_replicas(0, replicas, at_s)
    assert life.replica_s(0, at_s) == replica_s
    assert life.pools[0].node_s(at_s) == node_s
    assert counts(life) == (1, 0, 0, 1)


def test_measured_times_start_as_configured() -> None:
    life = lifecycle()
    assert (life.lead_time_s[0], life.node_lead_time_s[0]) == pytest.approx((120.0, 180.0))
