"""How requests fared: waits, times to the first token and to the end, counted against the promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autoscaler.core.model import Floats, Ints, Objective
from replay.plant.plant import QUANTILES
from replay.plant.requests.spread import Spread

USUAL_WAIT_S = 5.0
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

    def add(self, born: Floats, waits: Floats, firsts: Floats, ends: Floats) -> None:
        """Requests that have ended, columns (r,): arrival; seconds in the queue, to the first token, and to the end."""
        _count_into(self._ended, self._promise, born >= self._from_s, (waits, firsts, ends))
        self._counts = _whole_seconds(self._counts, waits[born >= self._from_s])
        if len(self.late_by_tick):
            self._by_tick(born, (waits, firsts, ends)[self._promise.judged])

    def _by_tick(self, born: Floats, judged: Floats) -> None:
        ticks = np.minimum((born / self._tick_s).astype(np.int64), len(self.late_by_tick) - 1)
        took = judged > 0
        late = judged > self.allowed_s
        if took.any():
            np.maximum.at(self.longest_by_tick, ticks[took], np.ceil(judged[took]).astype(np.int64))
        if late.any():
            np.add.at(self.late_by_tick, ticks[late], 1.0)

    def with_unfinished(self, born: Floats, waits: Floats, firsts: Floats, ends: Floats) -> Tally:
        """All so far: what is not decided comes with its age."""
        rest = Tally()
        _count_into(rest, self._promise, born >= self._from_s, (waits, firsts, ends))
        return self._ended.plus(rest)

    def counts_with(self, born: Floats, waits: Floats) -> Floats:
        """Requests by their wait in whole seconds, rounded up, with those that are not decided."""
        return np.trim_zeros(_whole_seconds(self._counts.copy(), waits[born >= self._from_s]), "b")


def _count_into(tally: Tally, kept_by: Promise, scored: Any, took: tuple[Floats, Floats, Floats]) -> None:
    some = took if scored.all() else (took[0][scored], took[1][scored], took[2][scored])
    judged = some[kept_by.judged]
    tally.total += len(judged)
    tally.kept += int(np.count_nonzero(judged <= kept_by.allowed_s))
    for spread, values in zip(tally.spreads, some, strict=True):
        spread.add(values)


def _whole_seconds(counts: Floats, waits: Floats) -> Floats:
    if not len(waits):
        return counts
    found = np.bincount(np.ceil(waits).astype(np.int64))
    if len(found) > len(counts):
        counts = np.concatenate([counts, np.zeros(max(len(found), 2 * len(counts)) - len(counts))])
    counts[: len(found)] += found
    return counts
