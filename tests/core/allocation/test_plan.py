"""The plan: the fleet-wide budget, who goes first, node counts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.model import Ints, PoolSpec, PoolUse
from autoscaler.core.short import Bound, Bounds, Short
from autoscaler.core.table import Table
from tests.core.allocation.fleets import a_pool, a_service, decided, fleet_of, plan_of
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
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 4), st.sampled_from([1, 2, 4, 8])),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_a_node_that_carries_something_is_never_planned_away(
    services: list[tuple[int, int, int, int]], add: int, remove: int
) -> None:
    """What is told to go runs in this tick, and drains in the next: the nodes fall when it is gone, and never before."""
    specs = [
        a_spec(f"s{i}", pool="h100", min_replicas=0, accelerators_per_replica=size) for i, (_, _, _, size) in enumerate(services)
    ]
    sizes = np.array([size for *_, size in services])
    current, desired = np.array([s[0] for s in services]), [s[1] for s in services]
    draining = np.array([s[2] for s in services])
    pools = (PoolSpec(name="h100", min_nodes=0, max_nodes=1000, accelerators_per_node=8),)
    plan = plan_of(specs, current.tolist(), desired, ChangeBudget(add=add, remove=remove), pools=pools, draining=draining)
    standing = np.maximum(plan.replicas, current) + draining
    # 8 is a multiple of 4 of 2 of 1: so many accelerators fill so many nodes.
    assert plan.nodes["h100"] == -(-int((standing * sizes).sum()) // 8)
    went = np.maximum(current - plan.replicas, 0)
    after = plan_of(specs, plan.replicas.tolist(), plan.replicas.tolist(), pools=pools, draining=draining + went)
    assert after.nodes == plan.nodes, "the next tick sees them drain"
    gone = plan_of(specs, plan.replicas.tolist(), plan.replicas.tolist(), pools=pools)
    assert gone.nodes["h100"] == -(-int((plan.replicas * sizes).sum()) // 8)


def test_replicas_that_found_no_node_hold_none_while_they_are_told_to_go() -> None:
    stuck = Bounds(released={0: 5})
    fleet = fleet_of(
        [a_spec(pool="h100", min_replicas=0)],
        [16],
        pools=(PoolSpec(name="h100", min_nodes=0, max_nodes=9, accelerators_per_node=8),),
    )
    plan = allocate(Table(fleet), fleet, decided([8]), ChangeBudget(), bounds=stuck)
    assert (plan.replicas.tolist(), plan.taken) == ([8], {"h100": 11}), "8, and 3 that run until they are gone"


def test_who_waits_where_one_of_its_pools_is_short_and_another_full_reads_of_the_short_one() -> None:
    """Replicas on no node wait for neither pool, or for both; which of them the plan takes for the one that cut them is not for the words to say."""
    state = Short(since_s=0.0, until_s=300.0, pause_s=300.0, there=1, trying=0, resource="nvidia.com/gpu", said="nobody")
    short = Bound(most=1, trying=0, words="pool a has no more nodes", state=state)
    service = a_service("chat", "a", pools=(PoolUse(name="a"), PoolUse(name="b")))
    fleet = fleet_of(
        [service],
        [20],
        pools=(a_pool("a", 4, cost_per_hour=2), a_pool("b", 1, cost_per_hour=1)),
        placed={0: {"a": 8, "b": 8}},
        starting=np.array([4]),
    )
    plan = allocate(Table(fleet), fleet, decided([20]), ChangeBudget(), bounds=Bounds(pools={"a": short}, released={0: 4}))
    assert plan.replicas.tolist() == [16]
    assert (plan.limits[0].name, plan.limits[0].why) == (
        "ScaleUpStuck",
        "pool a has no more nodes: 16 of 20 replicas have a place",
    )


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
