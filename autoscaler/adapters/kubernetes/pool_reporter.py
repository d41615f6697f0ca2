"""Writes into the pools' status how many nodes are planned and, where nodes can be seen, how many there are and how long they take: when it
changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from autoscaler import tick_budget
from autoscaler.adapters.kubernetes.api import MERGE_PATCH, KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.services import POOLS
from autoscaler.ports import Tick

log = logging.getLogger(__name__)

CALL_TIMEOUT_S: Final = 5.0


class PoolReporter:
    """A Reporter. may_write: asked right before each write whether this process leads. seen: what is to be said of the pools' nodes, by pool
    (``KubernetesCluster.pool_statuses``). What fails is written with the next tick."""

    def __init__(
        self, api: KubeApi, may_write: Callable[[], bool], seen: Callable[[Tick], Mapping[str, Object]] = lambda _tick: {}
    ) -> None:
        self._api = api
        self._may_write = may_write
        self._seen = seen
        self._sent: dict[str, Object] = {}

    async def report(self, tick: Tick) -> None:
        if not tick.leading:
            self._sent.clear()  # another one writes
            return
        try:
            async with asyncio.timeout(tick_budget.POOLS * tick.interval_s):
                await self._write(tick)
        except TimeoutError:
            log.warning("not every AcceleratorPool's status was written in time; the rest comes with the next ticks")
        for gone in self._sent.keys() - tick.plan.nodes.keys():
            del self._sent[gone]

    async def _write(self, tick: Tick) -> None:
        seen = self._seen(tick)
        for pool, nodes in tick.plan.nodes.items():
            status = {"plannedNodes": nodes, **seen.get(pool, {})}
            if self._sent.get(pool) == status or not self._may_write():
                continue
            try:
                await self._api.request(
                    "PATCH",
                    f"{POOLS.path(None, pool)}/status",
                    body={"status": status},
                    content_type=MERGE_PATCH,
                    timeout_s=CALL_TIMEOUT_S,
                )
            except ApiError as fault:
                log.warning("the status of AcceleratorPool %s was not written: %s", pool, fault, extra={"object": pool})
            else:
                self._sent[pool] = status
