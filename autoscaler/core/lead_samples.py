"""The last samples of a duration: how long replicas of a target, or nodes of a pool, took."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

import numpy as np

from autoscaler.core.node_facts import ENOUGH, StageTime

KEPT: Final = 64
RECKONED_QUANTILE: Final = 0.9
"""What forecasts look ahead by. The median would be too late for every second replica."""


class Samples:
    """The last samples of one duration, in seconds, oldest first."""

    __slots__ = ("_kept", "_recent")

    def __init__(self, recent: Iterable[float] = (), kept: int = KEPT) -> None:
        self._kept = kept
        self._recent = array("d", [float(value) for value in recent if 0 <= value < 1e6][-kept:])

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, seconds: float) -> None:
        if len(self._recent) >= self._kept:
            del self._recent[0]
        self._recent.append(round(seconds, 1))

    def quantile_s(self, quantile: float) -> float | None:
        """None while there are too few samples."""
        return float(np.quantile(self._recent, quantile)) if len(self._recent) >= ENOUGH else None

    def recent(self) -> list[float]:
        return self._recent.tolist()

    def told(self, name: str) -> StageTime:
        """There has to be a sample."""
        p50_s, p90_s, p99_s = (round(float(value), 1) for value in np.quantile(self._recent, (0.5, 0.9, 0.99)))
        return StageTime(name=name, samples=len(self._recent), p50_s=p50_s, p90_s=p90_s, p99_s=p99_s)
