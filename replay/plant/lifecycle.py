"""Replicas and nodes of all services, event by event: created → (waiting for a node) → starting → ready → draining → gone.

Between events nothing changes, so a quiet second costs nothing however many services there are. Times are whole seconds from the
trace's start; of the events of one second, all have happened before that second's requests are served.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from autoscaler.core.model import Floats, Ints, ScalingSpec
from replay.plant.faults import Faults
from replay.plant.nodes import Cohort, Pool, Request

_SAMPLES = 64
_LEAD_QUANTILE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Whole seconds: from a slot to ready; how long a leaving replica holds its slot; from request to ready of a node; how long spare
    nodes stay; how often that is checked."""

    start_s: int
    drain_s: int
    node_s: int
    spare_s: int
    check_s: int


class Lifecycle:
    """n services, each with a pool of its own or sharing one. Arrays (n,), to be read only; `changes` counts their changes.

    current: the count asked for. ready, starting, draining. lead_time_s, node_lead_time_s: measured (90 % quantile of the last 64 starts),
    until then as configured.
    """

    def __init__(
        self, specs: Sequence[ScalingSpec], pools: Sequence[Pool], pool_of: Sequence[int], times: Times, faults: Faults
    ) -> None:
        n = len(specs)
        self.pools = list(pools)
        self.pool_of = list(pool_of)
        self.times = times
        self.faults = faults
        self.current: Ints = np.zeros(n, dtype=np.int64)
        self.ready: Floats = np.zeros(n)
        self.starting: Ints = np.zeros(n, dtype=np.int64)
        self.draining: Ints = np.zeros(n, dtype=np.int64)
        self.lead_time_s: Floats = np.array([spec.lead_time_s for spec in specs])
        self.node_lead_time_s: Floats = np.array([spec.node_lead_time_s for spec in specs])
        self.changes = 0
        self._slots_each = [spec.accelerators_per_replica for spec in specs]
        self._cohorts: list[list[Cohort]] = [[] for _ in specs]
        self._headroom = [0] * n
        self._replica_s: list[float] = [0.0] * n
        self._touched_s = [0] * n
        self._starts: list[deque[int]] = [deque(maxlen=_SAMPLES) for _ in specs]
        self._node_starts: list[deque[int]] = [deque(maxlen=_SAMPLES) for _ in pools]
        self._events: list[tuple[int, int, Callable[[int, Any], None], Any]] = []
        self._serial = count()
        self._to_check: set[int] = set(range(len(self.pools)))

    # ------------------------------------------------------------ asked from outside

    def begin_with(self, row: int, replicas: int) -> None:
        """Ready replicas on ready nodes at second 0."""
        pool = self.pools[self.pool_of[row]]
        self.current[row] = replicas
        self.ready[row] = replicas
        pool.held += replicas * self._slots_each[row]
        pool.used = pool.held
        pool.ready = max(pool.needed(), pool.ready)
        self.changes += 1

    def set_replicas(self, row: int, replicas: int, at_s: int) -> None:
        before = int(self.current[row])
        if replicas == before:
            return
        self._touch(row, at_s)
        if replicas > before:
            self._create(row, replicas - before, at_s)
        else:
            self._remove(row, before - replicas, at_s)
        self.current[row] = replicas

    def set_headroom(self, row: int, replicas: int, at_s: int) -> None:
        """Replicas' worth of slots to hold beyond the replicas."""
        number = self.pool_of[row]
        pool = self.pools[number]
        pool.headroom += (replicas - self._headroom[row]) * self._slots_each[row]
        self._headroom[row] = replicas
        self._follow(number, at_s)

    def set_nodes(self, number: int, nodes: int, at_s: int) -> None:
        """The plan's node count; from then on the rule doesn't apply to this pool. Nodes with replicas on them stay."""
        pool = self.pools[number]
        pool.fixed = nodes
        self._follow(number, at_s)
        # Replicas that wait for a node are no reason to keep one that the plan gives up.
        surplus = pool.total - pool.wanted()
        if surplus > 0:
            pool.release(surplus, at_s)
            self.changes += 1

    # ------------------------------------------------------------ time

    def next_event_s(self, before_s: int) -> int:
        """The next event's time if it is earlier, else before_s."""
        events = self._events
        return events[0][0] if events and events[0][0] < before_s else before_s

    def happen(self, at_s: int) -> None:
        """Everything that is due until at_s."""
        events = self._events
        while events and events[0][0] <= at_s:
            due_s, _, act, about = heapq.heappop(events)
            act(due_s, about)

    def check_nodes(self, at_s: int) -> None:
        """The rule for spare nodes."""
        if not self._to_check:
            return
        for number in tuple(self._to_check):
            pool = self.pools[number]
            spare = pool.spare_to_release(at_s, self.times.spare_s)
            if spare:
                pool.release(spare, at_s)
                self.changes += 1
            if pool.spare_since_s is None:
                self._to_check.discard(number)

    def replica_s(self, row: int, at_s: int) -> float:
        """Replica-seconds until at_s, from creation to the end of draining."""
        return self._replica_s[row] + self._alive(row) * (at_s - self._touched_s[row])

    def nodes(self, row: int) -> int:
        """Nodes of the service's pool, requested ones included."""
        return self.pools[self.pool_of[row]].total

    # ------------------------------------------------------------ what happens

    def _alive(self, row: int) -> int:
        return int(self.starting[row]) + int(self.ready[row]) + int(self.draining[row])

    def _touch(self, row: int, at_s: int) -> None:
        """Before the number of replicas changes."""
        self._replica_s[row] += self._alive(row) * (at_s - self._touched_s[row])
        self._touched_s[row] = at_s
        self.changes += 1
        self._to_check.add(self.pool_of[row])

    def _at(self, at_s: int, act: Callable[[int, Any], None], about: Any) -> None:
        heapq.heappush(self._events, (at_s, next(self._serial), act, about))

    def _create(self, row: int, replicas: int, at_s: int) -> None:
        number = self.pool_of[row]
        cohort = Cohort(row, replicas, at_s)
        self.starting[row] += replicas
        self._cohorts[row].append(cohort)
        pool = self.pools[number]
        pool.held += replicas * self._slots_each[row]
        pool.waiting.append(cohort)
        self._follow(number, at_s)

    def _remove(self, row: int, replicas: int, at_s: int) -> None:
        """The newest that are not ready are cancelled first, then ready ones leave at once and drain."""
        pool = self.pools[self.pool_of[row]]
        each = self._slots_each[row]
        cohorts = self._cohorts[row]
        while replicas and cohorts:
            newest = cohorts[-1]
            cut = min(replicas, newest.count)
            newest.count -= cut
            replicas -= cut
            self.starting[row] -= cut
            pool.held -= cut * each
            if newest.begun:
                pool.used -= cut * each
            if newest.count == 0:
                cohorts.pop()
        if replicas:
            self.ready[row] -= replicas
            self.draining[row] += replicas
            self._at(at_s + self.times.drain_s, self._drained, (row, replicas))
        self._follow(self.pool_of[row], at_s)

    def _drained(self, at_s: int, about: tuple[int, int]) -> None:
        row, replicas = about
        self._touch(row, at_s)
        self.draining[row] -= replicas
        pool = self.pools[self.pool_of[row]]
        pool.held -= replicas * self._slots_each[row]
        pool.used -= replicas * self._slots_each[row]
        self._follow(self.pool_of[row], at_s)

    def _follow(self, number: int, at_s: int) -> None:
        """Whoever waits takes the free slots; nodes are requested where slots are short."""
        pool = self.pools[number]
        self._to_check.add(number)
        if pool.waiting:
            self._take_slots(pool, at_s)
        short = pool.wanted() - pool.total
        if short > 0:
            request = pool.request(short, at_s)
            self.changes += 1
            self._at(at_s + self.times.node_s, self._node_ready, (number, request))

    def _node_ready(self, at_s: int, about: tuple[int, Request]) -> None:
        number, request = about
        pool = self.pools[number]
        if not pool.arrive(request, at_s):
            return
        self.changes += 1
        took = self._node_starts[number]
        took.append(at_s - request.asked_s)
        for row, own in enumerate(self.pool_of):
            if own == number:
                self.node_lead_time_s = _measured(self.node_lead_time_s, row, took)
        self._take_slots(pool, at_s)

    def _take_slots(self, pool: Pool, at_s: int) -> None:
        waiting = pool.waiting
        while waiting:
            cohort = waiting[0]
            if cohort.count == 0:
                waiting.popleft()
                continue
            each = self._slots_each[cohort.row]
            fit = min(cohort.count, (pool.ready * pool.slots - pool.used) // each) if each else cohort.count
            if fit <= 0:
                return
            if fit == cohort.count:
                waiting.popleft()
                begun = cohort
            else:
                begun = Cohort(cohort.row, fit, cohort.created_s)
                cohort.count -= fit
                cohorts = self._cohorts[cohort.row]
                # The part that starts is the older one: the newest are cancelled first, and those wait.
                cohorts.insert(next(i for i, other in enumerate(cohorts) if other is cohort), begun)
            pool.used += fit * each
            self._begin(begun, at_s)

    def _begin(self, cohort: Cohort, at_s: int) -> None:
        cohort.begun, cohort.begun_s = True, at_s
        self._at(at_s + self.faults.start_s(self.times.start_s, at_s, cohort.row), self._started, cohort)

    def _started(self, at_s: int, cohort: Cohort) -> None:
        if cohort.count == 0:
            return
        row = cohort.row
        cohorts = self._cohorts[row]
        place = next(i for i, other in enumerate(cohorts) if other is cohort)
        failed = self.faults.failed(cohort.count, at_s, row)
        if failed:
            again = Cohort(row, failed, cohort.created_s)
            cohorts.insert(place, again)
            place += 1
            self._begin(again, at_s)
        cohorts.pop(place)
        started = cohort.count - failed
        if started:
            self._touch(row, at_s)
            self.starting[row] -= started
            self.ready[row] += started
            self._starts[row].append(at_s - cohort.begun_s)
            self.lead_time_s = _measured(self.lead_time_s, row, self._starts[row])


def _measured(column: Floats, row: int, samples: deque[int]) -> Floats:
    """The column with the samples' 90 % quantile in its row; the same array where that is no news."""
    value = float(sorted(samples)[int(_LEAD_QUANTILE * (len(samples) - 1))])
    if column[row] == value:
        return column
    column = column.copy()
    column[row] = value
    return column
