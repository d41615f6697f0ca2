"""``trend``: what has changed within the last five or fifteen minutes changes once more by as much."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.columns import rearranged
from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.history import History
from autoscaler.core.model import Floats, Ints
from autoscaler.core.rows import beside

SPANS_S: Final = (300.0, 900.0)


class Trend:
    """The last minute's level now and SPANS_S ago."""

    def __init__(self, n: int) -> None:
        self._past = History(n, 1)
        self._interval_s = 0.0
        self._places: Ints = np.empty(0, dtype=np.int64)
        """Where SPANS_S ago stands in the past, oldest first."""
        self._forecast: Floats = np.full((n, len(SPANS_S)), np.nan)

    def _every(self, interval_s: float, n: int) -> None:
        """From now on moments come so often; nothing is known of those that came otherwise."""
        self._interval_s = interval_s
        ago = np.maximum(np.rint(np.array(SPANS_S) / interval_s), 1).astype(np.int64)
        self._past = History(n, int(ago[-1]) + 1)
        self._places = int(ago[-1]) - ago

    def observe(self, moment: Moment) -> None:
        if moment.interval_s != self._interval_s:
            self._every(moment.interval_s, len(moment.rates))
        self._past.push(moment.at_s, moment.levels)
        now = beside(moment.levels)
        past = self._past.last(self._past.length)
        if self._past.filled < self._past.length:  # what was before the first moment is unknown
            past = np.concatenate([np.full((len(past), self._past.length - self._past.filled), np.nan), past], axis=1)
        self._forecast = now + (now - past.take(self._places, 1))

    def forecast(self) -> Floats:
        return self._forecast

    def rearrange(self, rows: Ints) -> None:
        self._past = self._past.rearranged(rows)
        self._forecast = rearranged(self._forecast, rows)

    def adopt(self, other: Any, rows: Ints) -> None:
        if self._interval_s and self._interval_s == other._interval_s:
            self._past.adopt(other._past, rows)

    def save(self) -> dict[str, Any]:
        return {"interval_s": self._interval_s, "past": self._past.save()}

    def load(self, state: dict[str, Any]) -> None:
        interval_s = float(state["interval_s"])
        if interval_s:
            self._every(interval_s, len(self._past))
            self._past.load(state["past"])


FORECASTER = ForecasterType(
    name="trend",
    summary="the change of the last 5 or 15 minutes, once more",
    experts=("trend of 5 minutes", "trend of 15 minutes"),
    make=Trend,
    source="the drift method on a short span (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, §5.2)",
)
