"""``levels``: tomorrow is like today: the mean of the last 15 seconds, minute, three minutes, ten minutes and hour."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats

HALF_LIVES_S: Final = (15.0, 60.0, 180.0, 600.0, 3600.0)
MINUTE: Final = 1
"""The column of the last minute's mean, which all forecasts are differences to."""


def fading(interval_s: float, half_lives_s: Floats) -> Floats:
    """The weight of a new value in means that forget with these half-lives."""
    share: Floats = 1.0 - 0.5 ** (interval_s / half_lives_s)
    return share


class Levels(Kept):
    """Means of rates that forget exponentially, (n, levels); plain means until a half-life has been seen."""

    means: Floats
    seen: Floats

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._half_lives_s = np.array(HALF_LIVES_S)
        self._interval_s = 0.0
        self._fresh_share: Floats = np.empty(0)
        self.logs: Floats = np.full((n, len(HALF_LIVES_S)), np.nan)
        """Natural logarithms of the means; NaN before the first known sample."""

    def fresh(self, n: int) -> dict[str, Column]:
        return {"means": np.full((n, len(HALF_LIVES_S)), np.nan), "seen": np.zeros(n)}

    def take(self, rates: Floats, floors: Floats, interval_s: float, known: Bools | None) -> None:
        """The next samples (n,), not below the floors (n,); known: which they are, None for all."""
        if interval_s != self._interval_s:
            self._interval_s, self._fresh_share = interval_s, fading(interval_s, self._half_lives_s)
        share = np.maximum(self._fresh_share, 1.0 / (self.seen[:, None] + 1.0))
        before = (
            np.where(self.means == self.means, self.means, rates[:, None]) if self.seen.min(initial=1.0) < 1.0 else self.means
        )
        after = before + share * (rates[:, None] - before)
        if known is None:
            self.means = after
            self.seen = self.seen + 1.0
        else:
            self.means = np.where(known[:, None], after, self.means)
            self.seen = self.seen + known
        self.logs = np.log(np.maximum(self.means, floors[:, None]))

    def observe(self, moment: Moment) -> None:
        known = moment.rates == moment.rates
        every = bool(known.all())
        self.take(np.maximum(moment.rates, moment.floors), moment.floors, moment.interval_s, None if every else known)

    def forecast(self) -> Floats:
        return self.logs

    def rearrange(self, rows: Any) -> None:
        super().rearrange(rows)
        self.logs = np.log(self.means)

    def adopt(self, other: Any, rows: Any) -> None:
        super().adopt(other, rows)
        self.logs = np.log(self.means)

    def load(self, state: Any) -> None:
        super().load(state)
        self.logs = np.log(self.means)


FORECASTER = ForecasterType(
    name="levels",
    summary="the mean of the last 15 s, minute, 3 minutes, 10 minutes and hour",
    experts=("last 15 s", "last minute", "last 3 minutes", "last 10 minutes", "last hour"),
    make=Levels,
    source="simple exponential smoothing (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, §8.1)",
)
