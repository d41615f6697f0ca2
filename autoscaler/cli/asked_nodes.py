"""Tells the cluster adapter what node pools were asked for: how long nodes take is measured from there. The two adapters don't know each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from autoscaler.core.model import Plan, PoolSpec
from autoscaler.ports import NodePools, PoolTold


class AskedNodes:
    """A NodePools over another. tell: given the counts that are asked for now, after each tick's orders; None of a pool of which none is."""

    def __init__(self, pools: NodePools, tell: Callable[[Mapping[str, int | None]], None]) -> None:
        self._pools = pools
        self._tell = tell

    async def act(self, pools: Sequence[PoolSpec], plan: Plan, deadline_s: float) -> Mapping[str, str]:
        errors = await self._pools.act(pools, plan, deadline_s)
        self._tell({name: told.asked for name, told in self.told().items()})
        return errors

    def told(self) -> Mapping[str, PoolTold]:
        return self._pools.told()
