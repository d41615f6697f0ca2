"""How long something takes, in whole seconds: always the same, lognormally spread, or as was measured somewhere (a live cluster's starts)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """usual_s: the mean. spread: standard deviation ÷ mean of a lognormal; 0 is always usual_s. measured_s: drawn with equal chances; they
    win over the other two."""

    usual_s: int
    spread: float = 0.0
    measured_s: tuple[int, ...] = ()

    @property
    def varies(self) -> bool:
        return bool(self.measured_s) or self.spread > 0

    def draw(self, rng: np.random.Generator) -> int:
        if self.measured_s:
            return self.measured_s[int(rng.integers(len(self.measured_s)))]
        if not self.spread > 0:
            return self.usual_s
        variance = math.log1p(self.spread**2)
        return round(self.usual_s * math.exp(rng.normal(-variance / 2, math.sqrt(variance))))
