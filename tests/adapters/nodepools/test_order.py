"""Bounds, cool-down, pauses and the step limit hold whatever the plan says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.nodepools.backend import PoolState
from autoscaler.adapters.nodepools.order import CoolDown, Limits, order

WIDE = Limits(min_nodes=0, max_nodes=100, max_step=100)


def nodes(planned: int, state: PoolState, limits: Limits = WIDE, lately: int = 0, paused: str = "") -> int:
    return order(planned, lately, limits, state, paused).nodes


@pytest.mark.parametrize(
    ("planned", "expected"),
    [(0, 2), (3, 3), (50, 9)],
)
def test_the_pool_s_bounds(planned: int, expected: int) -> None:
    assert nodes(planned, PoolState(target=3, ready=3), Limits(min_nodes=2, max_nodes=9, max_step=100)) == expected


def test_the_system_s_bounds_are_told() -> None:
    made = order(8, 0, WIDE, PoolState(target=3, ready=3, max_nodes=4))
    assert made.nodes == 4
    assert "the system's own bounds: 4 instead of 8" in made.why


def test_a_step_counts_what_is_on_its_way() -> None:
    limits = Limits(min_nodes=0, max_nodes=100, max_step=3)
    assert nodes(10, PoolState(target=2, ready=2), limits) == 5
    # The same step again, after a restart say: the three are still on their way.
    assert nodes(10, PoolState(target=5, ready=2), limits) == 5
    assert nodes(10, PoolState(target=5, ready=4), limits) == 7
    assert nodes(0, PoolState(target=9, ready=9), limits) == 6
    assert nodes(0, PoolState(target=6, ready=9), limits) == 6
    # What never came is not waited for on the way down.
    assert nodes(4, PoolState(target=9, ready=2), limits) == 4


def test_without_a_count_of_ready_nodes_a_step_counts_from_what_was_asked_for() -> None:
    assert nodes(10, PoolState(target=2), Limits(min_nodes=0, max_nodes=100, max_step=3)) == 5


@pytest.mark.parametrize(("paused", "up", "down"), [("", 9, 1), ("Up", 4, 1), ("Down", 9, 4), ("Both", 4, 4)])
def test_pauses(paused: str, up: int, down: int) -> None:
    state = PoolState(target=4, ready=4)
    assert (nodes(9, state, paused=paused), nodes(1, state, paused=paused)) == (up, down)


def test_zones_round_up_unless_the_bound_forbids() -> None:
    state = PoolState(target=3, ready=3, multiple=3)
    assert nodes(4, state) == 6
    assert nodes(4, state, Limits(min_nodes=0, max_nodes=5, max_step=100)) == 3


@given(
    st.integers(0, 300),
    st.integers(0, 300),
    st.builds(Limits, min_nodes=st.integers(0, 20), max_nodes=st.integers(20, 200), max_step=st.integers(1, 30)),
    st.builds(
        PoolState,
        target=st.none() | st.integers(0, 250),
        ready=st.none() | st.integers(0, 250),
        max_nodes=st.none() | st.integers(0, 250),
        multiple=st.integers(1, 4),
    ),
    st.sampled_from(["", "Up", "Down", "Both"]),
)
def test_never_beyond_bounds_or_step(planned: int, lately: int, limits: Limits, state: PoolState, paused: str) -> None:
    made = order(planned, lately, limits, state, paused).nodes
    target = state.target if state.target is not None else state.ready or 0
    ready = target if state.ready is None else state.ready
    step = max(limits.max_step, state.multiple)
    assert made >= 0
    assert made <= max(target, min(limits.max_nodes, ready + step))
    assert made >= min(target, ready - step)
    if made > target and state.max_nodes is not None:
        assert made <= state.max_nodes
    if paused == "Both" and state.target is not None:
        assert made == target
    # Asked again where the system has it, it does not turn round.
    again = order(
        planned,
        lately,
        limits,
        PoolState(target=made, ready=state.ready, max_nodes=state.max_nodes, multiple=state.multiple),
        paused,
    )
    if made > target:
        assert again.nodes >= target


def test_the_largest_wish_of_the_cool_down() -> None:
    lately = CoolDown(600.0)
    assert lately.take(0.0, 3, 8) == 8, "a start gives nothing back before the cool-down has passed"
    assert lately.take(300.0, 5, 8) == 8
    assert lately.take(599.0, 2, 8) == 8
    assert lately.take(601.0, 2, 8) == 5
    assert lately.take(901.0, 2, 5) == 2
    assert lately.take(902.0, 9, 2) == 9, "growing waits for nothing"
    assert lately.take(903.0, 1, 9) == 9


def test_without_a_cool_down_every_wish_counts_at_once() -> None:
    lately = CoolDown(0.0)
    assert [lately.take(float(at), planned, 9) for at, planned in enumerate((5, 1, 3))] == [5, 1, 3]
