"""Spare nodes are kept by what they are worth."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.allocation.cool_down import EVERYTHING, CoolDown, NodeNeeds, kept_nodes, words, worth_keeping

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
            nodes.append(int(needs.keep(60.0 * minute, ["a100"], needed, np.array([lead_s]))[0]))
        assert nodes[-1] == 3 + spares
        assert min(nodes) == 3 + spares
        assert nodes[23 * 60] == 4


def test_after_a_start_what_stands_stays_until_something_is_known() -> None:
    needs = NodeNeeds()
    needs.standing({"a100": 7})
    lead_s = np.array([120.0])
    found = [int(needs.keep(15.0 * tick, ["a100"], np.array([2]), lead_s)[0]) for tick in range(4 * 60)]
    assert found[0] == 7
    assert found[-1] == 2
    gone_s = 15.0 * found.index(2)
    assert 8 * 120.0 <= gone_s <= 11 * 120.0
    assert "until 8 lead times of 120 s" in words(5, EVERYTHING, 120.0)
    assert "11% of the last lead times" in words(1, 1, 120.0)
