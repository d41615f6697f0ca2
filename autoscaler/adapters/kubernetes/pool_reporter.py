"""Writes into the pools' status what is planned and why, what their systems say, and what is seen of their nodes, when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from autoscaler import tick_budget
from autoscaler.adapters.kubernetes.api import MERGE_PATCH, KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.moments import time_text
from autoscaler.adapters.kubernetes.services import POOLS
from autoscaler.ports import PoolTold, Tick

log = logging.getLogger(__name__)

CALL_TIMEOUT_S: Final = 5.0
MOST_WORDS: Final = 4096


class PoolReporter:
    """A Reporter. may_write: asked right before each write whether this process leads. told: what the pools' systems say. seen: what is to be
    said of the pools' nodes, by pool (``KubernetesCluster.pool_statuses``). What fails is written with the next tick."""

    def __init__(
        self,
        api: KubeApi,
        may_write: Callable[[], bool],
        told: Callable[[], Mapping[str, PoolTold]] = dict,
        seen: Callable[[Tick], Mapping[str, Object]] = lambda _tick: {},
    ) -> None:
        self._api = api
        self._may_write = may_write
        self._told = told
        self._seen = seen
        self._sent: dict[str, Object] = {}
        self._since: dict[str, tuple[bool, str]] = {}
        """By pool: the last status of its condition Ready, and when it began."""

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
            self._since.pop(gone, None)

    async def _write(self, tick: Tick) -> None:
        told, seen = self._told(), self._seen(tick)
        wanted: dict[str, Object] = {
            pool: {
                "plannedNodes": nodes,
                "reason": tick.plan.node_words.get(pool, "")[:MOST_WORDS],
                "shortage": _shortage(tick, pool),
                **_together(self._state(pool, told.get(pool), tick.decisions.at_s), seen.get(pool, {})),
            }
            for pool, nodes in tick.plan.nodes.items()
        }
        # Numbers first: words alone may wait for a later tick.
        for pool, status in sorted(wanted.items(), key=lambda one: self._numbers(one[0]) == one[1]["plannedNodes"]):
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

    def _numbers(self, pool: str) -> int | None:
        """The planned nodes that were last written."""
        return self._sent.get(pool, {}).get("plannedNodes")

    def _state(self, pool: str, told: PoolTold | None, at_s: float) -> dict[str, Any]:
        """The part of the status that the pool's system tells. A new process takes the condition for new: it has not seen the old one."""
        if told is None:
            return {}
        if self._since.get(pool, (None, ""))[0] != told.ok:
            self._since[pool] = (told.ok, time_text(at_s))
        condition = {
            "type": "Ready",
            "status": "True" if told.ok else "False",
            "reason": told.reason,
            "message": told.message[:1024],
            "lastTransitionTime": self._since[pool][1],
        }
        # A merge patch takes away what is null.
        return {"nodes": told.ready, "askedNodes": told.asked, "owner": told.owner[:1024] or None, "conditions": [condition]}


def _shortage(tick: Tick, pool: str) -> Object | None:
    """None, which a merge patch takes away, where nothing is short."""
    bound = None if tick.plan.bounds is None else tick.plan.bounds.pools.get(pool)
    if bound is None:
        return None
    state = bound.state
    return {
        "since": round(state.since_s, 1),
        "until": round(state.until_s, 1),
        "pauseSeconds": state.pause_s,
        "there": state.there,
        "trying": state.trying,
        "resource": state.resource[:256],
        "said": state.said[:1024],
    }


def _together(told: Object, seen: Object) -> Object:
    """What is seen of nodes wins over what their system says of them; the conditions of both stand side by side."""
    both = {**told, **seen}
    if "conditions" in told and "conditions" in seen:
        ours = {condition["type"] for condition in told["conditions"]}
        both["conditions"] = [*told["conditions"], *(one for one in seen["conditions"] if one["type"] not in ours)]
    return both
