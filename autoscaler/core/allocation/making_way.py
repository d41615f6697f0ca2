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
from autoscaler.core.allocation.packing import packed
from autoscaler.core.allocation.wishes import Wishes
from autoscaler.core.model import Bools, Ints
from autoscaler.core.node_pools import PoolTable

_DEEP: Final = 2
"""How many services make way one after the other for one unit."""
_LOWEST: Final = -(1 << 53)
"""A priority for which nobody loses a place."""


def making_way(table: PoolTable, wishes: Wishes, units: Ints, standing: Ints) -> Ints:
    """units (J,): those that have a place. standing (P,): nodes that are there, ready or coming; what they carry starts at once, so none of them
    is emptied. The same where nothing is to be gained; else somebody gets more, and nobody of the same or a higher priority less, or as many
    are on nodes that cost less."""
    movable = table.several[(units > wishes.held)[table.several]]
    if not len(movable):
        return units
    movers = np.bincount(table.pool[movable], minlength=len(table.pools)) > 0
    missing = _missing(table, wishes, units, movers)
    nodes = packed(table, units * table.multiple).nodes
    free = np.maximum(table.least_nodes, standing)
    dear = np.flatnonzero(movers & (table.price > 0))
    if not missing.any() and not (nodes > free)[dear].any():
        return units
    board = Board(table, wishes, units, nodes)
    _find_places(missing, board)
    _save_nodes(
        table, board, dear[np.argsort(-table.price[dear], kind="stable")].tolist(), free.tolist(), _neighbours(table, movable)
    )
    return np.array(board.units, dtype=np.int64) if board.journal else units


def _missing(table: PoolTable, wishes: Wishes, units: Ints, movers: Bools) -> Ints:
    """Units without a place by row, of those who wish to be where somebody could move; of who loses what is there, those."""
    rows = int(table.row.max()) + 1
    lost = np.bincount(table.row, np.maximum(wishes.held - units, 0), rows).astype(np.int64)
    hopes = np.bincount(table.row, movers[table.pool], rows) > 0
    missing = np.bincount(table.row, wishes.want - units, rows).astype(np.int64)
    return np.where(hopes, np.maximum(np.where(lost > 0, np.minimum(lost, missing), missing), 0), 0)


def _find_places(missing: Ints, board: Board) -> None:
    """For units without a place (by row): of the highest priority first, of equals of who has least for its weight."""
    rows = np.flatnonzero(missing)
    by_priority: dict[int, list[int]] = {}
    for row in rows.tolist():
        by_priority.setdefault(board.priority[board.places(row)[0]], []).append(row)
    for priority in sorted(by_priority, reverse=True):
        if not board.begin():
            return
        _find_places_of_equals(by_priority[priority], missing, board)


def _find_places_of_equals(rows: list[int], missing: Ints, board: Board) -> None:
    waiting = [(board.share(row), row, int(missing[row])) for row in rows]
    heapq.heapify(waiting)
    in_vain: set[tuple[int, ...]] = set()
    while waiting and board.begin():
        share, row, units_missing = heapq.heappop(waiting)
        if share != board.share(row):  # its namespace got something since
            heapq.heappush(waiting, (board.share(row), row, units_missing))
            continue
        places = board.may_grow(row)
        alike = tuple(number for place in places for number in (board.group[place], board.unit[place]))
        if alike in in_vain:
            continue
        # Rather somebody moves than somebody of a lower priority has no place.
        if not (_find(board, row, _LOWEST, _DEEP) or _find(board, row, board.priority[places[0]], _DEEP)):
            in_vain.add(alike)
        elif units_missing > 1:
            heapq.heappush(waiting, (board.share(row), row, units_missing - 1))


def _neighbours(table: PoolTable, movable: Ints) -> Bools:
    """(P, P): the pools that something on a pool could go to, and itself."""
    near = np.eye(len(table.pools), dtype=np.bool_)
    for further in range(1, table.most_ranks):
        some = movable[table.choices[movable] > further]
        others = some - table.rank[some] + (table.rank[some] + further) % table.choices[some]
        near[table.pool[some], table.pool[others]] = True
    return near


def _save_nodes(table: PoolTable, board: Board, pools: list[int], free: list[int], near: Bools) -> None:
    """Moves the units of a node of these pools, the dearest, into what other nodes have left or onto a new node of a cheaper pool. free (P):
    nodes that are there in any case."""
    bound = board.most
    by_price = np.argsort(table.price, kind="stable")
    for pool in pools:
        if not board.begin():
            break
        if board.nodes(pool) <= free[pool]:
            continue
        elsewhere = near[near[pool]].any(axis=0) & (table.price < table.price[pool])
        cheaper = by_price[elsewhere[by_price]].tolist()
        while board.nodes(pool) > free[pool]:
            if not any(board.begin() and _one_less(board, bound, free, pool, new) for new in (None, *cheaper)):
                break
    board.most = bound


def _one_less(board: Board, bound: list[int], free: list[int], pool: int, new: int | None) -> bool:
    """One node less of a pool. new: a pool that may get one more for it, if requests cost no more there."""
    mark = len(board.journal)
    here = [place for place in board.new_on(pool) if board.choices[place] > 1]
    board.most = board.as_many_nodes(free, bound)
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
    others = [place for place in board.may_grow(row) if place != leaves and board.pool[place] not in closed]
    return any(board.put(place) for place in others) or (
        deep > 0 and any(_make_way(board, place, priority, deep, closed) for place in others)
    )


def _make_way(board: Board, place: int, priority: int, deep: int, closed: frozenset[int]) -> bool:
    """Puts one unit on this place when enough others have left its pool, or its quota there."""
    mark, pool = len(board.journal), board.pool[place]
    if board.in_quota(place):
        closed |= {pool}  # who leaves for somebody that comes makes no room
    waiting = [
        (_leaves_first(board, other, priority), number, other)
        for number, other in enumerate(board.new_on(pool))
        if (board.choices[other] > 1 or board.priority[other] < priority) and board.row[other] != board.row[place]
    ]
    heapq.heapify(waiting)
    while waiting and board.goes_on:
        _, number, other = heapq.heappop(waiting)
        if not board.in_quota(place) and board.group[other] != board.group[place]:
            continue
        if board.units[other] > board.held[other] and _leave(board, other, priority, deep, closed):
            if board.put(place):
                return True
            heapq.heappush(waiting, (_leaves_first(board, other, priority), number, other))
    board.take_back(mark)
    return False


def _leaves_first(board: Board, place: int, priority: int) -> tuple[int, tuple[float, int]]:
    """In which order services leave a pool: lower priorities first; where they may lose their place, of equals who has most for its weight."""
    namespace, service = board.share(board.row[place]) if board.priority[place] < priority else (0.0, 0)
    return board.priority[place], (-namespace, -service)


def _leave(board: Board, place: int, priority: int, deep: int, closed: frozenset[int]) -> bool:
    """One unit goes elsewhere, where it takes a place from nobody that its own priority does not come before; or it loses its place, where its
    priority is lower and it isn't of its service's least."""
    mark, row = len(board.journal), board.row[place]
    may_lose = board.priority[place] < priority and board.above_least(row)
    board.take(place)
    if _find(board, row, min(priority, board.priority[place]), deep - 1, closed, place) or may_lose:
        return True
    board.take_back(mark)
    return False
