"""How much burstier than Poisson a demand is, measured while it runs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.columns import floats, number, plain, plain_number, rearranged
from autoscaler.core.constant import constant
from autoscaler.core.model import Floats, Ints
from autoscaler.core.seen import any_unknown
from autoscaler.core.sizing import step_dispersion_scale_s

MEMORY_S: Final = 3600.0
"""How fast it forgets: an hour, long against its noise and short against a day's rhythm."""
LONGEST_STEP_S: Final = 90.0
"""Differences over longer steps measure trends rather than burstiness; they teach nothing."""
LARGEST_STEP: Final = 9.0
"""A surge or a new level is no burstiness: one step counts for at most three standard deviations (squared: nine) of what is known."""
_LARGEST_STEP: Final = constant(LARGEST_STEP)
_ONE: Final = constant(1.0)
_TINY: Final = constant(1e-300)  # something to divide by before anything was seen: 0 ÷ this is 0, and silent


class Dispersion:
    """φ = variance ÷ mean of the counts, (n,), at least 1; 1 until something was learnt.

    As ``sizing.dispersion_of_counts``, but forgetting: sums of (difference of successive rates)² × scale and of their sums."""

    def __init__(self, n: int) -> None:
        self._before: Floats = np.full(n, np.nan)
        self._squares: Floats = np.zeros(n)
        self._pairs: Floats = np.zeros(n)
        self._seen_at_s = float("nan")
        self.value: Floats = np.ones(n)
        self._scale_of: tuple[Any, float] = (None, 0.0)
        self._scale: Any = 0.0
        self._keep: Floats = _ONE

    def learn(self, rate_per_s: Floats, at_s: float, sample_s: Any) -> None:
        """Takes the next rates (n,), NaN where unknown; each a mean over `sample_s` (one for all, or a value a row)."""
        step_s = at_s - self._seen_at_s
        if 0.0 < step_s <= LONGEST_STEP_S:
            self._add(rate_per_s, step_s, sample_s)
        self._before, self._seen_at_s = rate_per_s, at_s

    def _add(self, rate_per_s: Floats, step_s: float, sample_s: Any) -> None:
        if self._scale_of[0] is not sample_s or self._scale_of[1] != step_s:
            self._scale_of = sample_s, step_s
            self._scale = np.asarray(step_dispersion_scale_s(sample_s, step_s))
            self._keep = constant(1.0 - step_s / MEMORY_S)
        squares = rate_per_s - self._before
        squares *= squares
        squares *= self._scale
        pairs = rate_per_s + self._before  # twice the rate: the squares lack their half as well
        squares = np.minimum(squares, _LARGEST_STEP * self.value * pairs)
        if any_unknown(pairs):
            known = pairs == pairs
            squares, pairs = np.where(known, squares, 0.0), np.where(known, pairs, 0.0)
        self._squares = self._squares * self._keep + squares
        self._pairs = self._pairs * self._keep + pairs
        self.value = self._measured()

    def _measured(self) -> Floats:
        """Never taken for smoother than Poisson: requests of independent people aren't, and a calm hour proves little."""
        return np.maximum(self._squares / np.maximum(self._pairs, _TINY), _ONE)

    def rearrange(self, rows: Ints) -> None:
        """New row i is the old row rows[i], or a new service where that is −1."""
        self._before = rearranged(self._before, rows)
        self._squares = rearranged(self._squares, rows, 0.0)
        self._pairs = rearranged(self._pairs, rows, 0.0)
        self.value = self._measured()

    def adopt(self, other: Dispersion, rows: Ints) -> None:
        """Row i takes over what `other` has learnt of its row rows[i]; rows of −1 keep their own."""
        if self._seen_at_s != self._seen_at_s:
            self._seen_at_s = other._seen_at_s
        taken, theirs = rows >= 0, np.maximum(rows, 0)
        if not len(other._squares) or not np.count_nonzero(taken):
            return
        # The latest rate is of our latest moment, which the other's past may end before: its own, where there is one.
        self._before = np.where(taken & np.isnan(self._before), other._before[theirs], self._before)
        self._squares = np.where(taken, other._squares[theirs], self._squares)
        self._pairs = np.where(taken, other._pairs[theirs], self._pairs)
        self.value = self._measured()

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self._seen_at_s += by_s

    def save(self) -> dict[str, Any]:
        return {
            "seen_at_s": plain_number(self._seen_at_s),
            "before": plain(self._before),
            "squares": self._squares.tolist(),
            "pairs": self._pairs.tolist(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self._seen_at_s = number(state["seen_at_s"])
        self._before = floats(state["before"])
        self._squares = np.array(state["squares"], dtype=np.float64)
        self._pairs = np.array(state["pairs"], dtype=np.float64)
        self.value = self._measured()
