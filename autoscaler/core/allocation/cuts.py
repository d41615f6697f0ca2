"""What was cut by a pool's bound or a quota, in words that name the resource."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.allocation.sharing import Shared
from autoscaler.core.model import Fleet, Ints, Limit
from autoscaler.core.short import Bounds

POOL_FULL: Final = "NodePoolFull"
QUOTA: Final = "NamespaceQuota"
NO_NODE_FITS: Final = "NoNodeFits"
STUCK: Final = "ScaleUpStuck"


def place_limits(shared: Shared, fleet: Fleet, desired: Ints, replicas: Ints, bounds: Bounds | None = None) -> dict[int, Limit]:
    """By row, where fewer than desired have a place. replicas (n,): what is planned in the end, which may be more than `shared` says where not
    as many may change at once. bounds: what is short."""
    table = shared.table
    rows = np.flatnonzero((shared.replicas < desired) & (replicas < desired))
    if not len(rows):
        return {}
    first, last = np.searchsorted(table.row, rows), np.searchsorted(table.row, rows, side="right")
    by_quota, by_pool = (
        np.bincount(table.row, cut, len(desired))[rows] for cut in (shared.places.quota_cut, shared.places.pool_cut)
    )
    sizes = [
        f"{pool.name} has at most {pool.most_nodes} node{'' if pool.most_nodes == 1 else 's'} of {pool.accelerators_per_node} {pool.resource}"
        for pool in table.pools
    ]
    limits: dict[int, Limit] = {}
    columns = (
        rows,
        first,
        last,
        by_quota,
        by_pool,
        desired[rows],
        np.maximum(shared.replicas, replicas)[rows],
        replicas[rows],
        fleet.current[rows],
    )
    for row, begin, end, quota_took, pool_took, wish, placed, planned, current in zip(
        *(one.tolist() for one in columns), strict=True
    ):
        if row in table.unplaceable:
            limits[row] = Limit(name=NO_NODE_FITS, before=wish, after=planned, why=table.unplaceable[row])
            continue
        if short := _short_words(shared, bounds, row, begin, end):
            limits[row] = Limit(name=STUCK, before=wish, after=planned, why=f"{short}: {placed} of {wish} replicas have a place")
            continue
        named = [sizes[pool] for pool in table.pool[begin:end].tolist()]
        full = f"{'pool' if len(named) == 1 else 'pools'} {' and '.join(named)}, shared by priority and then fairly"
        of_quota = quota_took >= pool_took
        quota = _quota_words(shared, begin, end)
        # What took more comes first, and the other is not kept back: a quota alone does not explain fewer than it allows.
        causes = [quota, full] if of_quota else [full, quota]
        words = "; ".join(causes if min(quota_took, pool_took) > 0 else causes[:1])
        leave = min(current, wish) - planned
        room = f"; {leave} of those that are there make room for others" if leave > 0 else ""
        limits[row] = Limit(
            name=QUOTA if of_quota else POOL_FULL,
            before=wish,
            after=planned,
            why=f"{words}: {placed} of {wish} replicas have a place{room}",
        )
    return limits


def _short_words(shared: Shared, bounds: Bounds | None, row: int, begin: int, end: int) -> str:
    """What is short of that which the row was cut by; "" where it is something else."""
    if bounds is None:
        return ""
    if row in bounds.services:
        return bounds.services[row].words
    if not shared.places.pool_cut[begin:end].any():
        return ""
    # Who waits on one of its pools would be on whichever has nodes.
    names = [shared.table.names[pool] for pool in shared.table.pool[begin:end].tolist()]
    return "; ".join(bounds.pools[name].words for name in names if name in bounds.pools)


def _quota_words(shared: Shared, begin: int, end: int) -> str:
    """Of the place (from begin to before end) whose quota took most."""
    table = shared.table
    place = begin + int(np.argmax(shared.places.quota_cut[begin:end]))
    group = int(table.group[place])
    pool = table.pools[int(table.pool[place])]
    return f"namespace {table.group_namespace[group]} may have {int(table.group_most[group])} {pool.resource} of pool {pool.name}"
