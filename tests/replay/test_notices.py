"""Nodes that are told to go: what starts on them, who is lost with them, and what the books say, by the second."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.plant.durations import Durations
from replay.plant.faults import Fault, Faults
from replay.plant.lifecycle import Lifecycle
from replay.plant.nodes import Pool
from tests.replay.made import TIMES, lifecycle, specs
from tests.replay.test_lifecycle_faults import balanced, counts, live, rng


def loss(at_s: int, share: float, notice_s: int, pool: int | None = None) -> Fault:
    return Fault(kind="SpotLoss", from_s=at_s, until_s=at_s, share=share, notice_s=notice_s, pool=pool)


def test_nothing_new_starts_on_a_node_that_is_told_to_go_and_what_runs_goes_on() -> None:
    life = lifecycle(max_nodes=2)
    life.begin_with(0, 10)  # six slots are free
    life.lose_nodes(loss(400, 0.5, 300))
    live(life, 0, 100)
    pool = life.pools[0]
    (notice,) = pool.notices
    assert (pool.noticed, notice.nodes) == (1, 1)
    assert pool.free == 8 - (10 - notice.used)
    life.set_replicas(0, 16, 110)
    live(life, 110, 399)
    assert counts(life)[:2] == (10 + pool.slots - (10 - notice.used), notice.used - 2), "only the other node's slots were taken"
    balanced(life)
    live(life, 400, 400)
    assert pool.notices == []
    assert counts(life)[0] == 8, "the other node is full and goes on"
    balanced(life)


def test_a_replacement_that_is_there_before_the_loss_costs_a_start_and_no_more() -> None:
    """Hand-reckoned: 16 replicas on two nodes; one is told to go at 280 and is lost at 400. A plan orders a third at 280, which is ready at 370; the
    eight that are lost start there at 400 and serve at 520: 8 × 120 s are missing. Without a notice it is ordered at 400: 8 × (90 + 120) s."""
    times = replace(TIMES, node_s=90)
    told, untold = lifecycle(times=times), lifecycle(times=times)
    for life, notice_s in ((told, 120), (untold, 0)):
        life.begin_with(0, 16)
        life.lose_nodes(loss(400, 0.5, notice_s))
        life.set_nodes(0, 2, 0)
        live(life, 0, 279)
    live(told, 280, 280)
    told.set_nodes(0, 3, 280)
    live(told, 281, 400)
    assert counts(told) == (8, 8, 0, 3), "until it is told that two will do, the pool's system fills up its number"
    told.set_nodes(0, 2, 400)
    assert counts(told) == (8, 8, 0, 2)
    live(told, 401, 519)
    assert counts(told)[:2] == (8, 8)
    live(told, 520, 700)
    assert counts(told) == (16, 0, 0, 2)
    live(untold, 280, 700)
    for life, missing_s, unplaced, noticed in ((told, 8 * 120, 0, 1), (untold, 8 * 210, 8, 0)):
        lost = life.lost(700)
        assert (lost.nodes.tolist(), lost.noticed.tolist(), lost.replicas.tolist()) == ([1], [noticed], [8])
        assert (lost.unplaced.tolist(), lost.missing_s.tolist()) == ([unplaced], [missing_s])


def test_what_is_missing_ends_with_what_is_asked_for() -> None:
    life = lifecycle(max_nodes=1)
    life.begin_with(0, 8)
    life.lose_nodes(loss(100, 1.0, 0))
    live(life, 0, 150)
    assert life.lost(150).missing_s.tolist() == [8 * 50]
    life.set_replicas(0, 3, 150)
    live(life, 150, 200)
    assert life.lost(200).missing_s.tolist() == [8 * 50 + 3 * 50]


def test_replicas_that_start_on_such_a_node_are_ready_there_and_are_lost_with_it() -> None:
    life = lifecycle()
    life.begin_with(0, 4)
    life.set_replicas(0, 8, 10)  # on the one node, ready at 130
    life.lose_nodes(loss(200, 1.0, 100))
    live(life, 10, 110)
    (notice,) = life.pools[0].notices
    assert (notice.kinds(0), notice.used) == ((4, 4, 0), 8)
    live(life, 111, 199)
    assert (notice.kinds(0), notice.used) == ((8, 0, 0), 8)
    live(life, 200, 200)
    assert counts(life)[:2] == (0, 8)
    balanced(life)


def test_by_the_rule_a_node_comes_when_a_replica_finds_no_room_beside_a_node_that_goes() -> None:
    life = lifecycle()
    life.begin_with(0, 8)
    life.lose_nodes(loss(1000, 1.0, 900))
    live(life, 0, 150)
    assert life.nodes(0) == 1, "nobody waits"
    life.set_replicas(0, 9, 150)
    assert life.nodes(0) == 2
    live(life, 151, 1000)
    assert counts(life) == (1, 8, 0, 2), "the others begin anew, seven of them at once"
    balanced(life)


def test_a_plan_may_not_take_away_what_carries_replicas_beside_a_node_that_goes() -> None:
    life = lifecycle()
    life.begin_with(0, 16)
    life.lose_nodes(loss(1000, 0.5, 900))
    live(life, 0, 100)
    life.set_nodes(0, 0, 100)
    assert life.nodes(0) == 2
    balanced(life)


@pytest.mark.parametrize(("pool", "scarce"), [(0, (True, False)), (1, (False, True)), (None, (True, True))])
def test_one_pool_may_be_scarce_alone(pool: int | None, scarce: tuple[bool, bool]) -> None:
    life = lifecycle(2)
    life.faults.add(Fault(kind="ScarceNodes", from_s=0, until_s=1000, pool=pool))
    for row in (0, 1):
        life.set_replicas(row, 8, 10)
    live(life, 10, 500)
    assert tuple(counts(life, row)[0] == 0 for row in (0, 1)) == scarce
    live(life, 501, 1000 + 15 + 180 + 120)
    assert [counts(life, row)[0] for row in (0, 1)] == [8, 8]


def test_a_service_alone_may_find_its_pool_scarce() -> None:
    life = lifecycle(2)
    life.faults.add(Fault(kind="ScarceNodes", from_s=0, until_s=1000, row=1))
    for row in (0, 1):
        life.set_replicas(row, 8, 10)
    live(life, 10, 500)
    assert [counts(life, row)[0] for row in (0, 1)] == [8, 0]


def of_pools(life: Lifecycle) -> None:
    """Each pool's books, and that what stays when nodes go fits the nodes that stay."""
    each = life.slots_each
    for number, pool in enumerate(life.pools):
        rows = life.orders.rows[number]
        going = sum(notice.used for notice in pool.notices)
        on_nodes = {row: life.on_nodes(row, pool) for row in rows}
        assert pool.used == sum(sum(kinds) * each[row] for row, kinds in on_nodes.items())
        assert 0 <= going <= pool.used <= min(pool.held, pool.ready * pool.slots)
        assert 0 <= pool.noticed <= pool.ready
        assert pool.used - going <= (pool.ready - pool.noticed) * pool.slots
        assert 0 <= pool.free <= (pool.ready - pool.noticed) * pool.slots - (pool.used - going)
        for row, kinds in on_nodes.items():
            assert min(kinds) >= 0
            told = [notice.kinds(row) for notice in pool.notices]
            assert all(0 <= sum(one) <= there for one, there in zip(zip(*told, strict=True), kinds, strict=False))
    for row in range(len(life.current)):
        assert life.ready[row] + life.starting[row] == life.current[row]


@given(
    wishes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 1), st.integers(0, 30)), min_size=1, max_size=20),
    losses=st.lists(
        st.tuples(st.integers(0, 2000), st.floats(0, 1), st.sampled_from([0, 30, 120, 600]), st.sampled_from([None, 0, 1])),
        max_size=6,
    ),
    swap=st.sampled_from([None, 0, 30]),
    failing=st.floats(0, 1),
    fixed=st.sampled_from([None, 0, 3, 6]),
)
def test_whatever_is_told_and_lost_the_books_balance(
    wishes: list[tuple[int, int, int]],
    losses: list[tuple[int, float, int, int | None]],
    swap: int | None,
    failing: float,
    fixed: int | None,
) -> None:
    """Two services on one pool, of which one may run on a second as well."""
    one, two = specs(2)
    times = replace(TIMES, start=Durations(usual_s=100, spread=0.4), swap_s=swap)
    pair = (replace(one, accelerators_per_replica=3), replace(two, priority=5))
    life = Lifecycle(pair, [Pool("shared", 8, 0, 6), Pool("second", 4, 0, 6)], [(0,), (0, 1)], times, Faults(rng()))
    life.begin_with(0, 4)
    life.begin_with(1, 3)
    life.faults.add(Fault(kind="FailedStarts", from_s=0, until_s=1000, share=failing))
    if fixed is not None:
        life.set_nodes(0, fixed, 0)
        life.set_nodes(1, 6 - fixed, 0)
    for at_s, share, notice_s, number in losses:
        life.lose_nodes(loss(at_s, share, notice_s, number))
    at_s = 0
    for after_s, row, replicas in wishes:
        for now_s in range(at_s, at_s + after_s + 1):
            life.happen(now_s)
            if now_s % 15 == 0:
                life.check_nodes(now_s)
            of_pools(life)
        at_s += after_s + 1
        life.set_replicas(row, replicas, at_s)
    lost = life.lost(at_s)
    assert (lost.noticed <= lost.nodes).all()
    assert (lost.unplaced <= lost.replicas).all()
    assert (lost.missing_s >= 0).all()
