"""Starts that vary, nodes that are lost or not to be had, priorities and swaps: the part of the lifecycle that both plants share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.plant.durations import Durations
from replay.plant.faults import Fault, Faults
from replay.plant.lifecycle import Lifecycle
from replay.plant.losses import lost_by_service
from replay.plant.nodes import Pool
from tests.replay.made import TIMES, lifecycle, specs


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def live(life: Lifecycle, from_s: int, to_s: int) -> None:
    for at_s in range(from_s, to_s + 1):
        life.happen(at_s)
        if at_s % 15 == 0:
            life.check_nodes(at_s)


def counts(life: Lifecycle, row: int = 0) -> tuple[int, int, int, int]:
    return int(life.ready[row]), int(life.starting[row]), int(life.draining[row]), life.nodes(row)


def balanced(life: Lifecycle) -> None:
    for number, pool in enumerate(life.pools):
        rows = [row for row, own in enumerate(life.pools_of) if number in own]
        assert pool.held == sum(sum(counts(life, row)[:3]) for row in rows)
        assert 0 <= pool.used <= pool.ready * pool.slots
        waiting = sum(cohort.count for row in rows for cohort in life._starts.of[row] if cohort.on is None)
        assert pool.used == pool.held - waiting
        for row in rows:
            assert life.ready[row] + life.starting[row] == life.current[row]
            assert sum(cohort.count for cohort in life._starts.of[row]) == life.starting[row]


def test_durations_have_the_mean_and_the_spread_that_were_asked_for() -> None:
    drawn = np.array([Durations(usual_s=120, spread=0.5).draw(rng(seed)) for seed in range(4000)])
    assert drawn.mean() == pytest.approx(120, rel=0.03)
    assert drawn.std() == pytest.approx(60, rel=0.08)
    generator = rng()
    measured = Durations(usual_s=1, measured_s=(90, 100, 250))
    assert {measured.draw(generator) for _ in range(100)} == {90, 100, 250}
    assert Durations(usual_s=7).draw(generator) == 7


def test_starts_that_vary_come_one_by_one() -> None:
    times = replace(TIMES, start=Durations(usual_s=120, measured_s=(60, 90, 200)))
    life = lifecycle(times=times)
    life.begin_with(0, 2)
    life.set_replicas(0, 8, 0)
    ready = set()
    for at_s in range(201):
        live(life, at_s, at_s)
        balanced(life)
        ready.add((at_s, counts(life)[0]))
    steps = sorted({at_s for at_s, now in ready if (at_s - 1, now) not in ready and at_s})
    assert set(steps) <= {60, 90, 200}
    assert len(steps) > 1
    assert counts(life)[:2] == (8, 0)


def test_nodes_that_vary_come_one_by_one() -> None:
    life = lifecycle(times=replace(TIMES, node=Durations(usual_s=180, measured_s=(100, 300))))
    life.set_replicas(0, 64, 0)
    live(life, 0, 100)
    some = life.pools[0].ready
    assert 0 < some < 8
    live(life, 101, 300)
    assert life.pools[0].ready == 8
    balanced(life)


def test_a_lost_node_takes_its_replicas_along_and_they_are_created_anew() -> None:
    life = lifecycle()
    life.begin_with(0, 16)
    life.lose_nodes(Fault(kind="SpotLoss", from_s=100, until_s=100, share=0.5))
    live(life, 0, 100)
    assert counts(life) == (8, 8, 0, 2)  # the second node is on its way
    balanced(life)
    live(life, 101, 100 + 180 + 120)
    assert counts(life) == (16, 0, 0, 2)
    assert life.current[0] == 16


def test_a_loss_of_draining_replicas_ends_them_once() -> None:
    life = lifecycle()
    life.begin_with(0, 16)
    life.lose_nodes(Fault(kind="SpotLoss", from_s=10, until_s=10, share=1.0))
    life.set_replicas(0, 5, 0)
    live(life, 0, 9)
    assert counts(life)[:3] == (5, 0, 11)
    live(life, 10, 30)
    assert counts(life)[:3] == (0, 5, 0)
    balanced(life)


@given(
    wishes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 1), st.integers(0, 30)), min_size=1, max_size=20),
    losses=st.lists(st.tuples(st.integers(0, 2000), st.floats(0, 1)), max_size=4),
    swap=st.sampled_from([None, 0, 30]),
)
def test_whatever_is_lost_the_books_balance(
    wishes: list[tuple[int, int, int]], losses: list[tuple[int, float]], swap: int | None
) -> None:
    one, two = specs(2)
    times = replace(TIMES, start=Durations(usual_s=100, spread=0.4), swap_s=swap)
    pair = (replace(one, accelerators_per_replica=3), replace(two, priority=5))
    life = Lifecycle(pair, [Pool("shared", 8, 0, 6)], [(0,), (0,)], times, Faults(rng()))
    life.begin_with(0, 4)
    for at_s, share in losses:
        life.lose_nodes(Fault(kind="SpotLoss", from_s=at_s, until_s=at_s, share=share))
    at_s = 0
    for after_s, row, replicas in wishes:
        live(life, at_s, at_s + after_s)
        at_s += after_s + 1
        life.set_replicas(row, replicas, at_s)
        pool = life.pools[0]
        assert pool.held == 3 * sum(counts(life, 0)[:3]) + sum(counts(life, 1)[:3])
        assert 0 <= pool.used <= pool.ready * pool.slots
        assert pool.warm >= 0
        for row in (0, 1):
            assert life.ready[row] + life.starting[row] == life.current[row]
            assert min(counts(life, row)) >= 0


@given(
    replicas=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4),
    each=st.integers(1, 4),
    nodes=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_what_is_left_fits_on_the_nodes_that_stay(replicas: list[tuple[int, int, int]], each: int, nodes: int, seed: int) -> None:
    used = each * sum(map(sum, replicas))
    slots = max(-(-used // 8), nodes) * 8
    lost = lost_by_service(replicas, [each] * len(replicas), slots - used, nodes * 8, rng(seed))
    assert all(0 <= gone <= had for row, old in zip(lost, replicas, strict=True) for gone, had in zip(row, old, strict=True))
    assert used - each * sum(map(sum, lost)) <= slots - nodes * 8


def test_no_node_is_to_be_had_for_a_while() -> None:
    life = lifecycle()
    life.begin_with(0, 8)
    life.faults.add(Fault(kind="ScarceNodes", from_s=0, until_s=1000))
    life.set_replicas(0, 16, 10)
    live(life, 10, 999)
    assert counts(life) == (8, 8, 0, 1)
    live(life, 1000, 1005 + 180 + 120)
    assert counts(life) == (16, 0, 0, 2)


def test_scarce_slots_go_to_the_higher_priority_first() -> None:
    one, two = specs(2)
    life = Lifecycle((one, replace(two, priority=10)), [Pool("shared", 8, 0, 2)], [(0,), (0,)], TIMES, Faults(rng()))
    life.begin_with(0, 4)
    life.begin_with(1, 4)
    life.set_replicas(0, 12, 0)
    life.set_replicas(1, 10, 0)
    live(life, 0, 500)
    assert (counts(life, 0)[:2], counts(life, 1)[:2]) == ((6, 6), (10, 0))


def test_a_swap_into_a_warm_slot_is_quicker_than_a_start() -> None:
    life = Lifecycle(specs(2), [Pool("shared", 8, 1, 1)], [(0,), (0,)], replace(TIMES, swap_s=25), Faults(rng()))
    life.begin_with(0, 6)
    life.set_replicas(0, 3, 0)
    live(life, 0, 20)
    life.set_replicas(1, 5, 20)  # three warm slots, two that nobody has used
    live(life, 21, 45)
    assert counts(life, 1)[:2] == (3, 2)
    live(life, 46, 140)
    assert counts(life, 1)[:2] == (5, 0)
