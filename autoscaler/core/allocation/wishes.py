"""What each service wishes to have on each pool, in whole units, before anything is shared.

A service that names one pool wishes all of it there. One that names several is split: first where its replicas are, then where nodes
have room already, then by the cost of a request, where nobody else needs the room; then before lower priorities; the rest where it is least
crowded. Where the pods then land is the scheduler's business: the split says where room is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Bools, Fleet, Floats, Ints
from autoscaler.core.node_pools import PoolTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Replicas and, rounded up to whole units, units of each place (J,) of the PoolTable.

    want: wished. held: of them, those that are there. firm: of those, what nobody may take. least: what the lower bound is.
    """

    replicas: Ints
    want: Ints
    held: Ints
    firm: Ints
    least: Ints


def wishes(table: PoolTable, fleet: Fleet, *, want: Ints, held: Ints, firm: Ints, least: Ints, most: Ints) -> Wishes:
    """want, held, firm, least (n,): replicas of each service, as in Wishes. most (P,): accelerators of each pool at its largest."""
    row, multiple = table.row, table.multiple
    units = -(-want[row] // multiple)
    holds = np.minimum(held[row] // multiple, units)
    if len(table.several):
        split = _split(table, fleet, units, most)
        holds = in_order(table, split, holds, placed_units(table, fleet))
        units = split
    replicas = np.minimum(units * multiple, _rest(table, want, units))
    return Wishes(
        replicas=replicas,
        want=units,
        held=holds,
        firm=np.minimum(in_order(table, holds, firm[row] // multiple), holds),
        least=np.minimum(in_order(table, units, -(-least[row] // multiple)), units),
    )


def _rest(table: PoolTable, want: Ints, units: Ints) -> Ints:
    """Replicas that a place may have where those before it have theirs."""
    given = units * table.multiple
    before = np.cumsum(given) - given
    rest: Ints = np.maximum(want[table.row] - (before - before[_first(table)]), 0)
    return rest


def _first(table: PoolTable) -> Ints:
    """The first place of each place's row, (J,)."""
    first: Ints = np.arange(len(table.row)) - table.rank
    return first


def in_order(table: PoolTable, room: Ints, whole: Ints, first: Ints | None = None) -> Ints:
    """`whole` of each row, which all its places have the same of, put into the rooms of its places in their order, after `first`."""
    if not len(table.several):
        return np.minimum(room, whole)
    start = _first(table)
    begun = np.zeros_like(room) if first is None else np.minimum(first, room)
    rest = room - begun
    left = whole - np.bincount(table.row, begun, int(table.row.max()) + 1).astype(np.int64)[table.row]
    before = np.cumsum(rest) - rest
    taken: Ints = begun + np.clip(left - (before - before[start]), 0, rest)
    return taken


def placed_units(table: PoolTable, fleet: Fleet) -> Ints:
    """Units (J,) that are on each place's pool, where anybody tells."""
    placed = np.zeros(len(table.row), dtype=np.int64)
    if fleet.placed:
        for place in table.several.tolist():
            there = fleet.placed.get(int(table.row[place]), {})
            placed[place] = there.get(table.names[int(table.pool[place])], 0) // int(table.multiple[place])
    return placed


def _split(table: PoolTable, fleet: Fleet, units: Ints, capacity: Ints) -> Ints:
    """Units (J,) of each place; of rows with one place as they were."""
    pools = len(capacity)
    mine = np.zeros(len(units), dtype=np.bool_)
    mine[table.several] = True
    placed = np.where(mine, placed_units(table, fleet), 0)
    split = np.where(mine, in_order(table, np.minimum(placed, units), units), units)
    rest = units - np.bincount(table.row, np.where(mine, split, 0), int(table.row.max()) + 1).astype(np.int64)[table.row]
    rest = np.where(mine, rest, 0)

    def taken() -> Ints:
        return np.bincount(table.pool, split * table.unit, pools).astype(np.int64)

    room = []
    if fleet.pool_nodes is not None:
        there = np.array([fleet.pool_nodes.get(name, 0) for name in table.names], dtype=np.int64) * table.usable
        room.append(np.minimum(there, capacity))
    for bound in (*room, capacity):
        for rank in range(table.most_ranks):
            _put(table, split, rest, mine & (table.rank == rank) & (rest > 0), np.maximum(bound - taken(), 0))
    for rank in range(table.most_ranks):
        chosen = np.flatnonzero(mine & (table.rank == rank) & (rest > 0))
        if len(chosen):
            _put(table, split, rest, chosen, _before_lower(table, split, rest, chosen, capacity), each=True)
    if rest.any():
        _put_rest(table, split, rest, taken() / np.maximum(capacity, 1))
    return split


def _put(table: PoolTable, split: Ints, rest: Ints, chosen: Bools | Ints, room: Ints, *, each: bool = False) -> None:
    """Puts what rows have left onto the chosen places, the highest priority first, as far as the pools' room (P,) reaches; each: room
    is that of each chosen place, (len(chosen),). At most one place a row."""
    places = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
    if not len(places):
        return
    if not each:
        order = np.lexsort((places, -table.priority[places], table.pool[places]))
        places = places[order]
        wants = rest[places] * table.unit[places]
        before = np.cumsum(wants) - wants
        begins = np.flatnonzero(np.diff(table.pool[places], prepend=-1))
        before -= np.repeat(before[begins], np.diff(np.append(begins, len(places))))
        room = room[table.pool[places]] - before
    got = np.clip(room // table.unit[places], 0, rest[places])
    split[places] += got
    # All places of a row have the same rest.
    of_row = np.zeros(int(table.row.max()) + 1, dtype=np.int64)
    of_row[table.row[places]] = got
    rest -= of_row[table.row]


def _before_lower(table: PoolTable, split: Ints, rest: Ints, chosen: Ints, capacity: Ints) -> Ints:
    """The room of each chosen place (m,) where only those of its priority or a higher one count, the chosen ones in their order after them."""
    count = len(split)
    places = np.concatenate([np.arange(count), chosen])
    takes = np.concatenate([split, rest[chosen]]) * table.unit[places]
    order = np.lexsort((places, np.arange(len(places)) >= count, -table.priority[places], table.pool[places]))
    pool, takes = table.pool[places[order]], takes[order]
    before = np.cumsum(takes) - takes
    begins = np.flatnonzero(np.diff(pool, prepend=-1))
    before -= np.repeat(before[begins], np.diff(np.append(begins, len(pool))))
    room = np.zeros(len(places), dtype=np.int64)
    room[order] = np.maximum(capacity[pool] - before, 0)
    return room[count:]


def _put_rest(table: PoolTable, split: Ints, rest: Ints, crowded: Floats) -> None:
    """What found no room waits where the pool is least crowded."""
    left = np.flatnonzero(rest > 0)
    order = left[np.lexsort((left, crowded[table.pool[left]], table.row[left]))]
    best = order[np.flatnonzero(np.diff(table.row[order], prepend=-1))]
    split[best] += rest[best]
