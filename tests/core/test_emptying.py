"""Which pods leave so that nodes become free: against every other choice, on small cases."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.emptying import NO_NODE, Leaving, TargetPods, choose


def pods_on(*nodes: int, held: tuple[int, ...] = (), **columns: list[float]) -> TargetPods:
    """A ready pod on each of the named nodes."""
    n = len(nodes)
    known = np.zeros(max((*nodes, *held, 0)) + 1, dtype=np.bool_)
    known[list(held)] = True
    return TargetPods(
        names=[f"pod-{place:02d}" for place in range(n)],
        node=np.array(nodes, dtype=np.int64),
        tier=np.array(columns.get("tier", [0] * n), dtype=np.int64),
        choosable=np.array(columns.get("choosable", [True] * n), dtype=np.bool_),
        created_at_s=np.array(columns.get("created_at_s", [0.0] * n)),
        in_flight=np.array(columns.get("in_flight", [0.0] * n)),
        held=known,
    )


@st.composite
def small(draw: st.DrawFn) -> tuple[TargetPods, int]:
    n = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=n, max_size=n))

    pods = TargetPods(
        names=[f"pod-{place}" for place in draw(st.permutations(range(n)))],
        node=np.array(column(st.integers(NO_NODE, 3)), dtype=np.int64),
        tier=np.array(column(st.integers(0, 2)), dtype=np.int64),
        choosable=np.array(column(st.integers(0, 4)), dtype=np.int64) > 0,
        created_at_s=np.array(column(st.integers(0, 3)), dtype=np.float64),
        in_flight=np.array(column(st.integers(0, 3)), dtype=np.float64),
        held=np.array([draw(st.booleans()) for _ in range(4)]),
    )
    return pods, draw(st.integers(0, n + 1))


def freed(pods: TargetPods, leaving: set[int]) -> set[int]:
    left = {int(pods.node[place]) for place in range(len(pods.names)) if place not in leaving}
    return {node for node in set(pods.node.tolist()) - left - {NO_NODE} if not pods.held[node]}


def possible(pods: TargetPods, count: int) -> list[set[int]]:
    """Every set of pods that is certain to leave for some choice of ours: whole lower tiers, and of the next one any of those that we may name.
    What goes beyond them is whoever the controller picks, so it counts for nothing."""
    order = sorted(range(len(pods.names)), key=lambda place: pods.tier[place])
    if count >= len(order):
        return [set(order)]
    tier = pods.tier[order[count - 1]] if count > 0 else -1
    gone = {place for place in order if pods.tier[place] < tier} if count > 0 else set()
    if sum(pods.tier <= tier) == count:
        return [{place for place in order if pods.tier[place] <= tier}]
    free = [place for place in order if pods.tier[place] == tier and pods.choosable[place]]
    return [gone | set(some) for some in combinations(free, min(max(count - len(gone), 0), len(free)))]


@given(small())
@settings(max_examples=500, deadline=None)
def test_no_other_choice_frees_more_nodes(case: tuple[TargetPods, int]) -> None:
    pods, count = case
    found = choose(pods, count)
    assert len(found.nodes) == max(len(freed(pods, some)) for some in possible(pods, count))
    assert choose(pods, count) == found


@given(small(), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_order_in_which_pods_are_listed_changes_nothing(case: tuple[TargetPods, int], random: object) -> None:
    pods, count = case
    order = list(range(len(pods.names)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = TargetPods(
        names=[pods.names[place] for place in order],
        node=pods.node[order],
        tier=pods.tier[order],
        choosable=pods.choosable[order],
        created_at_s=pods.created_at_s[order],
        in_flight=pods.in_flight[order],
        held=pods.held,
    )

    def named(of: TargetPods, leaving: Leaving) -> tuple[list[str], tuple[int, ...]]:
        return sorted(of.names[place] for place in leaving.marked), leaving.nodes

    assert named(shuffled, choose(shuffled, count)) == named(pods, choose(pods, count))


@given(small())
@settings(max_examples=200, deadline=None)
def test_only_pods_that_may_be_named_are_and_no_more_than_leave(case: tuple[TargetPods, int]) -> None:
    pods, count = case
    marked = choose(pods, count).marked
    assert len(marked) <= count
    assert all(pods.choosable[place] for place in marked)
    assert len({int(pods.tier[place]) for place in marked}) <= 1


def test_the_fullest_nodes_stay() -> None:
    # 12 replicas on three nodes as the scheduler spread them: 4 fit into a node that is emptied whole.
    pods = pods_on(*[0] * 5, *[1] * 3, *[2] * 4)
    assert choose(pods, 4) == Leaving(marked=(5, 6, 7, 8), nodes=(1,))
    assert choose(pods, 7).nodes == (1, 2)


def test_one_by_one_the_same_node_is_emptied() -> None:
    nodes = [0] * 4 + [1] * 3
    for left in (2, 1, 0):
        marked = choose(pods_on(*nodes), 1).marked
        assert [nodes[place] for place in marked] == [1]
        nodes.pop(marked[0])
        assert nodes.count(1) == left


def test_a_node_that_others_hold_is_not_emptied_in_vain() -> None:
    pods = pods_on(0, 1, 1, 2, 2, held=(0,))
    assert choose(pods, 2) == Leaving(marked=(1, 2), nodes=(1,))


def test_of_equal_nodes_the_one_with_the_least_work_then_the_youngest() -> None:
    assert choose(pods_on(0, 1, 2, in_flight=[3.0, 1.0, 2.0]), 1).nodes == (1,)
    assert choose(pods_on(0, 1, 2, created_at_s=[3.0, 1.0, 9.0]), 1).nodes == (2,)


def test_who_leaves_anyway_needs_no_naming() -> None:
    """Pods that aren't ready leave first, and where they are enough there is nothing to choose."""
    pods = pods_on(0, 0, 1, 2, tier=[3, 3, 2, 3])
    assert choose(pods, 1) == Leaving(marked=(), nodes=(1,))
    assert choose(pods, 2) == Leaving(marked=(3,), nodes=(1, 2))
    assert choose(pods, 4) == Leaving(marked=(), nodes=(0, 1, 2))


def test_a_cost_that_somebody_else_set_is_left_alone() -> None:
    pods = pods_on(0, 1, 1, choosable=[False, True, True])
    assert choose(pods, 1).marked in ((1,), (2,))
    assert choose(pods, 1).nodes == ()
