"""Services that may run on several pools: how much of each wish goes where.

First where its replicas are, then where nodes have room already, then by the cost of a request where nobody else needs the room; then before
lower priorities; the rest where it is least crowded. Last, who can go elsewhere makes room for those who can't.
Where the pods then land is the scheduler's business: the split says where room is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from autoscaler.core.allocation.priority import sums_before
from autoscaler.core.model import Fleet, Ints
from autoscaler.core.node_pools import PoolTable

_SWEEPS: Final = 3
"""The first one finds nearly all; a second one what units that don't divide the room left to it (one in some thousand random cases)."""


def in_order(table: PoolTable, room: Ints, whole: Ints, first: Ints | None = None) -> Ints:
    """`whole` of each row, which all its places have the same of, put into the rooms of its places in their order, after `first`."""
    if not len(table.several):
        return np.minimum(room, whole)
    start = np.arange(len(table.row)) - table.rank  # the first place of each place's row
    begun = np.zeros_like(room) if first is None else np.minimum(first, room)
    rest = room - begun
    left = whole - np.bincount(table.row, begun, int(table.row.max()) + 1).astype(np.int64)[table.row]
    before = np.cumsum(rest) - rest
    taken: Ints = begun + np.clip(left - (before - before[start]), 0, rest)
    return taken


def on_places(table: PoolTable, told: Mapping[int, Mapping[str, int]] | None) -> Ints:
    """Replicas (J,) that are on each place's pool, of what is told by row and pool (as Fleet.placed); of rows with several places."""
    placed = np.zeros(len(table.row), dtype=np.int64)
    if told:
        for place in table.several.tolist():
            there = told.get(int(table.row[place]), {})
            placed[place] = there.get(table.names[int(table.pool[place])], 0)
    return placed


class Split:
    """units, held (J,): units of each place, and of them those that are there. Of rows with one place as they were given.

    Where nobody tells on which pools replicas are, they are taken to be where they would be if these services were alone, which others'
    counts don't move. What is there is moved nowhere: a pod that runs stays on its node. Where it is told, replicas that are not ready and on
    no node yet are nowhere: they are placed with everything that is wished, as they were when they were.
    """

    def __init__(self, table: PoolTable, fleet: Fleet, units: Ints, held: Ints) -> None:
        self._table = table
        self._most: Ints = table.most_nodes * table.per_node
        mine = np.zeros(len(units), dtype=np.bool_)
        mine[table.several] = True
        self._ranks = [mine & (table.rank == rank) for rank in range(table.most_ranks)]
        self._bounds = [self._most]
        if fleet.pool_nodes is not None:
            self._bounds.insert(0, table.standing(fleet.pool_nodes) * table.per_node)
        self.units: Ints = np.where(mine, 0, held)
        self._rest: Ints = np.zeros_like(units)
        """What a place's row has not yet put anywhere: the same at all its places."""
        self.held: Ints = np.where(mine, 0, held)
        if held[mine].any():
            there = in_order(table, np.where(mine, np.minimum(on_places(table, fleet.placed) // table.multiple, held), 0), held)
            self.units = self.held = np.where(mine, there, 0)
            unseen = held - self._by_row(there)
            self._place(np.where(mine, unseen - np.minimum(unseen, self._on_their_way(fleet)), 0))
            self.held = np.where(mine, self.units, held)
        self.units = np.where(mine, self.held, units)
        self._place(np.where(mine, units - self._by_row(self.held), 0))

    def _on_their_way(self, fleet: Fleet) -> Ints:
        """Units (J,) of each place's row that are not ready, of those of which somebody tells where they are."""
        told = np.zeros(len(fleet), dtype=np.bool_)
        told[list(fleet.placed or ())] = True
        return np.where(told, fleet.starting, 0)[self._table.row] // self._table.multiple

    def _place(self, rest: Ints) -> None:
        self._rest = rest
        for bound in self._bounds:
            for places in self._open():
                self._put(places, self._in_turn(places, np.maximum(bound - self._taken(), 0)))
        for places in self._open():
            self._put(places, self._before_lower(places))
        if self._rest.any():
            self._crowd()
        for _ in range(_SWEEPS):
            if not self._make_room():
                break
        if (self._taken() > self._most).any() and self._make_room(onward=True):
            self._make_room()

    def _open(self) -> list[Ints]:
        """The places of each rank, those of the cheapest pools first, whose rows have something left."""
        return [np.flatnonzero(rank & (self._rest > 0)) for rank in self._ranks] if self._rest.any() else []

    def _taken(self) -> Ints:
        return np.bincount(self._table.pool, self.units * self._table.room, len(self._most)).astype(np.int64)

    def _by_row(self, units: Ints) -> Ints:
        """Sums over a row's places, at each of its places."""
        row = self._table.row
        return np.bincount(row, units, int(row.max()) + 1).astype(np.int64)[row]

    def _put(self, places: Ints, room: Ints) -> None:
        """Puts what rows have left onto these places (m,), at most one of each row, as far as their room and the quotas reach."""
        table = self._table
        places, room = places[self._rest[places] > 0], room[self._rest[places] > 0]
        got = self._in_quota(places, np.clip(room // table.room[places], 0, self._rest[places]))
        self.units = self.units.copy()
        self.units[places] += got
        put = np.zeros_like(self._rest)
        put[places] = got
        self._rest = self._rest - np.where(self._rest > 0, self._by_row(put), 0)

    def _in_quota(self, places: Ints, units: Ints) -> Ints:
        table = self._table
        if not table.has_quota or not len(places):
            return units
        group = table.group[places]
        taken = np.bincount(table.group, self.units * table.unit, len(table.group_most)).astype(np.int64)
        left = (table.group_most - taken)[group] - self._before(places, group, units * table.unit[places])
        within: Ints = np.clip(left // table.unit[places], 0, units)
        return within

    def _in_turn(self, places: Ints, room: Ints) -> Ints:
        """What those who go first leave of the pools' room (P,) to each place (m,)."""
        table = self._table
        wants = self._rest[places] * table.room[places]
        left: Ints = np.maximum(room[table.pool[places]] - self._before(places, table.pool[places], wants), 0)
        return left

    def _before(self, places: Ints, segment: Ints, takes: Ints) -> Ints:
        """What those of the same segment take that go before each place (m,): higher priorities, then larger units, which find a place less
        easily, then those with fewer choices."""
        table = self._table
        order = np.lexsort((places, table.choices[places], -table.unit[places], -table.priority[places], segment))
        return _sums_before(order, segment, takes)

    def _before_lower(self, chosen: Ints) -> Ints:
        """The room of each chosen place (m,) where only those of its priority or a higher one count, and the chosen ones in their order."""
        table, count = self._table, len(self.units)
        places = np.concatenate([np.arange(count), chosen])
        takes = np.concatenate([self.units, self._rest[chosen]]) * table.room[places]
        late = np.arange(len(places)) >= count
        order = np.lexsort((table.choices[places], -table.unit[places], late, -table.priority[places], table.pool[places]))
        before = _sums_before(order, table.pool[places], takes)[count:]
        left: Ints = np.maximum(self._most[table.pool[chosen]] - before, 0)
        return left

    def _crowd(self) -> None:
        """What found no room waits where the pool is least crowded."""
        table = self._table
        crowded = np.where(self._most > 0, self._taken() / np.maximum(self._most, 1), np.inf)
        left = np.flatnonzero(self._rest > 0)
        order = left[np.lexsort((left, crowded[table.pool[left]], table.row[left]))]
        best = order[np.flatnonzero(np.diff(table.row[order], prepend=-1))]
        self.units = self.units.copy()
        self.units[best] += self._rest[best]

    def _make_room(self, *, onward: bool = False) -> bool:
        """Moves units from pools that are wished more of than they have to pools that have room (onward: or whose own units can move on to
        such); whether any did."""
        moved = False
        for source in self._ranks:
            for target in self._ranks:
                spare = self._most - self._taken()
                if source is target or not (spare < 0).any() or not (spare > 0).any():
                    continue
                room = self._onward(spare) if onward else spare
                moved |= self._move(np.flatnonzero(source), np.flatnonzero(target), room)
        return moved

    def _onward(self, spare: Ints) -> Ints:
        """The pools' room (P,), where those that are not over their bound count what could leave them for pools with room as well."""
        table = self._table
        has_room = (spare > 0)[table.pool]
        could = (self.units - self.held) * table.room * (self._by_row(has_room.astype(np.int64)) - has_room > 0)
        leaves = np.bincount(table.pool, could, len(spare)).astype(np.int64)
        return np.where(spare < 0, spare, spare + np.minimum(leaves, int(np.maximum(spare, 0).sum())))

    def _move(self, source: Ints, target: Ints, spare: Ints) -> bool:
        table = self._table
        at = np.searchsorted(table.row[target], table.row[source])
        both = at < len(target)
        source, target = source[both], target[at[both]]
        same = table.row[source] == table.row[target]
        source, target = source[same], target[same]
        may = (self.units > self.held)[source] & (spare[table.pool[source]] < 0) & (spare[table.pool[target]] > 0)
        source, target = source[may], target[may]
        if not len(source):
            return False
        units = (self.units - self.held)[source]
        over = -spare[table.pool[source]] - self._before(source, table.pool[source], units * table.room[source])
        units = np.clip(-(-over // table.room[source]), 0, units)
        left = spare[table.pool[target]] - self._before(target, table.pool[target], units * table.room[target])
        units = self._in_quota(target, np.clip(left // table.room[target], 0, units))
        self.units[source] -= units
        self.units[target] += units
        return bool(units.any())


def _sums_before(order: Ints, segment: Ints, takes: Ints) -> Ints:
    """Of each (m,), what those before it in the order take in the same segment; the order is by segment first."""
    before = np.empty_like(takes)
    before[order] = sums_before(segment[order], takes[order])
    return before
