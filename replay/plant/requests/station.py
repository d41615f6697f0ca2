"""One service's requests and replicas, as the kernel plays them: columns that grow, replicas that join, leave and are lost.

The columns are numpy arrays for the compiled kernel, lists for the plain one (which is fastest over lists).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, Ints
from replay.plant.requests import kernel as places
from replay.plant.requests.kernel import ABSENT, LEAVING, SERVING, compiled, plain

_NEVER: Final = float("inf")
_FIRST_CAPACITY: Final = 8192
_FIRST_TABLE: Final = 8


class Station:
    """token_s (K + 1,): seconds that a token takes each request of a batch (the first entry isn't used).

    What the kernel knows of requests is forgotten by ``settle`` once they have ended.
    """

    def __init__(self, token_s: Floats, *, fast: bool) -> None:
        run = compiled() if fast else None
        self._run = run or plain()
        self._fast = run is not None
        self.slots = len(token_s) - 1
        self._token_s = self._column(token_s)
        self._speed = self._column(np.concatenate([[0.0], 1.0 / token_s[1:]]))
        self.counts = self._ints(8)
        self.counts[places.LOW] = self.slots
        self.sums = self._floats(6, 0.0)
        self.retry = self._ints(1)
        self._held_requests(_FIRST_CAPACITY)
        self.known = 0
        self.leaving: dict[int, int] = {}
        """Replicas that finish what they have, and the second until which they may (a large number where there is none)."""
        self._table(_FIRST_TABLE)

    # ------------------------------------------------------------ columns

    def _column(self, values: Any) -> Any:
        return np.ascontiguousarray(values) if self._fast else np.asarray(values).tolist()

    def _floats(self, length: int, value: float = _NEVER) -> Any:
        return np.full(length, value) if self._fast else [value] * length

    def _ints(self, length: int, value: int = 0) -> Any:
        return np.full(length, value, dtype=np.int64) if self._fast else [value] * length

    def _held_requests(self, capacity: int) -> None:
        """Empty columns for so many requests; the last arrival never comes."""
        self.capacity = capacity
        self.born, self.came = self._floats(capacity + 1), self._floats(capacity + 1)
        self.prompt, self.output, self.prefill, self.work = (self._floats(capacity + 1, 0.0) for _ in range(4))
        self.started, self.first, self.ended = (self._floats(capacity + 1) for _ in range(3))
        self.done, self.shown = self._ints(capacity), self._ints(capacity)

    def append(self, born: Floats, came: Floats, prompt: Floats, output: Floats, prefill: Floats, work: Floats) -> None:
        """Further requests, in the order in which they come to this service (born: to the first service of those they pass)."""
        count = len(came)
        if self.known + count > self.capacity:
            raise OverflowError("settle makes room first")
        part = slice(self.known, self.known + count)
        for name, values in zip(_BY_REQUEST, (born, came, prompt, output, prefill, work), strict=True):
            getattr(self, name)[part] = self._column(values)
        self.known += count

    def forget_unseen(self) -> None:
        """Requests that have not come yet never will."""
        arrived = int(self.counts[places.ARRIVED])
        self.came[arrived : self.known] = self._floats(self.known - arrived)
        self.known = arrived

    def picked(self, column: Any, which: Any) -> Floats:
        """Entries of a column, as an array."""
        if self._fast:
            chosen: Floats = np.asarray(column[which], dtype=np.float64)
            return chosen
        indices = range(*which.indices(len(column))) if isinstance(which, slice) else np.asarray(which).tolist()
        return np.array([column[one] for one in indices], dtype=np.float64)

    def listed(self, column: Any, start: int, end: int) -> Ints:
        return np.array(column[start:end], dtype=np.int64)

    # ------------------------------------------------------------ time

    def run(self, from_s: float, until_s: float, mark: bool = False) -> None:
        """Plays what happens before until_s; mark: brings all replicas there."""
        self._run(
            float(from_s),
            float(until_s),
            mark,
            self.counts,
            self.sums,
            self.came,
            self.prompt,
            self.prefill,
            self.work,
            self.started,
            self.first,
            self.ended,
            self.done,
            self.shown,
            self.retry,
            self._mode,
            self.batch,
            self._clock,
            self._last,
            self._due,
            self._ends,
            self._jobs,
            self._pending,
            self._soonest,
            self._targets,
            self._target_jobs,
            self._tree,
            self._heads,
            self._after,
            self._before,
            self._token_s,
            self._speed,
        )

    @property
    def waiting(self) -> int:
        counts = self.counts
        return int(counts[places.ARRIVED] - counts[places.HEAD] + counts[places.RETRY] - counts[places.RETRIED])

    @property
    def running(self) -> int:
        return int(self.batch.sum() if self._fast else sum(self.batch))

    def waiting_requests(self) -> Ints:
        """In the order in which they will start."""
        counts = self.counts
        again = self.listed(self.retry, int(counts[places.RETRIED]), int(counts[places.RETRY]))
        return np.concatenate([again, np.arange(int(counts[places.HEAD]), int(counts[places.ARRIVED]), dtype=np.int64)])

    def running_requests(self) -> Ints:
        slots = self.slots
        parts = [self.listed(self._jobs, r * slots, r * slots + int(b)) for r, b in enumerate(self.batch) if b]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    def settle(self, room: int) -> None:
        """Forgets the requests that have ended, and makes room for so many new ones. Whoever wants to know of them asks before."""
        counts = self.counts
        running = self.running_requests()
        again = self.listed(self.retry, int(counts[places.RETRIED]), int(counts[places.RETRY]))
        head, known = int(counts[places.HEAD]), self.known
        stay = np.concatenate([np.sort(np.concatenate([running, again])), np.arange(head, known, dtype=np.int64)])
        new = np.empty(known, dtype=np.int64)
        new[stay] = np.arange(len(stay))
        kept = {name: self.picked(getattr(self, name), stay) for name in (*_BY_REQUEST, "started", "first")}
        capacity = self.capacity
        while capacity < 2 * (len(stay) + room):
            capacity *= 2
        self._held_requests(capacity)
        for name, values in kept.items():
            getattr(self, name)[: len(stay)] = self._column(values)
        gone = head - (len(stay) - (known - head))
        counts[places.ARRIVED] -= gone
        counts[places.HEAD] -= gone
        counts[places.DONE] = counts[places.SHOWN] = 0
        self.known = len(stay)
        self._retry_with(new[again])
        slots = self.slots
        for r, b in enumerate(self.batch):
            for jobs, many in ((self._jobs, int(b)), (self._target_jobs, int(self._pending[r]))):
                part = slice(r * slots, r * slots + many)
                jobs[part] = self._column(new[np.asarray(jobs[part], dtype=np.int64)])

    def _retry_with(self, jobs: Ints) -> None:
        self.retry = self._column(np.concatenate([jobs, [0]]).astype(np.int64))
        self.counts[places.RETRIED], self.counts[places.RETRY] = 0, len(jobs)

    # ------------------------------------------------------------ replicas

    def _table(self, size: int) -> None:
        """Room for so many replicas, a power of two; those that are there stay."""
        slots = self.slots
        old = {name: getattr(self, name) for name in _BY_REPLICA if hasattr(self, name)}
        self._mode: Any
        self._mode, self.batch, self._pending = (self._ints(size) for _ in range(3))
        self._clock, self._last = self._floats(size, 0.0), self._floats(size, 0.0)
        self._due, self._soonest = self._floats(size), self._floats(size)
        self._ends, self._targets = self._floats(size * slots, 0.0), self._floats(size * slots, 0.0)
        self._jobs, self._target_jobs = self._ints(size * slots), self._ints(size * slots)
        self._after, self._before = self._ints(size, -1), self._ints(size, -1)
        if not old:
            self._heads: Any = self._ints(slots + 1, -1)
        for name, column in old.items():
            getattr(self, name)[: len(column)] = column
        self._free = [r for r in range(size - 1, -1, -1) if self._mode[r] == ABSENT]
        self._tree = self._ints(2 * size)
        for r in range(size):
            self._tree[size + r] = r
        for node in range(size - 1, 0, -1):
            self._play(node)

    def _play(self, node: int) -> None:
        left, right = self._tree[2 * node], self._tree[2 * node + 1]
        self._tree[node] = left if self._due[left] <= self._due[right] else right

    def join(self, replicas: int, at_s: int) -> None:
        """So many empty ones more."""
        for _ in range(replicas):
            if not self._free:
                self._table(2 * len(self._mode))
            r = self._free.pop()
            self._mode[r] = SERVING
            self._clock[r], self._last[r] = 0.0, float(at_s)
            self._link(r, 0)
            self.counts[places.LOW] = 0

    def leave(self, replicas: int, until_s: int) -> None:
        """The emptiest take no more requests, and have until then to finish those they have."""
        for _ in range(replicas):
            low = int(self.counts[places.LOW])
            r = int(self._heads[low])
            self._unlink(r)
            self._mode[r] = LEAVING
            self.leaving[r] = until_s

    def finished(self, at_s: int) -> int:
        """Leaving replicas that are empty or out of time now go; how many."""
        gone = [r for r, until_s in self.leaving.items() if not self.batch[r] or until_s <= at_s]
        self._drop(gone)
        return len(gone)

    def lose(self, serving: int, leaving: int) -> None:
        """So many are gone at once; what they were doing begins anew, before all that waits. `shown` must have been read and reset: else it
        might hold a request twice and overflow."""
        some = [r for r, mode in enumerate(self._mode) if mode == SERVING][:serving]
        for r in some:
            self._unlink(r)
        self._drop(some + list(self.leaving)[:leaving])

    def _drop(self, replicas: list[int]) -> None:
        slots = self.slots
        lost = [self.listed(self._jobs, r * slots, r * slots + int(self.batch[r])) for r in replicas]
        if any(map(len, lost)):
            counts = self.counts
            again = self.listed(self.retry, int(counts[places.RETRIED]), int(counts[places.RETRY]))
            for job in np.concatenate(lost).tolist():
                self.first[job] = _NEVER
            self._retry_with(np.sort(np.concatenate([again, *lost])))
        for r in replicas:
            self.leaving.pop(r, None)
            self._mode[r] = ABSENT
            self.batch[r] = self._pending[r] = 0
            self._due[r] = self._soonest[r] = _NEVER
            self._free.append(r)
            node = (len(self._mode) + r) >> 1
            while node:
                self._play(node)
                node >>= 1

    def _link(self, r: int, load: int) -> None:
        follower = self._heads[load]
        self._after[r], self._before[r] = follower, -1
        if follower >= 0:
            self._before[follower] = r
        self._heads[load] = r

    def _unlink(self, r: int) -> None:
        follower, leader = self._after[r], self._before[r]
        if leader >= 0:
            self._after[leader] = follower
        else:
            self._heads[self.batch[r]] = follower
        if follower >= 0:
            self._before[follower] = leader
        low = int(self.counts[places.LOW])
        while low < self.slots and self._heads[low] < 0:
            low += 1
        self.counts[places.LOW] = low


_BY_REQUEST: Final = ("born", "came", "prompt", "output", "prefill", "work")
_BY_REPLICA: Final = (
    "_mode",
    "batch",
    "_pending",
    "_clock",
    "_last",
    "_due",
    "_soonest",
    "_ends",
    "_targets",
    "_jobs",
    "_target_jobs",
    "_after",
    "_before",
)
