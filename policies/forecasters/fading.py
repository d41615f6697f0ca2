"""Means that forget exponentially, each at its own half-life; plain means until a half-life has been seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats


def fading(interval_s: float, half_lives_s: Floats) -> Floats:
    """The weight of a new value in means that forget with these half-lives."""
    share: Floats = 1.0 - 0.5 ** (interval_s / half_lives_s)
    return share


class FadingMeans(Kept):
    """means (n, k), NaN before the first value; seen (n,): how many values there were."""

    means: Floats
    seen: Floats

    def __init__(self, n: int, half_lives_s: Sequence[float]) -> None:
        self._half_lives_s = np.array(half_lives_s)
        self._interval_s = 0.0
        self._fresh_share: Floats = np.empty(0)
        self._settled = np.inf
        super().__init__(n)

    def fresh(self, n: int) -> dict[str, Column]:
        return {"means": np.full((n, len(self._half_lives_s)), np.nan), "seen": np.zeros(n)}

    def take(self, values: Floats, interval_s: float, known: Bools | None) -> None:
        """The next values (n,); known (n,): which are, None for all."""
        if interval_s != self._interval_s:
            self._interval_s, self._fresh_share = interval_s, fading(interval_s, self._half_lives_s)
            self._settled = float(1.0 / self._fresh_share.min())  # from so many values on, all means fade
        fewest = self.seen.min(initial=self._settled)
        share, before, column = self._fresh_share, self.means, values[:, None]
        if fewest < self._settled:
            share = np.maximum(share, 1.0 / (self.seen[:, None] + 1.0))
            if fewest < 1.0:
                before = np.where(before == before, before, column)
        after = before + share * (column - before)
        if known is None:
            self.means, self.seen = after, self.seen + 1.0
        else:
            self.means, self.seen = np.where(known[:, None], after, self.means), self.seen + known
