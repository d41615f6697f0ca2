"""Means that forget exponentially, each at its own half-life; plain means until a half-life has been seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats, Ints
from autoscaler.core.rows import beside

_ONE: Final = constant(1.0)


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
        self._all_fade = False
        super().__init__(n)

    def fresh(self, n: int) -> dict[str, Column]:
        return {"means": np.full((n, len(self._half_lives_s)), np.nan), "seen": np.zeros(n)}

    def _put(self, columns: Mapping[str, Column]) -> None:
        super()._put(columns)
        self._all_fade = False

    def adopt(self, other: Any, rows: Ints) -> None:
        super().adopt(other, rows)
        self._all_fade = False

    def take(self, values: Floats, interval_s: float, known: Bools | None) -> None:
        """The next values (n,); known (n,): which are, None for all."""
        if interval_s != self._interval_s:
            self._interval_s, self._fresh_share = interval_s, fading(interval_s, self._half_lives_s)[None, :]
            self._settled = float(1.0 / self._fresh_share.min())  # from so many values on, all means fade
            self._all_fade = False
        share, before, now = self._fresh_share, self.means, beside(values)
        if not self._all_fade:
            fewest = self.seen.min(initial=self._settled)
            self._all_fade = bool(fewest >= self._settled)
            if fewest < self._settled:
                share = np.maximum(share, 1.0 / (self.seen[:, None] + 1.0))
            if fewest < 1.0:
                before = np.where(before == before, before, now)
        after = now - before
        after *= share
        after += before
        if known is None:
            self.means, self.seen = after, self.seen + _ONE
        else:
            self.means, self.seen = np.where(known[:, None], after, self.means), self.seen + known
