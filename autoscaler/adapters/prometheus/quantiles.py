"""Quantiles of merged histograms, by Prometheus' own rule.

The same interpolation as ``histogram_quantile`` (prometheus/promql/quantile.go, bucketQuantile), for many services at once, so that a
number on our page and one on a dashboard agree.
"""

from __future__ import annotations

import numpy as np

from autoscaler.core.model import Floats


def quantiles(bounds: Floats, counts: Floats, wanted: Floats) -> Floats:
    """The quantile `wanted` (n,) of each of n histograms.

    bounds (b,): upper bounds, rising, the last +Inf. counts (n, b): cumulative counts or rates; made rising where rounding broke that.
    NaN where a histogram is empty or where there are no bounds. Above the last finite bound the answer is that bound: a histogram
    can't say more. In the lowest bucket the interpolation starts at 0 where its bound is positive.
    """
    rows = len(counts)
    if len(bounds) < 2 or not np.isposinf(bounds[-1]):
        return np.full(rows, np.nan)
    counts = np.maximum.accumulate(counts, axis=1)
    total = counts[:, -1]
    rank = wanted * total
    # The first bucket whose count reaches the rank, +Inf left out.
    bucket = np.minimum((counts[:, :-1] < rank[:, None]).sum(axis=1), len(bounds) - 1)
    overflow = bucket == len(bounds) - 1
    bucket = np.minimum(bucket, len(bounds) - 2)
    row = np.arange(rows)
    end = bounds[bucket]
    start = np.where(bucket > 0, bounds[bucket - 1], 0.0)
    below = np.where(bucket > 0, counts[row, bucket - 1], 0.0)
    inside = counts[row, bucket] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        value = start + (end - start) * (rank - below) / inside
    value = np.where((bucket == 0) & (end <= 0), end, value)
    # A rank of 0 in an empty lowest bucket is 0 ÷ 0 in Prometheus too (it says NaN); its lower bound is the useful answer.
    value = np.where(inside == 0, start, value)
    value = np.where(overflow, bounds[-2], value)
    return np.where(total > 0, value, np.nan)
