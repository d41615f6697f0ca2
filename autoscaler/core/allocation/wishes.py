"""What each service wishes to have on each pool, in whole units, before anything is shared.

A service that names one pool wishes all of it there; ``split`` says what one that names several wishes where.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.core.allocation.split import Split, in_order
from autoscaler.core.model import Fleet, Ints
from autoscaler.core.node_pools import PoolTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Units, rounded up, of each place (J,) of the PoolTable.

    want: wished. held: of them, those that are there, and stay where they are. ordered: of them, those that have come no further than that they
    were asked for. firm: of both, what nobody may take. least: what the lower bound is.
    """

    want: Ints
    held: Ints
    ordered: Ints
    firm: Ints
    least: Ints


def wishes(table: PoolTable, fleet: Fleet, *, want: Ints, held: Ints, firm: Ints, least: Ints) -> Wishes:
    """want, held, firm, least (n,): replicas of each service, as in Wishes."""
    row, multiple = table.row, table.multiple
    units = -(-want[row] // multiple)
    holds = np.minimum(held[row] // multiple, units)
    if len(table.several):
        split = Split(table, fleet, units, holds)
        units, holds = split.units, split.held
    lowest = -(-least[row] // multiple)
    kept = in_order(table, units, held[row] // multiple, holds)
    return Wishes(
        want=units,
        held=holds,
        ordered=kept - holds,
        firm=in_order(table, kept, firm[row] // multiple, in_order(table, holds, firm[row] // multiple)),
        least=np.minimum(in_order(table, units, lowest, in_order(table, holds, lowest)), units),
    )
