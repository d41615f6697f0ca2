"""Effective demand: the smallest capacity that would have kept all waits of a window within what is allowed.

Of k samples of a rate, each over `step_s`, take any stretch of successive ones that lasts t seconds and brings A requests. A queue that
was empty before it and is served at capacity C waits at most X seconds at its end exactly if ``A ≤ C × (t + X)``. So the window's
effective demand is the largest ``A ÷ (t + X)`` of all its stretches: a burst of one sample counts for less than its rate, a lasting
excess in full. It is what a forecast has to foresee, rather than the mean (which leaves out the bursts) or the peak (which a short queue
rides out). Source: the minimum service rate for a delay bound under an empirical arrival envelope (Le Boudec & Thiran, Network
Calculus, LNCS 2050, §1.4: the delay bound is the horizontal deviation between arrival and service curve).
"""

from __future__ import annotations

import numpy as np

from autoscaler.core.model import Floats, Ints


class Stretches:
    """All stretches of successive samples within a window of `samples`, worked out once."""

    def __init__(self, samples: int, step_s: float, allowed_s: Floats) -> None:
        """allowed_s (n,): the longest wait that is allowed, X."""
        # By their ends, so that those that end now are the last ones.
        pairs = [(first, last) for last in range(1, samples + 1) for first in range(last)]
        self.samples = samples
        self._first: Ints = np.array([first for first, _ in pairs], dtype=np.int64)
        self._last: Ints = np.array([last for _, last in pairs], dtype=np.int64)
        lasts_s = (self._last - self._first) * step_s
        self._share: Floats = step_s / (lasts_s[None, :] + allowed_s[:, None])
        self._ended_before_and_now: Ints = np.array([0, len(pairs) - samples])
        """Where the stretches that ended before begin, and those that end now (of one sample none ended before)."""
        self._recent: Floats = self._share[:, self._last == samples][:, ::-1]

    def effective(self, rates: Floats) -> Floats:
        """The effective demand (n,) in requests/s of the samples (n, samples), oldest first; NaN where one is NaN."""
        found: Floats = np.maximum.reduce(self._needed(rates), 1)
        return found

    def recent(self, rates: Floats) -> Floats:
        """The same of the stretches that end now: what the latest samples alone need; of those that are known up to the latest."""
        return np.asarray(np.fmax.reduce(np.add.accumulate(rates[:, ::-1], 1) * self._recent, 1))

    def both(self, rates: Floats) -> tuple[Floats, Floats]:
        """(effective, recent), where all samples are known."""
        highest = np.maximum.reduceat(self._needed(rates), self._ended_before_and_now, 1)
        recent = highest[:, 1]
        return np.maximum(highest[:, 0], recent), recent

    def _needed(self, rates: Floats) -> Floats:
        summed = np.zeros((len(rates), self.samples + 1))
        np.add.accumulate(rates, 1, None, summed[:, 1:])
        needed = summed.take(self._last, 1)
        needed -= summed.take(self._first, 1)
        needed *= self._share
        return needed
