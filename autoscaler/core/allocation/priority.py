"""Units by priority: all that a priority wants before anything of the next lower one; the one that no longer fits shares fairly."""

from __future__ import annotations

import numpy as np

from autoscaler.core.allocation.fair_share import Claims, fair
from autoscaler.core.model import Ints


def grant(claims: Claims, capacity: Ints) -> Ints:
    """Units (J,), from each claim's base to its demand, that fit into the segments' capacity (S,)."""
    segments = len(capacity)
    left = np.maximum(capacity - np.bincount(claims.segment, claims.base * claims.unit, segments).astype(np.int64), 0)
    more = (claims.demand - claims.base) * claims.unit
    fits = np.bincount(claims.segment, more, segments) <= left
    units = np.where(fits[claims.segment], claims.demand, claims.base)
    todo = np.flatnonzero(~fits[claims.segment] & (more > 0))
    todo = todo[np.lexsort((-claims.priority[todo], claims.segment[todo]))]
    while len(todo):
        todo, left = _one_round(claims, units, todo, left)
    return units


def _one_round(claims: Claims, units: Ints, todo: Ints, left: Ints) -> tuple[Ints, Ints]:
    """Grants the priorities that fit whole, and of each segment the first that does not; who still may get something, and what is left.
    todo: by segment, the highest priority first."""
    segment, priority = claims.segment[todo], claims.priority[todo]
    more = (claims.demand[todo] - units[todo]) * claims.unit[todo]
    block = np.cumsum((np.diff(segment, prepend=-1) != 0) | (np.diff(priority, prepend=0) != 0)) - 1
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    of_block = segment[starts]
    wanted = np.add.reduceat(more, starts)
    whole = sums_before(of_block, wanted) + wanted <= left[of_block]
    first_cut = ~whole & np.append(True, (of_block[1:] != of_block[:-1]) | whole[:-1])
    full = todo[whole[block]]
    units[full] = claims.demand[full]
    left = left - np.bincount(of_block, np.where(whole, wanted, 0), len(left)).astype(np.int64)
    shared = todo[first_cut[block]]
    got = fair(claims.of(shared, units), left)
    left = left - np.bincount(claims.segment[shared], (got - units[shared]) * claims.unit[shared], len(left)).astype(np.int64)
    units[shared] = got
    rest = todo[~(whole | first_cut)[block]]
    return rest[claims.unit[rest] <= left[claims.segment[rest]]], left


def sums_before(segment: Ints, takes: Ints) -> Ints:
    """Of each (m,), what those before it in the same segment take; segments are in their order."""
    sums = np.cumsum(takes) - takes
    begins = np.flatnonzero(np.diff(segment, prepend=-1))
    before: Ints = sums - np.repeat(sums[begins], np.diff(np.append(begins, len(segment))))
    return before
