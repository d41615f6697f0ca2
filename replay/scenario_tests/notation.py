"""Series in promtool's notation, and the numbers that expectations allow.

=============  ==========================================================
``3``          one value
``3x4``        3, and 4 times more
``3+2x4``      3 5 7 9 11: steps of 2, 4 of them
``9-2x3``      9 7 5 3
``_``, ``_x4`` unknown; 5 times unknown
``idle``,      known to be without work; 5 times
``idlex4``
=============  ==========================================================

Values are apart by blanks; each stands for one interval.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, States
from autoscaler.core.signals import IDLE, UNKNOWN

_NUMBER: Final = r"-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_VALUES: Final = re.compile(rf"(?P<first>{_NUMBER}|_|idle)(?:(?P<step>[-+](?:\d+\.?\d*|\.\d+))?x(?P<times>\d+))?")
_MOST: Final = 1_000_000
_RANGE: Final = re.compile(rf"(?P<low>{_NUMBER})?\.\.(?P<high>{_NUMBER})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """values, states (k,): one an interval, unknown where none is left."""

    values: Floats
    states: States

    def __len__(self) -> int:
        return len(self.values)

    def at(self, place: int) -> tuple[float, int]:
        """(value, state)."""
        if 0 <= place < len(self.values):
            return float(self.values[place]), int(self.states[place])
        return math.nan, UNKNOWN


def parse_series(text: str) -> Series:
    """Raises ValueError with what is wrong."""
    values: list[float] = []
    states: list[int] = []
    for word in text.split():
        found = _VALUES.fullmatch(word)
        if found is None:
            raise ValueError(f"'{word}' is no value; write 3, 3x4 (3 and 4 more), 3+2x4, 9-2x3, _ (unknown) or idle")
        first, times = found["first"], int(found["times"] or 0)
        if len(values) + times > _MOST:
            raise ValueError(f"more than {_MOST} values")
        if first in ("_", "idle"):
            if found["step"]:
                raise ValueError(f"'{word}': no steps from there")
            values += [math.nan] * (times + 1)
            states += [UNKNOWN if first == "_" else IDLE] * (times + 1)
        else:
            step = float(found["step"] or 0)
            values += [float(first) + step * number for number in range(times + 1)]
            states += [0] * (times + 1)  # known
    if not values:
        raise ValueError("at least one value is needed")
    return Series(values=np.array(values), states=np.array(states, dtype=np.int8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What numbers are allowed, both ends included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}"
        if self.low == -math.inf:
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high == math.inf else f"{self.low:g} to {self.high:g}"


def parse_range(value: Any) -> Range:
    """A number, or ``10..12``, ``10..``, ``..12``. Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Range(low=float(value), high=float(value))
    found = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not (found["low"] or found["high"]):
        raise ValueError("a number or a range such as 10..12, 10.. or ..12 is expected")
    low, high = float(found["low"] or -math.inf), float(found["high"] or math.inf)
    if low > high:
        raise ValueError("the range ends before it begins")
    return Range(low=low, high=high)
