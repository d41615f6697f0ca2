"""Lead times as they were measured: what a controller would have learnt from the starts it saw."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from autoscaler.core.model import Floats

_SAMPLES = 64
_LEAD_QUANTILE = 0.9


class Measured:
    """Lead times by service, (n,): as configured, and once there are samples the 90 % quantile of the last 64. kinds: how many kinds of starts
    there are (of services, or of pools). lead_time_s is replaced where it changes, never written to."""

    def __init__(self, configured_s: Iterable[float], kinds: int) -> None:
        self.lead_time_s: Floats = np.array(list(configured_s), dtype=np.float64)
        self._starts: list[deque[int]] = [deque(maxlen=_SAMPLES) for _ in range(kinds)]

    def add(self, kind: int, took_s: int, rows: Sequence[int]) -> None:
        """A start took so long; it is one of these services'."""
        starts = self._starts[kind]
        starts.append(took_s)
        value = float(sorted(starts)[int(_LEAD_QUANTILE * (len(starts) - 1))])
        if any(self.lead_time_s[row] != value for row in rows):
            self.lead_time_s = self.lead_time_s.copy()
            self.lead_time_s[list(rows)] = value
