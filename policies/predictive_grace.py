"""Whether a forecast deserves its vote: it is scored while it runs, falls from grace when it is too low too often, and earns it back.

Scored is a forecast's own claim: what it says is exceeded in one minute of twenty must not be exceeded in one of four. Its quantiles follow
what was seen (``forecasters.misses``), so only traffic that has become another one makes it fall: then the past is no guide, and a
rule that looks at the present alone is the better one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats
from autoscaler.core.rows import chosen, some

CLAIM: Final = 0.05
"""What the forecast says is exceeded with this probability is watched."""
FALLS: Final = 0.25
RISES: Final = 0.1
"""Shares of misses over about the last two hours above which it falls and below which it rises again."""
MEMORY_S: Final = 7200.0
_FALLS: Final = constant(FALLS)


class Grace(Kept):
    """missed (n,): the share of forecasts that were exceeded although they said that one in twenty would be. out (n,): fallen."""

    missed: Floats
    out: Bools

    def fresh(self, n: int) -> dict[str, Column]:
        return {"missed": np.full(n, CLAIM), "out": np.zeros(n, dtype=np.bool_)}

    @property
    def fallen(self) -> Bools | None:
        """Rows (n,) whose forecast has lost its vote; None: there are none."""
        return self.out if some(self.out) else None

    def judge(self, spreads: Floats, exceeded: Floats, step_s: float) -> None:
        """spreads (n,): by how many spreads the forecast that fell due was exceeded; NaN: none did. exceeded (n,): by how many it says it is
        with the probability CLAIM. step_s: since the last time."""
        moved = self.missed + step_s / MEMORY_S * ((spreads > exceeded) - self.missed)
        self.missed = chosen(spreads == spreads, moved, self.missed)
        falls = self.missed > _FALLS
        self.out = np.where(self.out, self.missed > RISES, falls) if some(self.out) else falls
