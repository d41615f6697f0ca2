"""Spare nodes are kept by what they are worth."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.compiled import pool_spec
from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.allocation.cool_down import EVERYTHING, CoolDown, NodeNeeds, kept_nodes, words, worth_keeping
from autoscaler.core.model import Plan, PoolSpec
from autoscaler.core.table import Table
from autoscaler.spec import AcceleratorPool, AcceleratorPoolSpec, ObjectMeta, PoolBackend
from tests.core.allocation.fleets import a_pool, a_service, decided, fleet_of

counts = st.lists(st.integers(0, 9), min_size=1, max_size=80)


def flapping(times: int, every: int) -> np.ndarray:
    """3 nodes, and 4 in one of `every` steps."""
    return np.array([4.0 if step % every == 0 else 3.0 for step in range(times)])


def test_a_node_that_is_needed_again_and_again_is_kept_and_one_that_is_not_goes() -> None:
    assert worth_keeping(flapping(200, 5), 4) == 1
    assert worth_keeping(np.full(200, 3.0), 4) == 0
    # Once in 100 steps, within a lead time of 4: 4 % of the lead times, which is less than 1 ÷ (1 + 8).
    assert worth_keeping(flapping(200, 100), 4) == 0
    assert worth_keeping(flapping(200, 100), 4, CoolDown(late_ratio=99.0, lead_times=40)) == EVERYTHING, "too few seen for that"
    assert worth_keeping(flapping(900, 100), 4, CoolDown(late_ratio=49.0, lead_times=200)) == 1


def test_nothing_goes_before_enough_was_seen() -> None:
    assert worth_keeping(np.full(4, 3.0), 4) == EVERYTHING
    assert worth_keeping(np.full(4 * 8, 3.0), 4) == EVERYTHING
    assert worth_keeping(np.full(4 * 10, 3.0), 4) == 0


@given(counts, st.integers(1, 12), st.floats(1.0, 40.0))
@settings(max_examples=200, deadline=None)
def test_as_written_out(needed: list[int], steps: int, late_ratio: float) -> None:
    """By the definition: the largest m that was needed within a lead time often enough, an unseen lead time counted as a need."""
    rule = CoolDown(late_ratio=late_ratio)
    found = worth_keeping(np.array(needed, dtype=np.float64), steps, rule)
    recent = needed[-(rule.lead_times + 1) * steps :]
    growth = [max(recent[i + 1 : i + 1 + steps]) - recent[i] for i in range(len(recent) - steps)]
    seen = len(growth) / steps

    def worth(spare: int) -> bool:
        often = sum(more >= spare for more in growth) / len(growth)
        return (often * seen + 1.0) / (seen + 1.0) > rule.threshold_ratio + 1e-9

    if not growth or worth(10):
        assert found == EVERYTHING
    elif found != EVERYTHING:  # else at the very border
        assert all(worth(spare) for spare in range(1, found + 1))
        assert not any(worth(spare) for spare in range(found + 1, 11)) or found == 0


@given(counts, counts, counts)
def test_never_below_the_need_nor_above_what_stands(needed: list[int], standing: list[int], worth: list[int]) -> None:
    size = min(len(needed), len(standing), len(worth))
    need, stand, keep = (np.array(one[:size], dtype=np.int64) for one in (needed, standing, worth))
    nodes = kept_nodes(need, stand, keep)
    assert (nodes >= need).all()
    assert (nodes <= np.maximum(need, stand)).all()


def test_a_pool_over_a_day() -> None:
    """A node that is needed for ten minutes of each hour is kept over the hour's rest while its lead time is long, not while it is short."""
    for lead_s, spares in ((1500.0, 1), (60.0, 0)):
        needs = NodeNeeds()
        nodes = []
        for minute in range(24 * 60):
            needed = np.array([4 if minute % 60 < 10 else 3], dtype=np.int64)
            nodes.append(int(needs.keep(60.0 * minute, ["a100"], needed, np.array([lead_s]), [8.0])[0]))
        assert nodes[-1] == 3 + spares
        assert min(nodes) == 3 + spares
        assert nodes[23 * 60] == 4


def test_after_a_start_what_stands_stays_until_something_is_known() -> None:
    needs = NodeNeeds()
    needs.standing({"a100": 7})
    lead_s = np.array([120.0])
    found = [int(needs.keep(15.0 * tick, ["a100"], np.array([2]), lead_s, [8.0])[0]) for tick in range(4 * 60)]
    assert found[0] == 7
    assert found[-1] == 2
    gone_s = 15.0 * found.index(2)
    assert 8 * 120.0 <= gone_s <= 11 * 120.0
    assert "until 8 lead times of 120 s" in words(5, EVERYTHING, 120.0)
    assert "11% of the last lead times" in words(1, 1, 120.0)


def planned(needs: NodeNeeds, pool: PoolSpec, at_s: float, replicas: int, headroom: int = 0, **seen: int) -> Plan:
    """Of one service with one accelerator a replica, at a moment; seen: nodes that are there, by pool."""
    fleet = fleet_of([a_service("llama", accelerators_per_replica=1)], [replicas], pools=(pool,), pool_nodes=seen or None)
    decisions = decided([replicas], [headroom])
    decisions.at_s = at_s  # type: ignore[misc]
    return allocate(Table(fleet), fleet, decisions, ChangeBudget(), needs=needs)


def test_in_the_plan_a_spare_node_is_kept_and_told_of() -> None:
    """Two nodes for 10 minutes of each hour, else one; a node takes 3 minutes (fleet_of), so the second is needed within one too seldom."""
    for waiting_cost, kept in ((8.0, 1), (30.0, 2)):
        needs, pool = NodeNeeds(), a_pool(waiting_cost=waiting_cost)
        for minute in range(5 * 60):
            plan = planned(needs, pool, 60.0 * minute, 16 if minute % 60 < 10 else 8)
            assert plan.nodes["h100"] >= (2 if minute % 60 < 10 else 1)
        assert plan.nodes["h100"] == kept
        assert ("1 spare node kept: in more than 3% of" in plan.node_words["h100"]) == (kept == 2), plan.node_words


def test_never_below_what_the_forecast_wants_nor_above_the_pool_s_most() -> None:
    needs, pool = NodeNeeds(), a_pool(waiting_cost=8.0, max_nodes=3)
    for minute in range(200):
        plan = planned(needs, pool, 60.0 * minute, 8, headroom=9, h100=3)
    assert plan.nodes["h100"] == 3
    assert planned(NodeNeeds(), pool, 0.0, 8, h100=7).nodes["h100"] == 3


def test_after_a_restart_the_nodes_that_are_there_stay_at_first() -> None:
    plan = planned(NodeNeeds(), a_pool(waiting_cost=8.0), 0.0, 8, h100=2)
    assert plan.nodes["h100"] == 2
    assert "1 spare node kept until 8 lead times of 180 s were seen" in plan.node_words["h100"]
    usual = planned(NodeNeeds(), a_pool(waiting_cost=1.0), 0.0, 8, h100=2)
    assert "1 spare node kept until 1 lead time of 180 s was seen" in usual.node_words["h100"]
    assert planned(NodeNeeds(), a_pool(), 0.0, 8, h100=2).nodes["h100"] == 1, "without a price of waiting it goes at once"


def test_what_was_saved_goes_on_exactly_from_there() -> None:
    first, pool = NodeNeeds(), a_pool(waiting_cost=8.0, max_nodes=9)
    rng = np.random.default_rng(4)
    counts = rng.integers(1, 60, 400).tolist()
    for minute, count in enumerate(counts[:200]):
        planned(first, pool, 60.0 * minute, count)
    second = NodeNeeds()
    second.load(first.save())
    for minute, count in enumerate(counts[200:], 200):
        nodes = [planned(needs, pool, 60.0 * minute, count).nodes for needs in (first, second)]
        assert nodes[0] == nodes[1]
    before = first.save()["step"]
    first.shift(600.0)
    assert first.save()["step"] == before + 10


def test_only_pools_that_we_size_keep_spare_nodes() -> None:
    for backend, cost in (("DryRun", 0.0), ("MinSize", 1.0)):
        manifest = AcceleratorPool(
            metadata=ObjectMeta(name="h100"),
            spec=AcceleratorPoolSpec(max_nodes=9, backend=PoolBackend(type=backend)),  # type: ignore[arg-type]
        )
        assert pool_spec(manifest).waiting_cost == cost
