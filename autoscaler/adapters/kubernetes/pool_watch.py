"""The AcceleratorPools that are there and the nodes of each, kept up to date change by change.

What counts as the request of a node, from which its lead time goes: the moment when we raised the pool's target (``aim``); where we didn't,
the moment when the first pod that was placed on it had begun to find no node. A node that nobody is known to have asked for gives its
stages, and no whole: from its creation would be too short, and forecasts would look ahead too little.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

import msgspec

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.conditions import merged, pool_conditions
from autoscaler.adapters.kubernetes.informer import Informer, Key
from autoscaler.adapters.kubernetes.lead_times import LeadTimes
from autoscaler.adapters.kubernetes.nodes import Node
from autoscaler.adapters.kubernetes.pods import Pod
from autoscaler.adapters.kubernetes.pool_nodes import Pool, PoolNodes
from autoscaler.adapters.kubernetes.services import POOLS
from autoscaler.compiled import pool_spec
from autoscaler.core.model import PoolSpec
from autoscaler.core.node_facts import NODE_STAGES, PoolFacts
from autoscaler.core.node_losses import NodeLosses
from autoscaler.core.short import Short
from autoscaler.spec import AcceleratorPool, AcceleratorPoolStatus, LossesStatus, ShortageStatus

log = logging.getLogger(__name__)


class PoolWatch:
    """measured: pools whose lead time may have changed, and moved: nodes that became another pool's, or began or ceased to be lost, since
    somebody emptied them. to_replace: nodes that are still there, count for nothing, and that nobody but us replaces (of one pool: as many as
    ``PoolFacts.beyond``)."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.pools: dict[str, PoolNodes] = {}
        self.measured: set[str] = set()
        self.moved: set[str] = set()
        self.to_replace: set[str] = set()
        self._now_s = now_s
        self._nodes: dict[str, Node] = {}
        self._pool_of: dict[str, str] = {}
        self._wanted = asyncio.Event()
        self._informer: Informer[Node] | None = None

    def specs(self) -> tuple[PoolSpec, ...]:
        """Of all pools, by name."""
        return tuple(nodes.pool.spec for _, nodes in sorted(self.pools.items()))

    def memories(self) -> dict[str, Short]:
        """What the status of pools remembers of a shortage, by pool."""
        return {name: _short(kept) for name, nodes in self.pools.items() if (kept := nodes.pool.status.shortage) is not None}

    @property
    def synced(self) -> bool:
        """Whether the nodes were listed: not while nobody needs them, or where we have no right to."""
        return self._informer is not None and self._informer.has_synced.is_set()

    def pool_of_node(self, node: str) -> str | None:
        """Whose node it is."""
        return self._pool_of.get(node)

    def lost(self, node: str) -> bool:
        """Whether the node counts for nothing: it is gone, told to go, or silent."""
        found = self._nodes.get(node)
        return found is None or found.leaving or bool(found.notice) or self._silent(node)

    def _judge(self, node: str) -> None:
        """Has it in `to_replace`, or no more."""
        found = self._nodes.get(node)
        ours = False
        if found is not None and not found.leaving:
            ours = not found.replaced if found.notice else self._silent(node)
        (self.to_replace.add if ours else self.to_replace.discard)(node)

    def _silent(self, node: str) -> bool:
        pool = self.pools.get(self._pool_of.get(node, ""))
        return pool is not None and node in pool.silent

    def lead_s(self, pools: Collection[str]) -> float | None:
        """What a new node takes as measured, of several pools the slowest; None while too little is known of any."""
        return _slowest(self.pools[name].lead.reckoned_s() if name in self.pools else None for name in pools)

    def late_s(self, pools: Collection[str]) -> float | None:
        """The p99 of the same."""
        return _slowest(self.pools[name].lead.late_s() if name in self.pools else None for name in pools)

    def aim(self, targets: Mapping[str, int | None], at_s: float) -> None:
        """The node counts that are asked for, by pool (None: no number is): to be told with every tick, or after each write of one at least."""
        for pool, nodes in targets.items():
            if found := self.pools.get(pool):
                found.aim(nodes, at_s)

    def shift(self, by_s: float) -> None:
        """The machine's clock was set by so much."""
        for nodes in self.pools.values():
            nodes.orders.shift(by_s)

    def facts(self, serving: Callable[[str], bool]) -> dict[str, PoolFacts]:
        """By pool; empty until the nodes were listed (no rights to, or not yet). serving: see ``PoolNodes.facts``."""
        if not self.synced:
            return {}
        now_s = self._now_s()
        found = {}
        for name, nodes in self.pools.items():
            before = nodes.silent
            found[name] = nodes.facts(now_s, partial(serving, name))
            for node in before ^ nodes.silent:
                self.moved.add(node)
                self._judge(node)
        return found

    def nodes_of(self, pool: str) -> PoolNodes | None:
        """The pool's nodes; None where they can't be seen."""
        return self.pools.get(pool) if self.synced else None

    def status(self, pool: str, facts: PoolFacts, now_s: float) -> Object:
        """What the pool's status is to say of its nodes, as plain data."""
        found = self.pools.get(pool)
        if found is None:
            return {}
        wanted = pool_conditions(facts, found.pool.generation)
        return {
            "nodes": facts.nodes,
            "readyNodes": facts.advertised,
            "losses": {
                "nodes": facts.losses,
                "nodeHours": facts.node_hours,
                "perNodeHour": facts.loss_per_node_hour,
            },
            "leadTime": msgspec.to_builtins(found.lead.status(NODE_STAGES)),
            "conditions": msgspec.to_builtins(merged(wanted, found.pool.status.conditions, now_s, ours=())),
        }

    async def run(self, informer: Informer[Node]) -> None:
        """Runs the nodes' informer once there is a pool: a cluster without pools needn't send us its nodes. Never returns."""
        self._informer = informer
        await self._wanted.wait()
        await informer.run()

    # ------------------------------------------------------------ what the informers tell

    def pool_changed(self, key: Key, old: Pool | None, new: Pool | None) -> None:
        name = key[1]
        if new is None:
            self.pools.pop(name, None)
        elif name in self.pools and old is not None:
            self.pools[name].pool = new
            if old.spec.node_selector == new.spec.node_selector:
                return
        else:
            self.pools[name] = PoolNodes(new, LeadTimes(new.status.lead_time), losses=_losses(new.status.losses))
            self._wanted.set()
        for node, item in self._nodes.items():
            self._place(node, item)
        self.measured.add(name)

    def node_changed(self, key: Key, old: Node | None, new: Node | None) -> None:
        name = key[1]
        if new is None:
            del self._nodes[name]
            self.moved.add(name)
            self._judge(name)
            if (pool := self._pool_of.pop(name, None)) is not None and pool in self.pools:
                self.pools[pool].node_changed(name, None, self._now_s())
            return
        self._nodes[name] = new
        if old is None or (old.labels, old.pools) != (new.labels, new.pools):
            self._place(name, new)
        elif (pool := self._pool_of.get(name)) is not None:
            self._tell(pool, name, new)
        if old is None or old.going != new.going:
            self.moved.add(name)
            self._judge(name)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Notes which pods that had waited for a node were placed on which."""
        if old is None or new is None or old.node or not new.node or old.unschedulable_at_s is None:
            return
        if (pool := self._pool_of.get(new.node)) is not None:
            self.pools[pool].pod_came(new.node, old.unschedulable_at_s)
            self.measured.add(pool)

    def _place(self, name: str, node: Node) -> None:
        """Finds the node's pool, which may have become another one."""
        pool = self._find(node)
        before = self._pool_of.get(name)
        if before != pool:
            self.moved.add(name)
        if before is not None and before != pool:
            del self._pool_of[name]
            if before in self.pools:
                self.pools[before].node_changed(name, None, self._now_s())
        if pool is not None:
            self._pool_of[name] = pool
            self._tell(pool, name, node)
        self._judge(name)

    def _find(self, node: Node) -> str | None:
        return next((name for name, nodes in self.pools.items() if nodes.pool.has(node)), None)

    def _tell(self, pool: str, name: str, node: Node) -> None:
        self.pools[pool].node_changed(name, node, self._now_s())
        self.measured.add(pool)


def _slowest(seconds: Iterable[float | None]) -> float | None:
    found = list(seconds)
    known = [one for one in found if one is not None]
    return max(known) if known and len(known) == len(found) else None


def _losses(kept: LossesStatus | None) -> NodeLosses:
    return NodeLosses() if kept is None else NodeLosses(kept.nodes, kept.node_hours)


def _short(kept: ShortageStatus) -> Short:
    return Short(
        since_s=kept.since,
        until_s=kept.until,
        pause_s=kept.pause_seconds,
        there=kept.there,
        trying=kept.trying,
        resource=kept.resource,
        said=kept.said,
    )


def pool_of(item: Object) -> Pool | None:
    """The transform of an AcceleratorPool; None where it can't be used."""
    known = {"apiVersion": POOLS.api_version, "kind": POOLS.kind, "metadata": item["metadata"], "spec": item.get("spec")}
    try:
        manifest = msgspec.convert(known, AcceleratorPool)
        spec = pool_spec(manifest)
    except (msgspec.ValidationError, ValueError) as fault:
        log.warning("AcceleratorPool %s can't be used: %s", item["metadata"].get("name"), fault)
        return None
    status = AcceleratorPoolStatus()
    with contextlib.suppress(msgspec.ValidationError):  # another version of ours wrote it
        status = msgspec.convert(item.get("status") or {}, AcceleratorPoolStatus)
    return Pool(spec=spec, generation=manifest.metadata.generation, status=status)
