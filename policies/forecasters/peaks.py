"""``peaks``: the effective demand of the last window, and its mean over a minute, five and twenty minutes.

Where demand comes in bursts, this says how far above the mean the next window's effective demand usually lies."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.kept import Column
from autoscaler.core.model import Floats, Ints
from policies.forecasters.fading import FadingMeans

HALF_LIVES_S: Final = (60.0, 300.0, 1200.0)


class Peaks(FadingMeans):
    """latest (n,): the log of the last known effective demand. means (n, 3): its means that forget at HALF_LIVES_S."""

    latest: Floats

    def __init__(self, n: int) -> None:
        super().__init__(n, HALF_LIVES_S)

    def fresh(self, n: int) -> dict[str, Column]:
        return {"latest": np.full(n, np.nan), **super().fresh(n)}

    def observe(self, moment: Moment) -> None:
        reached = moment.reached
        known = None if moment.whole else reached == reached
        self.take(reached, moment.interval_s, known)
        self.latest = reached if known is None else np.where(known, reached, self.latest)

    def adopt(self, other: Any, rows: Ints) -> None:
        self.latest = self.latest.copy()  # it may be the moment's own
        super().adopt(other, rows)

    def forecast(self) -> Floats:
        return np.concatenate([self.latest[:, None], self.means], 1)


FORECASTER = ForecasterType(
    name="peaks",
    summary="the effective demand of the last minute, and its mean over the last minute, 5 and 20 minutes",
    experts=("last peak", "peaks of a minute", "peaks of 5 minutes", "peaks of 20 minutes"),
    make=Peaks,
    source="exponential smoothing of core.envelope's effective demand",
)
