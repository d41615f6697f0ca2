"""Who gets the places that pools have: bounds and quotas are kept, whole groups only, no replica without a node that it fits on.

In this order: what nobody may take; every lower bound, where the pool says so; the rest by priority, in one priority fairly between
namespaces by their weights, and in a namespace between its services. Between equals who has a replica keeps it within one unit of the fair
share, so that shares that move a little move nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from autoscaler.core.allocation.fair_share import Claims
from autoscaler.core.allocation.making_way import making_way
from autoscaler.core.allocation.packing import Packed, packed
from autoscaler.core.allocation.priority import grant
from autoscaler.core.allocation.wishes import Wishes
from autoscaler.core.model import Bools, Ints
from autoscaler.core.node_pools import PoolTable

_FINE: Final = 8
"""Into how many parts of a node the halving goes, where nodes have more accelerators than that; the gaps are filled after it in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """units (J,) that have a place. quota_cut, pool_cut (J,): units that a namespace's quota, and the pool's bound, took of the wish.
    net_cut (J,): wished units less those that have a place; below zero on a pool that gives what another one could not."""

    units: Ints
    quota_cut: Ints
    pool_cut: Ints
    net_cut: Ints


def places(table: PoolTable, wishes: Wishes, standing: Ints) -> Places:
    """The places of all services. standing (P,): nodes that are there, ready or coming."""
    allowed = _within_quotas(table, wishes) if table.has_quota else wishes.want
    units = _within_pools(table, replace(wishes, want=allowed))
    if len(table.several) and (units < wishes.want).any():
        units = _that_fit(table, units, _second_choices(table, wishes, units), table.most_nodes)
    if len(table.several):
        units = making_way(table, wishes, units, standing)
    return Places(
        units=units,
        quota_cut=wishes.want - allowed,
        pool_cut=np.maximum(allowed - units, 0),
        net_cut=wishes.want - units,
    )


def largest(table: PoolTable, held: Ints) -> Ints:
    """Accelerators (P,) that a pool has at its largest; never less than what is there (held: units by place)."""
    there = np.bincount(table.pool, held * table.unit, len(table.pools)).astype(np.int64)
    most: Ints = np.maximum(table.most_nodes * table.usable, there)
    return most


def _claims(table: PoolTable, wishes: Wishes, segment: Ints) -> Claims:
    return Claims(
        segment=segment,
        unit=table.unit,
        base=np.minimum(wishes.firm, wishes.want),
        demand=wishes.want,
        held=wishes.held,
        ordered=wishes.ordered,
        priority=table.priority,
        group=table.group,
        weight=table.group_weight,
    )


def _by_stages(claims: Claims, least: Ints, capacity: Ints, over: Bools) -> Ints:
    """Lower bounds first where the pool says so, then the rest. least: units of each claim. over (S,): segments in which more is there than
    they may have: there, what is there comes before all growth of its own priority, so that equals lose nothing by a bound that is lower
    than the truth, and to higher priorities no more than these get."""
    if least.any():
        base = grant(replace(claims, demand=np.clip(least, claims.base, claims.demand)), capacity)
        claims = replace(claims, base=base)
    if not over.any():
        return grant(claims, capacity)
    keeps = np.where(over[claims.segment], np.clip(claims.held, claims.base, claims.demand), claims.demand)
    grows = np.flatnonzero(keeps < claims.demand)
    growth = claims.of(grows, claims.base)
    growth = replace(
        growth,
        base=0 * grows,
        held=0 * grows,
        ordered=0 * grows,
        demand=growth.demand - keeps[grows],
        priority=2 * growth.priority,
    )
    units = grant(replace(claims, demand=keeps, priority=2 * claims.priority + 1).beside(growth), capacity)
    granted = units[: len(keeps)]
    granted[grows] += units[len(keeps) :]
    return granted


def _least(table: PoolTable, wishes: Wishes) -> Ints:
    return np.where(table.minimum_first, wishes.least, 0)


def _within_quotas(table: PoolTable, wishes: Wishes) -> Ints:
    """Wished units, of which each namespace keeps as many as its quota allows; never fewer than are there, where none of its own takes them."""
    takes = wishes.want * table.unit
    over = np.bincount(table.group, takes, len(table.group_most)) > table.group_most
    chosen = np.flatnonzero(over[table.group])
    if not len(chosen):
        return wishes.want
    there = np.bincount(table.group, wishes.held * table.unit, len(table.group_most)).astype(np.int64)
    capacity = np.maximum(table.group_most, there)
    claims = _claims(table, wishes, table.group)
    units = wishes.want.copy()
    units[chosen] = _by_stages(claims.of(chosen, claims.base), _least(table, wishes)[chosen], capacity, there > table.group_most)
    return units


def _within_pools(table: PoolTable, wishes: Wishes) -> Ints:
    """Units of which all fit onto the nodes that the pools may have."""
    capacity = largest(table, wishes.held)
    claims = _claims(table, wishes, table.pool)
    least = _least(table, wishes)
    over = capacity > table.most_nodes * table.usable
    units = _by_stages(claims, least, capacity, over)
    needed = packed(table, units * table.multiple).nodes
    if (needed <= table.most_nodes).all():
        return units
    most = np.maximum(table.most_nodes, packed(table, wishes.held * table.multiple).nodes)
    bad = needed > most
    if not bad.any():
        return units
    low = np.bincount(table.pool, claims.held * table.unit, len(capacity)).astype(np.int64)
    found = _refit(table, claims, least, units, (low, capacity), most, bad, over)
    return _that_fit(table, found, _fill_gaps(table, claims, found, most, bad & ~over), most)


def _refit(
    table: PoolTable, claims: Claims, least: Ints, units: Ints, between: tuple[Ints, Ints], most: Ints, bad: Bools, over: Bools
) -> Ints:
    """Where sizes don't fill nodes: the largest number of accelerators that can be shared out and still fits, found by halving. between:
    what is there, which fits in any case, and what was too much (P,). most (P,): nodes."""
    chosen = np.flatnonzero(bad[table.pool])
    some, floor = claims.of(chosen, claims.base), least[chosen]
    low, high = between
    found = units.copy()
    found[chosen] = np.maximum(np.minimum(claims.held, claims.demand), claims.base)[chosen]
    close = np.maximum(table.per_node // _FINE, 1)
    while (bad & (high - low >= close)).any():
        middle = (low + high + 1) // 2
        tried = units.copy()
        tried[chosen] = _by_stages(some, floor, middle, over)
        fits = packed(table, tried * table.multiple).nodes <= most
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
        take = (fits & bad)[table.pool]
        found[take] = tried[take]
    return found


def _fill_gaps(table: PoolTable, claims: Claims, units: Ints, most: Ints, bad: Bools) -> Ints:
    """Further units, by priority, that fit into what nodes have left."""
    units = units.copy()
    there = packed(table, units * table.multiple)
    wants = np.flatnonzero(bad[table.pool] & (units < claims.demand))
    full: set[tuple[int, int, int]] = set()
    for place in wants[np.lexsort((wants, -table.priority[wants]))].tolist():
        kind = int(table.pool[place]), int(table.size[place]), int(table.multiple[place])
        if kind not in full:
            missing = int(claims.demand[place] - units[place])
            more = _put(table, there, place, missing, int(most[kind[0]]))
            units[place] += more
            if more < missing:
                full.add(kind)
    return units


def _that_fit(table: PoolTable, before: Ints, units: Ints, most: Ints) -> Ints:
    """units (J,), and on pools where those fill more nodes than `most` (P,) what was there before: what is put into gaps one by one can lie
    better than when all of it is packed by size, as nodes are planned."""
    if units is before:
        return units
    nodes = packed(table, units * table.multiple).nodes
    if (nodes <= most).all():
        return units
    bad = nodes > np.maximum(most, packed(table, before * table.multiple).nodes)
    return np.where(bad[table.pool], before, units)


def _put(table: PoolTable, there: Packed, place: int, wanted: int, most_nodes: int) -> int:
    """Puts further units of a place onto its pool's nodes; how many found room."""
    pool, size, multiple = int(table.pool[place]), int(table.size[place]), int(table.multiple[place])
    more = min(there.room(pool, size, most_nodes) // multiple, wanted)
    if more:
        there.put(pool, size, more * multiple)
    return more


def _second_choices(table: PoolTable, wishes: Wishes, units: Ints) -> Ints:
    """Services that name several pools get what is left elsewhere of what one of them could not give; who loses what runs on one of them not
    yet, since with a count that stays nobody would leave, but keeps what still has room where it is."""
    rows = int(table.row.max()) + 1
    lost = np.maximum(np.minimum(wishes.held, wishes.want) - units, 0)
    loses = np.bincount(table.row, lost, rows) > 0
    missing = np.bincount(table.row, wishes.want - units, rows).astype(np.int64)
    most_here = np.where(loses[table.row], lost, missing[table.row])
    free = table.most_nodes * table.per_node - np.bincount(table.pool, units * table.unit, len(table.pools)).astype(np.int64)
    some = table.several[(most_here > 0)[table.several] & (free[table.pool] >= table.unit)[table.several]]
    if not len(some):
        return units
    units = units.copy()
    there = packed(table, units * table.multiple)
    taken = np.bincount(table.group, units * table.unit, len(table.group_most)).astype(np.int64)
    for place in some[np.lexsort((some, -table.priority[some]))].tolist():
        row, pool, group, unit = (int(column[place]) for column in (table.row, table.pool, table.group, table.unit))
        most = min(int(missing[row]), int(most_here[place]), (int(table.group_most[group]) - int(taken[group])) // unit)
        if most > 0 and (more := _put(table, there, place, most, int(table.most_nodes[pool]))):
            units[place] += more
            missing[row] -= more
            taken[group] += more * unit
    return units
