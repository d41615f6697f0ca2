"""Replicas and nodes of all services, event by event: created → (waiting for a node) → starting → ready → draining → gone.

Between events nothing changes, so a quiet second costs nothing however many services there are. Times are whole seconds from the
trace's start; of the events of one second, all have happened before that second's requests are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autoscaler.core.model import Floats, Ints, ScalingSpec
from replay.plant.events import Events
from replay.plant.faults import Faults
from replay.plant.losses import Kinds, LossCounts, Losses
from replay.plant.measured import Measured
from replay.plant.node_orders import NodeOrders
from replay.plant.nodes import Cohort, Pool
from replay.plant.notices import Notice, keep_within
from replay.plant.servers import Servers
from replay.plant.times import Times
from replay.plant.updates import Updates


class Lifecycle:
    """n services, each with a pool of its own or sharing one. Arrays (n,), to be read only; `changes` counts their changes.

    current: the count asked for. ready, starting, draining. lead_time_s, node_lead_time_s: as of ``Measured``. Its nodes are ordered by
    ``orders`` and lost by ``losses``, what is to happen stands in ``events``; happen, next_event_s, check_nodes, set_nodes and lose_nodes are
    theirs.
    """

    def __init__(
        self, specs: Sequence[ScalingSpec], pools: Sequence[Pool], pool_of: Sequence[int], times: Times, faults: Faults
    ) -> None:
        n = len(specs)
        self.events = Events()
        self.orders = NodeOrders(specs, pools, pool_of, times, faults, self.events, self._take_slots)
        self.happen = self.events.happen
        self.next_event_s = self.events.next_s
        self.check_nodes = self.orders.check
        self.set_nodes = self.orders.set_nodes
        self.pools = self.orders.pools
        self.pool_of = list(pool_of)
        self.times = times
        self.faults = faults
        self.current: Ints = np.zeros(n, dtype=np.int64)
        self.ready: Floats = np.zeros(n)
        self.starting: Ints = np.zeros(n, dtype=np.int64)
        self.draining: Ints = np.zeros(n, dtype=np.int64)
        self._changes = 0
        self.losses = Losses(self)
        self.lose_nodes = self.losses.plan
        self.servers: Servers | None = None
        self.updates: Updates | None = None
        self._priorities = [spec.priority for spec in specs]
        self.slots_each = [spec.accelerators_per_replica for spec in specs]
        self._cohorts: list[list[Cohort]] = [[] for _ in specs]
        self._headroom = [0] * n
        self._replica_s: list[float] = [0.0] * n
        self._touched_s = [0] * n
        self._measured = Measured((spec.lead_time_s for spec in specs), n)
        self._leaving: list[list[list[int]]] = [[] for _ in specs]  # groups that leave together, where no servers say when

    @property
    def changes(self) -> int:
        return self._changes + self.orders.changes

    @property
    def lead_time_s(self) -> Floats:
        return self._measured.lead_time_s

    @property
    def node_lead_time_s(self) -> Floats:
        return self.orders.measured.lead_time_s

    # ------------------------------------------------------------ asked from outside

    def begin_with(self, row: int, replicas: int) -> None:
        """Ready replicas on ready nodes at second 0."""
        pool = self.pools[self.pool_of[row]]
        self.current[row] = replicas
        self.ready[row] = replicas
        pool.held += replicas * self.slots_each[row]
        pool.used = pool.held
        pool.ready = max(pool.needed(), pool.ready)
        self._changes += 1
        if self.servers is not None:
            self.servers.join(row, replicas, 0)

    def set_replicas(self, row: int, replicas: int, at_s: int) -> None:
        before = self.current.item(row)
        if replicas == before:
            return
        self._touch(row, at_s)
        if replicas > before:
            self.create(row, replicas - before, at_s)
        elif left := self.cancel(row, before - replicas, at_s):
            self.drain(row, left, at_s)
        self.current[row] = replicas
        if self.updates is not None:
            self.updates.go_on(row, at_s)

    def set_headroom(self, row: int, replicas: int, at_s: int) -> None:
        """Replicas' worth of slots to hold beyond the replicas."""
        number = self.pool_of[row]
        self.pools[number].headroom += (replicas - self._headroom[row]) * self.slots_each[row]
        self._headroom[row] = replicas
        self.orders.follow(number, at_s)

    def gone(self, row: int, replicas: int, at_s: int) -> None:
        """So many leaving replicas have finished and give back their slots."""
        self._touch(row, at_s)
        self.draining[row] -= replicas
        pool = self.pools[self.pool_of[row]]
        pool.leave(replicas * self.slots_each[row], at_s)
        if pool.notices:
            keep_within(pool.notices, row, int(self.ready[row]) + self.draining.item(row))
        self.orders.follow(self.pool_of[row], at_s)

    # ------------------------------------------------------------ time

    def replica_s(self, row: int, at_s: int) -> float:
        """Replica-seconds until at_s, from creation to the end of draining."""
        return self._replica_s[row] + self._alive(row) * (at_s - self._touched_s[row])

    def lost(self, at_s: int) -> LossCounts:
        """What losses took until at_s."""
        return self.losses.counts([at_s - touched_s for touched_s in self._touched_s])

    def nodes(self, row: int) -> int:
        """Nodes of the service's pool, requested ones included."""
        return self.pools[self.pool_of[row]].total

    def on_nodes(self, row: int) -> Kinds:
        """Replicas of a service that hold slots of ready nodes."""
        begun = sum(cohort.count for cohort in self._cohorts[row] if cohort.begun)
        return int(self.ready[row]), begun, int(self.draining[row])

    # ------------------------------------------------------------ what happens

    def _alive(self, row: int) -> int:
        return self.starting.item(row) + int(self.ready.item(row)) + self.draining.item(row)

    def _touch(self, row: int, at_s: int) -> None:
        """Before the number of replicas changes."""
        self._replica_s[row] += self._alive(row) * (at_s - self._touched_s[row])
        self.losses.passed(row, at_s - self._touched_s[row])
        self._touched_s[row] = at_s
        self._changes += 1

    def create(self, row: int, replicas: int, at_s: int) -> int:
        """So many more, from nothing to ready; how many of them wait for a slot."""
        self._touch(row, at_s)
        number = self.pool_of[row]
        cohort = Cohort(row, replicas, at_s)
        self.starting[row] += replicas
        self._cohorts[row].append(cohort)
        pool = self.pools[number]
        pool.held += replicas * self.slots_each[row]
        pool.queue(cohort, self._priorities)
        self.orders.follow(number, at_s)
        return 0 if cohort.begun else cohort.count

    def cancel(self, row: int, replicas: int, at_s: int) -> int:
        """Up to so many that are not ready are given up, the newest first; how many there were too few."""
        self._touch(row, at_s)
        pool = self.pools[self.pool_of[row]]
        each = self.slots_each[row]
        cohorts = self._cohorts[row]
        while replicas and cohorts:
            newest = cohorts[-1]
            cut = min(replicas, newest.count)
            newest.count -= cut
            replicas -= cut
            self.starting[row] -= cut
            if newest.begun:
                pool.leave(cut * each, at_s)
            else:
                pool.held -= cut * each
            if newest.count == 0:
                cohorts.pop()
        self.orders.follow(self.pool_of[row], at_s)
        return replicas

    def drain(self, row: int, replicas: int, at_s: int) -> None:
        """So many ready ones leave at once and drain."""
        self._touch(row, at_s)
        self.ready[row] -= replicas
        self.draining[row] += replicas
        if self.updates is not None:
            self.updates.left(row, replicas)
        if self.servers is not None:
            self.servers.leave(row, replicas, at_s)
        else:
            group = [replicas]
            self._leaving[row].append(group)
            self.events.plan(at_s + self.times.drain_s, self._drained, (row, group))
        self.orders.follow(self.pool_of[row], at_s)

    def _drained(self, at_s: int, about: tuple[int, list[int]]) -> None:
        row, group = about
        self._leaving[row].pop(0)  # all take the same time, so the first that left is the first to be gone
        if group[0]:
            self.gone(row, group[0], at_s)

    def lose(self, row: int, kinds: Kinds, at_s: int, notice: Notice | None = None) -> None:
        """So many are gone at once, with their slots: of those that were starting the latest, or those that were on a notice's nodes."""
        self._touch(row, at_s)
        ready, starting, leaving = kinds
        self.ready[row] -= ready
        if self.updates is not None:
            self.updates.left(row, ready)
        self.draining[row] -= leaving
        pool = self.pools[self.pool_of[row]]
        taken = sum(kinds) * self.slots_each[row]
        pool.held -= taken
        pool.used -= taken
        self.starting[row] -= starting
        cohorts = self._cohorts[row]
        for cohort in self.latest_begun(row, starting, notice):
            cohort.count = 0
        cohorts[:] = [one for one in cohorts if one.count]
        if self.servers is not None:
            self.servers.lose(row, ready, leaving, at_s)
            return
        for group in reversed(self._leaving[row]):
            cut = min(group[0], leaving)
            group[0] -= cut
            leaving -= cut

    def latest_begun(self, row: int, replicas: int, notice: Notice | None = None) -> list[Cohort]:
        """So many of a service's replicas that have begun to start, the latest ones, as cohorts of their own. On nodes that were not told to go, or
        on a notice's."""
        found = []
        for cohort in [one for one in reversed(self._cohorts[row]) if one.begun and one.notice is notice]:
            if replicas <= 0:
                break
            found.append(cohort if cohort.count <= replicas else self._split(cohort, replicas))
            replicas -= found[-1].count
        return found

    def rows_on(self, number: int) -> list[int]:
        """The services whose replicas are on a pool's nodes."""
        return [row for row, own in enumerate(self.pool_of) if own == number]

    def _take_slots(self, pool: Pool, at_s: int) -> None:
        waiting = pool.waiting
        while waiting:
            cohort = waiting[0]
            if cohort.count == 0:
                waiting.popleft()
                continue
            each = self.slots_each[cohort.row]
            fit = min(cohort.count, pool.free // each) if each else cohort.count
            if fit <= 0:
                return
            if fit == cohort.count:
                waiting.popleft()
                begun = cohort
            else:
                # The part that starts is the older one: the newest are cancelled first, and those wait.
                begun = self._split(cohort, fit)
            self._take(pool, begun, fit * each, at_s)

    def _split(self, cohort: Cohort, replicas: int) -> Cohort:
        """So many of a cohort as one of their own, before it; what has begun goes on."""
        part = replace(cohort, count=replicas)
        cohort.count -= replicas
        cohorts = self._cohorts[cohort.row]
        cohorts.insert(cohorts.index(cohort), part)
        if part.begun:
            self.events.plan(part.due_s, self._started, part)
        return part

    def _take(self, pool: Pool, cohort: Cohort, slots: int, at_s: int) -> None:
        """The cohort starts on slots of ready nodes, warm ones first where a swap is quicker than a start."""
        times = self.times
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
            self._begin(self._split(cohort, 1), at_s, times.start.draw(self.faults.rng))
        self._begin(cohort, at_s, times.start.draw(self.faults.rng))

    def _begin(self, cohort: Cohort, at_s: int, takes_s: int) -> None:
        cohort.begun, cohort.begun_s = True, at_s
        cohort.due_s = at_s + self.faults.start_s(takes_s, at_s, cohort.row)
        self.events.plan(cohort.due_s, self._started, cohort)

    def _started(self, at_s: int, cohort: Cohort) -> None:
        if cohort.count == 0:
            return
        row = cohort.row
        cohorts = self._cohorts[row]
        place = cohorts.index(cohort)
        failed = self.faults.failed(cohort.count, at_s, row)
        again = None
        if failed:
            again = Cohort(row, failed, cohort.created_s)
            cohorts.insert(place, again)
            place += 1
            self._begin(again, at_s, self.times.start_s if self.times.start is None else self.times.start.draw(self.faults.rng))
        cohorts.pop(place)
        started = cohort.count - failed
        if cohort.notice is not None:
            cohort.notice.ended(cohort, started, again)
        if started:
            self._touch(row, at_s)
            self.starting[row] -= started
            self.ready[row] += started
            if self.servers is not None:
                self.servers.join(row, started, at_s)
            self._measured.add(row, at_s - cohort.begun_s, (row,))
            if self.updates is not None:
                self.updates.came(row, started, at_s)
