"""The plan: the fleet-wide budget, who goes first, node counts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.model import Ints, PoolSpec
from autoscaler.core.table import Table
from tests.core.allocation.fleets import decided, fleet_of, plan_of
from tests.ticks import a_spec


def test_without_a_budget_the_plan_is_the_decision() -> None:
    plan = plan_of([a_spec("a"), a_spec("b")], [5, 5], [50, 1], ChangeBudget())
    assert plan.replicas.tolist() == [50, 1]
    assert plan.act.tolist() == [True, True]
    assert not plan.limits


def test_higher_priority_goes_first_and_the_cut_is_told() -> None:
    specs = [a_spec("low", priority=0), a_spec("high", priority=5)]
    plan = plan_of(specs, [5, 5], [15, 15], ChangeBudget(add=12))
    assert plan.replicas.tolist() == [7, 15]
    assert plan.limits[0].before == 15
    assert plan.limits[0].after == 7
    assert "budget of 12" in plan.limits[0].why


def test_within_one_priority_the_many_small_are_not_starved_by_one_large() -> None:
    specs = [a_spec("large"), *(a_spec(f"small-{i}") for i in range(3))]
    plan = plan_of(specs, [5] * 4, [105, 7, 7, 7], ChangeBudget(add=10))
    assert plan.replicas.tolist() == [9, 7, 7, 7]


def test_removals_have_their_own_budget() -> None:
    plan = plan_of([a_spec("a"), a_spec("b")], [20, 20], [30, 1], ChangeBudget(add=100, remove=4))
    assert plan.replicas.tolist() == [30, 16]


def test_grants_come_in_whole_multiples() -> None:
    plan = plan_of([a_spec("group", replica_multiple=4)], [4], [16], ChangeBudget(add=6))
    assert plan.replicas.tolist() == [8]


def test_shadow_and_foreign_owners_use_no_budget_and_are_not_written() -> None:
    specs = [a_spec("shadow", mode="Shadow"), a_spec("foreign"), a_spec("mine")]
    plan = plan_of(specs, [5, 5, 5], [50, 50, 10], ChangeBudget(add=5), hands_off=np.array([False, True, False]))
    assert plan.act.tolist() == [False, False, True]
    assert plan.replicas.tolist() == [50, 50, 10]


def test_nodes_hold_replicas_leavers_and_headroom_within_the_bounds() -> None:
    specs = [a_spec("a", pool="h100"), a_spec("b", pool="h100", accelerators_per_replica=4), a_spec("elsewhere")]
    pools = (
        PoolSpec(name="h100", min_nodes=1, max_nodes=4, accelerators_per_node=8),
        PoolSpec(name="idle", min_nodes=2, max_nodes=3, accelerators_per_node=8),
    )
    fleet = fleet_of(specs, [3, 2, 9], pools=pools, draining=np.array([2, 0, 0]))
    plan = allocate(Table(fleet), fleet, decided([6, 2, 9], [1, 0, 0]), ChangeBudget())
    assert plan.nodes == {"h100": 3, "idle": 2}  # 6 + 2 + 1 + 2 × 4 = 17 accelerators
    assert plan.taken == {"h100": 16, "idle": 0}, "what pods ask for by themselves: all but the headroom"


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=12),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_the_budget_is_never_exceeded_nor_wasted_and_nobody_overshoots(
    services: list[tuple[int, int, int]], add: int, remove: int
) -> None:
    specs = [a_spec(f"s{i}", priority=priority, min_replicas=0) for i, (_, _, priority) in enumerate(services)]
    current, desired = [s[0] for s in services], [s[1] for s in services]
    plan = plan_of(specs, current, desired, ChangeBudget(add=add, remove=remove))
    change: Ints = plan.replicas - np.array(current)
    wanted = np.array(desired) - np.array(current)
    assert change[change > 0].sum() == min(add, wanted[wanted > 0].sum())
    assert -change[change < 0].sum() == min(remove, -wanted[wanted < 0].sum())
    assert (np.sign(change) * np.sign(wanted) >= 0).all()
    assert (np.abs(change) <= np.abs(wanted)).all()
