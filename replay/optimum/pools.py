"""What the clairvoyant needs in nodes, pool by pool: a schedule's, and the bound of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replay.optimum.nodes import Ordered, nodes_held_s
from replay.optimum.solve import Optimum

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptimum:
    """Hours since the warm-up, all pools together, in slots (nodes times the accelerators of each). slot_hours: of the cheapest schedule that
    was found, nodes asked for just in time. bound_slot_hours: no schedule that keeps the promises holds fewer; of pools that are shared, or that a
    service may choose from, it knows no whole nodes."""

    slot_hours: float
    bound_slot_hours: float


def node_optimum(found: Sequence[Optimum]) -> NodeOptimum | None:
    """Of these services together; None where others share their pools, so that nothing can be said of theirs alone."""
    pools: dict[tuple[str, ...], list[Optimum]] = {}
    for one in found:
        pools.setdefault(tuple(one.share.joined) or (one.share.pool,), []).append(one)
    if any(len(of) < of[0].share.services for of in pools.values()):
        return None
    return NodeOptimum(
        slot_hours=sum(_found_s(of) for of in pools.values()) / _HOUR_S,
        bound_slot_hours=sum(_bound_s(of) for of in pools.values()) / _HOUR_S,
    )


def _bound_s(of: Sequence[Optimum]) -> float:
    """Slot-seconds that no schedule of a pool's services goes below."""
    evaluated_s = of[0].seconds - of[0].warmup_s
    held_anyway = float(sum(of[0].share.joined.values()) * evaluated_s)
    alone = max(one.need.bound_node_s * one.share.slots for one in of)
    return max(alone, held_anyway, sum(one.need.bound_slot_s for one in of))


def _found_s(of: Sequence[Optimum]) -> float:
    """Slot-seconds of the cheapest schedule that was found: the fewest replica-hours' own nodes, or whole nodes of a service that is alone. Of pools
    that hang together each has the services that are best on it, and those where none is hold what they always hold."""
    evaluated_s = of[0].seconds - of[0].warmup_s
    by_pool = {name: [one for one in of if one.share.pool == name] for name in of[0].share.joined or (of[0].share.pool,)}
    return sum(
        _found_on_pool_s(mine) if mine else float(of[0].share.joined[name] * evaluated_s) for name, mine in by_pool.items()
    )


def _found_on_pool_s(of: Sequence[Optimum]) -> float:
    first, share = of[0], of[0].share
    held_s = nodes_held_s(
        [Ordered(orders=one.orders, each=one.share.each, initial=one.initial) for one in of],
        slots=share.slots,
        least=share.pool_least_nodes,
        tick_s=first.tick_s,
        drain_s=first.drain_s,
        node_s=share.node_s,
        warmup_s=first.warmup_s,
        seconds=first.seconds,
    )
    return share.slots * min(held_s, first.need.found_node_s if len(of) == 1 else held_s)
