"""Exponential backoff with jitter: how long whoever tries again by itself (watches, the reading of the past) waits before that."""

from __future__ import annotations

import numpy as np


class Backoff:
    """Pauses that double from `first_s` to `max_s`; each is drawn between half and whole, so that many clients do not come in step."""

    def __init__(self, rng: np.random.Generator, first_s: float = 0.5, max_s: float = 30.0) -> None:
        self._rng = rng
        self._first_s = first_s
        self._max_s = max_s
        self.failures = 0

    def progress(self) -> None:
        """Something worked: the next pause is short again."""
        self.failures = 0

    def next_s(self, at_least_s: float | None = None) -> float:
        """Seconds to wait now; at least what the server asked for."""
        whole_s = min(self._max_s, self._first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        drawn_s = whole_s * (0.5 + 0.5 * float(self._rng.random()))
        # What the server asks for is jittered upwards, or all its clients come back at once.
        return drawn_s if at_least_s is None else max(drawn_s, min(at_least_s, 300.0) * (1.0 + 0.25 * float(self._rng.random())))
