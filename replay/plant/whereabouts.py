"""On which pool the replicas of a service are that may run on several.

Which ones leave: those that are not ready go first, the newest of them first (``Lifecycle.cancel``), then the newest ready ones. A ReplicaSet asks,
in this order, who has no node yet, who is not ready, who has the lower ``pod-deletion-cost``, who shares a node with the most others of its own, and
only then who became ready last, in powers of two of how long ago (kubernetes/pkg/controller/controller_utils.go, ActivePodsWithRanks). Of all
that the plant, which places nothing, can play the first two and the last. With ``drain.pods: EmptyNodes`` the controller sets costs so that those
leave whose nodes get empty: then it would be the pool with the emptiest nodes that shrinks, not the one that grew last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replay.plant.nodes import Cohort, Pool


@dataclass(slots=True, eq=False)
class Group:
    """Replicas of one service on one pool that became ready, or began to leave, together."""

    pool: Pool
    count: int


def cut_latest(groups: Sequence[Group | Cohort], replicas: int) -> None:
    """So many are gone, of the last of the groups first."""
    for group in reversed(groups):
        cut = min(group.count, replicas)
        group.count -= cut
        replicas -= cut


class Whereabouts:
    """Of one service. pools: those it may run on, in the manifest's order."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self.pools = tuple(pools)
        self._ready: list[Group] = []  # in the order in which they became ready
        self.replica_s = [0.0] * len(self.pools)
        """Replica-seconds on the nodes of each pool, from a place to the end of draining."""

    def first_places(self, replicas: int, each: int) -> list[Group]:
        """Where replicas are at the trace's start: the pools are filled in the manifest's order; whom none has room for is on the first."""
        found = []
        for pool in self.pools:
            most = replicas if pool.max_nodes is None or not each else (pool.max_nodes * pool.slots - pool.held) // each
            if (here := min(max(most, 0), replicas)) > 0:
                found.append(Group(pool, here))
                replicas -= here
        return [*found, Group(self.pools[0], replicas)] if replicas else found

    def came(self, pool: Pool, replicas: int) -> None:
        """So many are ready there."""
        self._ready.append(Group(pool, replicas))

    def leave(self, replicas: int, *, oldest: bool) -> list[Group]:
        """So many ready ones are none any more, the newest first, or the oldest; where they are."""
        found: list[Group] = []
        while replicas:
            place = 0 if oldest else -1
            group = self._ready[place]
            cut = min(group.count, replicas)
            replicas -= cut
            group.count -= cut
            if not group.count:
                del self._ready[place]
            if found and found[-1].pool is group.pool:
                found[-1].count += cut
            else:
                found.append(Group(group.pool, cut))
        return found

    def lose(self, pool: Pool, replicas: int) -> None:
        """So many ready ones on the pool are gone, the newest there first."""
        cut_latest([group for group in self._ready if group.pool is pool], replicas)
        self._ready = [group for group in self._ready if group.count]

    def ready(self, pool: Pool) -> int:
        return sum(group.count for group in self._ready if group.pool is pool)
