"""A count series: how many requests arrived in each bin of a recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class CountSeries:
    """counts (k,): requests that arrived in the bin that begins at ``start_s + i × bin_s``; NaN where the recording has a gap."""

    name: str
    start_s: float
    bin_s: float
    counts: Floats

    @property
    def span_s(self) -> float:
        return self.bin_s * len(self.counts)

    @property
    def rates_per_s(self) -> Floats:
        return self.counts / self.bin_s


def gaps(series: CountSeries) -> list[tuple[float, float]]:
    """(from_s, to_s) of every run of missing bins."""
    missing = np.concatenate([[False], np.isnan(series.counts), [False]])
    edges = np.flatnonzero(missing[1:] != missing[:-1])
    return [
        (series.start_s + series.bin_s * float(a), series.start_s + series.bin_s * float(b))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]


def bridged(series: CountSeries) -> CountSeries:
    """The series with gaps filled by straight lines between their neighbours. Missing is not zero: a recorder that slept says nothing
    about the traffic, and a plant needs some."""
    missing = np.isnan(series.counts)
    if not missing.any():
        return series
    places = np.arange(len(series.counts))
    filled = np.interp(places, places[~missing], series.counts[~missing])
    return CountSeries(name=series.name, start_s=series.start_s, bin_s=series.bin_s, counts=filled)
