"""How requests fared: waits, times to the first token and to the end, counted against the promise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autoscaler.core.model import Floats, Ints, Objective
from replay.plant.plant import QUANTILES
from replay.plant.requests import kernel as places
from replay.plant.requests.spread import Spread
from replay.plant.requests.station import BORN, Station

USUAL_WAIT_S = 5.0
_NEEDED = (BORN, places.CAME, places.STARTED, places.FIRST, places.ENDED)
_Took = tuple[Floats, Floats, Floats]
_SIGNALS = ("queue_wait_s", "ttft_s", "latency_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is judged: the wait (0), the first token (1) or the end (2), and how long it may take. Other objectives are judged by their wait."""

    judged: int
    allowed_s: float


def promise(objective: Objective) -> Promise:
    if objective.signal in _SIGNALS:
        return Promise(judged=_SIGNALS.index(objective.signal), allowed_s=objective.target)
    return Promise(judged=0, allowed_s=USUAL_WAIT_S)


@dataclass(slots=True)
class Tally:
    """A Verdict: of requests that are decided. spreads: of waits, first tokens, ends."""

    total: int = 0
    kept: int = 0
    spreads: tuple[Spread, Spread, Spread] = field(default_factory=lambda: (Spread(), Spread(), Spread()))

    @property
    def requests(self) -> float:
        return float(self.total)

    @property
    def attained_ratio(self) -> float:
        return self.kept / self.total if self.total else 1.0

    def wait_quantile_s(self, quantile: float) -> float:
        return round(self.spreads[0].quantile_s(quantile), 6)

    def further(self) -> dict[str, Any]:
        return {
            name: {label: round(spread.quantile_s(q), 6) for label, q in QUANTILES}
            for name, spread in zip(("ttft_s", "latency_s"), self.spreads[1:], strict=True)
        }

    def plus(self, other: Tally) -> Tally:
        one, two, three = (mine.plus(its) for mine, its in zip(self.spreads, other.spreads, strict=True))
        return Tally(self.total + other.total, self.kept + other.kept, (one, two, three))


class Fates:
    """One service's requests, as they end. late_by_tick, longest_by_tick: of what is judged, by time of arrival."""

    def __init__(self, kept_by: Promise, *, scored_from_s: int, tick_s: int, ticks: int) -> None:
        self.signal = _SIGNALS[kept_by.judged]
        self.allowed_s = kept_by.allowed_s
        self._promise = kept_by
        self._from_s = scored_from_s
        self._tick_s = tick_s
        self._ended = Tally()
        self._counts: Floats = np.zeros(64)
        self.late_by_tick: Floats = np.zeros(ticks)
        self.longest_by_tick: Ints = np.zeros(ticks, dtype=np.int64)

    def account(self, station: Station, ended: Ints) -> None:
        """Requests of a station that have ended."""
        gathered = compiled() if station.columns.arrays else None
        if gathered is not None:
            took = np.empty((4, len(ended)))
            gathered(station.requests, ended, took)
            self.add(*took)
            return
        born, came, started, first, end = (station.picked(row, ended) for row in _NEEDED)
        self.add(born, started - came, first - born, end - born)

    def add(self, born: Floats, waits: Floats, firsts: Floats, ends: Floats) -> None:
        """Requests that have ended, columns (r,): arrival; seconds in the queue, to the first token, and to the end."""
        took = _scored((waits, firsts, ends), born, self._from_s)
        _count_into(self._ended, self._promise, took)
        self._counts = _whole_seconds(self._counts, took[0])
        if len(self.late_by_tick):
            self._note(born, (waits, firsts, ends)[self._promise.judged], self.late_by_tick, self.longest_by_tick)

    def _note(self, born: Floats, judged: Floats, into_late: Floats, into_longest: Ints) -> None:
        ticks = np.minimum((born / self._tick_s).astype(np.int64), len(into_late) - 1)
        if not judged.any():
            return
        np.maximum.at(into_longest, ticks, np.ceil(judged).astype(np.int64))
        late = judged > self.allowed_s
        if late.any():
            np.add.at(into_late, ticks[late], 1.0)

    def by_tick_with(self, born: Floats, waits: Floats, firsts: Floats, ends: Floats) -> tuple[Floats, Ints]:
        """late_by_tick and longest_by_tick with what is not decided, which comes with its age."""
        late, longest = self.late_by_tick.copy(), self.longest_by_tick.copy()
        if len(late):
            self._note(born, (waits, firsts, ends)[self._promise.judged], late, longest)
        return late, longest

    def with_unfinished(self, born: Floats, waits: Floats, firsts: Floats, ends: Floats) -> Tally:
        """All so far: what is not decided comes with its age."""
        rest = Tally()
        _count_into(rest, self._promise, _scored((waits, firsts, ends), born, self._from_s))
        return self._ended.plus(rest)

    def counts_with(self, born: Floats, waits: Floats) -> Floats:
        """Requests by their wait in whole seconds, rounded up, with those that are not decided."""
        return np.trim_zeros(_whole_seconds(self._counts.copy(), waits[born >= self._from_s]), "b")


@functools.cache
def compiled() -> Callable[[Floats, Ints, Floats], None] | None:
    """numba's form of gathering what ``Fates.add`` wants, or None where it isn't installed."""
    try:
        import numba
    except ImportError:
        return None
    made: Callable[[Floats, Ints, Floats], None] = numba.njit(cache=True)(_gathered)
    return made


def _gathered(requests: Any, ended: Any, took: Any) -> None:
    for number in range(len(ended)):
        job = ended[number]
        born = requests[BORN, job]
        took[0, number] = born
        took[1, number] = requests[places.STARTED, job] - requests[places.CAME, job]
        took[2, number] = requests[places.FIRST, job] - born
        took[3, number] = requests[places.ENDED, job] - born


def _scored(took: _Took, born: Floats, from_s: int) -> _Took:
    """What took how long, of the requests that came since the warm-up."""
    scored = born >= from_s
    return took if scored.all() else (took[0][scored], took[1][scored], took[2][scored])


def _count_into(tally: Tally, kept_by: Promise, took: _Took) -> None:
    judged = took[kept_by.judged]
    tally.total += len(judged)
    tally.kept += int(np.count_nonzero(judged <= kept_by.allowed_s))
    for spread, values in zip(tally.spreads, took, strict=True):
        spread.add(values)


def _whole_seconds(counts: Floats, waits: Floats) -> Floats:
    if not waits.any():
        counts[0] += len(waits)
        return counts
    found = np.bincount(np.ceil(waits).astype(np.int64))
    if len(found) > len(counts):
        counts = np.concatenate([counts, np.zeros(max(len(found), 2 * len(counts)) - len(counts))])
    counts[: len(found)] += found
    return counts
