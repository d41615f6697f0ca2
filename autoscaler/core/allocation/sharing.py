"""Replicas of all services that run on pools, from what they wish to what has a place.

What is there is never cut because a pool or quota is said to be smaller than that: only growth waits. Nobody takes from who must not shrink:
blind and partly blind services, paused ones, those whose scale-down is disabled, those of which nobody tells on which of their pools they
run, and more at once than may drain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autoscaler.core.allocation.places import Places, places
from autoscaler.core.allocation.split import in_order
from autoscaler.core.allocation.wishes import Wishes, wishes
from autoscaler.core.model import Bools, Decisions, Fleet, Ints, Pause
from autoscaler.core.node_pools import PoolTable
from autoscaler.core.short import Bounds
from autoscaler.core.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """replicas (n,): of each service, what it wished where no pool or quota bounds it. places, there (J,): units that have a place, and of
    those the ones that are there."""

    replicas: Ints
    table: PoolTable
    places: Places
    there: Ints

    def placed(self, replicas: Ints) -> Ints:
        """Where these counts (n,) are, (J,): on the places that were found for them, and what is beyond them on the cheapest pool."""
        table = self.table
        whole = replicas[table.row]
        if not len(table.several):
            return whole
        found = in_order(table, self.places.units * table.multiple, whole, self.there * table.multiple)
        beyond = replicas - np.bincount(table.row, found, len(replicas)).astype(np.int64)
        return found + np.where(table.rank == 0, beyond[table.row], 0)

    def missing(self) -> Ints:
        """Replicas (J,) that were wished there and have no place."""
        table = self.table
        cut = self.places.quota_cut + self.places.pool_cut
        # What one pool could not give another one may have given.
        short = np.bincount(table.row, self.places.net_cut, int(table.row.max(initial=-1)) + 1).astype(np.int64)
        return in_order(table, cut, np.maximum(short, 0)[table.row]) * table.multiple


def share(
    table: Table,
    fleet: Fleet,
    decisions: Decisions,
    bounds: Bounds | None = None,
    *,
    want: Ints | None = None,
    firm: Ints | None = None,
) -> Shared:
    """want, firm (n,): other wishes than the decisions', and what nobody may take in any case. bounds: what is short."""
    pools = table.node_pools(fleet.pools)
    if bounds is not None:
        pools = pools.within(bounds)
    current, desired = fleet.current, decisions.desired
    claims = table.claims & ~fleet.hands_off
    wanted = np.where(claims, desired if want is None else want, current)
    held = np.minimum(wanted, current)
    kept = np.where(claims, _kept(table, fleet, decisions), current)
    if bounds is not None:
        wanted, held = _without_stuck(bounds, claims, wanted, held, current, kept)
    anywhere = _anywhere(pools, fleet)
    kept[anywhere] = current[anywhere]
    firm = np.minimum(kept if firm is None else np.maximum(kept, firm), held)
    wished = wishes(pools, fleet, want=wanted, held=held, firm=firm, least=table.min_replicas)
    found = places(pools, wished, pools.standing(fleet.pool_nodes))
    replicas = _replicas(pools, wished, found, wanted, held, firm)
    for row in pools.unplaceable:
        replicas[row] = held[row]
    return Shared(
        replicas=np.where(claims, replicas, desired),
        table=pools,
        places=found,
        there=np.minimum(wished.held, found.units),
    )


def _without_stuck(bounds: Bounds, claims: Bools, wanted: Ints, held: Ints, current: Ints, kept: Ints) -> tuple[Ints, Ints]:
    """wanted, held (n,) where stuck replicas hold no place, and a service that fits nowhere wishes no more than runs and is tried. What
    nobody may take stays."""
    wanted, held = wanted.copy(), held.copy()
    for row, stuck in bounds.released.items():
        if claims[row]:
            held[row] = min(held[row], max(current[row] - stuck, kept[row]))
    for row, bound in bounds.services.items():
        if claims[row]:
            wanted[row] = min(wanted[row], max(bound.most, held[row]))
    return wanted, held


def _replicas(pools: PoolTable, wished: Wishes, found: Places, wanted: Ints, held: Ints, firm: Ints) -> Ints:
    """Replicas (n,) of the units that have a place. A count that is no whole number of units is kept as it is while it holds its whole ones."""
    count = len(wanted)
    replicas = wanted.copy()
    rows = pools.row
    total = np.minimum(np.bincount(rows, found.units * pools.multiple, count).astype(np.int64), wanted)
    keeps = np.bincount(rows, found.units - wished.held - wished.ordered, count) >= 0
    total = np.maximum(total, np.where(keeps, held, firm))
    replicas[rows] = total[rows]
    return replicas


def _kept(table: Table, fleet: Fleet, decisions: Decisions) -> Ints:
    """What nobody may take from a service, (n,)."""
    current = fleet.current
    may_shrink: Bools = table.may_shrink & ~decisions.blind & ~decisions.partial
    if fleet.paused is not None and _stops_down(fleet.paused, decisions.at_s):
        may_shrink = table.nowhere
    elif table.pauses:
        may_shrink = may_shrink.copy()
        for row, pause in table.pauses.items():
            if _stops_down(pause, decisions.at_s):
                may_shrink[row] = False
    kept = np.where(may_shrink, 0, current)
    if table.has_drain_limit:
        drains = np.where(table.drain_max > 0, np.maximum(table.drain_max - fleet.draining, 0), current)
        kept = np.maximum(kept, current - drains)
    return kept


def _anywhere(pools: PoolTable, fleet: Fleet) -> Ints:
    """Rows that run on several pools, or of which nobody tells on which: whose replicas would have to go to make room on one is not for us to
    say. Whoever removes them takes any."""
    rows = np.unique(pools.row[pools.several])
    if fleet.placed:
        rows = rows[[row not in fleet.placed or _spread(fleet.placed[row]) for row in rows.tolist()]]
    return rows


def _spread(placed: Mapping[str, int]) -> bool:
    return sum(count > 0 for count in placed.values()) > 1


def _stops_down(pause: Pause, at_s: float) -> bool:
    return pause.direction != "Up" and pause.in_force(at_s)
