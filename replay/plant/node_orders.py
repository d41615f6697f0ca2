"""Nodes come where slots are short and go where they are spare, or as a plan says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoscaler.core.model import ScalingSpec
from replay.plant.events import Events
from replay.plant.faults import Faults
from replay.plant.growing import Growing
from replay.plant.measured import Measured
from replay.plant.nodes import Pool, Request
from replay.plant.times import Times


class NodeOrders:
    """The pools of n services. growing: where nodes are made for services on several. take_slots: told of a pool that has slots for those who wait.
    changes: counts the changes of node counts."""

    def __init__(
        self,
        specs: Sequence[ScalingSpec],
        pools: Sequence[Pool],
        pools_of: Sequence[Sequence[int]],
        growing: Growing,
        times: Times,
        faults: Faults,
        events: Events,
        take_slots: Callable[[Pool, int], None],
    ) -> None:
        self.pools = list(pools)
        self.changes = 0
        self.measured = Measured((spec.node_lead_time_s for spec in specs), len(pools), pools_of)
        self.rows: list[list[int]] = [[] for _ in pools]
        """By pool the services that may run on it."""
        for row, own in enumerate(pools_of):
            for number in own:
                self.rows[number].append(row)
        self._growing = growing
        self._times = times
        self._faults = faults
        self._events = events
        self._take_slots = take_slots
        self._to_check: set[int] = set(range(len(pools)))
        self._scarce: set[int] = set()

    def set_nodes(self, number: int, nodes: int, at_s: int) -> None:
        """The plan's node count; from then on the rule doesn't apply to this pool. Nodes with replicas on them stay."""
        pool = self.pools[number]
        pool.fixed = nodes
        self.follow(number, at_s)
        # Replicas that wait for a node are no reason to keep one that the plan gives up.
        surplus = pool.total - pool.wanted()
        if surplus > 0:
            pool.release(surplus, at_s)
            self.changes += 1

    def check(self, at_s: int) -> None:
        """The rule for spare nodes; nodes that were not to be had are asked for again."""
        for number in tuple(self._scarce):
            self.follow(number, at_s)
        if not self._to_check:
            return
        for number in tuple(self._to_check):
            pool = self.pools[number]
            spare = pool.spare_to_release(at_s, self._times.spare_s)
            if spare:
                pool.release(spare, at_s)
                self.changes += 1
            if pool.spare_since_s is None:
                self._to_check.discard(number)

    def follow(self, number: int, at_s: int) -> None:
        """Whoever waits takes the free slots; nodes are requested where slots are short."""
        if together := self._growing.together[number]:
            for one in together:
                self._fill(one, at_s)
            self._growing.owe(together, lambda pool: self._to_be_had(pool, at_s))
            for one in together:
                self._order(one, at_s)
        else:
            self._fill(number, at_s)
            self._order(number, at_s)

    def _fill(self, number: int, at_s: int) -> None:
        pool = self.pools[number]
        self._to_check.add(number)
        if pool.waiting:
            self._take_slots(pool, at_s)

    def _to_be_had(self, pool: Pool, at_s: int) -> bool:
        """Whether new nodes of the pool are."""
        if not self._faults.known:
            return True
        number = self.pools.index(pool)
        return not self._faults.scarce(at_s, number, self.rows[number])

    def _order(self, number: int, at_s: int) -> None:
        pool = self.pools[number]
        short = pool.wanted() - pool.total
        self._scarce.discard(number)
        if short <= 0:
            return
        if not self._to_be_had(pool, at_s):
            self._scarce.add(number)
            return
        self.changes += 1
        varied = self._times.node
        for nodes in (short,) if varied is None else (1,) * short:
            takes_s = self._times.node_s if varied is None else varied.draw(self._faults.rng)
            self._events.plan(at_s + takes_s, self._ready, (number, pool.request(nodes, at_s)))

    def _ready(self, at_s: int, about: tuple[int, Request]) -> None:
        number, request = about
        pool = self.pools[number]
        if pool.arrive(request, at_s):
            self.changes += 1
            self.measured.add(number, at_s - request.asked_s, self.rows[number])
            self._take_slots(pool, at_s)
            if self._growing.together[number]:
                self.follow(number, at_s)  # who has found its place here needs none elsewhere
