"""What was needed lately, fading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats, Ints

BACKLOG_FADES: Final = 0.95
"""What the memory of a backlog keeps each 15 seconds: what was needed for it stays for some minutes, since it shows that demand is at the
limit of what is there."""
PEAK_FADES_PER_S: Final = float(np.log(2.0)) / 3600.0
"""Lately: what was needed counts half after an hour."""
_PART_S: Final = 15.0


class Recent(Kept):
    """What was needed lately, fading: replicas for a backlog, lasting (n,), and the log of the highest effective demand, peak (n,). blind_s
    (n,): how long demand has been unknown. surprised (n,): whether the last window needed far more than was promised for it."""

    lasting: Floats
    peak: Floats
    blind_s: Floats
    surprised: Bools

    def fresh(self, n: int) -> dict[str, Column]:
        return {
            "lasting": np.zeros(n),
            "peak": np.full(n, np.nan),
            "blind_s": np.zeros(n),
            "surprised": np.zeros(n, dtype=np.bool_),
        }

    any_blind = False

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._interval_s = 0.0
        self._backlog_keeps = self._peak_fades = constant(0.0)

    def _put(self, columns: Mapping[str, Column]) -> None:
        super()._put(columns)
        self.any_blind = bool(self.blind_s.any())

    def adopt(self, other: Recent, rows: Ints) -> None:
        super().adopt(other, rows)
        self.any_blind = bool(self.blind_s.any())

    def learn(self, known: Bools | None, backlog: Floats, reached: Floats, interval_s: float) -> None:
        """known (n,): whose demand is; None: everybody's."""
        if known is not None or self.any_blind:
            self.blind_s = np.where(True if known is None else known, 0.0, self.blind_s + interval_s)
            self.any_blind = known is not None
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            self._backlog_keeps = constant(BACKLOG_FADES ** (interval_s / _PART_S))
            self._peak_fades = constant(PEAK_FADES_PER_S * interval_s)
        self.lasting = np.fmax(self.lasting * self._backlog_keeps, backlog)
        self.peak = np.fmax(self.peak - self._peak_fades, reached)
