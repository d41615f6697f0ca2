"""Which of a target's pods are to leave so that whole nodes become free.

Whoever removes pods has an order of its own, in which only some places are ours to fill. A ReplicaSet removes pods without a node first, then
pending ones, then those that are not ready, then those with the lowest ``controller.kubernetes.io/pod-deletion-cost``, and of equals the one on
the node with the most of its pods (kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks), which spreads the holes and empties
nothing. So here pods come in tiers: those of a lower tier leave before any of a higher one whatever we say, and within the one that leaves in
part we choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints

NO_NODE: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPods:
    """One target's pods that are not leaving yet, as columns (n,).

    names: break ties, so that the same pods give the same answer whatever their order. node: number of the pod's node, NO_NODE where it has
    none. tier: see above. choosable: whether we may say that it is to leave first in its tier. created_at_s: Unix seconds. in_flight: requests
    that it works on, 0 where nobody knows, as in a cluster: signals are of
    services. held (nodes,): whether others hold the node, so that it stays whatever leaves.
    """

    names: Sequence[str]
    node: Ints
    tier: Ints
    choosable: Bools
    created_at_s: Floats
    in_flight: Floats
    held: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """marked: places of the pods that have to be named, since which of their tier leave is for us to say. nodes: numbers of the nodes that have
    none of the target's pods left then, and nobody else's."""

    marked: tuple[int, ...]
    nodes: tuple[int, ...]


def choose(pods: TargetPods, count: int) -> Leaving:
    """The pods that leave when the target loses `count` replicas.

    As many nodes become free as can. Of nodes with equally many pods, first those with the fewest requests in flight, then the youngest, whose
    caches are the coldest. What is left over leaves the node that is nearest to being empty, so that the next one to go frees it, and goes the
    same way. Greedy by pods a node, which is the best that can be: each node counts as one, whatever it takes.
    """
    if count <= 0:
        return Leaving(marked=(), nodes=())
    tier = np.sort(pods.tier)[min(count, len(pods.tier)) - 1] if len(pods.tier) else 0
    gone = pods.tier <= tier
    if int(gone.sum()) <= count:
        return Leaving(marked=(), nodes=_freed(pods, ~gone))  # the tier leaves whole
    gone = pods.tier < tier
    free = np.flatnonzero((pods.tier == tier) & pods.choosable)
    stays = (pods.tier > tier) | ((pods.tier == tier) & ~pods.choosable)
    wanted = min(count - int(gone.sum()), len(free))
    chosen = free[_order(pods, free, stays)[:wanted]]
    left = ~gone
    left[chosen] = False
    return Leaving(marked=tuple(sorted(chosen.tolist())), nodes=_freed(pods, left))


def _order(pods: TargetPods, free: Ints, stays: Bools) -> Ints:
    """Positions in `free` in the order in which they are to leave."""
    # Pods without a node are a group each, of their own: they hold nothing.
    nodes = len(pods.held)
    node = np.where(pods.node[free] == NO_NODE, nodes + np.arange(len(free)), pods.node[free])
    blocked = np.zeros(nodes + len(free), dtype=np.bool_)
    blocked[:nodes] = pods.held
    blocked[nodes:] = True
    staying = pods.node[stays]
    blocked[staying[staying != NO_NODE]] = True
    size = np.bincount(node, minlength=nodes + len(free))
    load = np.bincount(node, pods.in_flight[free], nodes + len(free))
    born_s = np.full(nodes + len(free), -np.inf)
    np.maximum.at(born_s, node, pods.created_at_s[free])
    name = _ranks(pods.names, free)
    first = np.full(nodes + len(free), len(free), dtype=np.int64)
    np.minimum.at(first, node, name)
    # The whole order: nodes that can be emptied, by what they take; within a node by itself. Nobody is emptied in vain: those that others hold
    # come last, but what is left over of `count` is taken from the next that could be emptied.
    return np.lexsort(
        (name, -pods.created_at_s[free], pods.in_flight[free], first[node], -born_s[node], load[node], size[node], blocked[node])
    )


def _ranks(names: Sequence[str], of: Ints) -> Ints:
    """The place of each by name."""
    ranks = np.empty(len(of), dtype=np.int64)
    ranks[sorted(range(len(of)), key=lambda place: names[int(of[place])])] = np.arange(len(of))
    return ranks


def _freed(pods: TargetPods, left: Bools) -> tuple[int, ...]:
    """Nodes that have some of the pods, none of those that are left, and nobody else's."""
    used = np.unique(pods.node[pods.node != NO_NODE])
    kept = np.unique(pods.node[left & (pods.node != NO_NODE)])
    return tuple(node for node in np.setdiff1d(used, kept).tolist() if not pods.held[node])
