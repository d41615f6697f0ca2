"""``trend``: what has changed within the last five or fifteen minutes changes once more by as much."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.model import Floats, Ints
from autoscaler.core.ring import Ring

SPANS_S: Final = (300.0, 900.0)


class Trend:
    """The last minute's level now and SPANS_S ago."""

    def __init__(self, n: int) -> None:
        self._past = Ring(n, 1, 1)
        self._interval_s = 0.0
        self._ago: tuple[int, ...] = ()
        self._forecast: Floats = np.full((n, len(SPANS_S)), np.nan)

    def observe(self, moment: Moment) -> None:
        if moment.interval_s != self._interval_s:
            self._interval_s = moment.interval_s
            self._ago = tuple([max(round(span_s / moment.interval_s), 1) for span_s in SPANS_S])
            self._past = Ring(len(moment.rates), self._ago[-1] + 1, 1)
        self._past.push()[:, 0] = moment.levels
        now = moment.levels[:, None]
        before = np.concatenate([self._past.ago(ago) for ago in self._ago], axis=1)
        self._forecast = now + (now - before)

    def forecast(self) -> Floats:
        return self._forecast

    def rearrange(self, rows: Ints) -> None:
        self._past.rearrange(rows)
        known = rows >= 0
        forecast = np.full((len(rows), len(SPANS_S)), np.nan)
        forecast[known] = self._forecast[rows[known]]
        self._forecast = forecast

    def adopt(self, other: Any, rows: Ints) -> None:
        if self._interval_s and self._interval_s == other._interval_s:
            self._past.adopt(other._past, rows)

    def save(self) -> dict[str, Any]:
        return {"interval_s": self._interval_s, "past": self._past.save()}

    def load(self, state: dict[str, Any]) -> None:
        interval_s = float(state["interval_s"])
        self._past.load(state["past"])
        self._interval_s = interval_s
        self._ago = tuple([max(round(span_s / interval_s), 1) for span_s in SPANS_S]) if interval_s else ()


FORECASTER = ForecasterType(
    name="trend",
    summary="the change of the last 5 or 15 minutes, once more",
    experts=("trend of 5 minutes", "trend of 15 minutes"),
    make=Trend,
    source="the drift method on a short span (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, §5.2)",
)
