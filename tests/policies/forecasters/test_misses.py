"""Quantiles of what really happened."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from policies.forecasters.misses import EDGES, PRIOR, Misses


def exceeded(misses: Misses, share: float) -> float:
    return float(misses.exceeded(np.full((len(misses.counts), 1), share))[0, 0])


@pytest.mark.parametrize("share", [0.3, 0.05, 0.01, 0.002])
def test_of_a_new_service_it_tells_students_quantiles(share: float) -> None:
    # Bins are a fifth wide up to 4 and wider beyond: that is how exact it is.
    assert exceeded(Misses(1), share) == pytest.approx(stats.t.isf(share, 4), abs=0.1)


@pytest.mark.parametrize("share", [0.2, 0.05, 0.01])
def test_what_was_seen_takes_over(share: float) -> None:
    misses = Misses(2)
    seen = np.random.default_rng(3).uniform(-1, 2, size=(40_000, 2))
    for spreads in seen:
        misses.learn(spreads, 15.0, None)
    assert exceeded(misses, share) == pytest.approx(2 - 3 * share, abs=0.12 + 10 * PRIOR / len(seen) * share)


def test_rarer_is_never_lower_and_all_stays_within_the_edges() -> None:
    misses = Misses(1)
    for _ in range(3000):
        misses.learn(np.array([20.0]), 15.0, None)
    found = [exceeded(misses, share) for share in (0.9, 0.5, 0.1, 0.01, 1e-5, 0.0)]
    assert found == sorted(found)
    assert found[0] >= EDGES[0]
    assert found[-1] == EDGES[-1]


def test_old_misses_fade() -> None:
    misses = Misses(1)
    for _ in range(2000):
        misses.learn(np.array([3.5]), 15.0, None)
    before = exceeded(misses, 0.05)
    for _ in range(20):
        misses.learn(np.array([0.0]), 7 * 86_400.0, None)
    assert exceeded(misses, 0.05) < before
