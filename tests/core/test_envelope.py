"""Effective demand: the smallest capacity that keeps a window's waits within what is allowed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.envelope import Stretches

RATES = st.lists(st.floats(0, 100), min_size=1, max_size=8)


def longest_wait_s(rates: list[float], capacity: float, step_s: float) -> float:
    """Played: the wait of the last request of each sample, in a queue that is empty at first and served at `capacity`."""
    waiting = longest = 0.0
    for rate in rates:
        waiting = max(waiting + (rate - capacity) * step_s, 0.0)
        longest = max(longest, waiting / capacity)
    return longest


@given(rates=RATES, allowed_s=st.floats(0.5, 60), step_s=st.sampled_from([5.0, 15.0, 30.0]))
def test_it_is_the_capacity_at_which_the_longest_wait_is_the_allowed_one(
    rates: list[float], allowed_s: float, step_s: float
) -> None:
    (found,) = Stretches(len(rates), step_s, np.array([allowed_s])).effective(np.array([rates]))
    if found < 1e-6:
        assert max(rates) < 1e-3
        return
    assert longest_wait_s(rates, found * 1.000001, step_s) <= allowed_s
    assert longest_wait_s(rates, found * 0.999, step_s) > allowed_s * 0.98


def test_a_burst_counts_for_less_than_its_rate_and_a_lasting_excess_nearly_in_full() -> None:
    stretches = Stretches(4, 15.0, np.array([5.0, 5.0, 60.0]))
    burst, lasting = [10.0, 30.0, 10.0, 10.0], [30.0] * 4
    found = stretches.effective(np.array([burst, lasting, burst]))
    # 30 × 15/20; 30 × 60/65; with a minute to wait the burst is ridden out: 15 × 60/120.
    assert found == pytest.approx([22.5, 30 * 60 / 65, 7.5])


def test_the_latest_samples_alone_and_unknown_ones() -> None:
    stretches = Stretches(4, 15.0, np.array([5.0] * 3))
    rates = np.array([[40.0, 1.0, 1.0, 8.0], [np.nan, 1.0, 1.0, 8.0], [1.0, 1.0, 1.0, np.nan]])
    assert np.isnan(stretches.effective(rates)).tolist() == [False, True, True]
    recent = stretches.recent(rates)
    assert recent[:2] == pytest.approx([50 * 15 / 65, 6.0])  # the whole window; 8 × 15/20
    assert np.isnan(recent[2])
