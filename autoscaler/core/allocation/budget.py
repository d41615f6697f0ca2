"""The fleet-wide budget of changes a tick: it bounds the harm of any fault of ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Bools, Ints
from autoscaler.core.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBudget:
    """The most replicas that one tick may add and remove over all objects; None sets no limit. It bounds the harm of any fault of ours."""

    add: int | None = None
    remove: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCut:
    """rows that got less than they wanted: replicas, in one direction. words(row)."""

    rows: Ints
    granted: Ints
    wanted: Ints
    up: bool
    allowance: int

    def words(self, row: int) -> str:
        return (
            f"the cluster's budget of {self.allowance} replicas {'added' if self.up else 'removed'} a tick is shared by priority, "
            f"{int(self.granted[row])} of {int(self.wanted[row])} fit in now"
        )


def budget_cuts(table: Table, current: Ints, wanted: Ints, may_write: Bools, budget: ChangeBudget) -> Iterator[BudgetCut]:
    """What the budget cuts of a way from `current` to `wanted`. Only services that may be written use it up."""
    for up, allowance in ((True, budget.add), (False, budget.remove)):
        if allowance is None:
            continue
        change = np.where(may_write, wanted - current, 0)
        more = np.maximum(change if up else -change, 0)
        if int(more.sum()) <= allowance:
            continue
        granted = _share_out(more, table, allowance)
        yield BudgetCut(rows=np.flatnonzero(granted < more), granted=granted, wanted=more, up=up, allowance=allowance)


def within_budget(current: Ints, wanted: Ints, cuts: list[BudgetCut]) -> Ints:
    """The counts that the cuts leave; the very array where there are none."""
    for cut in cuts:
        wanted = wanted.copy()
        wanted[cut.rows] = current[cut.rows] + (cut.granted[cut.rows] if cut.up else -cut.granted[cut.rows])
    return wanted


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
