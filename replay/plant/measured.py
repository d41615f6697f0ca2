"""Lead times as they were measured: what a controller would have learnt from the starts it saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from autoscaler.core.lead_samples import RECKONED_QUANTILE, Samples
from autoscaler.core.model import Floats


class Measured:
    """Lead times by service, (n,): as configured, and once there are samples the 90 % quantile of those that are kept. kinds: how many kinds of
    starts there are (of services, or of pools); samples: of each kind. kinds_of: by service those that may be its own; of several it is the slowest,
    once all were measured, as in a cluster. lead_time_s is replaced where it changes, never written to."""

    def __init__(self, configured_s: Iterable[float], kinds: int, kinds_of: Sequence[Sequence[int]] | None = None) -> None:
        self.lead_time_s: Floats = np.array(list(configured_s), dtype=np.float64)
        self.samples = [Samples() for _ in range(kinds)]
        self._late_s: list[float | None] = [None] * kinds  # a kind may be ten thousand services' own
        self._several = {row: own for row, own in enumerate(kinds_of or ()) if len(own) > 1}

    def add(self, kind: int, took_s: int, rows: Sequence[int]) -> None:
        """A start took so long; it is one of these services'."""
        self.samples[kind].add(took_s)
        value = self._late_s[kind] = _late_s(self.samples[kind])
        found = [value if row not in self._several else self._slowest_s(row) for row in rows]
        if any(self.lead_time_s[row] != own for row, own in zip(rows, found, strict=True)):
            self.lead_time_s = self.lead_time_s.copy()
            self.lead_time_s[list(rows)] = found

    def _slowest_s(self, row: int) -> float:
        late_s = [self._late_s[kind] for kind in self._several[row]]
        known = [one for one in late_s if one is not None]
        return max(known) if len(known) == len(late_s) else self.lead_time_s.item(row)


def _late_s(samples: Samples) -> float:
    starts = sorted(samples.recent())
    return starts[int(RECKONED_QUANTILE * (len(starts) - 1))]
