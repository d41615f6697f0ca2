"""Where a node autoscaler makes nodes for replicas that may run on several pools.

Whoever waits has found no free slot on any of its pools (``Lifecycle``); nodes are made for it on the first pool that the manifest names and that may
still grow. What is there or on its way anyway is counted on first. The headroom of such services comes after all who wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replay.plant.nodes import Cohort, Pool


class Growing:
    """n services. pools_of: by service the pools it may run on; slots_each, priorities (n,). together: by pool those that services join with it,
    itself among them; () where nobody joins it to another."""

    def __init__(
        self,
        pools: Sequence[Pool],
        pools_of: Sequence[Sequence[int]],
        slots_each: Sequence[int],
        priorities: Sequence[int],
    ) -> None:
        self._pools = pools
        self._own = {row: [pools[number] for number in own] for row, own in enumerate(pools_of) if len(own) > 1}
        self._each = slots_each
        self._priorities = priorities
        self._headroom: dict[int, int] = {}  # of those that hold any
        self.together = hanging_together(pools_of, len(pools))

    def set_headroom(self, row: int, replicas: int) -> None:
        """Replicas' worth of slots that a service on several pools holds beyond its replicas."""
        self._headroom.pop(row, None)
        if replicas:
            self._headroom[row] = replicas

    def owe(self, numbers: Sequence[int], may_grow: Callable[[Pool], bool]) -> None:
        """Says anew what each of these pools (all that hang together) owes: the slots that nodes are to be made for on it. may_grow: whether nodes
        are to be had at present; where none of a service's pools has any, the first one within its bounds owes them."""
        pools = [self._pools[number] for number in numbers]
        for pool in pools:
            pool.owed = 0
        if all(pool.fixed is not None for pool in pools):
            return  # the plan orders
        for cohort in self._waiting(pools):
            self._share_out(cohort.row, cohort.count, may_grow)
        for row, replicas in sorted(self._headroom.items()):
            if self._own[row][0] in pools:
                self._share_out(row, replicas, may_grow)

    def _waiting(self, pools: Sequence[Pool]) -> list[Cohort]:
        """Those that may run on several pools, in the order in which they get slots."""
        found = {id(cohort): cohort for pool in pools for cohort in pool.waiting if cohort.row in self._own and cohort.count}
        return sorted(found.values(), key=lambda cohort: (-self._priorities[cohort.row], cohort.created_s))

    def _share_out(self, row: int, replicas: int, may_grow: Callable[[Pool], bool]) -> None:
        each = self._each[row]
        if not each:
            return
        for nodes in (_there, lambda pool: _most(pool) if may_grow(pool) else pool.total, _most):
            for pool in self._own[row]:
                if not replicas:
                    return
                room = nodes(pool) * pool.slots - pool.held - pool.headroom - pool.owed - pool.shut
                here = min(replicas, max(room, 0) // each)
                pool.owed += here * each
                replicas -= here


def _there(pool: Pool) -> int:
    return pool.total


def _most(pool: Pool) -> int:
    assert pool.max_nodes is not None, "only AcceleratorPools are named by several"
    return pool.max_nodes


def hanging_together(pools_of: Sequence[Sequence[int]], count: int) -> list[tuple[int, ...]]:
    """By pool: all pools that services join with it, directly or over others, itself among them; () where nobody joins it to another."""
    found: list[set[int]] = [{number} for number in range(count)]
    for own in pools_of:
        if len(own) > 1:
            joined: set[int] = set().union(*(found[number] for number in own))
            for number in joined:
                found[number] = joined
    return [tuple(sorted(one)) if len(one) > 1 else () for one in found]
