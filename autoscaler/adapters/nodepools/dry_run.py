"""The backend ``DryRun``: shows the planned number of nodes and changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from autoscaler.core.model import Plan, PoolSpec
from autoscaler.ports import PoolTold

log = logging.getLogger(__name__)


class DryRun:
    """Implements the NodePools port."""

    def __init__(self) -> None:
        self._planned: dict[str, int] = {}

    async def act(self, pools: Sequence[PoolSpec], plan: Plan, deadline_s: float) -> Mapping[str, str]:
        for pool, nodes in plan.nodes.items():
            if self._planned.get(pool) != nodes:
                log.info("pool %s: the plan needs %d nodes (dry run: nothing is changed)", pool, nodes)
        self._planned = dict(plan.nodes)
        return {}

    def told(self) -> Mapping[str, PoolTold]:
        """Nothing is asked of anybody."""
        return {}
