"""Scarce accelerators, one story each: who gets them, who keeps them, and what the others are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.allocation.nodes import spot_nodes, zone_nodes
from autoscaler.core.allocation.packing import pack
from autoscaler.core.model import Pause, PoolUse, Quota, Zone
from autoscaler.core.short import Bounds
from autoscaler.core.table import Table
from tests.core.allocation.fleets import a_pool, a_service, decided, fleet_of, plan_of
from tests.ticks import NO_RULES, a_spec


def test_a_full_pool_goes_by_priority_and_the_cut_names_it() -> None:
    specs = [a_service("batch"), a_service("chat", priority=10)]
    plan = plan_of(specs, [10, 4], [10, 12], pools=(a_pool(),))
    assert plan.replicas.tolist() == [4, 12]
    limit = plan.limits[0]
    assert (limit.name, limit.before, limit.after) == ("NodePoolFull", 10, 4)
    assert limit.why == (
        "pool h100 has at most 2 nodes of 8 nvidia.com/gpu, shared by priority and then fairly: 4 of 10 replicas have a place; "
        "6 of those that are there make room for others"
    )
    assert 1 not in plan.limits
    assert "pool h100 has at most 1 node of 8 " in plan_of(specs, [0, 0], [10, 4], pools=(a_pool(max_nodes=1),)).limits[0].why


def test_lower_bounds_come_first_unless_the_pool_says_otherwise() -> None:
    specs = [a_service("batch", min_replicas=3), a_service("chat", priority=10)]
    assert plan_of(specs, [3, 0], [10, 16], pools=(a_pool(),)).replicas.tolist() == [3, 13]
    assert plan_of(specs, [3, 0], [10, 16], pools=(a_pool(min_replicas_first=False),)).replicas.tolist() == [0, 16]


def test_equals_share_by_the_weight_of_their_namespaces() -> None:
    specs = [a_service("one", namespace="a"), a_service("two", namespace="b"), a_service("three", namespace="b")]
    assert plan_of(specs, [0, 0, 0], [20, 20, 20], pools=(a_pool(),)).replicas.tolist() == [8, 4, 4]
    weighed = a_pool(quotas=(Quota(namespace="b", weight=3),))
    assert plan_of(specs, [0, 0, 0], [20, 20, 20], pools=(weighed,)).replicas.tolist() == [4, 6, 6]


def test_a_quota_stops_growth_and_names_the_namespace() -> None:
    specs = [a_service("one", namespace="a"), a_service("two", namespace="b")]
    plan = plan_of(specs, [2, 0], [9, 3], pools=(a_pool(quotas=(Quota(namespace="a", accelerators=5),)),))
    assert plan.replicas.tolist() == [5, 3]
    assert plan.limits[0].name == "NamespaceQuota"
    assert plan.limits[0].why == "namespace a may have 5 nvidia.com/gpu of pool h100: 5 of 9 replicas have a place"


def test_who_is_cut_by_a_quota_and_by_a_full_pool_reads_both_what_took_more_first() -> None:
    specs = [a_service("one", namespace="a"), a_service("two", namespace="b", priority=1)]
    limited = a_pool(quotas=(Quota(namespace="a", accelerators=6),))
    quota = "namespace a may have 6 nvidia.com/gpu of pool h100"
    full = "pool h100 has at most 2 nodes of 8 nvidia.com/gpu, shared by priority and then fairly"
    for wish, name, causes in ((20, "NamespaceQuota", f"{quota}; {full}"), (8, "NodePoolFull", f"{full}; {quota}")):
        plan = plan_of(specs, [0, 0], [wish, 14], pools=(limited,))
        assert plan.replicas.tolist() == [2, 14]
        assert (plan.limits[0].name, plan.limits[0].why) == (name, f"{causes}: 2 of {wish} replicas have a place")


def test_what_runs_keeps_its_place_where_pool_and_quota_are_said_to_be_smaller() -> None:
    small = a_pool(max_nodes=1, quotas=(Quota(namespace="team", accelerators=2),))
    plan = plan_of([a_service("one"), a_service("two")], [10, 2], [12, 6], pools=(small,))
    assert plan.replicas.tolist() == [10, 2]
    assert plan.nodes == {"h100": 1}


def test_a_group_comes_whole_or_not_at_all() -> None:
    group = a_service("group", accelerators_per_replica=8, replica_multiple=4, priority=1)
    plan = plan_of([group, a_service("small")], [0, 0], [4, 5], pools=(a_pool(max_nodes=3),))
    assert plan.replicas.tolist() == [0, 5]
    assert plan_of([group, a_service("small")], [0, 5], [4, 5], pools=(a_pool(max_nodes=4),)).replicas.tolist() == [4, 0]


def test_no_replica_is_split_over_nodes() -> None:
    plan = plan_of([a_service("five", accelerators_per_replica=5)], [0], [4], pools=(a_pool(max_nodes=3),))
    assert plan.replicas.tolist() == [3]
    assert plan.nodes == {"h100": 3}
    assert plan.node_words["h100"] == (
        "3 nodes of 8: 15 nvidia.com/gpu for replicas of 1 service; 9 of what 3 nodes have fit no replica; 5 more are wished and have no place"
    )


def test_gaps_that_large_replicas_leave_are_filled_with_small_ones() -> None:
    specs = [a_service("five", accelerators_per_replica=5, priority=1), a_service("one")]
    assert plan_of(specs, [0, 0], [3, 9], pools=(a_pool(),)).replicas.tolist() == [2, 6]


def test_what_is_left_of_a_node_takes_smaller_replicas_of_lower_priority() -> None:
    specs = [
        a_service("five", accelerators_per_replica=5, priority=1),
        a_service("three", accelerators_per_replica=3),
        a_service("one"),
    ]
    plan = plan_of(specs, [0, 0, 0], [2, 2, 9], pools=(a_pool(),))
    assert plan.replicas.tolist()[:2] in ([2, 2], [2, 1])
    assert plan.replicas @ np.array([5, 3, 1]) == 16


@pytest.mark.parametrize(("target", "placed"), [("LeaderWorkerSet/llama", 2), ("Deployment/llama", 0)])
def test_a_replica_larger_than_a_node_is_a_group_or_has_no_place(target: str, placed: int) -> None:
    plan = plan_of([a_service("llama", accelerators_per_replica=16, target=target)], [0], [2], pools=(a_pool(max_nodes=5),))
    assert plan.replicas.tolist() == [placed]
    assert plan.nodes == {"h100": 2 * placed}
    if not placed:
        assert plan.limits[0].name == "NoNodeFits"
        assert plan.limits[0].why == "a replica takes 16 nvidia.com/gpu and a node of pool h100 has 8: none can be placed"


def test_a_slice_is_a_resource_of_its_own() -> None:
    mig = a_pool("mig", max_nodes=1, accelerators_per_node=56, resource="nvidia.com/mig-1g.10gb")
    plan = plan_of([a_service("small", "mig")], [0], [60], pools=(mig,))
    assert plan.replicas.tolist() == [56]
    assert "56 nvidia.com/mig-1g.10gb" in plan.limits[0].why


@pytest.mark.parametrize(
    "kept",
    [
        {"pause": Pause(direction="Down", until_s=None)},
        {"scale_down": type(NO_RULES)(stabilization_s=0.0, select="Disabled", policies=())},
        {"drain_max_at_once": 1},
    ],
    ids=["paused", "no scale-down", "one drains already"],
)
def test_nothing_is_taken_from_who_must_not_shrink(kept: dict[str, Any]) -> None:
    specs = [a_service("batch", **kept), a_service("chat", priority=10)]
    plan = plan_of(specs, [10, 4], [10, 12], pools=(a_pool(),), draining=np.array([1, 0]))
    assert plan.replicas.tolist() == [10, 6]


def test_nothing_is_taken_from_the_blind() -> None:
    specs = [a_service("batch"), a_service("chat", priority=10)]
    plan = plan_of(specs, [10, 4], [10, 12], blind=[True, False], pools=(a_pool(),))
    assert plan.replicas.tolist() == [10, 6]


def test_what_is_not_ours_has_its_places_and_stays_as_it_is() -> None:
    specs = [a_service("foreign", priority=-1), a_service("shadow", mode="Shadow"), a_service("mine", priority=10)]
    plan = plan_of(specs, [5, 6, 2], [9, 1, 20], pools=(a_pool(),), hands_off=np.array([True, False, False]))
    assert plan.replicas.tolist() == [9, 1, 5]
    assert plan.act.tolist() == [False, False, True]
    assert plan.nodes == {"h100": 2}


def test_a_shadow_beside_the_real_one_takes_no_place_twice() -> None:
    specs = [a_service("trial", mode="Shadow", target="Deployment/llama"), a_service("real", target="Deployment/llama")]
    plan = plan_of(specs, [8, 8], [30, 16], pools=(a_pool(),))
    assert plan.replicas.tolist() == [30, 16]
    assert plan.nodes == {"h100": 2}


def test_services_without_a_pool_or_of_an_unknown_one_are_not_limited() -> None:
    specs = [a_spec("none"), a_service("unknown", "gone"), a_service("mine")]
    plan = plan_of(specs, [1, 1, 1], [90, 90, 90], pools=(a_pool(),))
    assert plan.replicas.tolist() == [90, 90, 16]


def test_several_pools_the_cheapest_request_first_then_the_other() -> None:
    uses = (PoolUse(name="h100", per_s=4.0), PoolUse(name="l40s", per_s=1.0))
    pools = (a_pool("h100", 2, cost_per_hour=30.0), a_pool("l40s", 4, cost_per_hour=10.0))
    service = a_service("llama", pools=uses)
    assert plan_of([service], [0], [16], pools=pools).nodes == {"h100": 2, "l40s": 0}  # 30 ÷ 4 is less than 10 ÷ 1
    assert plan_of([service], [0], [20], pools=pools).nodes == {"h100": 2, "l40s": 1}
    assert plan_of([service], [0], [16], pools=pools, pool_nodes={"h100": 0, "l40s": 1}).nodes == {"h100": 1, "l40s": 1}
    assert plan_of([service], [8], [12], pools=pools, placed={0: {"l40s": 8}}).nodes == {"h100": 1, "l40s": 1}


def test_who_can_go_elsewhere_makes_room_for_who_cannot() -> None:
    both = (PoolUse(name="a"), PoolUse(name="b"))
    specs = [a_service("either", pools=both, priority=10), a_service("only", "a")]
    plan = plan_of(specs, [0, 0], [8, 8], pools=(a_pool("a", 1, cost_per_hour=1.0), a_pool("b", 1, cost_per_hour=9.0)))
    assert plan.replicas.tolist() == [8, 8]


def test_room_is_made_at_once_where_nobody_else_has_to_move_for_it() -> None:
    specs = [
        a_service("anywhere", pools=(PoolUse(name="a"), PoolUse(name="b"), PoolUse(name="c")), priority=1),
        a_service("a-or-c", accelerators_per_replica=8, pools=(PoolUse(name="a"), PoolUse(name="c")), priority=1),
        a_service("c-or-b", accelerators_per_replica=8, pools=(PoolUse(name="c"), PoolUse(name="b")), priority=1),
        a_service("only", "a", accelerators_per_replica=2),
    ]
    pools = (a_pool("a", 1, cost_per_hour=2.0), a_pool("b", 3, cost_per_hour=2.0), a_pool("c", 2, cost_per_hour=2.0))
    assert plan_of(specs, [0, 0, 0, 0], [3, 2, 2, 4], pools=pools).replicas.tolist() == [3, 2, 2, 4]


def test_who_runs_on_a_pool_does_not_move_but_goes_for_a_higher_priority_and_comes_back_elsewhere() -> None:
    either = a_service("either", pools=(PoolUse(name="a"), PoolUse(name="b")))
    pools = (a_pool("a", 1, cost_per_hour=1.0), a_pool("b", 1, cost_per_hour=9.0))
    equal, high = a_service("only", "a"), a_service("only", "a", priority=10)
    for one in (equal, high):
        plan = plan_of([either, one], [8, 0], [8, 4], pools=pools, placed={0: {"a": 8}})
        assert plan.replicas.tolist() == [4, 4]
        again = plan_of([either, one], [4, 4], [8, 4], pools=pools, placed={0: {"a": 4}})
        assert again.replicas.tolist() == [8, 4]
        # Where nobody tells where it runs, nobody knows whom its leaving would help.
        assert plan_of([either, one], [8, 0], [8, 4], pools=pools).replicas.tolist() == [8, 0]
    assert plan_of([either, equal], [8, 0], [12, 0], pools=pools).nodes == {"a": 1, "b": 1}


def test_nodes_are_kept_where_replicas_are_told_to_go_from_and_who_is_spread_is_not_taken_from() -> None:
    uses = (PoolUse(name="a"), PoolUse(name="b"))
    pools = (a_pool("a", 2, cost_per_hour=1.0), a_pool("b", 2, cost_per_hour=9.0))
    service = a_service("either", pools=uses)
    assert plan_of([service], [16], [8], pools=pools, placed={0: {"b": 16}}).nodes == {"a": 0, "b": 2}
    assert plan_of([service], [16], [0], pools=pools, placed={0: {"a": 8, "b": 8}}).nodes == {"a": 1, "b": 1}
    # Of eight on each pool any may go: not for us to take those on `a`.
    specs = [service, a_service("only", "a", priority=10)]
    full = (a_pool("a", 1), a_pool("b", 1))
    assert plan_of(specs, [16, 0], [16, 8], pools=full, placed={0: {"a": 8, "b": 8}}).replicas.tolist() == [16, 0]
    assert plan_of(specs, [8, 0], [8, 8], pools=full, placed={0: {"a": 8, "b": 0}}).replicas.tolist() == [0, 8]


def test_who_is_leaving_holds_the_nodes_that_it_is_on() -> None:
    uses = (PoolUse(name="a"), PoolUse(name="b"))
    pools = (a_pool("a", 2, cost_per_hour=1.0), a_pool("b", 2, cost_per_hour=9.0))
    fleet: dict[str, Any] = {"pools": pools, "placed": {0: {"a": 8, "b": 0}}, "draining": np.array([8])}
    service = a_service("either", pools=uses)
    assert plan_of([service], [8], [8], **fleet).nodes == {"a": 2, "b": 0}, "nobody tells where: on the pool with most of it"
    assert plan_of([service], [8], [8], **fleet, draining_on={0: {"a": 0, "b": 8}}).nodes == {"a": 1, "b": 1}
    assert plan_of([service], [8], [8], **fleet, draining_on={0: {"a": 0, "b": 3}}).nodes == {"a": 2, "b": 1}, (
        "five are on neither"
    )


def test_who_leaves_with_its_node_needs_no_other_one() -> None:
    pools = (a_pool("a", 3, cost_per_hour=1.0), a_pool("b", 3, cost_per_hour=9.0))
    one, either = a_service("one", "a"), a_service("either", pools=(PoolUse(name="a"), PoolUse(name="b")))
    assert plan_of([one], [8], [8], pools=pools, draining=np.array([8])).nodes == {"a": 2, "b": 0}
    plan = plan_of([one], [8], [8], pools=pools, draining=np.array([8]), draining_lost={0: 8})
    assert (plan.nodes, plan.taken) == ({"a": 1, "b": 0}, {"a": 8, "b": 0})
    assert plan.node_words["a"] == "1 node of 8: 8 nvidia.com/gpu for replicas of 1 service"
    assert plan_of([one], [8], [8], pools=pools, draining=np.array([8]), draining_lost={0: 7}).nodes == {"a": 2, "b": 0}
    # Of twelve, eight go with their node and four leave one of `b`.
    fleet: dict[str, Any] = {"pools": pools, "placed": {0: {"a": 8, "b": 0}}, "draining": np.array([12])}
    plan = plan_of([either], [8], [8], **fleet, draining_on={0: {"a": 0, "b": 4}}, draining_lost={0: 8})
    assert plan.nodes == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("staying", "free"),
    [
        pytest.param(8, 8, id="all of it still runs there and will ask for another node"),
        pytest.param(3, 3, id="most of it asks for another node already"),
        pytest.param(0, 0, id="nothing is on it"),
    ],
)
def test_what_nobody_can_take_of_a_lost_node_is_no_room(staying: int, free: int) -> None:
    """For room that is kept beside what asks by itself (``Headroom``): of two nodes' GPUs, one of which counts for nothing."""
    lost = Bounds(lost={"h100": 1}, ordered_for_lost={"h100": 1})
    fleet = fleet_of([a_service("chat")], [8], pools=(a_pool(),), staying_lost={0: {"h100": staying}} if staying else {})
    plan = allocate(Table(fleet), fleet, decided([8]), ChangeBudget(), bounds=lost)
    assert plan.taken is not None
    assert (plan.nodes, plan.nodes["h100"] * 8 - plan.taken["h100"]) == ({"h100": 2}, free)


def test_replicas_that_a_shadow_watches_too_are_on_a_lost_node_once() -> None:
    specs = [a_service("chat"), a_service("watcher", target="Deployment/chat", mode="Shadow")]
    lost = Bounds(lost={"h100": 2}, ordered_for_lost={"h100": 2})
    fleet = fleet_of(specs, [8, 8], pools=(a_pool(max_nodes=3),), staying_lost={0: {"h100": 8}, 1: {"h100": 8}})
    plan = allocate(Table(fleet), fleet, decided([8, 8]), ChangeBudget(), bounds=lost)
    assert (plan.nodes, plan.taken) == ({"h100": 3}, {"h100": 16})


@pytest.mark.parametrize(
    ("current", "desired", "surge", "placed", "nodes", "words"),
    [
        pytest.param(8, 8, 8, {"a": 16, "b": 0}, {"a": 2, "b": 0}, "8 of updates", id="all of it is there"),
        pytest.param(8, 8, 8, {"a": 8, "b": 0}, {"a": 2, "b": 0}, "8 of updates", id="it waits for a node"),
        pytest.param(8, 8, 4, {"a": 8, "b": 4}, {"a": 1, "b": 1}, "4 of updates", id="on the other pool"),
        pytest.param(16, 8, 4, {"a": 20, "b": 0}, {"a": 3, "b": 0}, "8 leaving, 4 of updates", id="and others are told to go"),
        pytest.param(16, 8, 4, {"a": 16, "b": 0}, {"a": 3, "b": 0}, "8 leaving, 4 of updates", id="while it waits"),
    ],
)
def test_a_surge_has_its_nodes_once_where_it_is(
    current: int, desired: int, surge: int, placed: dict[str, int], nodes: dict[str, int], words: str
) -> None:
    pools = (a_pool("a", 9, cost_per_hour=1.0), a_pool("b", 9, cost_per_hour=9.0))
    service = a_service("either", pools=(PoolUse(name="a"), PoolUse(name="b")))
    plan = plan_of([service], [current], [desired], pools=pools, placed={0: placed}, surge=np.array([surge]))
    assert plan.nodes == nodes
    assert any(told.endswith(words) for told in plan.node_words.values()), plan.node_words


def test_nobody_makes_nodes_for_what_a_shadow_only_shows() -> None:
    shown, followed = a_service("trial", mode="Shadow"), a_service("published", mode="Recommend")
    pools = (a_pool(max_nodes=9),)
    plan = plan_of([shown], [8], [30], headroom=[40], pools=pools)
    assert plan.nodes == {"h100": 1}
    assert "headroom" not in plan.node_words["h100"]
    assert plan_of([followed], [8], [8], headroom=[8], pools=pools).nodes == {"h100": 2}


def test_who_can_go_on_makes_room_for_who_makes_room() -> None:
    specs = [
        a_service("a-or-b", pools=(PoolUse(name="a"), PoolUse(name="b")), accelerators_per_replica=4),
        a_service("any", pools=(PoolUse(name="a"), PoolUse(name="c"), PoolUse(name="b")), accelerators_per_replica=4),
        a_service("b-or-c", pools=(PoolUse(name="b"), PoolUse(name="c")), accelerators_per_replica=4),
    ]
    pools = (a_pool("a", 2, cost_per_hour=10.0), a_pool("b", 1, cost_per_hour=20.0), a_pool("c", 6, cost_per_hour=36.0))
    assert plan_of(specs, [0, 0, 0], [5, 1, 3], pools=pools).replicas.tolist() == [5, 1, 3]


def test_no_more_go_than_the_budget_lets_in() -> None:
    specs = [a_service("batch"), a_service("chat", priority=10)]
    plan = plan_of(specs, [16, 0], [16, 8], ChangeBudget(add=2), pools=(a_pool(),))
    assert plan.replicas.tolist() == [14, 2]
    assert [plan.limits[row].name for row in (0, 1)] == ["NodePoolFull", "ChangeBudget"]
    slow = plan_of(specs, [16, 0], [16, 8], ChangeBudget(remove=3), pools=(a_pool(),))
    assert slow.replicas.tolist() == [13, 3]


def test_pools_of_another_resource_than_the_first_are_no_choice() -> None:
    both = (PoolUse(name="h100"), PoolUse(name="mig"))
    pools = (a_pool(), a_pool("mig", resource="nvidia.com/mig-1g.10gb"))
    assert plan_of([a_service("llama", pools=both)], [0], [40], pools=pools).replicas.tolist() == [16]


def test_nodes_stay_for_leavers_and_come_for_surge_and_headroom() -> None:
    plan = plan_of(
        [a_service("llama")], [8], [8], headroom=[3], pools=(a_pool(max_nodes=9),), draining=np.array([4]), surge=np.array([2])
    )
    assert plan.nodes == {"h100": 3}
    assert plan.node_words["h100"] == (
        "3 nodes of 8: 8 nvidia.com/gpu for replicas of 1 service, 4 leaving, 2 of updates, 3 headroom"
    )


def test_zones_are_filled_equally_within_their_bounds() -> None:
    pool = a_pool(max_nodes=9, zones=(Zone(name="a"), Zone(name="b", max_nodes=2), Zone(name="c")))
    assert zone_nodes(pool, 8) == {"a": 3, "b": 2, "c": 3}
    assert zone_nodes(pool, 4) == {"a": 2, "b": 1, "c": 1}
    bounded = a_pool(max_nodes=9, zones=(Zone(name="a", max_nodes=1), Zone(name="b", max_nodes=2)))
    plan = plan_of([a_service("llama")], [0], [50], pools=(bounded,))
    assert (plan.nodes, plan.zone_nodes) == ({"h100": 3}, {"h100": {"a": 1, "b": 2}})


def test_spot_nodes_leave_the_first_ones_on_demand() -> None:
    pool = a_pool(spot_ratio=0.7, on_demand_nodes=2)
    assert [spot_nodes(pool, nodes) for nodes in (0, 1, 2, 3, 10)] == [0, 0, 0, 1, 7]
    plan = plan_of([a_service("llama")], [0], [60], pools=(a_pool(max_nodes=10, spot_ratio=0.5, on_demand_nodes=1),))
    assert plan.spot_nodes == {"h100": 4}


def test_pools_that_nobody_uses_have_their_least() -> None:
    pools = (a_pool(min_nodes=1), a_pool("bounded", min_nodes=0))
    assert plan_of([], [], [], pools=pools).nodes == {"h100": 1, "bounded": 0}
    assert plan_of([a_spec("none")], [1], [3], pools=pools).nodes == {"h100": 1, "bounded": 0}


def test_packing_fills_what_is_left_first() -> None:
    packed = pack(np.array([8, 8]), np.array([5, 3, 1]), np.array([[2, 2, 1], [0, 0, 17]]))
    assert packed.nodes.tolist() == [3, 3]
    assert packed.left[0].tolist() == [2, 0, 0, 0, 0, 0, 0, 1, 0]
    assert packed.room(0, 3, 4) == 4
    packed.put(0, 3, 4)
    assert (packed.nodes[0], packed.left[0].tolist()) == (4, [2, 1, 1, 0, 0, 0, 0, 0, 0])


def test_nobody_has_a_place_that_only_another_packing_would_find() -> None:
    """Two threes, three twos and three fours fill three nodes if they lie well; first fit decreasing, by which nodes are planned, needs four."""
    anywhere = (PoolUse(name="empty"), PoolUse(name="c"))
    specs = [
        a_service(f"of-{size}", "empty", pools=anywhere, accelerators_per_replica=size, namespace=f"team-{size}")
        for size in (3, 2, 4)
    ]
    plan = plan_of(specs, [0, 0, 0], [2, 3, 3], pools=(a_pool("empty", 0), a_pool("c", 3)))
    assert plan.nodes["c"] == 3
    assert "would be needed" not in plan.node_words["c"]
    assert plan.limits
