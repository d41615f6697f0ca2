"""Quantiles agree with Prometheus' own rule, written down once more in the plainest way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.prometheus.quantiles import quantiles


def plain_quantile(quantile: float, bounds: list[float], counts: list[float]) -> float:
    """bucketQuantile of prometheus/promql/quantile.go, but for a rank of zero in an empty bucket."""
    for index in range(1, len(counts)):
        counts[index] = max(counts[index], counts[index - 1])
    total = counts[-1]
    if total == 0:
        return math.nan
    rank = quantile * total
    index = next((i for i in range(len(counts) - 1) if counts[i] >= rank), len(counts) - 1)
    if index == len(counts) - 1:
        return bounds[-2]
    if index == 0 and bounds[0] <= 0:
        return bounds[0]
    start, end, count = 0.0, bounds[index], counts[index]
    if index > 0:
        start = bounds[index - 1]
        count -= counts[index - 1]
        rank -= counts[index - 1]
    return start + (end - start) * (rank / count) if count else start


counts = st.lists(st.floats(0, 1000), min_size=4, max_size=4)


@given(st.lists(counts, min_size=1, max_size=5), st.floats(0, 1))
def test_it_is_prometheus_rule(rows: list[list[float]], quantile: float) -> None:
    bounds = [0.1, 0.5, 2.5, math.inf]
    found = quantiles(np.array(bounds), np.array(rows), np.full(len(rows), quantile))
    expected = [plain_quantile(quantile, bounds, list(row)) for row in rows]
    assert np.allclose(found, expected, equal_nan=True, rtol=1e-9)


def test_without_requests_or_without_a_last_bound_there_is_none() -> None:
    bounds = np.array([0.1, math.inf])
    assert np.isnan(quantiles(bounds, np.zeros((2, 2)), np.full(2, 0.99))).all()
    assert np.isnan(quantiles(np.array([0.1, 0.2]), np.ones((1, 2)), np.full(1, 0.5))).all()
    assert np.isnan(quantiles(np.array([math.inf]), np.ones((1, 1)), np.full(1, 0.5))).all()


def test_above_the_last_bound_it_says_that_bound() -> None:
    assert quantiles(np.array([1.0, math.inf]), np.array([[1.0, 10.0]]), np.array([0.5])) == pytest.approx([1.0])
