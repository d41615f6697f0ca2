"""What replicas do on the pool that they run on, where ``nodePools`` give each pool's requests/s."""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.core.model import Floats, ScalingSpec
from autoscaler.core.node_pools import per_s_on
from replay.plant.lifecycle import Lifecycle


class PoolCapacity:
    """Of the services of a lifecycle that do more on some pools than they are reckoned with."""

    def __init__(self, specs: Sequence[ScalingSpec], life: Lifecycle) -> None:
        self._life = life
        self._does = {
            row: [(life.pools[number], per_s_on(spec, life.pools[number].name)) for number in life.pools_of[row]]
            for row, spec in enumerate(specs)
            if differs_by_pool(spec)
        }
        self._seen = -1
        self._seen_of = dict.fromkeys(self._does, -1)

    def moved(self) -> bool:
        """Whether it may have changed since the last time that this was asked."""
        if not self._does or self._seen == self._life.changes:
            return False
        self._seen = self._life.changes
        return True

    def into(self, per_s: Floats) -> None:
        """Puts into (n,), always the same array, the requests/s of a ready replica on average; what stands there stays for all others, and while none
        is ready."""
        life = self._life
        for row, does in self._does.items():
            if (where := life.where.get(row)) is not None:
                if where.changes == self._seen_of[row]:
                    continue  # as nearly all, of ten thousand
                self._seen_of[row] = where.changes
            if (all_ready := life.ready.item(row)) > 0:
                per_s[row] = sum(life.on_nodes(row, pool)[0] * own_per_s for pool, own_per_s in does) / all_ready


def differs_by_pool(spec: ScalingSpec) -> bool:
    """Whether replicas do more on some pools than the service is reckoned with."""
    return any(use.per_s not in (None, spec.capacity.per_s) for use in spec.pools)
