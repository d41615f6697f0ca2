"""Replicas and nodes of all services, event by event: created → (waiting for a node) → starting → ready → draining → gone.

Between events nothing changes, so a quiet second costs nothing however many services there are. Times are whole seconds from the
trace's start; of the events of one second, all have happened before that second's requests are served.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler.core.model import Floats, Ints, ScalingSpec
from replay.plant.events import Events
from replay.plant.faults import Faults
from replay.plant.growing import Growing
from replay.plant.losses import Kinds, LossCounts, Losses
from replay.plant.measured import Measured
from replay.plant.node_orders import NodeOrders
from replay.plant.nodes import Cohort, Pool
from replay.plant.notices import Notice, keep_within
from replay.plant.servers import Servers
from replay.plant.starts import Starts
from replay.plant.times import Times
from replay.plant.updates import Updates
from replay.plant.whereabouts import Group, Whereabouts, cut_latest


class Lifecycle:
    """n services, each with a pool of its own or sharing one or several. Arrays (n,), to be read only; `changes` counts their changes.

    pools_of: by service the places of the pools that its replicas may run on, in the order in which they are looked at; a replica waits for slots
    on any of them. current: the count asked for. ready, starting, draining. lead_time_s, node_lead_time_s: as of ``Measured``. Its nodes are ordered
    by ``orders`` and lost by ``losses``, what is to happen stands in ``events``; happen, next_event_s, check_nodes, set_nodes and lose_nodes are
    theirs.
    """

    def __init__(
        self, specs: Sequence[ScalingSpec], pools: Sequence[Pool], pools_of: Sequence[Sequence[int]], times: Times, faults: Faults
    ) -> None:
        n = len(specs)
        self.priorities = priorities = [spec.priority for spec in specs]
        self.slots_each = [spec.accelerators_per_replica for spec in specs]
        self.pools_of = [tuple(own) for own in pools_of]
        self._own = [[pools[number] for number in own] for own in self.pools_of]
        self.where = {row: Whereabouts(own) for row, own in enumerate(self._own) if len(own) > 1}
        """Of services on several pools."""
        self.events = Events()
        self._starts = Starts(
            self.slots_each, priorities, self.where, times, faults, self.events, self._touch, self._became_ready
        )
        self._growing = Growing(pools, self.pools_of, self.slots_each, priorities)
        self.orders = NodeOrders(specs, pools, self.pools_of, self._growing, times, faults, self.events, self._starts.take_slots)
        self.happen = self.events.happen
        self.next_event_s = self.events.next_s
        self.check_nodes = self.orders.check
        self.set_nodes = self.orders.set_nodes
        self.pools = self.orders.pools
        self.times = times
        self.faults = faults
        self.current: Ints = np.zeros(n, dtype=np.int64)
        self.ready: Floats = np.zeros(n)
        self.starting: Ints = np.zeros(n, dtype=np.int64)
        self.draining: Ints = np.zeros(n, dtype=np.int64)
        self._changes = 0
        self.losses = Losses(self, self._starts)
        self.lose_nodes = self.losses.plan
        self.servers: Servers | None = None
        self.updates: Updates | None = None
        self._headroom = [0] * n
        self._replica_s: list[float] = [0.0] * n
        self._touched_s = [0] * n
        self._measured = Measured((spec.lead_time_s for spec in specs), n)
        self._leaving: list[list[Group]] = [[] for _ in specs]  # in the order in which they left

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
        self.current[row] = replicas
        self.ready[row] = replicas
        each = self.slots_each[row]
        where = self.where.get(row)
        for group in [Group(self._own[row][0], replicas)] if where is None else where.first_places(replicas, each):
            pool = group.pool
            pool.held += group.count * each
            pool.used = pool.held
            if where is not None:
                where.came(pool, group.count)
        for pool in self._own[row]:
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
        if row in self.where:
            self._growing.set_headroom(row, replicas)
        else:
            self._own[row][0].headroom += (replicas - self._headroom[row]) * self.slots_each[row]
            self._headroom[row] = replicas
        self._follow(row, at_s)

    def gone(self, row: int, replicas: int, at_s: int) -> None:
        """So many leaving replicas have finished and give back their slots: those that left first."""
        self._touch(row, at_s)
        self.draining[row] -= replicas
        leaving = self._leaving[row]
        while replicas:
            group = leaving[0]
            cut = min(group.count, replicas)
            replicas -= cut
            group.count -= cut
            if not group.count:
                leaving.pop(0)
            group.pool.leave(cut * self.slots_each[row], at_s)
            self._keep_noticed(row, group.pool)
        self._follow(row, at_s)

    # ------------------------------------------------------------ time

    def replica_s(self, row: int, at_s: int) -> float:
        """Replica-seconds until at_s, from creation to the end of draining."""
        return self._replica_s[row] + self._alive(row) * (at_s - self._touched_s[row])

    def lost(self, at_s: int) -> LossCounts:
        """What losses took until at_s."""
        return self.losses.counts([at_s - touched_s for touched_s in self._touched_s])

    def nodes(self, row: int) -> int:
        """Nodes of the service's pools, requested ones included."""
        return sum(self.pools[number].total for number in self.pools_of[row])

    def on_nodes(self, row: int, pool: Pool) -> Kinds:
        """Replicas of a service that hold slots of ready nodes of one of its pools."""
        begun = self._starts.on(row, pool)
        if (where := self.where.get(row)) is None:
            return int(self.ready[row]), begun, int(self.draining[row])
        return where.ready(pool), begun, sum(group.count for group in self._leaving[row] if group.pool is pool)

    def replica_s_by_pool(self, row: int, at_s: int) -> list[float]:
        """Replica-seconds until at_s by each of the service's pools. Of several: on its nodes; who waits is on none."""
        if (where := self.where.get(row)) is None:
            return [self.replica_s(row, at_s)]
        passed_s = at_s - self._touched_s[row]
        return [
            before_s + sum(self.on_nodes(row, pool)) * passed_s
            for pool, before_s in zip(where.pools, where.replica_s, strict=True)
        ]

    # ------------------------------------------------------------ what happens

    def _alive(self, row: int) -> int:
        return self.starting.item(row) + int(self.ready.item(row)) + self.draining.item(row)

    def _follow(self, row: int, at_s: int) -> None:
        """The service's pools are followed: the first brings those that it hangs together with."""
        self.orders.follow(self.pools_of[row][0], at_s)

    def _touch(self, row: int, at_s: int) -> None:
        """Before the number of replicas changes, or (of a service on several pools) of those that are on one."""
        if (where := self.where.get(row)) is not None:
            where.replica_s = self.replica_s_by_pool(row, at_s)
            where.changes += 1
        self._replica_s[row] += self._alive(row) * (at_s - self._touched_s[row])
        self.losses.passed(row, at_s - self._touched_s[row])
        self._touched_s[row] = at_s
        self._changes += 1

    def create(self, row: int, replicas: int, at_s: int) -> int:
        """So many more, from nothing to ready; how many of them wait for a slot."""
        self._touch(row, at_s)
        self.starting[row] += replicas
        cohort = self._starts.add(row, replicas, self._own[row], at_s)
        self._follow(row, at_s)
        return cohort.count if cohort.on is None else 0

    def cancel(self, row: int, replicas: int, at_s: int) -> int:
        """Up to so many that are not ready are given up, the newest first; how many there were too few."""
        self._touch(row, at_s)
        cancelled = self._starts.cancel(row, replicas, self._own[row], at_s)
        self.starting[row] -= cancelled
        self._follow(row, at_s)
        return replicas - cancelled

    def drain(self, row: int, replicas: int, at_s: int) -> None:
        """So many ready ones leave at once and drain."""
        self._touch(row, at_s)
        groups = self._who_leaves(row, replicas)
        self.ready[row] -= replicas
        self.draining[row] += replicas
        if self.updates is not None:
            self.updates.left(row, replicas)
        for group in groups:
            self._leaving[row].append(group)
            if self.servers is None:
                # All take the same time, so the first that left is the first to be gone.
                self.events.plan(at_s + self.times.drain_s, self._drained, (row, group))
        for group in groups:
            self._keep_noticed(row, group.pool)
        if self.servers is not None:
            self.servers.leave(row, replicas, at_s)
        self._follow(row, at_s)

    def _keep_noticed(self, row: int, pool: Pool) -> None:
        """After fewer of a service's replicas are ready on the pool, or drain there."""
        if pool.notices:
            ready, _, draining = self.on_nodes(row, pool)
            keep_within(pool.notices, row, ready, draining)

    def _who_leaves(self, row: int, replicas: int) -> list[Group]:
        """So many ready ones, no longer counted as such."""
        if (where := self.where.get(row)) is None:
            return [Group(self._own[row][0], replicas)]
        # An update takes the old ones' place.
        return where.leave(replicas, oldest=self.updates is not None and self.updates.replacing(row))

    def _drained(self, at_s: int, about: tuple[int, Group]) -> None:
        row, group = about
        if group.count:
            self.gone(row, group.count, at_s)

    def lose(self, row: int, pool: Pool, kinds: Kinds, at_s: int, notice: Notice | None = None) -> None:
        """So many on the pool's nodes are gone at once, with their slots: on those of a notice, or on all others."""
        self._touch(row, at_s)
        ready, starting, leaving = kinds
        self.ready[row] -= ready
        if row in self.where:
            self.where[row].lose(pool, ready)
        if self.updates is not None:
            self.updates.left(row, ready)
        self.draining[row] -= leaving
        taken = sum(kinds) * self.slots_each[row]
        pool.held -= taken
        pool.used -= taken
        self.starting[row] -= starting
        self._starts.lose(row, pool, starting, notice)
        if self.servers is not None:
            self.servers.lose(row, ready, leaving, at_s)
        cut_latest([group for group in self._leaving[row] if group.pool is pool], leaving)
        self._leaving[row] = [group for group in self._leaving[row] if group.count]

    def _became_ready(self, cohort: Cohort, replicas: int, at_s: int) -> None:
        row = cohort.row
        self._touch(row, at_s)
        self.starting[row] -= replicas
        self.ready[row] += replicas
        if row in self.where:
            assert cohort.on is not None
            self.where[row].came(cohort.on, replicas)
        if self.servers is not None:
            self.servers.join(row, replicas, at_s)
        self._measured.add(row, at_s - cohort.begun_s, (row,))
        if self.updates is not None:
            self.updates.came(row, replicas, at_s)
