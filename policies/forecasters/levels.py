"""``levels``: tomorrow is like today: the mean of the last 15 seconds, minute, three minutes, ten minutes and hour."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.model import Bools, Floats
from autoscaler.core.rows import beside
from policies.forecasters.fading import FadingMeans

HALF_LIVES_S: Final = (15.0, 60.0, 180.0, 600.0, 3600.0)
MINUTE: Final = 1
"""The column of the last minute's mean, which all forecasts are differences to."""


class Levels(FadingMeans):
    """Means of rates (n, levels) that forget at HALF_LIVES_S."""

    def __init__(self, n: int) -> None:
        super().__init__(n, HALF_LIVES_S)
        self.logs: Floats = np.full((n, len(HALF_LIVES_S)), np.nan)
        """Natural logarithms of the means; NaN before the first known sample."""

    def take_rates(self, rates: Floats, floors: Floats, interval_s: float, known: Bools | None) -> None:
        """The next samples (n,), not below the floors (n,); known: which they are, None for all."""
        self.take(rates, interval_s, known)
        self.logs = np.log(np.maximum(self.means, beside(floors)))

    def observe(self, moment: Moment) -> None:
        self.take_rates(np.maximum(moment.rates, moment.floors), moment.floors, moment.interval_s, moment.known)

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
