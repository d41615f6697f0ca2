"""What a trace looks like in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats
from autoscaler.core.sizing import dispersion_of_counts
from replay.traces.blocks import Counting
from replay.traces.files import trace_name
from replay.traces.picks import Picks
from replay.traces.registry import NO_PICKS, format_of
from replay.traces.series import CountSeries, gaps
from replay.traces.signal_series import SignalSeries, demand_series
from replay.traces.token_counts import TokenCounts

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_HOURS: Final = 24
_WEEK_HOURS: Final = 168


def look(path: Path, picks: Picks = NO_PICKS) -> tuple[dict[str, Any], CountSeries | SignalSeries]:
    """The portrait of a trace file, and what can be plotted of it. Single requests are looked at while they pass by.

    Raises UsageError, OutsideError, TraceError."""
    form = format_of(path)
    if form.requests is not None:
        counting, prompt, output = Counting(path), TokenCounts(), TokenCounts()
        for block in form.requests(path):
            counting.add(block)
            prompt.add(block.prompt_tokens)
            output.add(block.output_tokens)
        series = counting.series(trace_name(path))
        tokens = {"prompt": prompt.portrait(), "output": output.portrait()}
        return {**portrait(series), "format": form.name, "tokens": tokens}, series
    if form.counts is not None:
        series = form.counts(path)
        return {**portrait(series), "format": form.name}, series
    assert form.signals is not None
    signals = form.signals(path, picks)
    found = signals_portrait(signals)
    if "demand" in signals.signals and not np.isnan(signals.signals["demand"]).all():
        found = {**portrait(demand_series(signals)), "signals": found["signals"]}
    return {**found, "format": form.name}, signals


def signals_portrait(series: SignalSeries) -> dict[str, Any]:
    """Span, and of each signal: the share of moments that hold a value, its mean, quantiles and gaps."""
    signals = {}
    for name, values in series.signals.items():
        known = values[~np.isnan(values)]
        as_counts = CountSeries(name="", start_s=series.start_s, bin_s=series.step_s, counts=values)
        signals[name] = {
            "known_ratio": len(known) / len(values),
            "mean": float(known.mean()) if len(known) else None,
            **{
                key: float(np.quantile(known, q)) if len(known) else None
                for key, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            },
            "gaps": [{"from_s": from_s, "to_s": to_s} for from_s, to_s in gaps(as_counts)],
        }
    return {
        "schema": 1,
        "trace": series.name,
        "start_s": series.start_s,
        "span_s": series.span_s,
        "bin_s": series.step_s,
        "bins": len(series),
        "signals": signals,
    }


def portrait(series: CountSeries) -> dict[str, Any]:
    """Span, rates by the minute, burstiness (variance ÷ mean of successive bins: 1 is Poisson), gaps, and which share of the hourly
    rates' variance the time of day and the time of week explain (null where the trace holds fewer than two of them)."""
    known = series.counts[~np.isnan(series.counts)]
    minutes = _means(series, max(_MINUTE_S, series.bin_s))
    hours = _means(series, _HOUR_S) if series.bin_s <= _HOUR_S else np.empty(0)
    dispersion = float(dispersion_of_counts(series.counts)) if len(known) > 1 else float("nan")
    mean = float(known.mean() / series.bin_s) if len(known) else 0.0
    rate = {name: _quantile(minutes, q) for name, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))}
    return {
        "schema": 1,
        "trace": series.name,
        "start_s": series.start_s,
        "span_s": series.span_s,
        "bin_s": series.bin_s,
        "bins": len(series.counts),
        "requests": float(known.sum()),
        "rate_per_s": {"mean": mean, **rate},
        "burstiness": {
            "dispersion": None if dispersion != dispersion else dispersion,
            "peak_to_mean": rate["max"] / mean if mean > 0 else 0.0,
        },
        "gaps": [{"from_s": from_s, "to_s": to_s} for from_s, to_s in gaps(series)],
        "seasonality": {"day": _explained(hours, _DAY_HOURS), "week": _explained(hours, _WEEK_HOURS)},
    }


def _means(series: CountSeries, span_s: float) -> Floats:
    """Mean rates per second over whole spans; NaN where nothing is known of one."""
    bins = max(round(span_s / series.bin_s), 1)
    whole = len(series.counts) // bins * bins
    parts = series.rates_per_s[:whole].reshape(-1, bins)
    known = ~np.isnan(parts)
    total = np.where(known, parts, 0.0).sum(axis=1)
    count = known.sum(axis=1)
    means: Floats = np.divide(total, count, out=np.full(len(parts), np.nan), where=count > 0)
    return means


def _quantile(values: Floats, quantile: float) -> float:
    known = values[~np.isnan(values)]
    return float(np.quantile(known, quantile)) if len(known) else 0.0


def _explained(hours: Floats, period: int) -> float | None:
    """Share of the variance that the mean of each phase explains, of what is left after that of chance (adjusted R²)."""
    if len(hours) < 2 * period:
        return None
    known = ~np.isnan(hours)
    phase = np.arange(len(hours)) % period
    counts = np.bincount(phase[known], minlength=period)
    means = np.divide(
        np.bincount(phase[known], weights=hours[known], minlength=period), counts, where=counts > 0, out=np.zeros(period)
    )
    rest = hours[known] - means[phase[known]]
    total = hours[known] - hours[known].mean()
    free = int(known.sum()) - period
    if free <= 0 or not total.any():
        return None
    return max(0.0, 1.0 - float(rest @ rest) / free / (float(total @ total) / (int(known.sum()) - 1)))
