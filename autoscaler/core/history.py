"""Rings of past values, a row a service, whose newest part is always one contiguous view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from autoscaler.core.columns import floats, plain

Floats: TypeAlias = npt.NDArray[np.float64]


class History:
    """The last `length` columns of values (n,), newest last.

    Each column is written twice, `length` apart, so that any window is a plain slice: no copying when it is read, which
    happens far more often than writing.
    """

    __slots__ = ("_columns", "_end", "_filled", "_times_s", "_values", "length")

    def __init__(self, rows: int, length: int) -> None:
        if length < 1:
            raise ValueError(f"a history holds at least one column, not {length}")
        self.length = length
        self._values = np.full((rows, 2 * length), np.nan)
        self._columns = self._values.T  # a view; one number picks a column of it faster than two do
        self._times_s = np.full(2 * length, np.nan)
        self._end = length
        self._filled = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._values)

    @property
    def filled(self) -> int:
        """How many columns there are, at most `length`."""
        return self._filled

    def push(self, at_s: float, values: Floats | npt.NDArray[np.int64]) -> None:
        """Adds the column `values` (n,) of time `at_s`; the oldest one goes."""
        length, columns = self.length, self._columns
        slot = self._end - length
        if slot == length:
            slot = 0
        columns[slot] = columns[slot + length] = values
        self._times_s[slot] = self._times_s[slot + length] = at_s
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
        return self.last(self._filled - int(times.searchsorted(at_s, side="right")))

    def rearranged(self, rows: npt.NDArray[np.int64]) -> History:
        """A history whose row i is this one's row `rows[i]`, or empty (NaN) where that is -1."""
        other = History(len(rows), self.length)
        known = rows >= 0
        other._values[known] = self._values[rows[known]]
        other._times_s[:] = self._times_s
        other._end = self._end
        other._filled = self._filled
        return other

    def resized(self, rows: npt.NDArray[np.int64], length: int) -> History:
        """As rearranged(rows), with room for `length` columns; of more the newest stay."""
        kept = self.rearranged(rows)
        if length == self.length:
            return kept
        other = History(len(rows), length)
        other._refill(kept.times_s(length), kept.last(length))
        return other

    def adopt(self, other: History, rows: npt.NDArray[np.int64]) -> None:
        """Row i takes over the past of `other`'s row rows[i]; a row of −1 keeps its own.

        Each column takes the value of the other's nearest column, if that lies within half the other's step; where there is none, what is
        here stays. The other's columns from before our first one come before it, as far as there is room: unknown for rows that take
        nothing over."""
        theirs_s = other.times_s(other._filled)
        takers = np.flatnonzero(rows >= 0)
        if not len(theirs_s) or not len(takers):
            return
        values = other.last(other._filled)[rows[takers]]
        within_s = 0.5 * float(theirs_s[-1] - theirs_s[-2]) if len(theirs_s) > 1 else 0.0
        times_s, kept = self.times_s(self._filled).copy(), self.last(self._filled).copy()
        if len(times_s):
            apart_s = np.abs(theirs_s[:, None] - times_s[None, :])
            nearest = apart_s.argmin(axis=0)
            near = apart_s.min(axis=0) <= within_s
            found = values[:, nearest[near]]
            kept[np.ix_(takers, near)] = np.where(np.isnan(found), kept[np.ix_(takers, near)], found)
        first_s = times_s[0] - within_s if len(times_s) else np.inf
        older = int(theirs_s.searchsorted(first_s, side="left"))
        before = np.full((len(self._values), older), np.nan)
        before[takers] = values[:, :older]
        self._refill(np.concatenate([theirs_s[:older], times_s]), np.concatenate([before, kept], axis=1))

    def shift(self, by_s: float) -> None:
        """Moves the times of all columns by `by_s`: the clock they were read from was set."""
        self._times_s += by_s

    def _refill(self, times_s: Floats, values: Floats) -> None:
        """Makes the newest of these columns, oldest first, all that is here."""
        count = min(len(times_s), self.length)
        self._end, self._filled = self.length, 0
        for column in range(len(times_s) - count, len(times_s)):
            self.push(float(times_s[column]), values[:, column])

    def put(self, row: int, at_s: float, value: float, join: Callable[[float, float], float]) -> None:
        """Writes `value` into the row's column that holds `at_s` (the first one not before it, else the newest); where that holds a value
        already, what `join` makes of both.

        For what a service remembered from before this history began; at least one column must be there.
        """
        times = self.times_s(self._filled)
        place = min(int(times.searchsorted(at_s, side="left")), len(times) - 1)
        slot = (self._end - len(times) + place) % self.length
        before = float(self._values[row, slot])
        value = value if before != before else join(before, value)
        self._values[row, slot] = value
        self._values[row, slot + self.length] = value

    def save(self) -> dict[str, list[float | None]]:
        """Times and values, oldest first, as plain JSON values (None for NaN; values column after column)."""
        return {"times_s": self.times_s(self._filled).tolist(), "values": plain(self.last(self._filled).T.ravel())}

    def load(self, state: dict[str, list[float | None]]) -> None:
        """Pushes what save gave (same number of rows)."""
        rows = len(self._values)
        values = floats(state["values"])
        for column, at_s in enumerate(state["times_s"]):
            assert at_s is not None
            self.push(at_s, values[column * rows : (column + 1) * rows])

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
