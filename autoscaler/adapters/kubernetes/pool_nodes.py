"""The nodes of one pool: how far each is on its way, how long that takes, and what does not come up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from autoscaler.adapters.kubernetes.lead_times import LeadTimes
from autoscaler.adapters.kubernetes.node_orders import NodeOrders
from autoscaler.adapters.kubernetes.nodes import Node
from autoscaler.core.model import PoolSpec
from autoscaler.core.node_facts import NODE_STAGES, PoolFacts, SilentNodes, late_s
from autoscaler.core.node_losses import LOSSES_TOLD_S, NodeLosses
from autoscaler.core.seen_nodes import NodeState
from autoscaler.spec import AcceleratorPoolStatus

SILENT_S: Final = 600.0
"""Without samples: the installation of a driver by an operator takes up to ten minutes, a device plugin alone seconds."""
MET_WITHIN_S: Final = 120.0
"""A node is told of within a second, after a lost watch within half a minute, and clocks differ by a few."""
NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """An AcceleratorPool as this adapter needs it. status: as the API server has it."""

    spec: PoolSpec
    generation: int
    status: AcceleratorPoolStatus

    def has(self, node: Node) -> bool:
        """Whether the node is one of its: by labels, where they are given, else by what the node itself says."""
        if selector := self.spec.node_selector:
            return all(node.labels.get(label) == value for label, value in selector)
        return self.spec.name in node.pools


@dataclass(slots=True)
class _Way:
    """A node's way. watched: it was seen before it was of use, so its times are known. done: its whole lead time was counted. was_ready: it
    was seen Ready."""

    node: Node
    watched: bool
    was_ready: bool = False
    requested_at_s: float | None = None
    ready_at_s: float | None = None
    advertised_at_s: float | None = None
    done: bool = False


@dataclass(slots=True)
class PoolNodes:
    """Told of every change of every node of the pool, and of pods that were placed on one."""

    pool: Pool
    lead: LeadTimes
    orders: NodeOrders = field(default_factory=NodeOrders)
    losses: NodeLosses = field(default_factory=NodeLosses)
    silent: frozenset[str] = frozenset()
    """Nodes that were silent at the last look (``facts``)."""
    _asked: int | None = None
    _ways: dict[str, _Way] = field(default_factory=dict)
    _facts: PoolFacts | None = None
    _told_at_s: float = 0.0
    _unfinished: set[str] = field(default_factory=set)

    def aim(self, nodes: int | None, at_s: float) -> None:
        """So many nodes are asked for; None: for no number (a backend that keeps no room now), so whoever owns them may take any."""
        self._asked = nodes
        if nodes is None:
            return
        self.orders.aim(nodes, at_s)
        self.orders.keep(max(nodes - sum(not way.node.leaving for way in self._ways.values()), 0))

    def node_changed(self, name: str, new: Node | None, now_s: float) -> None:
        """Takes in a node that came, changed or (None) went."""
        self._facts = None
        way = self._ways.get(name)
        if way is not None and not way.node.leaving and (new is None or new.leaving):
            left = sum(not one.node.leaving for other, one in self._ways.items() if other != name)
            self.losses.gone(left=left, asked=self._asked, noticed=bool(way.node.notice) and not way.node.replaced)
        if new is None:
            self._ways.pop(name, None)
            self._unfinished.discard(name)
            return
        if way is None:
            way = self._ways[name] = _Way(new, watched=self._from_its_start(new, now_s))
            requested_at_s = self.orders.answered(new.created_at_s)
            if way.watched:
                self._provisioned(way, requested_at_s)
        if way.watched:
            self._progress(way, new, now_s)
        way.node = new
        way.was_ready = way.was_ready or new.ready_at_s is not None
        (self._unfinished.discard if new.accelerators or new.leaving or new.cordoned else self._unfinished.add)(name)
        self._finish(way)

    @staticmethod
    def _from_its_start(node: Node, now_s: float) -> bool:
        """Whether it is seen before it is of use for the first time. One that we meet when it is older may have been up for weeks, and what
        it waits for now is a restart of its kubelet or plugin."""
        return not node.advertised and not node.leaving and now_s - node.created_at_s <= MET_WITHIN_S

    def pod_came(self, name: str, waited_since_s: float) -> None:
        """A pod that had found no node was placed on this one: the first such pod is what it was made for, where nobody else asked."""
        way = self._ways.get(name)
        if way is None or not way.watched or way.requested_at_s is not None or waited_since_s > way.node.created_at_s + 1.0:
            return
        self._facts = None
        self._provisioned(way, waited_since_s)
        self._finish(way)

    def states(self, now_s: float, serving: Callable[[], bool]) -> list[tuple[str, Node, NodeState]]:
        """(name, node, how it is) of each node, the oldest first. serving: as of ``facts``."""
        silent = self._silent_since(now_s, serving)
        # Where replicas serve and no node advertises anything, nobody tells how many there are: Ready is all there is to know.
        told = not self._unfinished or any(way.node.accelerators for way in self._ways.values()) or not serving()
        return [
            (name, way.node, _state(way, silent=name in silent, told=told))
            for name, way in sorted(self._ways.items(), key=lambda one: (one[1].node.created_at_s, one[0]))
        ]

    def facts(self, now_s: float, serving: Callable[[], bool]) -> PoolFacts:
        """serving: whether replicas that run on the pool are ready; asked where it matters. Where they are and no node advertises anything,
        accelerators are not told by device plugins there (dynamic resource allocation), and nothing is wrong."""
        silent = self._silent(now_s, serving)
        there = len(self._ways) if self._facts is None else self._facts.nodes
        self.losses.passed(there, now_s)
        if self._facts is None or self._facts.silent != silent or now_s - self._told_at_s >= LOSSES_TOLD_S:
            self._told_at_s = now_s
            ways = [way.node for way in self._ways.values() if not way.node.leaving]
            facts = PoolFacts(
                nodes=len(ways),
                ready=sum(node.ready_at_s is not None for node in ways),
                advertised=sum(node.advertised for node in ways),
                lead_s=self.lead.reckoned_s(),
                stages=self.lead.told(NODE_STAGES),
                silent=silent,
                noticed=sum(bool(node.notice) for node in ways),
                replaced=sum(node.replaced for node in ways),
            )
            self._facts = self.losses.told(facts)
        return self._facts

    def _silent(self, now_s: float, serving: Callable[[], bool]) -> SilentNodes | None:
        since = self._silent_since(now_s, serving)
        self.silent = frozenset(since)
        if not since:
            return None
        names = sorted(since, key=lambda name: (since[name], name))
        limit_s = round(self._silent_limit_s(), 1)
        return SilentNodes(nodes=len(names), names=tuple(names[:NAMED]), since_s=since[names[0]], limit_s=limit_s)

    def _silent_limit_s(self) -> float:
        p99_s = self.lead.stage_late_s("advertised")
        return SILENT_S if p99_s is None else late_s(p99_s)

    def _silent_since(self, now_s: float, serving: Callable[[], bool]) -> dict[str, float]:
        """The nodes that are silent, and since when each is Ready."""
        if not self._unfinished:
            return {}
        limit_s = self._silent_limit_s()
        since = {
            name: ready_at_s
            for name in self._unfinished
            if (ready_at_s := self._ways[name].node.ready_at_s) is not None
            and now_s - ready_at_s > limit_s
            and not self._ways[name].node.notice
        }
        if since and not any(way.node.accelerators for way in self._ways.values()) and serving():
            return {}
        return since

    def _progress(self, way: _Way, new: Node, now_s: float) -> None:
        """The first time that it is Ready, and the first time that its accelerators are there."""
        if new.ready_at_s is not None and way.ready_at_s is None:
            way.ready_at_s = new.ready_at_s
            self._sample("ready", new.ready_at_s - new.created_at_s)
        if new.advertised and way.advertised_at_s is None and way.ready_at_s is not None:
            # Nothing in a Node says when its accelerators came: with Ready, or just now.
            way.advertised_at_s = now_s if way.node.ready_at_s is not None else way.ready_at_s
            self._sample("advertised", way.advertised_at_s - way.ready_at_s)

    def _provisioned(self, way: _Way, requested_at_s: float | None) -> None:
        way.requested_at_s = requested_at_s
        if requested_at_s is not None:
            self._sample("provisioned", way.node.created_at_s - requested_at_s)

    def _finish(self, way: _Way) -> None:
        if way.done or way.requested_at_s is None or way.advertised_at_s is None:
            return
        way.done = True
        self.lead.add(max(0.0, way.advertised_at_s - way.requested_at_s))

    def _sample(self, stage: str, seconds: float) -> None:
        self.lead.add_stages({stage: max(0.0, seconds)})


def _state(way: _Way, *, silent: bool, told: bool) -> NodeState:
    """told: whether nodes of the pool tell what accelerators they have."""
    node = way.node
    if node.leaving:
        return "leaving"
    if node.notice:
        return "noticed"
    if silent:
        return "silent"
    if node.ready_at_s is None:
        return "unready" if way.was_ready else "starting"
    if node.cordoned:
        return "cordoned"
    return "starting" if node.starting or (told and not node.accelerators) else "ready"
