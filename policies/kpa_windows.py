"""Samples of services and their means over windows, as Knative's autoscaler keeps them; what ``kpa`` reads.

Source: knative serving pkg/autoscaler/aggregation/bucketing.go (TimedFloat64Buckets.WindowAverage, the linear aggregation). The one
difference: a window that is exactly as old as its last sample is empty here; there it holds a 0 for that very second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.history import History
from autoscaler.core.model import Floats, Ints
from autoscaler.core.policy import Saved
from autoscaler.core.seen import any_unknown

_PRECISION: Final = 1e6
"""Knative cuts a window's mean off after six digits."""


class Samples:
    """n services' samples for several windows. windows_s: each window's length, (n,) seconds."""

    def __init__(self, windows_s: Sequence[Floats]) -> None:
        n = len(windows_s[0])
        self._interval_s = 0.0
        self._history: History | None = None
        self._last_s: Floats = np.full(n, np.nan)
        """Each service's latest sample (of those before `_all_s`)."""
        self._firsts_s: list[Floats] = [np.full(n, np.nan) for _ in windows_s]
        """For each window: the first sample since there was none for a whole window."""
        self._all_s = float("-inf")
        """The latest time at which all services had a sample."""
        self._take(windows_s)

    def _take(self, windows_s: Sequence[Floats]) -> None:
        self._windows_s = list(windows_s)
        self._spans = [spans(window_s) for window_s in windows_s]
        self._shortest_s = min((float(window_s.min(initial=np.inf)) for window_s in windows_s), default=np.inf)
        self._longest_s = max((float(window_s.max(initial=1.0)) for window_s in windows_s), default=1.0)

    def push(self, at_s: float, interval_s: float, sampled: Floats) -> None:
        """Adds the samples (n,) of time `at_s`; NaN: a service has none."""
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            self._arrange(np.arange(len(self._last_s)))
        assert self._history is not None
        self._history.push(at_s, sampled)
        known_by_all = not any_unknown(sampled)
        if not (known_by_all and at_s - self._all_s < self._shortest_s):
            self._note(at_s, sampled)
        if known_by_all:
            self._all_s = at_s

    def _note(self, at_s: float, sampled: Floats) -> None:
        self._settle()
        known = sampled == sampled
        age_s = at_s - self._last_s
        for number, window_s in enumerate(self._windows_s):
            begins = known & ~(age_s < window_s)
            self._firsts_s[number] = np.where(begins, at_s, self._firsts_s[number])
        self._last_s = np.where(known, at_s, self._last_s)

    def _settle(self) -> None:
        """Writes down for each service what `_all_s` says of all."""
        if self._all_s != -np.inf:
            self._last_s = np.fmax(self._last_s, self._all_s)
            self._all_s = float("-inf")

    def means(self, window: int, at_s: float) -> Floats:
        """Means over one of the windows up to now, (n,), NaN without a sample in it. Between the first and the last sample of a window
        one that is missing counts as 0; before and after them nothing counts."""
        assert self._history is not None
        result = np.full(len(self._last_s), np.nan)
        for span_s, rows in self._spans[window]:
            past = self._history.since(at_s - span_s)
            mean: Floats = np.add.reduce(past, 1) / past.shape[1]
            if any_unknown(mean):
                mean = self._with_gaps(window, at_s, span_s, past)
            mean = np.floor(mean * _PRECISION) / _PRECISION
            if rows is None:
                return mean
            result[rows] = mean[rows]
        return result

    def _with_gaps(self, window: int, at_s: float, span_s: float, past: Floats) -> Floats:
        known = past == past
        columns = past.shape[1]
        last = columns - 1 - np.argmax(known[:, ::-1], axis=1)
        # A window that began anew within this one has nothing before its first sample.
        first = np.where(self._firsts_s[window] > at_s - span_s, np.argmax(known, axis=1), 0)
        total = np.where(known, past, 0.0).sum(axis=1)
        means: Floats = np.where(known.any(axis=1), total / (last - first + 1), np.nan)
        return means

    # ------------------------------------------------------------ what survives

    def rearrange(self, rows: Ints, windows_s: Sequence[Floats]) -> None:
        self._settle()
        self._last_s = rearranged(self._last_s, rows)
        self._firsts_s = [rearranged(first_s, rows) for first_s in self._firsts_s]
        self._take(windows_s)
        if self._interval_s:
            self._arrange(rows)

    def _arrange(self, rows: Ints) -> None:
        self._history = resized(self._history, rows, self._longest_s, self._interval_s)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        if self._history is not None:
            self._history.shift(by_s)
        self._last_s = self._last_s + by_s
        self._firsts_s = [first_s + by_s for first_s in self._firsts_s]
        self._all_s += by_s

    def save(self) -> Saved:
        """Plain values; only once there was a sample."""
        assert self._history is not None
        self._settle()
        return {
            "interval_s": self._interval_s,
            "last_s": plain(self._last_s),
            "firsts_s": [plain(first_s) for first_s in self._firsts_s],
            "samples": self._history.save(),
        }

    def load(self, state: Saved) -> None:
        """Takes back what save gave (same rows)."""
        self._all_s = float("-inf")
        self._last_s = floats(state["last_s"])
        self._firsts_s = [floats(first_s) for first_s in state["firsts_s"]]
        self._interval_s = float(state["interval_s"])
        history = resized(None, np.arange(len(self._last_s)), self._longest_s, self._interval_s)
        history.load(state["samples"])
        self._history = history


def spans(windows_s: Floats) -> list[tuple[float, Ints | None]]:
    """Distinct windows with their rows; None: all of them."""
    distinct = np.unique(windows_s)
    if len(distinct) == 1:
        return [(float(distinct[0]), None)]
    return [(float(span_s), np.flatnonzero(windows_s == span_s)) for span_s in distinct]


def resized(old: History | None, rows: Ints, span_s: float, interval_s: float) -> History:
    """The rows of the old history in one that reaches back for `span_s`."""
    length = int(np.ceil(span_s / interval_s)) + 1
    return History(len(rows), length) if old is None else old.resized(rows, length)
