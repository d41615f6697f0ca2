"""From a count series to the arrivals in every second of a service's simulated life.

The rules are those of the standard scenario: a bin is spread evenly over its seconds; smoothed counts are held for a minute; bins longer
than five minutes are interpolated, since real traffic has no such steps; what was smoothed or interpolated is drawn again (Poisson),
unless noise is switched off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.model import Floats
from autoscaler.errors import UsageError
from replay.scenario import Scenario, whole_s
from replay.traces.series import CountSeries, bridged

MINUTE_S: Final = 60
LONGEST_FLAT_BIN_S: Final = 300.0
MOST_CLUMPED: Final = 3.0
"""Counts that are multiplied by more than this are warned of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """arrivals (T,): requests in each second from the trace's start. factor: what the recorded rates were multiplied by. clumped: whether
    that made each recorded request into many that arrive at once."""

    arrivals: Floats
    factor: float
    clumped: bool


def arrivals(series: CountSeries, scenario: Scenario, capacity_per_s: float) -> Floats:
    """Requests arriving in each second from the trace's start, (T,). capacity_per_s: of one replica, for the scale.

    Raises UsageError where trace and scenario don't fit."""
    return scaled(series, scenario, capacity_per_s).arrivals


def scaled(series: CountSeries, scenario: Scenario, capacity_per_s: float) -> Scaled:
    """As ``arrivals``, with what was done to the recorded rates. Raises UsageError where trace and scenario don't fit."""
    rates, redrawn = rates_per_s(bridged(series), scenario)
    factor = scale_factor(rates, scenario, capacity_per_s)
    clumped = not redrawn and scenario.scale.mode == "Peak" and factor > MOST_CLUMPED and _whole(series)
    rates = rates * factor
    if scenario.length is not None:
        rates = rates[: whole_s(scenario.length)]
    if redrawn and scenario.noise:
        # The very stream of numpy.random.default_rng(seed): others draw the same numbers.
        rng = np.random.Generator(np.random.PCG64(scenario.seed))
        rates = rng.poisson(rates).astype(np.float64)
    return Scaled(arrivals=rates, factor=factor, clumped=clumped)


def clumped_words(trace: str, factor: float) -> str:
    """What is said of counts that were multiplied as they are."""
    return (
        f"{trace}: its counts are multiplied by {factor:.4g} as they are: each recorded request stands for that many together, "
        "which is burstier than real traffic of that size; give smoothing=15m or scale.mode=Factor (--set scenario.…, or after the trace's name)"
    )


def _whole(series: CountSeries) -> bool:
    """Whether single requests were counted, and no rates."""
    known = series.counts[~np.isnan(series.counts)]
    return bool((known == np.round(known)).all())


def rates_per_s(series: CountSeries, scenario: Scenario) -> tuple[Floats, bool]:
    """Mean arrivals per second (T,) before scaling, and whether they were smoothed or interpolated (then they may be drawn)."""
    if series.span_s < 1:
        raise UsageError(f"trace {series.name}: spans {series.span_s:g} s, at least one second is needed")
    if scenario.smoothing is not None:
        return np.repeat(_smoothed(series, whole_s(scenario.smoothing)) / MINUTE_S, MINUTE_S), True
    if series.bin_s > LONGEST_FLAT_BIN_S:
        centres_s = series.bin_s * (np.arange(len(series.counts)) + 0.5)
        # A second's rate is that of its own middle; before the first centre and after the last it stays.
        return np.interp(np.arange(int(series.span_s)) + 0.5, centres_s, series.rates_per_s), True
    return _spread(series), False


def scale_factor(rates: Floats, scenario: Scenario, capacity_per_s: float) -> float:
    """What rates are multiplied by: replicas × capacity ÷ the rate of the quantile minute, or the given factor."""
    scale = scenario.scale
    if scale.mode == "Factor":
        return scale.factor
    if not capacity_per_s > 0:
        raise UsageError(
            "the trace can't be scaled: the manifest gives no capacity.requestsPerSecond; give scenario.scale.mode=Factor"
        )
    whole = len(rates) // MINUTE_S * MINUTE_S
    minutes = rates[:whole].reshape(-1, MINUTE_S).mean(axis=1) if whole else rates.mean(keepdims=True)
    peak = float(np.quantile(minutes, scale.quantile))
    return scale.replicas * capacity_per_s / peak if peak > 0 else 1.0


def _spread(series: CountSeries) -> Floats:
    """Each bin evenly over its seconds."""
    bin_s = series.bin_s
    if bin_s == int(bin_s):
        return np.repeat(series.counts / bin_s, int(bin_s))
    total = np.concatenate([[0.0], np.cumsum(series.counts)])
    edges_s = bin_s * np.arange(len(total))
    at_seconds: Floats = np.interp(np.arange(int(series.span_s + 1e-9) + 1), edges_s, total)
    return np.diff(at_seconds)


def _smoothed(series: CountSeries, window_s: int) -> Floats:
    """Counts of whole minutes as a centred mean over `window_s`; at the edges the mean of what is there. (minutes,)"""
    if series.bin_s > MINUTE_S:
        raise UsageError(f"trace {series.name}: smoothing works on minutes, but its bins are {series.bin_s:g} s long")
    seconds = _spread(series)
    whole = len(seconds) // MINUTE_S * MINUTE_S
    if not whole:
        raise UsageError(f"trace {series.name}: smoothing works on minutes, but it spans {series.span_s:g} s only")
    minutes = seconds[:whole].reshape(-1, MINUTE_S).sum(axis=1)
    half = max(window_s // MINUTE_S, 1) // 2
    total = np.concatenate([[0.0], np.cumsum(minutes)])
    places = np.arange(len(minutes))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(minutes))
    means: Floats = (total[high] - total[low]) / (high - low)
    return means
