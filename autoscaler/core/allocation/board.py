"""Units on pools, of which one moves at a time and can be taken back: for looking for places that only show once all pools are shared out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from autoscaler.core.allocation.packing import pack
from autoscaler.core.allocation.wishes import Wishes
from autoscaler.core.model import Ints
from autoscaler.core.node_pools import PoolTable

_MOST_STEPS: Final = 6_000
"""Of all tries of a tick together: some 3 µs each, whatever the size of the fleet."""
_STEPS_EACH: Final = 2_000
"""Of one try."""
_STEPS_OF_A_PACKING: Final = 20
_A_STEP_S_LOOKS: Final = 16
"""Places or pools that can be looked over in the time of a step."""


class Board:
    """units: by place (J), as they are now; held: of them those that are there, which stay. nodes, most (P): nodes that pools fill, and that they
    may fill. journal: moves (place, by how many) since the beginning. A place is one of the PoolTable's."""

    def __init__(self, table: PoolTable, wishes: Wishes, units: Ints, nodes: Ints) -> None:
        pools, rows = len(table.pools), int(table.row.max()) + 1
        self.row: list[int] = table.row.tolist()
        self.pool: list[int] = table.pool.tolist()
        self.group: list[int] = table.group.tolist()
        self.unit: list[int] = table.unit.tolist()
        self.priority: list[int] = table.priority.tolist()
        self.choices: list[int] = table.choices.tolist()
        self.units: list[int] = units.tolist()
        self.held: list[int] = wishes.held.tolist()
        self.journal: list[tuple[int, int]] = []
        self._table = table
        self._counts: Ints = table.by_size(units * table.multiple)
        self.most: list[int] = np.maximum(table.most_nodes, nodes).tolist()
        self._nodes: list[int | None] = nodes.tolist()
        self._seen: dict[tuple[int, bytes], int] = {}
        self._steps = self._given = 0
        self._steps_left = _MOST_STEPS
        self._on_pool: list[int] = _sums(table.pool, units * table.unit, pools)
        self._of_group: list[int] = _sums(table.group, units * table.unit, len(table.group_most))
        self._group_most: list[int] = table.group_most.tolist()
        self._per_node: list[int] = table.per_node.tolist()
        self._of_row: list[int] = _sums(table.row, units, rows)
        least = np.maximum(np.where(table.minimum_first, wishes.least, 0), wishes.firm)
        self._least: list[int] = _sums(table.row, least, rows)
        self._first: list[int] = np.searchsorted(table.row, np.arange(rows + 1)).tolist()
        self._team: list[int] = table.team.tolist()
        self._weight: list[float] = table.group_weight.tolist()
        self._of_team: list[int] = _sums(table.team, units * table.unit, int(table.team.max()) + 1)
        new = np.flatnonzero(units > wishes.held)
        self._new: Ints = new[np.lexsort((new, -table.unit[new], table.priority[new], table.pool[new]))]
        self._begins: list[int] = np.searchsorted(table.pool[self._new], np.arange(pools + 1)).tolist()

    def begin(self) -> bool:
        """Another try; False when there were enough."""
        self._steps_left -= self._given - self._steps + 1
        self._given = self._steps = min(_STEPS_EACH, self._steps_left)
        return self.goes_on

    @property
    def goes_on(self) -> bool:
        """False when this try has taken long enough."""
        return self._steps > 0

    def places(self, row: int) -> range:
        return range(self._first[row], self._first[row + 1])

    def may_grow(self, row: int) -> Sequence[int]:
        """A service's places; where it lost some of what is there, those: with a count that stays nobody would leave for one elsewhere."""
        places = self.places(row)
        return [place for place in places if self.units[place] < self.held[place]] or places

    def new_on(self, pool: int) -> list[int]:
        """Places of the pool that had units which run nowhere yet: lower priorities first, of equals the larger units."""
        mine: list[int] = self._new[self._begins[pool] : self._begins[pool + 1]].tolist()
        self._steps -= 1 + len(mine) // _A_STEP_S_LOOKS
        return mine

    def above_least(self, row: int) -> bool:
        """Whether a service has more than its lower bound, where that comes first, and than nobody may take."""
        return self._of_row[row] > self._least[row]

    def share(self, row: int) -> tuple[float, int]:
        """What a service's namespace has for its weight, with the services of the same priority, and the service: who has less comes first."""
        place = self._first[row]
        return self._of_team[self._team[place]] / self._weight[self.group[place]], self._of_row[row] * self.unit[place]

    def in_quota(self, place: int) -> bool:
        """Whether one more is within the namespace's quota."""
        group = self.group[place]
        return self._of_group[group] + self.unit[place] <= self._group_most[group]

    def nodes(self, pool: int) -> int:
        """Nodes that the pool's units fill."""
        nodes = self._nodes[pool]
        if nodes is None:
            here = slice(pool, pool + 1)
            key = pool, self._counts[pool].tobytes()
            nodes = self._seen.get(key)
            if nodes is None:
                self._steps -= _STEPS_OF_A_PACKING
                nodes = self._seen[key] = int(pack(self._table.per_node[here], self._table.sizes, self._counts[here]).nodes[0])
            self._nodes[pool] = nodes
        return nodes

    def as_many_nodes(self, free: list[int], bound: list[int]) -> list[int]:
        """By pool, those that are filled, or cost nothing more (free), within the bound."""
        self._steps -= len(bound) // _A_STEP_S_LOOKS
        return [max(self.nodes(pool), min(free[pool], most)) for pool, most in enumerate(bound)]

    def put(self, place: int) -> bool:
        """One unit more, if it fits and nothing says that it has been tried for long enough."""
        pool = self.pool[place]
        room = self._per_node[pool] * self.most[pool] - self._on_pool[pool]
        if not self.goes_on or self.unit[place] > room or not self.in_quota(place):
            return False
        self._change(place, 1)
        if self.nodes(pool) > self.most[pool]:
            self._change(place, -1)
            return False
        self.journal.append((place, 1))
        return True

    def take(self, place: int) -> None:
        """One unit less, of those that run nowhere yet."""
        self._change(place, -1)
        self.journal.append((place, -1))

    def take_back(self, mark: int) -> None:
        """Everything since the journal had `mark` entries."""
        while len(self.journal) > mark:
            place, by = self.journal.pop()
            self._change(place, -by)

    def costs_since(self, mark: int) -> float:
        """How much more requests cost an hour, since the journal had `mark` entries."""
        cost, multiple = self._table.cost, self._table.multiple
        return sum(float(cost[place] * multiple[place]) * by for place, by in self.journal[mark:])

    def _change(self, place: int, by: int) -> None:
        pool, accelerators = self.pool[place], by * self.unit[place]
        self._steps -= 1
        self.units[place] += by
        self._counts[pool, self._table.size_number[place]] += by * self._table.multiple[place]
        self._on_pool[pool] += accelerators
        self._of_group[self.group[place]] += accelerators
        self._of_team[self._team[place]] += accelerators
        self._of_row[self.row[place]] += by
        self._nodes[pool] = None


def _sums(of: Ints, values: Ints, count: int) -> list[int]:
    sums: list[int] = np.bincount(of, values, count).astype(np.int64).tolist()
    return sums
