"""Weighted max-min fair shares: nobody can get more without somebody who has less for their weight getting less
(Bertsekas and Gallager, Data Networks, 1992, 6.5.2). For many capacities at once, first as real numbers, then in whole units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints

_HALVINGS: Final = 40
_EPSILON: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Who wants how much of which segment (a pool, or a namespace's part of one); arrays (J,).

    unit: what one unit takes. base: units that are granted already. demand: units that are wanted, never below base. held: units that are
    there; ordered: units on their way, which what doesn't divide stays with as well. group: namespaces of one segment; weight (G,): each one's.
    Within a group all have the same weight.
    """

    segment: Ints
    unit: Ints
    base: Ints
    demand: Ints
    held: Ints
    ordered: Ints
    priority: Ints
    group: Ints
    weight: Floats

    def of(self, chosen: Ints | Bools, base: Ints) -> Claims:
        """Some of them, with another base (J,) of all."""
        return Claims(
            segment=self.segment[chosen],
            unit=self.unit[chosen],
            base=base[chosen],
            demand=self.demand[chosen],
            held=self.held[chosen],
            ordered=self.ordered[chosen],
            priority=self.priority[chosen],
            group=self.group[chosen],
            weight=self.weight,
        )

    def beside(self, others: Claims) -> Claims:
        """These, then the others."""
        pairs = {name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in _COLUMNS}
        return Claims(weight=self.weight, **pairs)


_COLUMNS: Final = ("segment", "unit", "base", "demand", "held", "ordered", "priority", "group")


def fill(segment: Ints, low: Floats, high: Floats, weight: Floats, capacity: Floats) -> Floats:
    """Σ over a segment of clip(level × weight, low, high) = its capacity (S,), or of high where that is less: the amounts (J,)."""
    count = len(capacity)
    target = np.minimum(capacity, np.bincount(segment, high, count))
    top = np.zeros(count)
    np.maximum.at(top, segment, high / weight)
    bottom = np.zeros(count)
    for _ in range(_HALVINGS):
        middle = (bottom + top) / 2
        over = np.bincount(segment, np.clip(middle[segment] * weight, low, high), count) > target
        top, bottom = np.where(over, middle, top), np.where(over, bottom, middle)
    level = top[segment] * weight
    found = np.clip(level, low, high)
    free = (level > low) & (bottom[segment] * weight < high)
    # Exactly: what those at their bounds leave is shared by the others in proportion to their weights.
    rest = target - np.bincount(segment, np.where(free, 0.0, found), count)
    each = rest / np.maximum(np.bincount(segment, np.where(free, weight, 0.0), count), _EPSILON)
    return np.where(free, np.clip(each[segment] * weight, low, high), found)


def fair(claims: Claims, left: Ints) -> Ints:
    """Units (J,) of claims of one priority a segment; left (S,): what is there beyond their base. In whole units, each within one unit of the
    fair share where units are alike; what doesn't divide goes to those who have it already, then to those who miss the largest part."""
    units = claims.base
    while len(wants := np.flatnonzero((units < claims.demand) & (claims.unit <= left[claims.segment]))):
        some = claims.of(wants, units)
        shares = _shares(some, left)
        more = np.clip(np.floor(shares / some.unit + _EPSILON).astype(np.int64), some.base, some.demand)
        more = _hand_out(some, more, shares, left - _taken(some, more, len(left)))
        left = left - _taken(some, more, len(left))
        units = units.copy()
        units[wants] = more
    return units


def _taken(claims: Claims, units: Ints, segments: int) -> Ints:
    return np.bincount(claims.segment, (units - claims.base) * claims.unit, segments).astype(np.int64)


def _shares(claims: Claims, left: Ints) -> Floats:
    """In accelerators: among the segment's groups by weight, then within each group."""
    low, high = (claims.base * claims.unit).astype(np.float64), (claims.demand * claims.unit).astype(np.float64)
    found = np.unique(claims.group, return_inverse=True)
    names: Ints = found[0]
    group: Ints = found[1]
    count = len(names)
    segment = np.zeros(count, dtype=np.int64)
    segment[group] = claims.segment
    group_low, group_high = _sum(group, low, count), _sum(group, high, count)
    capacity = left + _sum(claims.segment, low, len(left))
    of_groups = fill(segment, group_low, group_high, claims.weight[names], capacity)
    return fill(group, low, high, np.ones(len(low)), of_groups)


def _sum(of: Ints, values: Floats, count: int) -> Floats:
    return np.bincount(of, values, count).astype(np.float64, copy=False)


def _hand_out(claims: Claims, units: Ints, shares: Floats, left: Ints) -> Ints:
    """One unit more for each of those who want one, as far as it goes."""
    wants = np.flatnonzero((units < claims.demand) & (claims.unit <= left[claims.segment]))
    if not len(wants):
        return units
    units = units.copy()
    keeps = claims.held[wants] + claims.ordered[wants] > units[wants]
    missing = shares[wants] / claims.unit[wants] - units[wants]
    order = np.lexsort((wants, -missing, ~keeps, claims.segment[wants]))
    wants = wants[order]
    starts = np.flatnonzero(np.diff(claims.segment[wants], prepend=-1))
    for mine in np.split(wants, starts[1:]):
        rest = int(left[claims.segment[mine[0]]])
        while len(mine):
            takes = np.cumsum(claims.unit[mine])
            fit = int(np.searchsorted(takes, rest, side="right"))
            units[mine[:fit]] += 1
            rest -= int(takes[fit - 1]) if fit else 0
            mine = mine[fit:]
            mine = mine[claims.unit[mine] <= rest]
    return units
