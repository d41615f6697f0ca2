"""Nodes by pool: what planned replicas, those on their way out or told to go, an update's surge and headroom fill, within the pool's bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from autoscaler.core.allocation import losses
from autoscaler.core.allocation.cool_down import NodeNeeds, words
from autoscaler.core.allocation.packing import packed
from autoscaler.core.allocation.split import in_order, on_places
from autoscaler.core.model import Bools, Fleet, Floats, Ints, PoolSpec
from autoscaler.core.node_pools import PoolTable
from autoscaler.core.short import Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """As in Plan, by pool name."""

    nodes: dict[str, int] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    zones: dict[str, dict[str, int]] = field(default_factory=dict)
    spot: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)


def plan_nodes(
    table: PoolTable,
    fleet: Fleet,
    replicas: Ints,
    missing: Ints,
    headroom: Ints,
    told_to_go: Ints,
    needs: NodeNeeds | None,
    at_s: float,
    bounds: Bounds | None = None,
) -> Nodes:
    """replicas (J,): planned ones of each place. missing (J,): those that were wished there and have no place. headroom (n,): replicas of
    each service; they, its leavers and its surge are taken to be on the pool on which most of it is. told_to_go (n,): replicas that the plan
    is about to remove: they run until somebody has removed them, and are on nodes for as long. needs: what pools needed lately, by which spare
    nodes are kept; None: none are. bounds: what is short, in `table` too."""
    home = _homes(table, replicas)
    row = table.row
    going, surge = _beyond(table, fleet, replicas, told_to_go, home)
    leaving = _draining(table, fleet, home) + going
    spare = np.where(home, headroom[row], 0)
    needed = packed(table, replicas + leaving + surge + spare).nodes
    largest = np.array([pool.most_nodes for pool in table.pools], dtype=np.int64)
    most = largest
    if bounds is not None and bounds.pools:
        # Room to keep waits while a pool is short. What is planned has its nodes in any case: whatever we fail to see of them, none is given back
        # that carries something.
        carried = packed(table, replicas + leaving + surge).nodes
        most = np.minimum(largest, np.maximum(np.maximum(table.most_nodes, table.least_nodes), carried))
    nodes = np.minimum(np.maximum(needed, table.least_nodes), most)
    kept = _add_spare(table, fleet, nodes, most, needs, at_s, bounds)
    own = nodes
    nodes, unusable = _with_replacements(table, fleet, own, largest, bounds)
    pools = len(table.pools)
    services = np.bincount(table.pool, replicas > 0, pools).astype(np.int64).tolist()
    sums = [
        np.bincount(table.pool, counts * table.size, pools).astype(np.int64).tolist()
        for counts in (replicas, leaving, surge, spare, missing)
    ]
    made = Nodes()
    for place, pool in enumerate(table.pools):
        count = int(nodes[place])
        made.nodes[pool.name] = count
        made.taken[pool.name] = sum(column[place] for column in sums[:3]) + int(unusable[place])
        told = _words(
            pool,
            count,
            int(needed[place]),
            services[place],
            *(column[place] for column in sums),
            again=count - int(own[place]),
            spares=kept.get(place, ""),
        )
        if bounds is not None:
            told += _short_words(bounds, pool.name)
        if (facts := fleet.pool_facts.get(pool.name)) is not None and facts.loss_words:
            told += f"; {facts.loss_words}"
        made.words[pool.name] = told
        if pool.zones:
            made.zones[pool.name] = zone_nodes(pool, count)
        if pool.spot_ratio > 0:
            made.spot[pool.name] = spot_nodes(pool, count)
    return made


def _with_replacements(table: PoolTable, fleet: Fleet, nodes: Ints, largest: Ints, bounds: Bounds | None) -> tuple[Ints, Ints]:
    """nodes (P,), and on top those in the place of nodes that count for nothing but are still the pool's, as far as its bound (largest) allows;
    and accelerators (P,) of such nodes that nobody can take."""
    if bounds is None:
        return nodes, np.zeros_like(nodes)
    extra = np.array([bounds.ordered_for_lost.get(name, 0) for name in table.names], dtype=np.int64)
    unusable = np.maximum(extra * table.per_node - _on_lost(table, fleet), 0)
    return np.maximum(np.minimum(nodes + extra, largest), nodes), unusable


def _add_spare(
    table: PoolTable, fleet: Fleet, nodes: Ints, most: Ints, needs: NodeNeeds | None, at_s: float, bounds: Bounds | None
) -> dict[int, str]:
    """Raises `nodes` (P,), within `most` (P,), to what is worth keeping or what makes up for losses, whichever is more; why, in words, by pool
    where it is more than before."""
    lead_s = np.zeros(len(table.pools))
    np.maximum.at(lead_s, table.pool, fleet.node_lead_time_s[table.row])
    for_losses = _for_losses(table, nodes, lead_s, bounds)  # of the need: what is kept stands in for what is lost
    kept = {} if needs is None else _keep_spare(table, fleet, nodes, lead_s, needs, at_s)
    for place, (wanted, why) in for_losses.items():
        if (count := min(wanted, int(most[place]))) > nodes[place]:
            nodes[place], kept[place] = count, why
    return kept


def _for_losses(table: PoolTable, nodes: Ints, lead_s: Floats, bounds: Bounds | None) -> dict[int, tuple[int, str]]:
    """(nodes, why so many) by pool, of those that say what waiting costs and lose more of their `nodes` (P,) than can be waited for."""
    chosen = table.keeps_spare
    if bounds is None or not bounds.loss_per_node_hour or not len(chosen):
        return {}
    rates = np.array([bounds.loss_per_node_hour.get(table.names[place], np.nan) for place in chosen.tolist()])
    ratios = np.array([table.pools[place].waiting_cost for place in chosen.tolist()])
    beyond = losses.beyond_need(nodes[chosen], rates, lead_s[chosen], ratios)
    return {
        place: (int(nodes[place]) + more, losses.words(more, rate, float(lead_s[place])))
        for place, more, rate in zip(chosen.tolist(), beyond.tolist(), rates.tolist(), strict=True)
        if more
    }


def _keep_spare(table: PoolTable, fleet: Fleet, nodes: Ints, lead_s: Floats, needs: NodeNeeds, at_s: float) -> dict[int, str]:
    """Raises `nodes` (P,) to what is worth keeping, of the pools that say what waiting costs; why, in words, by pool where it is more."""
    chosen = table.keeps_spare
    if not len(chosen):
        return {}
    names = [table.names[place] for place in chosen.tolist()]
    if fleet.pool_nodes is not None:
        needs.standing(fleet.pool_nodes)
    ratios = [table.pools[place].waiting_cost for place in chosen.tolist()]
    before = nodes[chosen]
    # A short pool may count on fewer nodes than carry something: then nothing is kept beyond those, and none of them is given back.
    within = np.maximum(table.most_nodes[chosen], before)
    nodes[chosen] = np.minimum(needs.keep(at_s, names, before, lead_s[chosen], ratios), within)
    return {
        place: words(int(nodes[place]) - least, needs.worth(name), float(lead_s[place]), replace(needs.rule, late_ratio=ratio))
        for place, name, least, ratio in zip(chosen.tolist(), names, before.tolist(), ratios, strict=True)
        if nodes[place] > least
    }


def _beyond(table: PoolTable, fleet: Fleet, replicas: Ints, told_to_go: Ints, home: Bools) -> tuple[Ints, Ints]:
    """Replicas (J,) beyond those planned on each place: those that are told to go, and a surge, which has a node too (without one an update
    would wait for ever). On the pools where they are; what is on none, and where nobody tells on which of several, on the home."""
    row = table.row
    going: Ints = np.where(home, told_to_go[row], 0)
    surge: Ints = np.where(home, 0 if fleet.surge is None else fleet.surge[row], 0)
    if fleet.placed and len(table.several):
        told = table.several[[one in fleet.placed for one in row[table.several].tolist()]]
        there = np.zeros_like(replicas)
        there[told] = np.maximum(on_places(table, fleet.placed)[told] - replicas[told], 0)
        seen = np.bincount(row, there, len(fleet)).astype(np.int64)[row]
        leave = in_order(table, there, told_to_go[row])
        # Who is there already needs no second place.
        surge[told] = (there - leave + np.clip(going + surge - seen, 0, surge))[told]
        going[told] = leave[told]
    return going, surge


def _draining(table: PoolTable, fleet: Fleet, home: Bools) -> Ints:
    """Replicas (J,) that are leaving, on the pools where they are; those that nobody tells of, or that are on none, on the home. Without those
    whose node counts for nothing: another one is there or ordered for who comes after them, none for them."""
    there = on_places(table, fleet.draining_on)
    elsewhere = fleet.draining - np.bincount(table.row, there, len(fleet)).astype(np.int64)
    for row, lost in fleet.draining_lost.items():
        elsewhere[row] -= lost
    rest: Ints = np.where(home, np.maximum(elsewhere, 0)[table.row], 0)
    return there + rest


def _on_lost(table: PoolTable, fleet: Fleet) -> Ints:
    """Accelerators (P,) that replicas which do not leave hold on nodes that count for nothing. They will ask for others; what else such nodes
    have, nobody can take."""
    held = dict.fromkeys(table.names, 0)
    for row, there in fleet.staying_lost.items():
        if table.pooled is not None and table.pooled[row]:  # not a Shadow's: they are somebody else's as well
            for name, replicas in there.items():
                held[name] = held.get(name, 0) + replicas * fleet.specs[row].accelerators_per_replica
    return np.array([held[name] for name in table.names], dtype=np.int64)


def _homes(table: PoolTable, replicas: Ints) -> Bools:
    """The place of each row that has most of its replicas, the cheapest of equals, (J,)."""
    home: Bools = table.rank == 0
    if len(table.several):
        order = np.lexsort((table.rank, -replicas, table.row))
        home = np.zeros(len(replicas), dtype=np.bool_)
        home[order[np.flatnonzero(np.diff(table.row[order], prepend=-1))]] = True
    return home


def zone_nodes(pool: PoolSpec, nodes: int) -> dict[str, int]:
    """As equally as the zones' bounds allow; of what doesn't divide, the zones that are named first get one more."""
    spread = {zone.name: 0 for zone in pool.zones}
    bounds = {zone.name: pool.max_nodes if zone.max_nodes is None else zone.max_nodes for zone in pool.zones}
    left = min(nodes, sum(bounds.values()))
    while left:
        open_zones = [name for name, count in spread.items() if count < bounds[name]]
        each = max(min(left // len(open_zones), min(bounds[name] - spread[name] for name in open_zones)), 1)
        for name in open_zones[:left]:
            spread[name] += each
            left -= each
    return spread


def spot_nodes(pool: PoolSpec, nodes: int) -> int:
    """How many of the pool's nodes may be spot: its share of them, and none of the first on-demand ones."""
    return max(min(int(nodes * pool.spot_ratio + 1e-9), nodes - pool.on_demand_nodes), 0)


def _short_words(bounds: Bounds, pool: str) -> str:
    lost, bound = bounds.lost.get(pool, 0), bounds.pools.get(pool)
    told = (
        f"; {lost} more {'is' if lost == 1 else 'are'} there and {'counts' if lost == 1 else 'count'} for nothing" if lost else ""
    )
    return told if bound is None else f"{told}; {bound.words}"


def cost_per_h(pool: PoolSpec, nodes: int) -> float:
    """What so many of its nodes cost in an hour, as many of them spot as may be."""
    spot = spot_nodes(pool, nodes)
    return (nodes - spot) * pool.cost_per_hour + spot * pool.spot_price


def _words(
    pool: PoolSpec,
    nodes: int,
    needed: int,
    services: int,
    planned: int,
    leaving: int,
    surge: int,
    spare: int,
    missing: int,
    *,
    again: int,
    spares: str,
) -> str:
    """again: of the nodes, those in the place of others that count for nothing."""
    parts = [f"{planned} {pool.resource} for replicas of {services} {'service' if services == 1 else 'services'}"]
    parts += [f"{count} {words}" for count, words in ((leaving, "leaving"), (surge, "of updates"), (spare, "headroom")) if count]
    told = f"{nodes} {'node' if nodes == 1 else 'nodes'} of {pool.accelerators_per_node}: {', '.join(parts)}"
    total = planned + leaving + surge + spare
    unused = needed * pool.accelerators_per_node - total
    if needed > -(-total // pool.accelerators_per_node):
        told += f"; {unused} of what {needed} nodes have fit no replica"
    if needed > nodes:
        told += f"; {needed} would be needed, {nodes} is its most"
    elif spares:
        told += f"; {spares}"
    elif needed < nodes - again:
        told += f"; {needed} would do, {nodes - again} is its least"
    if missing:
        told += f"; {missing} more are wished and have no place"
    return told
