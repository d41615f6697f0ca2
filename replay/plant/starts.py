"""Replicas that are not ready: they wait for slots on ready nodes, then they start there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from replay.plant.events import Events
from replay.plant.faults import Faults
from replay.plant.nodes import Cohort, Pool
from replay.plant.notices import Notice
from replay.plant.times import Times
from replay.plant.whereabouts import Whereabouts, cut_latest


class Starts:
    """n services. slots_each, priorities (n,). where: of services on several pools.

    of: by service its cohorts, the oldest first. touch(row, at_s): called before those of such a service that are on a pool change. ready(cohort,
    count, at_s): called when so many of a cohort are.
    """

    def __init__(
        self,
        slots_each: Sequence[int],
        priorities: Sequence[int],
        where: Mapping[int, Whereabouts],
        times: Times,
        faults: Faults,
        events: Events,
        touch: Callable[[int, int], None],
        ready: Callable[[Cohort, int, int], None],
    ) -> None:
        self.of: list[list[Cohort]] = [[] for _ in slots_each]
        self._slots_each = slots_each
        self._priorities = priorities
        self._where = where
        self._times = times
        self._faults = faults
        self._events = events
        self._touch = touch
        self._ready = ready

    def on(self, row: int, pool: Pool) -> int:
        """Of a service those that start on slots of the pool."""
        return sum(cohort.count for cohort in self.of[row] if cohort.on is pool)

    def add(self, row: int, replicas: int, pools: Sequence[Pool], at_s: int) -> Cohort:
        """So many are created, and wait for slots on any of these pools. Returned is what waits of them as long as any does."""
        cohort = Cohort(row, replicas, at_s)
        self.of[row].append(cohort)
        if len(pools) == 1:
            pools[0].held += replicas * self._slots_each[row]
        for pool in pools:
            pool.queue(cohort, self._priorities)
        if len(pools) > 1:
            # In the manifest's order, before nodes are made anywhere.
            for pool in pools:
                self.take_slots(pool, at_s)
        return cohort

    def cancel(self, row: int, replicas: int, pools: Sequence[Pool], at_s: int) -> int:
        """Up to so many are given up, the newest first; how many."""
        each = self._slots_each[row]
        cohorts = self.of[row]
        left = replicas
        while left and cohorts:
            newest = cohorts[-1]
            cut = min(left, newest.count)
            newest.count -= cut
            left -= cut
            if newest.on is not None:
                newest.on.leave(cut * each, at_s)
            elif len(pools) == 1:
                pools[0].held -= cut * each
            if newest.count == 0:
                cohorts.pop()
        return replicas - left

    def told(self, row: int, pool: Pool, replicas: int, notice: Notice) -> None:
        """So many that are starting on the pool are on nodes that were told to go: of the latest cohorts there."""
        for cohort in reversed(self._on(row, pool, None)):
            if not replicas:
                break
            mine = cohort if cohort.count <= replicas else self._split(cohort, replicas)
            mine.notice = notice
            notice.starting.append(mine)
            replicas -= mine.count

    def lose(self, row: int, pool: Pool, replicas: int, notice: Notice | None = None) -> None:
        """So many that were starting on the pool are gone: of the latest cohorts on the nodes of a notice, or on all others."""
        cut_latest(self._on(row, pool, notice), replicas)
        self.of[row][:] = [cohort for cohort in self.of[row] if cohort.count]

    def _on(self, row: int, pool: Pool, notice: Notice | None) -> list[Cohort]:
        return [cohort for cohort in self.of[row] if cohort.on is pool and cohort.notice is notice]

    def take_slots(self, pool: Pool, at_s: int) -> None:
        """Whoever waits for slots on the pool starts on those that are free."""
        waiting = pool.waiting
        while waiting:
            cohort = waiting[0]
            if cohort.count == 0:
                waiting.popleft()
                continue
            each = self._slots_each[cohort.row]
            fit = min(cohort.count, pool.free // each) if each else cohort.count
            if fit <= 0:
                return
            if fit == cohort.count:
                waiting.popleft()
                begun = cohort
                if (where := self._where.get(cohort.row)) is not None:
                    for other in where.pools:
                        if other is not pool:
                            other.waiting.remove(cohort)
            else:
                # The part that starts is the older one: the newest are cancelled first, and those wait.
                begun = self._split(cohort, fit)
            self._take(pool, begun, fit * each, at_s)

    def _split(self, cohort: Cohort, replicas: int) -> Cohort:
        """So many of a cohort as one of their own, before it; what has begun goes on."""
        part = replace(cohort, count=replicas)
        cohort.count -= replicas
        cohorts = self.of[cohort.row]
        cohorts.insert(cohorts.index(cohort), part)
        if part.due_s >= 0:
            self._events.plan(part.due_s, self._started, part)
        return part

    def _take(self, pool: Pool, cohort: Cohort, slots: int, at_s: int) -> None:
        """The cohort starts on slots of ready nodes, warm ones first where a swap is quicker than a start."""
        times = self._times
        if cohort.row in self._where:
            self._touch(cohort.row, at_s)
            pool.held += slots
        cohort.on = pool
        pool.touch(at_s)
        if times.swap_s is not None and (warm := pool.take_warm(slots)):
            swapped = warm * cohort.count // slots
            pool.used += slots
            if swapped == cohort.count:
                self._begin(cohort, at_s, times.swap_s)
                return
            if swapped:
                self._begin(self._split(cohort, swapped), at_s, times.swap_s)
        else:
            pool.used += slots
        if times.start is None:
            self._begin(cohort, at_s, times.start_s)
            return
        while cohort.count > 1:
            self._begin(self._split(cohort, 1), at_s, times.start.draw(self._faults.rng))
        self._begin(cohort, at_s, times.start.draw(self._faults.rng))

    def _begin(self, cohort: Cohort, at_s: int, takes_s: int) -> None:
        cohort.begun_s = at_s
        cohort.due_s = at_s + self._faults.start_s(takes_s, at_s, cohort.row)
        self._events.plan(cohort.due_s, self._started, cohort)

    def _started(self, at_s: int, cohort: Cohort) -> None:
        if cohort.count == 0:
            return
        row = cohort.row
        if row in self._where:
            self._touch(row, at_s)
        cohorts = self.of[row]
        place = cohorts.index(cohort)
        failed = self._faults.failed(cohort.count, at_s, row)
        again = None
        if failed:
            again = Cohort(row, failed, cohort.created_s, cohort.on)
            cohorts.insert(place, again)
            place += 1
            times = self._times
            self._begin(again, at_s, times.start_s if times.start is None else times.start.draw(self._faults.rng))
        cohorts.pop(place)
        started = cohort.count - failed
        if cohort.notice is not None:
            cohort.notice.ended(cohort, started, again)
        if started:
            self._ready(cohort, started, at_s)
