"""Lead times as they were measured: what a controller would have learnt from the starts it saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from autoscaler.core.lead_samples import RECKONED_QUANTILE, Samples
from autoscaler.core.model import Floats


class Measured:
    """Lead times by service, (n,): as configured, and once there are samples the 90 % quantile of those that are kept. kinds: how many kinds of
    starts there are (of services, or of pools); samples: of each kind. lead_time_s is replaced where it changes, never written to."""

    def __init__(self, configured_s: Iterable[float], kinds: int) -> None:
        self.lead_time_s: Floats = np.array(list(configured_s), dtype=np.float64)
        self.samples = [Samples() for _ in range(kinds)]

    def add(self, kind: int, took_s: int, rows: Sequence[int]) -> None:
        """A start took so long; it is one of these services'."""
        samples = self.samples[kind]
        samples.add(took_s)
        starts = sorted(samples.recent())
        value = starts[int(RECKONED_QUANTILE * (len(starts) - 1))]
        if any(self.lead_time_s[row] != value for row in rows):
            self.lead_time_s = self.lead_time_s.copy()
            self.lead_time_s[list(rows)] = value
