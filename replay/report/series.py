"""Plots stay small however long the trace is: two points a bucket, its lowest and its highest value in their order, so peaks stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Floats

Column = npt.NDArray[Any]


def bucket_times(times_s: Floats, buckets: int) -> Floats:
    """The times that ``thinned`` gives values for: all of them where they are few."""
    if len(times_s) <= 2 * buckets:
        return times_s
    edges = _edges(len(times_s), buckets)
    middle = (edges[:-1] + edges[1:]) // 2
    return times_s[np.stack([edges[:-1], middle], axis=1).ravel()]


def thinned(values: Column, buckets: int) -> Floats:
    """Two values a bucket: its minimum and maximum, whichever comes first first; NaN only where all of the bucket is NaN."""
    if len(values) <= 2 * buckets:
        return values.astype(np.float64)
    edges = _edges(len(values), buckets)
    known = values.astype(np.float64)
    out = np.full(2 * buckets, np.nan)
    for bucket in range(buckets):
        part = known[edges[bucket] : edges[bucket + 1]]
        if np.isnan(part).all():
            continue
        low, high = int(np.nanargmin(part)), int(np.nanargmax(part))
        out[2 * bucket : 2 * bucket + 2] = (part[low], part[high]) if low <= high else (part[high], part[low])
    return out


def _edges(length: int, buckets: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, length, buckets + 1).astype(np.int64)


def short(values: Floats) -> list[float | int | None]:
    """Numbers with four significant digits, for the page."""
    return [_short(value) for value in values.tolist()]


def _short(value: float) -> float | int | None:
    if value != value:
        return None
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() else rounded
