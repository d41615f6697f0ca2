"""From decisions to a plan: what all services share (the budget of changes, the node slots) is shared out here. Pure.

Today: a fleet-wide budget of changes a tick, and the node counts that the planned replicas and their headroom need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Decisions, Fleet, Ints, Limit, Plan
from autoscaler.core.table import Table
from autoscaler.core.value import maker

_plan = maker(Plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBudget:
    """The most replicas that one tick may add and remove over all objects; None sets no limit. It bounds the harm of any fault of ours."""

    add: int | None = None
    remove: int | None = None


def allocate(table: Table, fleet: Fleet, decisions: Decisions, budget: ChangeBudget, *, shadow: bool = False) -> Plan:
    """The plan for one tick. Only services that may be written at all (Active, not somebody else's number) use up the budget; `shadow`:
    none may."""
    current, desired = fleet.current, decisions.desired
    may_write = table.nowhere if shadow else table.writable(fleet)
    limits: dict[int, Limit] = {}
    replicas = desired
    for up, allowance in ((True, budget.add), (False, budget.remove)):
        if allowance is None:
            continue
        change = np.where(may_write, desired - current, 0)
        wanted = np.maximum(change if up else -change, 0)
        if int(wanted.sum()) <= allowance:
            continue
        granted = _share_out(wanted, table, allowance)
        cut = np.flatnonzero(granted < wanted)
        replicas = replicas.copy() if replicas is desired else replicas
        replicas[cut] = current[cut] + (granted[cut] if up else -granted[cut])
        for row in cut:
            limits[int(row)] = Limit(
                name="ChangeBudget",
                before=int(desired[row]),
                after=int(replicas[row]),
                why=(
                    f"the cluster's budget of {allowance} replicas {'added' if up else 'removed'} a tick is shared by priority, "
                    f"{int(granted[row])} of {int(wanted[row])} fit in now"
                ),
            )
    there = np.where(may_write, replicas, current)
    return _plan(
        at_s=decisions.at_s,
        replicas=replicas,
        act=may_write & (replicas != current),
        headroom=decisions.headroom,
        nodes=_nodes(table, fleet, there, decisions.headroom) if fleet.pools else {},
        limits=limits,
        taken=_accelerators(table, fleet, there) if fleet.pools else {},
    )


def _share_out(wanted: Ints, table: Table, allowance: int) -> Ints:
    """Whole grants by priority; within one priority the smallest wishes first, so that one large service can't starve the many. The one
    that no longer fits gets the rest, in whole multiples."""
    granted = np.zeros_like(wanted)
    left = allowance
    rows = np.flatnonzero(wanted)
    for row in rows[np.lexsort((rows, wanted[rows], -table.priority[rows]))]:
        multiple = int(table.multiple[row])
        grant = min(int(wanted[row]), left // multiple * multiple)
        granted[row] = grant
        left -= grant
        if left <= 0:
            break
    return granted


def _nodes(table: Table, fleet: Fleet, replicas: Ints, headroom: Ints) -> dict[str, int]:
    """Nodes by pool: the accelerators that replicas (also those on their way out) and headroom take, within the pool's bounds."""
    by_pool = _accelerators(table, fleet, replicas + headroom)
    return {
        pool.name: min(max(-(-by_pool.get(pool.name, 0) // pool.accelerators_per_node), pool.min_nodes), pool.max_nodes)
        for pool in fleet.pools
    }


def _accelerators(table: Table, fleet: Fleet, replicas: Ints) -> dict[str, int]:
    """By pool, what these replicas, those on their way out and an update's take."""
    there = replicas + fleet.draining
    if fleet.surge is not None:
        there = there + fleet.surge  # an update that sets new replicas beside the old ones would wait for a node for ever
    accelerators = there * table.accelerators
    by_pool = {pool.name: 0 for pool in fleet.pools}
    for row, spec in enumerate(table.specs):
        if spec.pool is not None:
            by_pool[spec.pool] = by_pool.get(spec.pool, 0) + int(accelerators[row])
    return by_pool
