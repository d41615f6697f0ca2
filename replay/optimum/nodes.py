"""The clairvoyant's nodes: how few node-hours keep a promise, and a bound that no schedule goes below.

**Alone on its pool** a service wants whole nodes, and once a node is paid for, all replicas that fit on it are free. So the fewest node-hours
are those of the same dynamic programme with a node in a replica's place: what its slots hold works as one, it takes a node's and then a
replica's start to be of use, and it is held until its last replica has drained.

*Why that is a bound* for every schedule of replicas and nodes. Let r(t) replicas serve at t, each in ``a`` of a node's ``S`` slots. Each held
its slots from the beginning of its start to the end of its draining, and each node was asked for ``node`` before it was ready. So at every t
there are at least ``x(u) = ⌈a r(u) ÷ S⌉`` nodes, for all u from t − drain to t + start + node: level by level, what x holds, made longer at
both ends, with gaps that close where they are shorter than that. That is what the programme's books charge for x (a gap is bridged or paid,
whichever is cheaper); x serves no less than r, and a queue that is served more is late for no more. So the programme, which may choose x,
costs no more. Orders are given at ticks; where starts are no whole ticks, or a replica waits for another one's slot, r changes within a
tick. x then changes at that tick's beginning, and the lead is rounded down to whole ticks, so that no node is charged before it was asked for.

**Several on one pool**: what each needs in slots adds up, so the sum of their own bounds (in slots, not rounded up to nodes, without what nodes
take to start) is one of the pool's; what the dearest of them would need alone is another one. The higher counts.

**On several pools**: the clairvoyant puts all replicas of a service on the one of its pools where each does the most, so its counts are a bound
for every mixture. Nodes of pools that hang together may be of several sizes, so only slots are bounded: by the same sum over all services of
these pools, and by what the pools' ``minNodes`` hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from autoscaler.core.model import Floats, Ints, ScalingSpec
from autoscaler.core.node_pools import per_s_on
from replay.optimum.orders import held_in_warmup
from replay.optimum.prices import Progress
from replay.optimum.problem import FEW, Problem, Settings
from replay.optimum.search import Found, bound_s, search
from replay.plant.growing import hanging_together
from replay.plant.nodes import Pool

_MOST_COUNTS: Final = 200
"""Node counts looked at, where the manifest allows more: or four times what the worst minute needs, if that is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolShare:
    """A service's place on its pool. pool: its name. slots: of a node. each: slots of a replica. services: how many are on the pool. joined: where
    services may run on several pools, the slots that each pool holds at the least of all that hang together (then `pool` is where a replica does
    the most, and `services` are those on any of them); else empty.

    initial_nodes: there at the trace's start. least_nodes: that the pool, or the lower bounds of all its services, always hold;
    pool_least_nodes: that the pool alone does. node_s: from a node's request until it is ready.
    """

    pool: str
    slots: int
    each: int
    services: int
    initial_nodes: int
    least_nodes: int
    pool_least_nodes: int
    node_s: int
    joined: Mapping[str, int] = field(default_factory=dict)

    @property
    def shared(self) -> bool:
        """Whether what the service needs can't be told in whole nodes of its own."""
        return self.services > 1 or bool(self.joined)


def pool_shares(
    specs: Sequence[ScalingSpec], pools: Sequence[Pool], pools_of: Sequence[Sequence[int]], initial: int, node_s: int
) -> list[PoolShare]:
    """Of all services. pools_of: the places of each one's pools. initial: ready replicas of each at the trace's start."""
    found = []
    chosen = [max(own, key=lambda number: per_s_on(spec, pools[number].name)) for spec, own in zip(specs, pools_of, strict=True)]
    together = hanging_together(pools_of, len(pools))
    for spec, number in zip(specs, chosen, strict=True):
        pool, joined = pools[number], together[number]
        mates = [one for one, own in zip(specs, chosen, strict=True) if own == number]
        each = [one.accelerators_per_replica for one in mates]
        least = sum(size * one.min_replicas for size, one in zip(each, mates, strict=True))
        found.append(
            PoolShare(
                pool=pool.name,
                slots=pool.slots,
                each=spec.accelerators_per_replica,
                services=sum(own in joined for own in chosen) if joined else len(mates),
                initial_nodes=max(-(-initial * sum(each) // pool.slots), pool.min_nodes),
                least_nodes=max(-(-least // pool.slots), pool.min_nodes),
                pool_least_nodes=pool.min_nodes,
                node_s=node_s,
                joined={pools[one].name: pools[one].min_nodes * pools[one].slots for one in joined},
            )
        )
    return found


def on_its_pool(spec: ScalingSpec, share: PoolShare) -> ScalingSpec:
    """The service with all its replicas on the pool of its share."""
    if not spec.pools:
        return spec
    return replace(spec, pool=share.pool, pools=(), capacity=replace(spec.capacity, per_s=per_s_on(spec, share.pool)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNeed:
    """Of one service. bound_node_s: node-seconds that no schedule goes below, were it alone on its pool. found_node_s: of the cheapest
    schedule of whole nodes that was found; infinite where its replicas would be more than the manifest allows, or fill no whole nodes.
    bound_slot_s: slot-seconds that no schedule goes below, where it shares its pool (else 0)."""

    bound_node_s: float
    found_node_s: float
    bound_slot_s: float


def node_need(
    problem: Problem, found: Found, allowed_late: float, share: PoolShare, progress: Progress | None = None
) -> NodeNeed:
    """problem, found: of the replicas. allowed_late: requests that may be late."""
    settings = problem.settings
    evaluated_s = problem.seconds - settings.warmup_s
    if share.each == 0:
        held_s = float(share.pool_least_nodes * evaluated_s)
        return NodeNeed(bound_node_s=held_s, found_node_s=held_s, bound_slot_s=0.0)
    arrivals = problem.arrivals[: problem.seconds]
    if share.joined:
        bound_slot_s = _bound_slot_s(problem, found, max(allowed_late, found.late), share)
        return NodeNeed(bound_node_s=0.0, found_node_s=np.inf, bound_slot_s=bound_slot_s)
    of_nodes = node_settings(settings, share)
    nodes = Problem(arrivals, of_nodes, _most_nodes(arrivals, of_nodes))
    # Whoever can't keep the promise is bounded for as few as are late with the most replicas.
    allowed = max(allowed_late, found.late)
    best = search(nodes, allowed, held_in_warmup(nodes), progress)
    return NodeNeed(
        bound_node_s=best.bound_replica_s,
        found_node_s=best.replica_s
        if _replicas_fill(settings, share, int(best.ready.max(initial=0))) and best.late <= allowed
        else np.inf,
        bound_slot_s=_bound_slot_s(problem, found, allowed, share) if share.shared else 0.0,
    )


def _bound_slot_s(problem: Problem, found: Found, allowed_late: float, share: PoolShare) -> float:
    own = replace(problem.settings, start_s=_start_in_a_slot_s(problem.settings))
    arrivals = problem.arrivals[: problem.seconds]
    return share.each * bound_s(Problem(arrivals, own, problem.most), found.bound_prices, allowed_late)


def node_settings(settings: Settings, share: PoolShare) -> Settings:
    """The programme's settings with a node in a replica's place."""
    of_a_node = share.slots / share.each
    lead_s = (settings.start_s + share.node_s) // settings.tick_s * settings.tick_s
    return Settings(
        capacity_per_s=settings.capacity_per_s * of_a_node,
        min_replicas=share.least_nodes,
        max_replicas=max(-(-settings.max_replicas * share.each // share.slots), share.least_nodes, share.initial_nodes),
        multiple=1,
        allowed_s=settings.allowed_s,
        tick_s=settings.tick_s,
        start_s=lead_s,
        drain_s=settings.drain_s,
        warmup_s=settings.warmup_s,
        initial=share.initial_nodes,
    )


def _most_nodes(arrivals: Floats, of_nodes: Settings) -> int:
    whole = len(arrivals) // 60 * 60
    worst = float(arrivals[:whole].reshape(-1, 60).mean(axis=1).max(initial=0.0)) if whole else float(arrivals.mean())
    plenty = int(np.ceil(4.0 * worst / of_nodes.capacity_per_s)) + FEW
    return min(of_nodes.max_replicas, max(_MOST_COUNTS, plenty, of_nodes.initial))


def _start_in_a_slot_s(settings: Settings) -> int:
    """What a start takes at the least in whole ticks, seen from the tick in which it ends: a tick less where slots get free between ticks."""
    between = settings.start_s % settings.tick_s or settings.drain_s % settings.tick_s
    return max(settings.start_s // settings.tick_s - bool(between), 0) * settings.tick_s


def _replicas_fill(settings: Settings, share: PoolShare, nodes: int) -> bool:
    """Whether the manifest allows replicas that fill so many nodes, and any fewer."""
    per_node, rest = divmod(share.slots, share.each)
    return not share.shared and rest == 0 and per_node % settings.multiple == 0 and nodes * per_node <= settings.max_replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """One service's clairvoyant counts. orders (ticks,): asked for at each tick. each: slots of a replica. initial: replicas at the trace's start."""

    orders: Ints
    each: int
    initial: int


def nodes_held_s(
    services: Sequence[Ordered], *, slots: int, least: int, tick_s: int, drain_s: int, node_s: int, warmup_s: int, seconds: int
) -> float:
    """Node-seconds since the warm-up of a pool whose nodes are asked for just in time for these services' replicas, and given back unless they
    would have to be asked for again at once. (Those of the trace's first seconds are taken to be there.)"""
    from scipy.ndimage import maximum_filter1d

    held = np.zeros(seconds, dtype=np.int64)
    for one in services:
        current = np.repeat(one.orders, tick_s)[:seconds]
        gone = np.cumsum(np.maximum(-np.diff(current, prepend=one.initial), 0))  # removed until each second
        before = np.concatenate([np.zeros(min(drain_s, seconds), dtype=np.int64), gone[: max(seconds - drain_s, 0)]])
        held += one.each * (current + gone - before)
    nodes = np.maximum(-(-held // slots), least)
    window = node_s + 1
    ahead = np.concatenate([nodes, np.full(node_s, nodes[-1])])
    # The filter looks half a window to both sides; moved, it looks ahead only.
    asked = maximum_filter1d(ahead, window, mode="nearest", origin=-(window // 2))[:seconds]
    return float(asked[warmup_s:].sum())
