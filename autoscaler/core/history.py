"""Rings of past values, a row a service, whose newest part is always one contiguous view."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


class History:
    """The last `length` columns of values (n,), newest last.

    Each column is written twice, `length` apart, so that any window is a plain slice: no copying when it is read, which
    happens far more often than writing.
    """

    __slots__ = ("_end", "_filled", "_times_s", "_values", "length")

    def __init__(self, rows: int, length: int) -> None:
        if length < 1:
            raise ValueError(f"a history holds at least one column, not {length}")
        self.length = length
        self._values = np.full((rows, 2 * length), np.nan)
        self._times_s = np.full(2 * length, np.nan)
        self._end = length
        self._filled = 0

    @property
    def filled(self) -> int:
        """How many columns there are, at most `length`."""
        return self._filled

    def push(self, at_s: float, values: Floats) -> None:
        """Adds the column `values` (n,) of time `at_s`; the oldest one goes."""
        length = self.length
        slot = self._end - length
        if slot == length:
            slot = 0
        self._values[:, slot] = values
        self._values[:, slot + length] = values
        self._times_s[slot] = at_s
        self._times_s[slot + length] = at_s
        self._end = slot + length + 1
        if self._filled < length:
            self._filled += 1

    def last(self, columns: int) -> Floats:
        """A view (n, k) of the newest k = min(columns, filled) columns."""
        k = min(columns, self._filled)
        return self._values[:, self._end - k : self._end]

    def times_s(self, columns: int) -> Floats:
        """A view (k,) of the times of ``last(columns)``."""
        k = min(columns, self._filled)
        return self._times_s[self._end - k : self._end]

    def since(self, at_s: float) -> Floats:
        """A view (n, k) of the columns later than `at_s`."""
        times = self.times_s(self._filled)
        return self.last(self._filled - int(np.searchsorted(times, at_s, side="right")))

    def rearranged(self, rows: npt.NDArray[np.int64]) -> History:
        """A history whose row i is this one's row `rows[i]`, or empty (NaN) where that is -1."""
        other = History(len(rows), self.length)
        known = rows >= 0
        other._values[known] = self._values[rows[known]]
        other._times_s[:] = self._times_s
        other._end = self._end
        other._filled = self._filled
        return other

    def select(self, rows: npt.NDArray[np.int64]) -> HistoryRows:
        """The same history seen by a policy that has only `rows`."""
        return HistoryRows(self, rows)


class HistoryRows:
    """Some rows of a History, picked when read."""

    __slots__ = ("_history", "_rows", "length")

    def __init__(self, history: History, rows: npt.NDArray[np.int64]) -> None:
        self._history = history
        self._rows = rows
        self.length = history.length

    @property
    def filled(self) -> int:
        return self._history.filled

    def last(self, columns: int) -> Floats:
        return self._history.last(columns)[self._rows]

    def times_s(self, columns: int) -> Floats:
        return self._history.times_s(columns)

    def since(self, at_s: float) -> Floats:
        return self._history.since(at_s)[self._rows]
