"""From decisions to a plan: what all services share (nodes and their accelerators, the budget of changes) is shared out here. Pure.

First places on nodes (``places``), then the budget of changes, so that what has no place uses up none of it. Where the budget stops what the
places were reckoned with, they are shared out once more with what may change.
"""

from __future__ import annotations

import numpy as np

from autoscaler.core.allocation.budget import BudgetCut, ChangeBudget, budget_cuts, within_budget
from autoscaler.core.allocation.cool_down import NodeNeeds
from autoscaler.core.allocation.cuts import place_limits
from autoscaler.core.allocation.nodes import Nodes, plan_nodes
from autoscaler.core.allocation.sharing import Shared, share
from autoscaler.core.model import Decisions, Fleet, Ints, Limit, Plan
from autoscaler.core.short import Bounds
from autoscaler.core.table import Table
from autoscaler.core.value import maker

_plan = maker(Plan)
_NO_NODES = Nodes()


def allocate(
    table: Table,
    fleet: Fleet,
    decisions: Decisions,
    budget: ChangeBudget,
    *,
    shadow: bool = False,
    needs: NodeNeeds | None = None,
    bounds: Bounds | None = None,
) -> Plan:
    """The plan for one tick. Only services that may be written at all (Active, not somebody else's number) use up the budget; `shadow`:
    none may. needs: what pools needed lately; this tick's need enters it. bounds: what is short."""
    current, desired = fleet.current, decisions.desired
    may_write = table.nowhere if shadow else table.writable(fleet)
    shared: Shared | None = None
    first: Shared | None = None
    wanted = desired
    if fleet.pools:
        shared = first = share(table, fleet, decisions, bounds)
        wanted = shared.replicas
    cuts = list(budget_cuts(table, current, wanted, may_write, budget))
    replicas = within_budget(current, wanted, cuts)
    if shared is not None and cuts and ((wanted < np.minimum(desired, current)).any() or any(not cut.up for cut in cuts)):
        # Who was to go and may not keeps its place, and nobody goes for a replica that isn't added.
        again = np.clip(desired, replicas, np.maximum(replicas, current))
        shared = share(table, fleet, decisions, bounds, want=again, firm=np.minimum(replicas, current))
        replicas = np.where(may_write, shared.replicas, replicas)
    limits = {} if first is None else place_limits(first, fleet, desired, replicas, bounds)
    _add_budget_limits(limits, cuts, desired, replicas)
    nodes = _NO_NODES
    if shared is not None:
        ours = np.where(may_write, replicas, current)
        nodes = plan_nodes(
            shared.table,
            fleet,
            shared.placed(ours),
            shared.missing(),
            np.where(table.claims, decisions.headroom, 0),  # nobody follows what a Shadow only shows
            _told_to_go(current, ours, bounds),
            needs,
            decisions.at_s,
            bounds,
        )
    return _plan(
        at_s=decisions.at_s,
        replicas=replicas,
        act=may_write & (replicas != current),
        headroom=decisions.headroom,
        nodes=nodes.nodes,
        limits=limits,
        node_words=nodes.words,
        zone_nodes=nodes.zones,
        spot_nodes=nodes.spot,
        taken=nodes.taken,
        bounds=bounds,
    )


def _told_to_go(current: Ints, replicas: Ints, bounds: Bounds | None) -> Ints:
    """Replicas (n,) that this plan removes and that are on nodes: those that found none hold none."""
    going: Ints = np.maximum(current - replicas, 0)
    for row, stuck in ({} if bounds is None else bounds.released).items():
        going[row] = max(going[row] - stuck, 0)
    return going


def _add_budget_limits(limits: dict[int, Limit], cuts: list[BudgetCut], desired: Ints, replicas: Ints) -> None:
    for cut in cuts:
        for row in cut.rows[replicas[cut.rows] != desired[cut.rows]].tolist():
            before = limits.get(row)
            words = cut.words(row)
            limits[row] = Limit(
                name="ChangeBudget" if before is None else before.name,
                before=int(desired[row]),
                after=int(replicas[row]),
                why=words if before is None else f"{before.why}; of these, {words}",
            )
