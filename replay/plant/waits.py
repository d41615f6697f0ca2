"""Exact FIFO waits from the queue's length after every second: who arrived when was served when.

The wait of an arrival is the whole number of seconds until its fluid is served. Arrivals and services are two ladders over the same
axis (requests in the order of arrival); where a rung of one lies within a rung of the other, that part waited the difference.
Worked out in blocks of many seconds, since nothing in the simulation itself depends on it.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from autoscaler.core.model import Floats, Ints


class Waits:
    """One service's waits. scored_from_s: arrivals before it are not counted. allowed_s: longest wait that keeps the promise.

    counts (w,): requests by their wait in whole seconds. late_by_tick, longest_by_tick: by time of arrival, where a `ticks` length was
    given (for plots; they speak of the warm-up, too, and of what was served: ``by_tick`` has the rest).
    """

    def __init__(self, *, scored_from_s: int, allowed_s: float, tick_s: int = 15, ticks: int = 0) -> None:
        self._from_s = scored_from_s
        self.signal = "queue_wait_s"
        self.allowed_s = allowed_s
        self._tick_s = tick_s
        self._born: Ints = np.empty(0, dtype=np.int64)
        self._left: Floats = np.empty(0)
        self.counts: Floats = np.zeros(64)
        self.late_by_tick: Floats = np.zeros(ticks)
        self.longest_by_tick: Ints = np.zeros(ticks, dtype=np.int64)

    def add(self, at_s: int, arrivals: Floats, queues: Floats) -> None:
        """The next seconds from at_s on: arrivals (s,), queue after each second (s,)."""
        skip = min(max(self._from_s - at_s, 0), len(arrivals))
        if not len(self._born) and not np.count_nonzero(queues):
            self.counts[0] += arrivals[skip:].sum()
            return
        before = np.empty_like(queues)
        before[0] = self._left.sum() if len(self._left) else 0.0
        before[1:] = queues[:-1]
        busy = (queues > 0.0) | (before > 0.0)
        at_once = arrivals[skip:][~busy[skip:]]
        self.counts[0] += at_once.sum()
        seconds = at_s + np.flatnonzero(busy)
        came, after = arrivals[busy], queues[busy]
        served = np.maximum(before[busy] + came - after, 0.0)
        born = np.concatenate([self._born, seconds])
        arrived_to = np.cumsum(np.concatenate([self._left, came]))
        present = arrived_to[len(self._born) :]
        # Rounding must neither serve what hasn't come nor leave dust in an empty queue.
        served_to = np.minimum(np.cumsum(served), present)
        served_to = np.maximum.accumulate(np.where(after == 0.0, present, served_to))
        self._match(born, arrived_to, seconds, served_to)
        end = float(served_to[-1]) if after[-1] > 0.0 else float(arrived_to[-1])
        waiting = int(np.searchsorted(arrived_to, end, side="right"))
        self._born = born[waiting:]
        self._left = np.diff(np.concatenate([[end], arrived_to[waiting:]]))

    def _match(self, born: Ints, arrived_to: Floats, seconds: Ints, served_to: Floats) -> None:
        end = served_to[-1]
        rungs = np.sort(np.concatenate([arrived_to[arrived_to < end], served_to]))
        amounts = np.diff(np.concatenate([[0.0], rungs]))
        parts = amounts > 0.0
        rungs, amounts = rungs[parts], amounts[parts]
        came = born[np.searchsorted(arrived_to, rungs, side="left")]
        left = seconds[np.searchsorted(served_to, rungs, side="left")]
        self._count(came, np.maximum(left - came, 0), amounts)

    def _count(self, came: Ints, waits: Ints, amounts: Floats) -> None:
        if not len(came):
            return
        longest = int(waits.max())
        if longest >= len(self.counts):
            self.counts = np.concatenate([self.counts, np.zeros(max(longest + 1, 2 * len(self.counts)) - len(self.counts))])
        scored = came >= self._from_s
        found = np.bincount(waits[scored], weights=amounts[scored], minlength=1)
        self.counts[: len(found)] += found
        if len(self.late_by_tick):
            self._note(came, waits, amounts, self.late_by_tick, self.longest_by_tick)

    def _note(self, came: Ints, waits: Ints, amounts: Floats, into_late: Floats, into_longest: Ints) -> None:
        ticks = np.minimum(came // self._tick_s, len(into_late) - 1)
        np.maximum.at(into_longest, ticks, waits)
        late = waits > self.allowed_s
        np.add.at(into_late, ticks[late], amounts[late])

    def by_tick(self, end_s: int) -> tuple[Floats, Ints]:
        """late_by_tick and longest_by_tick at the end of the run: what still waits is judged by its age at end_s, as in the score."""
        late, longest = self.late_by_tick.copy(), self.longest_by_tick.copy()
        waiting = self._left > 0.0
        if len(late) and waiting.any():
            born = self._born[waiting]
            self._note(born, end_s - born, self._left[waiting], late, longest)
        return late, longest

    def ahead(self, at_s: int, arrivals: Floats, queues: Floats) -> Floats:
        """What ``with_waiting`` would give after ``add`` of these seconds, without adding them."""
        later = copy(self)
        later.counts = self.counts.copy()
        later.late_by_tick, later.longest_by_tick = np.zeros(0), np.zeros(0, dtype=np.int64)
        if len(arrivals):
            later.add(at_s, arrivals, queues)
        return later.with_waiting(at_s + len(arrivals))

    def with_waiting(self, end_s: int) -> Floats:
        """counts at the end of the run: what still waits is judged by its age at end_s."""
        counts = self.counts.copy()
        scored = self._born >= self._from_s
        if scored.any():
            ages = end_s - self._born[scored]
            longest = int(ages.max())
            counts = np.concatenate([counts, np.zeros(max(longest + 1 - len(counts), 0))])
            np.add.at(counts, ages, self._left[scored])
        return np.trim_zeros(counts, "b")


def attained_ratio(counts: Floats, allowed_s: float) -> float:
    """Share of the requests that waited at most allowed_s; 1.0 where there were none (a promise to nobody is kept)."""
    total = float(counts.sum())
    return float(counts[: int(allowed_s) + 1].sum()) / total if total > 0 else 1.0


def wait_quantile_s(counts: Floats, quantile: float) -> float:
    """The shortest wait that `quantile` of the requests don't exceed."""
    total = np.cumsum(counts)
    if not len(total) or total[-1] <= 0:
        return 0.0
    return float(np.searchsorted(total, quantile * total[-1] * (1 - 1e-12), side="left"))
