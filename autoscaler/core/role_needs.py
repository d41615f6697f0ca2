"""What the roles of a service ask of each other: so many of one for so many of another, in whole multiples (``core.roles``). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints, Ratio
from autoscaler.core.sizing import ROUNDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Row `row` needs some for what row `of` has: at least `factor` × its count, or, of a max, more than `factor` × (its count − 1); in any case
    one. ratio: where that stands; None: being awake together (factor 0)."""

    row: int
    of: int
    factor: float = 0.0
    is_max: bool = False
    ratio: Ratio | None = None


class NeedColumns:
    """Needs as columns (m,), and what they ask for. multiple (n,): of the rows of the fleet."""

    def __init__(self, needs: Sequence[Need], multiple: Ints) -> None:
        self.row: Ints = np.array([need.row for need in needs], dtype=np.int64)
        self.of: Ints = np.array([need.of for need in needs], dtype=np.int64)
        self.factor: Floats = np.array([need.factor for need in needs])
        self.is_max: Bools = np.array([need.is_max for need in needs], dtype=np.bool_)
        self._last: Ints = self.is_max.astype(np.int64)
        self._per: Ints = multiple[self.row]

    def asked(self, counts: Ints) -> Ints:
        """What each need asks of its row in whole multiples, where the rows have these counts (n,)."""
        there = counts[self.of]
        share = self.factor * (there - self._last)
        least = np.where(self.is_max, np.floor(share * (1.0 + ROUNDING)) + 1.0, np.ceil(share * (1.0 - ROUNDING)))
        return (np.ceil(np.where(there > 0, np.maximum(least, 1.0), 0.0) / self._per) * self._per).astype(np.int64)


def needs_of_ratio(row: int, to: int, ratio: Ratio) -> Iterator[Need]:
    """What the bounds of `row`'s replicas ÷ those of `to` ask of either."""
    if ratio.min:
        yield Need(row=row, of=to, factor=ratio.min, ratio=ratio)
    if ratio.max:
        yield Need(row=to, of=row, factor=1.0 / ratio.max, is_max=True, ratio=ratio)


def contradiction(needs: Sequence[Need], members: Sequence[int]) -> list[int] | None:
    """The rows with ratios, where some of them ask for more of each other in a circle; None where they don't."""
    asked = {(need.row, need.of): 0.0 for need in needs}
    for need in needs:
        asked[need.row, need.of] = max(asked[need.row, need.of], need.factor)
    # Floyd and Warshall's way, with the largest product of factors from row to row.
    for middle in members:
        into = [(row, factor) for (row, of), factor in asked.items() if of == middle]
        onward = [(of, factor) for (row, of), factor in asked.items() if row == middle]
        for row, first in into:
            for of, second in onward:
                asked[row, of] = max(asked.get((row, of), 0.0), first * second)
                if row == of and asked[row, of] > 1.0 + ROUNDING:
                    return sorted({row for need in needs for row in (need.row, need.of)})
    return None
