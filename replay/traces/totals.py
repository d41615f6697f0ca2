"""Series of replicas added up to a service's signals while they pass by, each as it stands in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoscaler.core.model import Floats
from autoscaler.core.signals import SIGNALS
from replay.traces.counts import grid_places
from replay.traces.error import TraceError
from replay.traces.files import trace_name
from replay.traces.signal_series import SignalSeries


class Totals:
    """Sums of counts, means of ratios and latencies, by signal and time; its memory grows with the span, not with the number of series."""

    def __init__(self) -> None:
        self._times_s: Floats = np.empty(0)
        self._sums: dict[str, Floats] = {}
        self._numbers: dict[str, Floats] = {}

    def add(self, signal: str, times_s: Floats, values: Floats) -> None:
        """One series: times rising; NaN where it has no value."""
        if len(times_s) != len(self._times_s) or (times_s != self._times_s).any():
            self._widen(np.union1d(self._times_s, times_s))
        places = np.searchsorted(self._times_s, times_s)
        total = self._sums.setdefault(signal, np.zeros(len(self._times_s)))
        number = self._numbers.setdefault(signal, np.zeros(len(self._times_s)))
        known = ~np.isnan(values)
        total[places[known]] += values[known]
        number[places[known]] += 1.0

    def series(self, path: Path) -> SignalSeries:
        """Raises TraceError where the times don't lie on an even grid."""
        if len(self._times_s) < 2:
            raise TraceError(path, 0, "at least two moments are needed: without them their step is not known")
        step_s, places = grid_places(path, self._times_s, 0, "time")
        signals = {}
        for signal, total in self._sums.items():
            number = self._numbers[signal]
            merged = (
                total if SIGNALS[signal].merge == "sum" else np.divide(total, number, where=number > 0, out=np.zeros_like(total))
            )
            signals[signal] = np.full(int(places[-1]) + 1, np.nan)
            signals[signal][places] = np.where(number > 0, merged, np.nan)
        return SignalSeries(name=trace_name(path), start_s=float(self._times_s[0]), step_s=step_s, signals=signals)

    def _widen(self, times_s: Floats) -> None:
        places = np.searchsorted(times_s, self._times_s)
        for kept in (self._sums, self._numbers):
            for signal, values in kept.items():
                kept[signal] = np.zeros(len(times_s))
                kept[signal][places] = values
        self._times_s = times_s


def increase_per_s(times_s: Floats, values: Floats) -> Floats:
    """A counter's increase per second in the span that ends at each time; NaN at the first, and after a gap (when it grew within it is not
    known). A counter that falls was set to zero before, as Prometheus has it."""
    found = np.full(len(values), np.nan)
    if len(values) < 2:
        return found
    spans = np.diff(times_s)
    step_s = float(np.min(spans))
    grown = np.where(values[1:] >= values[:-1], values[1:] - values[:-1], values[1:])
    found[1:] = np.where(spans <= 1.5 * step_s, grown / spans, np.nan)
    return found
