"""Services on several pools make way for one another: what that finds, and what it never does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.allocation import board
from autoscaler.core.allocation.making_way import making_way
from autoscaler.core.allocation.packing import packed
from autoscaler.core.allocation.places import places
from autoscaler.core.allocation.wishes import Wishes, wishes
from autoscaler.core.model import Ints, PoolSpec, PoolUse, Quota, ScalingSpec
from autoscaler.core.node_pools import PoolTable
from tests.core.allocation.fleets import a_pool, a_service, fleet_of, plan_of
from tests.core.allocation.test_properties import Case, cases


def on(*names: str) -> tuple[PoolUse, ...]:
    return tuple(PoolUse(name=name) for name in names)


def test_who_is_where_another_one_has_quota_left_goes_elsewhere() -> None:
    """team may have 8 accelerators of a; what it wishes beyond them has a place on b alone, where other, which comes first, finds a cheaper one."""
    specs = [
        a_service("chat", "b", "other", pools=on("b", "a"), priority=1, accelerators_per_replica=4),
        a_service("batch", "b", "team", pools=on("b", "a"), accelerators_per_replica=4),
    ]
    pools = (a_pool("a", 3, cost_per_hour=2, quotas=(Quota(namespace="team", accelerators=8),)), a_pool("b", 1, cost_per_hour=1))
    plan = plan_of(specs, [0, 0], [3, 4], pools=pools)
    assert plan.replicas.tolist() == [3, 4]
    assert (plan.nodes, plan.limits) == ({"a": 3, "b": 1}, {})
    # What runs goes nowhere: a pod that runs moves to no other node.
    assert plan_of(specs, [2, 0], [3, 4], pools=pools, placed={0: {"b": 2}}).replicas.tolist() == [3, 2]


def test_whom_a_lower_priority_can_serve_elsewhere_is_made_way_for_two_deep() -> None:
    """high can only be on a, which middle fills; middle can go to b, which low fills, who has nowhere to go."""
    specs = [
        a_service("high", "a", priority=2, accelerators_per_replica=8),
        a_service("middle", "a", pools=on("a", "b"), priority=3, accelerators_per_replica=3),
        a_service("low", "b", accelerators_per_replica=2),
    ]
    plan = plan_of(specs, [0, 0, 0], [1, 4, 4], pools=(a_pool("a", 1, cost_per_hour=1), a_pool("b", 2, cost_per_hour=2)))
    assert plan.replicas.tolist() == [1, 4, 2]
    assert "2 of 4 replicas have a place" in plan.limits[2].why


def test_lower_bounds_lose_no_place_to_a_higher_priority() -> None:
    specs = [
        a_service("high", "a", priority=2, accelerators_per_replica=8),
        a_service("middle", "a", pools=on("a", "b"), priority=3, accelerators_per_replica=3),
        a_service("low", "b", accelerators_per_replica=2, min_replicas=4),
    ]
    for minimum_first, expected in ((True, [0, 4, 4]), (False, [1, 4, 2])):
        pools = tuple(
            a_pool(name, nodes, cost_per_hour=price, min_replicas_first=minimum_first)
            for name, nodes, price in (("a", 1, 1), ("b", 2, 2))
        )
        assert plan_of(specs, [0, 0, 0], [1, 4, 4], pools=pools).replicas.tolist() == expected


def test_the_few_units_of_a_node_go_into_what_other_nodes_have_left() -> None:
    specs = [
        a_service("one", "dear", pools=on("dear", "cheap")),
        a_service("other", "cheap", pools=on("cheap", "dear"), accelerators_per_replica=3),
    ]
    # Six of three fill nodes of eight with six each: the ones fit into what they leave.
    pools = (a_pool("dear", 5, cost_per_hour=23), a_pool("cheap", 1, cost_per_hour=10))
    plan = plan_of(specs, [0, 0], [6, 6], pools=pools)
    assert plan.replicas.tolist() == [6, 6]
    assert plan.nodes == {"dear": 2, "cheap": 1}


def test_a_cheaper_node_is_no_reason_where_a_request_would_cost_more_on_it() -> None:
    """One h100 for 30 an hour serves 32 requests/s, one l40s for 10 serves 8."""
    spec = a_service("chat", "h100", pools=(PoolUse(name="h100", per_s=4.0), PoolUse(name="l40s", per_s=1.0)))
    pools = (a_pool("h100", 4, cost_per_hour=30), a_pool("l40s", 4, cost_per_hour=10))
    assert plan_of([spec], [0], [8], pools=pools).nodes == {"h100": 1, "l40s": 0}


def test_a_node_that_is_there_is_not_emptied_for_one_that_would_have_to_come() -> None:
    """What it carries starts at once; a cheaper one takes its lead time."""
    spec = a_service("chat", "dear", pools=on("dear", "cheap"))
    pools = (a_pool("dear", 4, cost_per_hour=30), a_pool("cheap", 4, cost_per_hour=10))
    assert plan_of([spec], [0], [1], pools=pools, pool_nodes={"dear": 1, "cheap": 0}).nodes == {"dear": 1, "cheap": 0}
    assert plan_of([spec], [0], [1], pools=pools, pool_nodes={"dear": 0, "cheap": 0}).nodes == {"dear": 0, "cheap": 1}


def test_of_equals_who_has_most_loses_a_place_first() -> None:
    """As in the story of two services deep, with two equal ones on b."""
    specs = [
        a_service("high", "a", priority=2, accelerators_per_replica=8),
        a_service("middle", "a", pools=on("a", "b"), priority=3, accelerators_per_replica=3),
        a_service("low-1", "b", accelerators_per_replica=2),
        a_service("low-2", "b", accelerators_per_replica=2),
    ]
    plan = plan_of(specs, [0, 0, 0, 0], [1, 4, 2, 2], pools=(a_pool("a", 1, cost_per_hour=1), a_pool("b", 2, cost_per_hour=2)))
    assert plan.replicas.tolist() == [1, 4, 1, 1]


def test_what_nobody_may_take_is_not_lost_to_a_higher_priority() -> None:
    """A blind service keeps what it has, whoever could use its places."""
    specs = [
        a_service("high", "a", priority=2, accelerators_per_replica=8),
        a_service("middle", "a", pools=on("a", "b"), priority=3, accelerators_per_replica=3),
        a_service("low", "b", accelerators_per_replica=2),
    ]
    pools = (a_pool("a", 1, cost_per_hour=1), a_pool("b", 2, cost_per_hour=2))
    plan = plan_of(specs, [0, 0, 4], [1, 4, 4], pools=pools, blind=[False, False, True])
    assert plan.replicas.tolist() == [0, 4, 4]


def test_what_runs_is_not_lost_to_a_higher_priority_that_can_be_elsewhere() -> None:
    """Threes fill nodes of eight badly: chat and search wish to be on the cheaper pool, where batch has its two whole nodes."""
    specs = [
        a_service("chat", "dear", pools=on("dear", "cheap"), priority=2, accelerators_per_replica=3),
        a_service("search", "dear", pools=on("dear", "cheap"), priority=2, accelerators_per_replica=3),
        a_service("batch", "cheap", accelerators_per_replica=8, replica_multiple=2),
    ]
    pools = (a_pool("cheap", 2, cost_per_hour=23), a_pool("dear", 6, cost_per_hour=39))
    for there in (0, 2):
        assert plan_of(specs, [0, 0, there], [2, 3, 2], pools=pools).replicas.tolist() == [2, 3, 2]


def test_who_makes_way_for_a_higher_priority_takes_no_place_from_one_that_comes_before_it() -> None:
    """low leaves a for high. It would have c, if it came before middle there as high does."""
    pools = (
        a_pool(
            "a",
            2,
            cost_per_hour=29,
            min_replicas_first=False,
            quotas=tuple(
                Quota(namespace=team, accelerators=most, weight=3) for team, most in (("green", 11), ("red", 29), ("blue", 7))
            ),
        ),
        a_pool("b", 3, quotas=(Quota(namespace="blue", accelerators=30, weight=2),)),
        a_pool("c", 2, cost_per_hour=31, min_replicas_first=False, quotas=(Quota(namespace="green", accelerators=26, weight=3),)),
    )
    specs = [
        a_service("late", "c", "blue", pools=on("c", "a"), accelerators_per_replica=3, replica_multiple=2),
        a_service("single", "b", "red", priority=1),
        a_service(
            "groups", "b", "blue", pools=on("b", "c"), priority=1, accelerators_per_replica=4, replica_multiple=2, min_replicas=4
        ),
        a_service("middle", "c", "red", priority=1, min_replicas=1),
        a_service("high", "b", "red", pools=on("b", "a", "c"), priority=2, accelerators_per_replica=3, min_replicas=1),
        a_service("others", "b", "blue", pools=on("b", "a", "c"), priority=1, accelerators_per_replica=4, min_replicas=2),
        a_service("low", "c", "green", pools=on("c", "a", "b"), accelerators_per_replica=4),
    ]
    plan = plan_of(specs, [0] * 7, [24, 3, 16, 12, 6, 10, 2], pools=pools)
    assert plan.replicas.tolist() == [0, 2, 4, 9, 6, 2, 0]


@st.composite
def found(draw: st.DrawFn) -> tuple[PoolTable, Wishes, Ints]:
    """Wishes of which a part has its places."""
    case: Case = draw(cases())
    count = len(case.specs)
    held = np.minimum(case.current, case.desired)
    fleet = fleet_of(case.specs, case.current, pools=tuple(case.pools))
    table = PoolTable(case.specs, tuple(case.pools))
    least = np.array([spec.min_replicas for spec in case.specs])

    def wish(want: Ints) -> Wishes:
        return wishes(table, fleet, want=want, held=held, firm=np.zeros(count, dtype=np.int64), least=least)

    part = np.array([draw(st.integers(int(held[row]), wished)) for row, wished in enumerate(case.desired)], dtype=np.int64)
    return table, wish(np.array(case.desired)), places(table, wish(part), table.standing(None)).units


@given(found())
def test_the_higher_priority_gains_and_bounds_quotas_and_what_runs_stay(world: tuple[PoolTable, Wishes, Ints]) -> None:
    table, wished, before = world
    after = making_way(table, wished, before, table.standing(None))
    rows = int(table.row.max(initial=-1)) + 1

    def by_row(units: Ints) -> Ints:
        return np.bincount(table.row, units, rows).astype(np.int64)

    there = np.minimum(wished.held, before)
    assert (after >= there).all()
    assert (after >= 0).all()
    gained = by_row(after) - by_row(before)
    assert (by_row(after) <= np.maximum(by_row(wished.want), by_row(before))).all()
    priority = np.zeros(rows, dtype=np.int64)
    priority[table.row] = table.priority
    if (gained < 0).any():
        assert priority[gained > 0].max(initial=-1) > priority[gained < 0].max()
    lost = gained < 0
    assert (by_row(after)[lost] >= by_row(np.where(table.minimum_first, wished.least, 0))[lost]).all()
    nodes_before, nodes = (packed(table, units * table.multiple).nodes for units in (before, after))
    assert (nodes <= np.maximum(table.most_nodes, nodes_before)).all()
    of_group_before, of_group = (
        np.bincount(table.group, units * table.unit, len(table.group_most)).astype(np.int64) for units in (before, after)
    )
    assert (of_group <= np.maximum(table.group_most, of_group_before)).all()
    if not gained.any():
        prices = np.array([pool.cost_per_hour for pool in table.pools])
        assert nodes @ prices <= nodes_before @ prices + 1e-9


def a_crowd(services: int) -> tuple[list[ScalingSpec], tuple[PoolSpec, ...]]:
    names = [f"pool-{number}" for number in range(8)]
    specs = [
        a_service(
            f"s{row}",
            names[row % 8],
            pools=on(names[row % 8], names[(row + 1 + row // 8 % 7) % 8]),
            priority=row % 3,
            accelerators_per_replica=(1, 3, 5)[row % 3],
        )
        for row in range(services)
    ]
    return specs, tuple(a_pool(name, services // 12, cost_per_hour=10 + number) for number, name in enumerate(names))


@pytest.mark.parametrize("services", [100, 1000])
def test_a_search_among_many_ends_after_a_bounded_number_of_steps(monkeypatch: pytest.MonkeyPatch, services: int) -> None:
    steps = 0
    real = board.Board._change

    def counted(self: board.Board, place: int, by: int) -> None:
        nonlocal steps
        steps += 1
        real(self, place, by)

    monkeypatch.setattr(board.Board, "_change", counted)
    specs, pools = a_crowd(services)
    assert plan_of(specs, [0] * services, [4] * services, pools=pools).limits
    # What a try moved is taken back after its last step.
    assert 0 < steps <= 2 * board._MOST_STEPS
