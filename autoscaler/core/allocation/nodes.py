"""Nodes by pool: what planned replicas, those on their way out, an update's surge and headroom fill, within the pool's bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from autoscaler.core.allocation.places import packed
from autoscaler.core.model import Bools, Fleet, Ints, PoolSpec
from autoscaler.core.node_pools import PoolTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """As in Plan, by pool name."""

    nodes: dict[str, int] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    zones: dict[str, dict[str, int]] = field(default_factory=dict)
    spot: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)


def plan_nodes(table: PoolTable, fleet: Fleet, replicas: Ints, missing: Ints, headroom: Ints) -> Nodes:
    """replicas (J,): planned ones of each place. missing (J,): those that were wished there and have no place. headroom (n,): replicas of
    each service; they, its leavers and its surge are taken to be on the pool on which most of it is."""
    home = _homes(table, replicas)
    row = table.row
    leaving = np.where(home, fleet.draining[row], 0)
    surge = np.where(home, 0 if fleet.surge is None else fleet.surge[row], 0)  # without a node an update would wait for ever
    spare = np.where(home, headroom[row], 0)
    needed = packed(table, replicas + leaving + surge + spare).nodes
    nodes = np.minimum(np.maximum(needed, table.least_nodes), table.most_nodes)
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
        made.taken[pool.name] = sum(column[place] for column in sums[:3])
        made.words[pool.name] = _words(pool, count, int(needed[place]), services[place], *(column[place] for column in sums))
        if pool.zones:
            made.zones[pool.name] = zone_nodes(pool, count)
        if pool.spot_ratio > 0:
            made.spot[pool.name] = spot_nodes(pool, count)
    return made


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


def cost_per_h(pool: PoolSpec, nodes: int) -> float:
    """What so many of its nodes cost in an hour, as many of them spot as may be."""
    spot = spot_nodes(pool, nodes)
    spot_price = pool.cost_per_hour if pool.spot_cost_per_hour is None else pool.spot_cost_per_hour
    return (nodes - spot) * pool.cost_per_hour + spot * spot_price


def _words(
    pool: PoolSpec, nodes: int, needed: int, services: int, planned: int, leaving: int, surge: int, spare: int, missing: int
) -> str:
    parts = [f"{planned} {pool.resource} for replicas of {services} {'service' if services == 1 else 'services'}"]
    parts += [f"{count} {words}" for count, words in ((leaving, "leaving"), (surge, "of updates"), (spare, "headroom")) if count]
    told = f"{nodes} {'node' if nodes == 1 else 'nodes'} of {pool.accelerators_per_node}: {', '.join(parts)}"
    total = planned + leaving + surge + spare
    unused = needed * pool.accelerators_per_node - total
    if needed > -(-total // pool.accelerators_per_node):
        told += f"; {unused} of what {needed} nodes have fit no replica"
    if needed > nodes:
        told += f"; {needed} would be needed, {nodes} is its most"
    elif needed < nodes:
        told += f"; {needed} would do, {nodes} is its least"
    if missing:
        told += f"; {missing} more are wished and have no place"
    return told
