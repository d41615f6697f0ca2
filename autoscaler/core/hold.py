"""A policy's own hold: a count stays up until nothing has asked for it for a while."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoscaler.core.history import History
from autoscaler.core.model import Floats, Ints


class Hold:
    """The highest count of the last `span_s` seconds, (n,) each; a span of 0 holds nothing. Ticks that couldn't tell (NaN) are left out."""

    def __init__(self, span_s: Floats) -> None:
        self._past: History | None = None
        self._interval_s = 0.0
        self._group(span_s)

    def _group(self, span_s: Floats) -> None:
        self._longest_s = float(span_s.max(initial=0.0))
        distinct = np.unique(span_s[span_s > 0])
        every = len(distinct) == 1 and bool((span_s > 0).all())
        self._spans: list[tuple[float, Ints | None]] = [
            (float(span), None if every else np.flatnonzero(span_s == span)) for span in distinct
        ]
        self._n = len(span_s)

    def push(self, at_s: float, counts: Floats, interval_s: float) -> None:
        """Remembers the counts of a tick; ticks come every `interval_s`."""
        if not self._spans:
            return
        if self._past is None or self._interval_s != interval_s:
            self._resize(interval_s)
        assert self._past is not None
        self._past.push(at_s, counts)

    def _resize(self, interval_s: float) -> None:
        self._interval_s = interval_s
        fresh = self._empty()
        self._past = fresh if self._past is None else self._past.resized(np.arange(self._n), fresh.length)

    def _empty(self) -> History:
        return History(self._n, int(np.ceil(self._longest_s / self._interval_s)) + 1)

    def highest(self, at_s: float, counts: Floats) -> Floats:
        """`counts` or what they were within the span, whichever is higher; NaN stays NaN."""
        if self._past is None:
            return counts
        result = counts
        for span_s, rows in self._spans:
            past = self._past.since(at_s - span_s)
            if past.shape[1] == 0:
                continue
            # Unknown now stays unknown (maximum), unknown then is left out (fmax).
            if rows is None:
                return np.maximum(counts, np.fmax.reduce(past, 1, initial=0.0))
            result = counts.copy() if result is counts else result
            result[rows] = np.maximum(counts[rows], np.fmax.reduce(past[rows], 1, initial=0.0))
        return result

    def rearrange(self, rows: Ints, span_s: Floats) -> None:
        """New row i is the old row rows[i], or a new service where that is −1."""
        self._past = None if self._past is None else self._past.rearranged(rows)
        self._group(span_s)
        if self._past is not None:
            self._resize(self._interval_s)

    def adopt(self, other: Hold, rows: Ints) -> None:
        """Row i takes over what `other` holds in its row rows[i]; rows of −1 keep their own."""
        if other._past is None or not self._spans:
            return
        if self._past is None:
            self._interval_s = other._interval_s
            self._past = self._empty()
        self._past.adopt(other._past, rows)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        if self._past is not None:
            self._past.shift(by_s)

    def save(self) -> dict[str, Any]:
        return {"interval_s": self._interval_s, "past": None if self._past is None else self._past.save()}

    def load(self, state: dict[str, Any]) -> None:
        self._past, self._interval_s = None, 0.0
        if state["past"] is not None and self._spans:
            self._interval_s = state["interval_s"]
            self._past = self._empty()
            self._past.load(state["past"])
