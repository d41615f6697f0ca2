"""Quantiles of very many durations: exact while they are few, to 0.05 % once they are many."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, Ints

EXACT: Final = 1 << 20
"""Up to so many values each is kept."""
_DROPPED_BITS: Final = 41
"""Of a double's 52 bits of fraction: 11 stay, so a bucket is 2⁻¹¹ of its value wide."""
_LEAST_S: Final = 2.0**-20
_MOST_S: Final = 2.0**31


def _bucket(values: Floats) -> Ints:
    clipped = np.clip(values, _LEAST_S, _MOST_S)
    return clipped.view(np.int64) >> _DROPPED_BITS


_FIRST: Final = int(_bucket(np.array([_LEAST_S]))[0])
_BUCKETS: Final = int(_bucket(np.array([_MOST_S]))[0]) - _FIRST + 1


_LEAST_BITS: Final = int(np.array([_LEAST_S]).view(np.int64)[0])
_MOST_BITS: Final = int(np.array([_MOST_S]).view(np.int64)[0])


class Spread:
    """How durations (seconds) are spread."""

    __slots__ = ("_buckets", "_few", "count")

    def __init__(self) -> None:
        self.count = 0
        self._few: list[Floats] = []
        self._buckets: Ints | None = None

    def add(self, values: Floats) -> None:
        self.count += len(values)
        if self._buckets is not None:
            self._fill(self._buckets, values)
            return
        self._few.append(values)
        if self.count > EXACT:
            self._buckets = np.zeros(_BUCKETS, dtype=np.int64)
            for part in self._few:
                self._fill(self._buckets, part)
            self._few = []

    def plus(self, other: Spread) -> Spread:
        """Both together, in a Spread of its own."""
        total = Spread()
        total.count = self.count
        total._few = list(self._few)
        total._buckets = None if self._buckets is None else self._buckets.copy()
        if other._buckets is None:
            for part in other._few:
                total.add(part)
        elif total._buckets is None:
            return other.plus(self)
        else:
            total.count += other.count
            total._buckets += other._buckets
        return total

    def quantile_s(self, quantile: float) -> float:
        """The shortest duration that `quantile` of them don't exceed; of a bucket its upper end. 0 where there are none."""
        if not self.count:
            return 0.0
        place = max(int(np.ceil(quantile * self.count - 1e-9)), 1) - 1
        if self._buckets is None:
            return float(np.partition(np.concatenate(self._few), place)[place])
        bucket = int(np.searchsorted(np.cumsum(self._buckets), place, side="right"))
        if bucket == 0:
            return 0.0
        return float(np.array([(bucket + _FIRST + 1) << _DROPPED_BITS], dtype=np.int64).view(np.float64)[0])

    @staticmethod
    def _fill(buckets: Ints, values: Floats) -> None:
        values = np.ascontiguousarray(values)
        if (count := compiled()) is not None:
            count(values.view(np.int64), buckets)
            return
        found = np.bincount(_bucket(values) - _FIRST)
        buckets[: len(found)] += found


@functools.cache
def compiled() -> Callable[[Ints, Ints], None] | None:
    """numba's form of the counting, or None where it isn't installed."""
    try:
        import numba
    except ImportError:
        return None
    made: Callable[[Ints, Ints], None] = numba.njit(cache=True)(_count)
    return made


def _count(bits: Any, buckets: Any) -> None:
    """The bits of doubles are in the doubles' order, and negative where those are."""
    for one in bits:
        within = min(max(one, _LEAST_BITS), _MOST_BITS)
        buckets[(within >> _DROPPED_BITS) - _FIRST] += 1
