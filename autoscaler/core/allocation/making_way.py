"""Services on several pools make way: units that run nowhere yet move to another of their service's pools where that finds a place for one that
has none, or empties a node.

What ``split`` and ``places`` decide is mostly the best there is. What is left for here only shows once all pools are shared out: a quota that
a service fills though it could go elsewhere, sizes that fit each other's gaps better. It is a search, unit by unit and at most two services
deep, the highest priorities first, and it ends after a bounded number of steps: what it has no time for stays as it was found.
"""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np

from autoscaler.core.allocation.board import Board
from autoscaler.core.allocation.wishes import Wishes
from autoscaler.core.model import Ints
from autoscaler.core.node_pools import PoolTable

_DEEP: Final = 2
"""How many services make way one after the other for one unit."""
_LOWEST: Final = -(1 << 53)
"""A priority for which nobody loses a place."""


def making_way(table: PoolTable, wishes: Wishes, units: Ints) -> Ints:
    """units (J,): those that have a place. The same where nothing is to be gained; else somebody gets more, and nobody of the same or a
    higher priority less, or as many are on nodes that cost less."""
    movable = table.several[(units > wishes.held)[table.several]]
    if not len(movable):
        return units
    board = Board(table, wishes, units)
    _find_places(table, wishes, units, board)
    _save_nodes(table, board, np.unique(table.pool[movable]).tolist())
    return np.array(board.units, dtype=np.int64) if board.journal else units


def _find_places(table: PoolTable, wishes: Wishes, units: Ints, board: Board) -> None:
    """For units without a place: of the highest priority first, of equals of who has least for its weight."""
    rows = int(table.row.max()) + 1
    loses = np.bincount(table.row, units < np.minimum(wishes.held, wishes.want), rows) > 0
    missing = np.where(loses, 0, np.bincount(table.row, wishes.want - units, rows).astype(np.int64))
    has = np.bincount(table.row, units * table.unit / table.group_weight[table.group], rows)
    waiting = [
        (-board.priority[board.places(row)[0]], float(has[row]), row, int(missing[row]))
        for row in np.flatnonzero(missing > 0).tolist()
    ]
    heapq.heapify(waiting)
    in_vain: set[tuple[int, ...]] = set()
    while waiting and board.begin():
        downward, share, row, units_missing = heapq.heappop(waiting)
        places = board.places(row)
        alike = downward, *(number for place in places for number in (board.group[place], board.unit[place]))
        if alike in in_vain:
            continue
        # Rather somebody moves than somebody of a lower priority has no place.
        if not (_find(board, row, _LOWEST, _DEEP) or _find(board, row, -downward, _DEEP)):
            in_vain.add(alike)
        elif units_missing > 1:
            more = board.unit[places[0]] / float(table.group_weight[board.group[places[0]]])
            heapq.heappush(waiting, (downward, share + more, row, units_missing - 1))


def _save_nodes(table: PoolTable, board: Board, pools: list[int]) -> None:
    """Moves the units of a node of these pools, the dearest first, into what other nodes have left or onto a new node of a cheaper pool."""
    bound, prices = board.most, [pool.cost_per_hour for pool in table.pools]
    by_price = sorted(set(table.pool[table.several].tolist()), key=lambda pool: prices[pool])
    for pool in sorted(pools, key=lambda pool: -prices[pool]):
        while prices[pool] > 0 and board.nodes(pool) > int(table.least_nodes[pool]):
            elsewhere = _within_reach(board, _within_reach(board, {pool}))
            cheaper = [other for other in by_price if prices[other] < prices[pool] and other in elsewhere]
            if not any(board.begin() and _one_less(board, bound, pool, new) for new in (None, *cheaper)):
                break
    board.most = bound


def _within_reach(board: Board, pools: set[int]) -> set[int]:
    """Pools that services on these ones may run on."""
    return {
        board.pool[place]
        for pool in pools
        for one in board.new_on(pool)
        if board.choices[one] > 1
        for place in board.places(board.row[one])
    }


def _one_less(board: Board, bound: list[int], pool: int, new: int | None) -> bool:
    """One node less of a pool. new: a pool that may get one more for it, if requests cost no more there."""
    mark = len(board.journal)
    here = [place for place in board.new_on(pool) if board.choices[place] > 1]
    board.most = [board.nodes(one) for one in range(len(bound))]
    board.most[pool] -= 1
    if new is not None:
        board.most[new] = min(board.most[new] + 1, bound[new])
    for larger_first in (True, False):
        gone = _leave_node(board, pool, sorted(here, key=lambda place: board.unit[place], reverse=larger_first))
        if (
            board.nodes(pool) <= board.most[pool]
            and all(_find(board, board.row[place], _LOWEST, _DEEP) for place in gone)
            and (new is None or board.costs_since(mark) <= 0)
        ):
            return True
        board.take_back(mark)
    return False


def _leave_node(board: Board, pool: int, places: list[int]) -> list[int]:
    """Takes units of these places until the pool fills no more nodes than it may; of which places, the largest units first."""
    gone: list[int] = []
    for place in places:
        while board.units[place] > board.held[place] and board.nodes(pool) > board.most[pool]:
            board.take(place)
            gone.append(place)
    return sorted(gone, key=lambda place: -board.unit[place])


def _find(
    board: Board, row: int, priority: int, deep: int, closed: frozenset[int] = frozenset(), leaves: int | None = None
) -> bool:
    """Puts one unit of a service on one of its places but the one that it leaves, on none of the closed pools, where up to `deep` services
    make way for it one after the other and units of a lower priority than this lose their place."""
    others = [place for place in board.places(row) if place != leaves and board.pool[place] not in closed]
    return any(board.put(place) for place in others) or (
        deep > 0 and any(_make_way(board, place, priority, deep, closed) for place in others)
    )


def _make_way(board: Board, place: int, priority: int, deep: int, closed: frozenset[int]) -> bool:
    """Puts one unit on this place when enough others have left its pool, or its quota there."""
    mark, pool = len(board.journal), board.pool[place]
    if board.in_quota(place):
        closed |= {pool}  # who leaves for somebody that comes makes no room
    for other in board.new_on(pool):
        can_leave = board.choices[other] > 1 or board.priority[other] < priority
        if not can_leave or board.row[other] == board.row[place]:
            continue
        if not board.in_quota(place) and board.group[other] != board.group[place]:
            continue
        while board.goes_on and board.units[other] > board.held[other] and _leave(board, other, priority, deep, closed):
            if board.put(place):
                return True
    board.take_back(mark)
    return False


def _leave(board: Board, place: int, priority: int, deep: int, closed: frozenset[int]) -> bool:
    """One unit goes elsewhere, or loses its place where its priority is lower and it isn't of its service's least."""
    mark, row = len(board.journal), board.row[place]
    may_lose = board.priority[place] < priority and board.above_least(row)
    board.take(place)
    if _find(board, row, priority, deep - 1, closed, place) or may_lose:
        return True
    board.take_back(mark)
    return False
