"""One service's requests and replicas, as the kernel plays them: columns that grow, replicas that join, leave and are lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, Ints
from replay.plant.requests import kernel as places
from replay.plant.requests.columns import Columns
from replay.plant.requests.kernel import ABSENT, LEAVING, SERVING, compiled, plain

_NEVER: Final = float("inf")
_FIRST_CAPACITY: Final = 8192
_FIRST_TABLE: Final = 8
BORN: Final = 7
OUTPUT: Final = 8
"""Further rows of `requests`, of which the kernel knows nothing: arrival at the first of the services that a request passes; output tokens."""
_ROWS: Final = 9
_WHAT_CAME: Final = (BORN, places.CAME, places.PROMPT, OUTPUT, places.PREFILL, places.WORK)
_WHAT_BECAME: Final = (places.STARTED, places.FIRST, places.ENDED)


def waiting(counts: Sequence[int]) -> int:
    """Requests in the queue, by the kernel's `counts`."""
    return counts[places.ARRIVED] - counts[places.HEAD] + counts[places.RETRY] - counts[places.RETRIED]


class Station:
    """token_s (K + 1,): seconds that a token takes each request of a batch (the first entry isn't used).

    requests (9, capacity + 1), noted (2, capacity), counts, sums: as the kernel says. ``settle`` replaces the first two by new ones without
    the requests that have ended; whoever kept the old ones finds them as they were.
    """

    def __init__(self, token_s: Floats, *, fast: bool) -> None:
        run = compiled() if fast else None
        self._run = run or plain()
        self.columns = Columns(arrays=run is not None)
        self.slots = len(token_s) - 1
        self._rates = self.columns.of(np.stack([token_s, [0.0, *(1.0 / token_s[1:])]]))
        self.counts = self.columns.ints(9)
        self.counts[places.LOW] = self.slots
        self.sums = self.columns.of(np.zeros(6))
        self.retry = self.columns.ints(1)
        self.known = 0
        self._make_room(_FIRST_CAPACITY)
        self.leaving: dict[int, int] = {}
        """Replicas that finish what they have, and the second until which they may (a large number where there is none)."""
        self._free: list[int] = []
        self._table(_FIRST_TABLE)

    # ------------------------------------------------------------ requests

    def _make_room(self, capacity: int) -> None:
        """Columns for so many requests; the last arrival never comes."""
        self.capacity = capacity
        self.requests = self.columns.floats(_ROWS, capacity + 1)
        self.noted = self.columns.notes(2, capacity)
        came = self.requests[places.CAME]
        came[0] = came[capacity] = _NEVER

    def append(self, born: Floats, came: Floats, prompt: Floats, output: Floats, prefill: Floats, work: Floats) -> None:
        """Further requests, in the order in which they come to this service (born: to the first service of those they pass)."""
        count = len(came)
        if self.known + count > self.capacity:
            raise OverflowError("settle makes room first")
        end = self.known + count
        for row, values in zip(_WHAT_CAME, (born, came, prompt, output, prefill, work), strict=True):
            self.requests[row][self.known : end] = values if self.columns.arrays else values.tolist()
        for row in _WHAT_BECAME:
            self.requests[row][self.known : end] = np.inf if self.columns.arrays else [_NEVER] * count
        self.requests[places.CAME][end] = _NEVER
        self.known = end

    def forget_unseen(self) -> None:
        """Requests that have not come yet never will."""
        self.known = int(self.counts[places.ARRIVED])
        self.requests[places.CAME][self.known] = _NEVER

    def picked(self, row: int, which: Any) -> Floats:
        """Entries of a row of `requests`, as an array."""
        return self.columns.picked(self.requests[row], which)

    def ended(self, start: int = 0) -> Ints:
        """Requests in the order of their end, from the start-th on since the last settlement."""
        return self.columns.listed(self.noted[places.BY_END], start, int(self.counts[places.DONE]))

    # ------------------------------------------------------------ time

    def run(self, from_s: float, until_s: float, mark: bool = False) -> None:
        """Plays what happens before until_s; mark: brings all replicas there."""
        self._run(
            float(from_s),
            float(until_s),
            mark,
            self.counts,
            self.sums,
            self.requests,
            self.noted,
            self.retry,
            self.whole,
            self.moments,
            self._slot_jobs,
            self._slot_clocks,
            self._tree,
            self._rings,
            self._rates,
        )

    def counted(self) -> list[int]:
        """The kernel's `counts`, a copy."""
        counts: list[int] = self.counts.tolist() if self.columns.arrays else list(self.counts)
        return counts

    def take_sums(self) -> Sequence[float]:
        """The kernel's `sums`, which begin anew."""
        sums: Sequence[float] = self.sums
        self.sums = np.zeros(6) if self.columns.arrays else [0.0] * 6
        return sums

    @property
    def waiting(self) -> int:
        return waiting(self.counted())

    @property
    def running(self) -> int:
        return int(self.counts[places.RUNNING])

    def waiting_requests(self) -> Ints:
        """In the order in which they will start."""
        counts = self.counts
        again = self.columns.listed(self.retry, int(counts[places.RETRIED]), int(counts[places.RETRY]))
        return np.concatenate([again, np.arange(int(counts[places.HEAD]), int(counts[places.ARRIVED]), dtype=np.int64)])

    def _batch_of(self, r: int) -> Ints:
        start = r * 2 * self.slots + int(self.whole[places.BEGIN][r])
        return self.columns.listed(self._slot_jobs[0], start, start + int(self.whole[places.BATCH][r]))

    def running_requests(self) -> Ints:
        batch = self.whole[places.BATCH]
        return np.concatenate([np.empty(0, dtype=np.int64), *(self._batch_of(r) for r in range(len(batch)) if batch[r])])

    def settle(self, room: int) -> None:
        """Forgets the requests that have ended, and makes room for so many new ones. Whoever wants to know of them asks before."""
        counts = self.counts
        again = self.columns.listed(self.retry, int(counts[places.RETRIED]), int(counts[places.RETRY]))
        head, known = int(counts[places.HEAD]), self.known
        early = np.sort(np.concatenate([self.running_requests(), again]))
        stay = np.concatenate([early, np.arange(head, known, dtype=np.int64)])
        old, kept = self.requests, len(stay)
        self._make_room(max(kept + room, _FIRST_CAPACITY))
        for row in range(_ROWS):
            self.requests[row][:kept] = self.columns.of(self.columns.picked(old[row], stay))
        self.requests[places.CAME][kept] = _NEVER
        gone = head - len(early)
        counts[places.ARRIVED] -= gone
        counts[places.HEAD] -= gone
        counts[places.DONE] = counts[places.SHOWN] = 0
        self.known = kept
        new = np.zeros(max(known, 1), dtype=np.int64)
        new[stay] = np.arange(kept)
        self._retry_with(new[again])
        whole = self.whole
        for r, many in enumerate(whole[places.BATCH]):
            if not many:
                continue
            for row, begin, count in ((0, whole[places.BEGIN][r], many), (1, whole[places.NEXT][r], whole[places.PENDING][r])):
                start = r * 2 * self.slots + int(begin)
                jobs, part = self._slot_jobs[row], slice(start, start + int(count))
                jobs[part] = self.columns.of(new[np.asarray(jobs[part], dtype=np.int64)])

    def _retry_with(self, jobs: Ints) -> None:
        self.retry = self.columns.of(np.concatenate([jobs, [0]]).astype(np.int64))
        self.counts[places.RETRIED], self.counts[places.RETRY] = 0, len(jobs)

    # ------------------------------------------------------------ replicas

    def _table(self, size: int) -> None:
        """Room for so many replicas, a power of two; those that are there stay."""
        heads, window = self.slots + 1, 2 * self.slots
        old = (self.whole, self.moments, self._slot_jobs, self._slot_clocks, self._rings) if hasattr(self, "whole") else ()
        self.whole: Any = self.columns.ints(5, size)
        self.moments: Any = self.columns.of(np.repeat([[0.0], [0.0], [_NEVER]], size, axis=1))
        self._slot_jobs: Any = self.columns.ints(2, size * window)
        self._slot_clocks: Any = self.columns.of(np.zeros((2, size * window)))
        # Each ring is its own head alone.
        self._rings: Any = self.columns.of(np.repeat(np.arange(heads + size)[None, :], 2, axis=0))
        made = (self.whole, self.moments, self._slot_jobs, self._slot_clocks, self._rings)
        for was, now in zip(old, made, strict=True) if old else ():
            for row, column in enumerate(was):
                now[row][: len(column)] = column
        self._free = [r for r in range(size - 1, -1, -1) if self.whole[places.MODE][r] == ABSENT]
        self._tree: Any = self.columns.of(np.arange(-size, size, dtype=np.float64))
        for node in range(size - 1, 0, -1):
            self._play(node)

    def _play(self, node: int) -> None:
        due = self.moments[places.DUE]
        left, right = self._tree[2 * node], self._tree[2 * node + 1]
        self._tree[node] = left if due[int(left)] <= due[int(right)] else right

    def join(self, replicas: int, at_s: int) -> None:
        """So many empty ones more."""
        for _ in range(replicas):
            if not self._free:
                self._table(2 * len(self.whole[places.MODE]))
            r = self._free.pop()
            self.whole[places.MODE][r] = SERVING
            self.moments[places.CLOCK][r], self.moments[places.LAST][r] = 0.0, float(at_s)
            after, before = self._rings
            node = self.slots + 1 + r
            follower = after[0]
            after[node], before[node] = follower, 0
            before[follower] = after[0] = node
            self.counts[places.LOW] = 0

    def leave(self, replicas: int, until_s: int) -> None:
        """The emptiest take no more requests, and have until then to finish those they have."""
        for _ in range(replicas):
            r = int(self._rings[0][int(self.counts[places.LOW])]) - self.slots - 1
            self._unlink(r)
            self.whole[places.MODE][r] = LEAVING
            self.leaving[r] = until_s

    def finished(self, at_s: int) -> int:
        """Leaving replicas that are empty or out of time now go; how many."""
        batch = self.whole[places.BATCH]
        gone = [r for r, until_s in self.leaving.items() if not batch[r] or until_s <= at_s]
        self._drop(gone)
        return len(gone)

    def lose(self, serving: int, leaving: int) -> None:
        """So many are gone at once; what they were doing begins anew, before all that waits. The station must have been settled: else it might
        note a request twice."""
        some = [r for r, mode in enumerate(self.whole[places.MODE]) if mode == SERVING][:serving]
        for r in some:
            self._unlink(r)
        self._drop(some + list(self.leaving)[:leaving])

    def _drop(self, replicas: list[int]) -> None:
        lost = [self._batch_of(r) for r in replicas]
        if any(map(len, lost)):
            counts = self.counts
            again = self.columns.listed(self.retry, int(counts[places.RETRIED]), int(counts[places.RETRY]))
            first = self.requests[places.FIRST]
            for job in np.concatenate(lost).tolist():
                first[job] = _NEVER
            counts[places.RUNNING] -= sum(map(len, lost))
            self._retry_with(np.sort(np.concatenate([again, *lost])))
        for r in replicas:
            self.leaving.pop(r, None)
            for row in (places.MODE, places.BATCH, places.BEGIN, places.PENDING, places.NEXT):
                self.whole[row][r] = 0
            self.moments[places.DUE][r] = _NEVER
            self._free.append(r)
            node = (len(self._tree) // 2 + r) >> 1
            while node:
                self._play(node)
                node >>= 1

    def _unlink(self, r: int) -> None:
        after, before = self._rings
        node = self.slots + 1 + r
        follower, leader = after[node], before[node]
        after[leader], before[follower] = follower, leader
        low = int(self.counts[places.LOW])
        while low < self.slots and after[low] == low:
            low += 1
        self.counts[places.LOW] = low
