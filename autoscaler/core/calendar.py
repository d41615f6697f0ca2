"""Calendar windows of all services as columns: which bounds are in force at a moment, and what lower bound a stretch of time brings.

A window is judged by the local wall clock: on the day a clock is set forward it loses the hour that isn't there, on the day it is set back it
gains one. One that ends at or before its start runs into the next day, and belongs to the day on which it started.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints, ScalingSpec

_DAY_S: Final = 86_400.0
_EPOCH_WEEKDAY: Final = 3
"""1 January 1970 was a Thursday; Monday is 0."""
_NOT_GIVEN: Final = -1
_STRETCH_S: Final = 64 * _DAY_S
"""Changes of clocks are looked for in stretches of so many seconds."""
_PROBE_S: Final = 6 * 3600
"""No zone sets its clock twice within so long."""
_FURTHEST_S: Final = 7 * _DAY_S
"""Nobody is ordered further ahead: a lead time that somebody mistyped must not cost everybody's tick."""
_HOLDS_S: Final = 43_200.0
"""What was found is said to hold no longer than this, whatever comes then."""


class Calendar:
    """The windows of the m services that have any. rows (m,): which of the fleet's n services they are.

    All answers follow from the moment that is asked about alone."""

    def __init__(self, specs: Sequence[ScalingSpec]) -> None:
        rows = [row for row, spec in enumerate(specs) if spec.schedules]
        windows = [window for row in rows for window in specs[row].schedules]
        self.rows: Ints = np.array(rows, dtype=np.int64)
        self._names = [window.name for window in windows]
        self._own_low: Ints = np.array([specs[row].min_replicas for row in rows], dtype=np.int64)
        self._own_high: Ints = np.array([specs[row].max_replicas for row in rows], dtype=np.int64)
        # Windows (w,), those of a service side by side in the manifest's order.
        self._count: Ints = np.array([len(specs[row].schedules) for row in rows], dtype=np.int64)
        self._first: Ints = np.cumsum(self._count) - self._count
        self._service: Ints = np.repeat(np.arange(len(rows)), self._count)
        zones = {name: number for number, name in enumerate(dict.fromkeys(window.timezone for window in windows))}
        self._zones = tuple(zones)
        self._zone: Ints = np.array([zones[window.timezone] for window in windows], dtype=np.int64)
        self._days: Ints = np.array([sum(1 << day for day in window.days) for window in windows], dtype=np.int64)
        self._start_s: Floats = np.array([60.0 * window.start_minute for window in windows])
        self._end_s: Floats = np.array([60.0 * window.end_minute for window in windows])
        self._from_s: Floats = np.array([-np.inf if window.from_s is None else window.from_s for window in windows])
        self._until_s: Floats = np.array([np.inf if window.until_s is None else window.until_s for window in windows])
        self._low = _given([window.min_replicas for window in windows])
        self._high = _given([window.max_replicas for window in windows])

    def __bool__(self) -> bool:
        return bool(len(self.rows))

    def bounds(self, at_s: float) -> tuple[Ints, Ints, Ints]:
        """The lower and upper bound (m,) in force at a moment, the lower one perhaps above the upper one, and the last window in force then
        (``name``), −1 where none is. Of several windows the last one in the manifest wins, bound by bound."""
        return self._bounds(np.arange(len(self.rows)), np.full(len(self.rows), at_s))

    def name(self, window: int) -> str:
        return self._names[window]

    def highest_min(self, at_s: float, ahead_s: Floats) -> tuple[Ints, float]:
        """The highest lower bound (m,) from a moment until ahead_s (m,) seconds after it (a week at the most), as far as the upper one of then
        allows; and the moment until which the answer to the same ahead_s stays what it is."""
        ahead_s = np.minimum(ahead_s, _FURTHEST_S)
        low, high, _ = self.bounds(at_s)
        highest = np.minimum(low, high)
        service, turns_s = self._turns(at_s, float(ahead_s.max(initial=0.0)))
        enters_s = turns_s - ahead_s[service]
        near = enters_s <= at_s
        # What comes into sight may change the answer, and so may what is in sight when it is over.
        holds_s = np.where(near, turns_s, enters_s).min(initial=at_s + _HOLDS_S)
        if near.any():
            low, high, _ = self._bounds(service[near], turns_s[near])
            np.maximum.at(highest, service[near], np.minimum(low, high))
        return highest, float(holds_s)

    def next_turn_s(self, at_s: float) -> float:
        """The moment until which ``bounds`` stay what they are at at_s, at least."""
        return float(self._turns(at_s, 0.0)[1].min(initial=at_s + _HOLDS_S))

    # ------------------------------------------------------------ at a moment

    def _bounds(self, service: Ints, at_s: Floats) -> tuple[Ints, Ints, Ints]:
        """As ``bounds``, of each of these services (c,) at a moment of its own (c,)."""
        low, high = self._own_low[service], self._own_high[service]
        last = np.full(len(service), _NOT_GIVEN, dtype=np.int64)
        for number in range(int(self._count[service].max(initial=0))):
            having = np.flatnonzero(self._count[service] > number)
            window = self._first[service[having]] + number
            inside = self._in_force(window, at_s[having])
            having, window = having[inside], window[inside]
            last[having] = window
            for bound, given in ((low, self._low[window]), (high, self._high[window])):
                bound[having[given != _NOT_GIVEN]] = given[given != _NOT_GIVEN]
        return low, high, last

    def _in_force(self, window: Ints, at_s: Floats) -> Bools:
        """Whether each window (c,) is in force at a moment of its own (c,)."""
        local_s = at_s + self._ahead_of_utc_s(self._zone[window], at_s)
        day = np.floor(local_s / _DAY_S).astype(np.int64)
        second_s = local_s - day * _DAY_S
        today = (self._days[window] >> (day + _EPOCH_WEEKDAY) % 7 & 1).astype(np.bool_)
        yesterday = (self._days[window] >> (day + _EPOCH_WEEKDAY - 1) % 7 & 1).astype(np.bool_)
        begun, ended = second_s >= self._start_s[window], second_s >= self._end_s[window]
        overnight = self._end_s[window] <= self._start_s[window]
        inside = np.where(overnight, (today & begun) | (yesterday & ~ended), today & begun & ~ended)
        made: Bools = inside & (self._from_s[window] <= at_s) & (at_s < self._until_s[window])
        return made

    def _ahead_of_utc_s(self, zone: Ints, at_s: Floats) -> Floats:
        """What local clocks (c,) are ahead of UTC at moments (c,)."""
        if not len(at_s):
            return at_s
        first_s, last_s = float(at_s.min()), float(at_s.max())
        offset_s = np.array([_offsets(name, first_s, last_s)[0][1] for name in self._zones])[zone]
        for number, name in enumerate(self._zones):
            for change_s, after_s in _offsets(name, first_s, last_s)[1:]:
                offset_s[(zone == number) & (at_s >= change_s)] = after_s
        return offset_s

    # ------------------------------------------------------------ when something may change

    def _turns(self, at_s: float, ahead_s: float) -> tuple[Ints, Floats]:
        """Moments (c,) after at_s at which windows begin or end, each with its service (c,): all of the next ahead_s and of what an answer may
        hold beyond them, and some later ones. At some of them nothing changes."""
        until_s = at_s + ahead_s + _HOLDS_S
        offsets = [_offsets(name, at_s, until_s) for name in self._zones]
        windows = np.arange(len(self._zone))
        found = [(windows, self._from_s), (windows, self._until_s)]
        for zone, known in enumerate(offsets):
            here = np.flatnonzero(self._zone == zone)
            found += [(here, np.full(len(here), change_s)) for change_s, _ in known[1:]]
        # Times of day, as each offset shows them that a zone has until then: a clock that is set back shows some twice.
        for turn in range(max(map(len, offsets))):
            offset_s = np.array([known[min(turn, len(known) - 1)][1] for known in offsets])[self._zone]
            midnight_s = np.floor((at_s + offset_s) / _DAY_S) * _DAY_S - offset_s
            for day in range(int((until_s - at_s) // _DAY_S) + 2):
                begins_s = midnight_s + day * _DAY_S
                found += [(windows, begins_s + self._start_s), (windows, begins_s + self._end_s)]
        window = np.concatenate([one for one, _ in found])
        turns_s = np.concatenate([one for _, one in found])
        coming = (at_s < turns_s) & (turns_s < np.inf)
        return self._service[window[coming]], turns_s[coming]


def _given(bounds: Sequence[int | None]) -> Ints:
    return np.array([_NOT_GIVEN if bound is None else bound for bound in bounds], dtype=np.int64)


def _offsets(zone: str, first_s: float, last_s: float) -> list[tuple[float, float]]:
    """What a zone's clocks are ahead of UTC at first_s, and each time that they are set until last_s: (from when on, seconds)."""
    known = [(first_s, 0.0)]
    for stretch in range(int(first_s // _STRETCH_S), int(last_s // _STRETCH_S) + 1):
        for change_s, offset_s in _in_stretch(zone, stretch):
            if change_s <= first_s:
                known = [(first_s, offset_s)]
            elif change_s <= last_s and offset_s != known[-1][1]:
                known.append((change_s, offset_s))
    return known


@cache
def _in_stretch(zone: str, stretch: int) -> list[tuple[float, float]]:
    """As ``_offsets``, of one stretch."""
    begin, end = int(stretch * _STRETCH_S), int((stretch + 1) * _STRETCH_S)
    known = [(float(begin), _offset_s(zone, begin))]
    for probe in range(begin + _PROBE_S, end + 1, _PROBE_S):
        if (after_s := _offset_s(zone, probe)) == known[-1][1]:
            continue
        before, changed = probe - _PROBE_S, probe  # it is set after the one and not after the other
        while changed - before > 1:
            middle = (before + changed) // 2
            before, changed = (before, middle) if _offset_s(zone, middle) == after_s else (middle, changed)
        known.append((float(changed), after_s))
    return known


def _offset_s(zone: str, at: int) -> float:
    offset = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()
