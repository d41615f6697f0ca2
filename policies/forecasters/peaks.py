"""``peaks``: the effective demand of the last window, and its mean over a minute, five and twenty minutes.

Where demand comes in bursts, this says how far above the mean the next window's effective demand usually lies."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Floats, Ints
from autoscaler.core.seen import any_unknown
from policies.forecasters.levels import fading

HALF_LIVES_S: Final = (60.0, 300.0, 1200.0)


class Peaks(Kept):
    """latest (n,): the log of the last known effective demand. means (n, 3): its means that forget exponentially."""

    latest: Floats
    means: Floats
    seen: Floats

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._half_lives_s = np.array(HALF_LIVES_S)
        self._interval_s = 0.0
        self._fresh_share: Floats = np.empty(0)
        self._begun = False  # whether all have been seen

    def fresh(self, n: int) -> dict[str, Column]:
        return {"latest": np.full(n, np.nan), "means": np.full((n, len(HALF_LIVES_S)), np.nan), "seen": np.zeros(n)}

    def observe(self, moment: Moment) -> None:
        if moment.interval_s != self._interval_s:
            self._interval_s, self._fresh_share = moment.interval_s, fading(moment.interval_s, self._half_lives_s)
        reached = moment.reached[:, None]
        share = np.maximum(self._fresh_share, 1.0 / (self.seen[:, None] + 1.0))
        if moment.whole and self._begun:
            self.means = self.means + share * (reached - self.means)
            self.latest, self.seen = moment.reached, self.seen + 1.0
            return
        known = reached == reached
        before = np.where(self.means == self.means, self.means, reached)
        after = before + share * (reached - before)
        self.means = np.where(known, after, self.means)
        self.latest = np.where(known[:, 0], moment.reached, self.latest)
        self.seen = self.seen + known[:, 0]
        self._begun = not any_unknown(self.latest)

    def rearrange(self, rows: Ints) -> None:
        super().rearrange(rows)
        self._begun = False

    def adopt(self, other: Any, rows: Ints) -> None:
        self.latest = self.latest.copy()  # it may be the moment's own
        super().adopt(other, rows)

    def forecast(self) -> Floats:
        return np.concatenate([self.latest[:, None], self.means], axis=1)


FORECASTER = ForecasterType(
    name="peaks",
    summary="the effective demand of the last minute, and its mean over the last minute, 5 and 20 minutes",
    experts=("last peak", "peaks of a minute", "peaks of 5 minutes", "peaks of 20 minutes"),
    make=Peaks,
    source="exponential smoothing of core.envelope's effective demand",
)
