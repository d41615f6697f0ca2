"""What was cut by a pool's bound or a quota, in words that name the resource."""

from __future__ import annotations

import numpy as np

from autoscaler.core.allocation.sharing import Shared
from autoscaler.core.model import Fleet, Ints, Limit

POOL_FULL = "NodePoolFull"
QUOTA = "NamespaceQuota"
NO_NODE_FITS = "NoNodeFits"


def place_limits(shared: Shared, fleet: Fleet, desired: Ints, replicas: Ints) -> dict[int, Limit]:
    """By row, where fewer than desired have a place. replicas (n,): what is planned in the end."""
    table = shared.table
    limits: dict[int, Limit] = {}
    for row in np.flatnonzero((shared.replicas < desired) & (replicas < desired)).tolist():
        before, after = int(desired[row]), int(replicas[row])
        if row in table.unplaceable:
            limits[row] = Limit(name=NO_NODE_FITS, before=before, after=after, why=table.unplaceable[row])
            continue
        mine = np.flatnonzero(table.row == row)
        quota, pool = (int(cut[mine].sum()) for cut in (shared.places.quota_cut, shared.places.pool_cut))
        words = _quota_words(shared, mine) if quota >= pool else _pool_words(shared, mine)
        taken = (
            "" if after >= fleet.current[row] else f"; {int(fleet.current[row]) - after} of those that run make room for others"
        )
        limits[row] = Limit(
            name=QUOTA if quota >= pool else POOL_FULL,
            before=before,
            after=after,
            why=f"{words}: {int(shared.replicas[row])} of {before} replicas have a place{taken}",
        )
    return limits


def _quota_words(shared: Shared, mine: Ints) -> str:
    table, cut = shared.table, shared.places.quota_cut
    place = int(mine[np.argmax(cut[mine])])
    group = int(table.group[place])
    pool = table.pools[int(table.pool[place])]
    return f"namespace {table.group_namespace[group]} may have {int(table.group_most[group])} {pool.resource} of pool {pool.name}"


def _pool_words(shared: Shared, mine: Ints) -> str:
    table = shared.table
    pools = [table.pools[number] for number in table.pool[mine].tolist()]
    told = " and ".join(
        f"{pool.name} has at most {pool.most_nodes} nodes of {pool.accelerators_per_node} {pool.resource}" for pool in pools
    )
    return f"{'pool' if len(pools) == 1 else 'pools'} {told}, shared by priority and then fairly"
