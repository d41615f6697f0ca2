"""How good forecasts were: what policies foretold, held against what then came."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from autoscaler.core.envelope import Stretches
from autoscaler.core.model import Floats, Forecast, Ints
from autoscaler.ports import Tick
from replay.plant.plant import Plant

BLOCK: Final = 4096


class Foresight:
    """A Reporter that keeps the forecasts of every tick from scored_from_s (Unix) on. Where several policies forecast for one service,
    the first of them is judged; of a forecast for several times, the nearest one."""

    def __init__(self, plant: Plant, start_s: float, scored_from_s: float, interval_s: int) -> None:
        self._plant = plant
        self._start_s = start_s
        self._scored_from_s = scored_from_s
        self._interval_s = interval_s
        self._latest: list[tuple[tuple[str, Ints, Forecast], ...]] = []
        self._kept: dict[int, tuple[Forecast, list[float], list[npt.NDArray[np.float32]]]] = {}

    async def report(self, tick: Tick) -> None:
        if tick.decisions.forecasts and tick.plan.at_s >= self._scored_from_s:
            self._latest.append(tick.decisions.forecasts)
            if len(self._latest) == BLOCK:
                self._compact()

    def _compact(self) -> None:
        """Whole forecasts take a hundred times the room of the numbers that are judged."""
        for forecasts in self._latest:
            told: set[int] = set()
            for _, rows, forecast in forecasts:
                nearest = forecast.values[:, :, 0].astype(np.float32)
                for place, row in enumerate(rows.tolist()):
                    if row not in told:
                        told.add(row)
                        _, times_s, values = self._kept.setdefault(row, (forecast, [], []))
                        times_s.append(float(forecast.times_of(place)[0]))
                        values.append(nearest[place])
        self._latest.clear()

    def score(self, row: int, allowed_s: float) -> dict[str, Any] | None:
        """``horizon_s``: how far ahead the window began. ``coverage``: by quantile, the share of windows that needed at most what was said.
        ``pinball``: the mean loss in requests/s over quantiles and windows (Koenker & Bassett, Econometrica 46, 1978). None: no forecast."""
        self._compact()
        if row not in self._kept:
            return None
        one, times_s, kept = self._kept[row]
        values = np.stack(kept).astype(np.float64)
        came = self._came(row, np.array(times_s) - self._start_s, one.window_s, allowed_s)
        known = (came == came) & ~np.isnan(values).any(axis=1)
        if not known.any():
            return None
        over = came[known, None] - values[known]
        loss = np.maximum(one.quantiles * over, (one.quantiles - 1.0) * over)
        return {
            "horizon_s": round(float(np.ravel(one.times_s)[0] - one.made_at_s), 3),
            "pinball": round(float(loss.mean()), 6),
            "coverage": {
                f"{q:g}": round(float(share), 6) for q, share in zip(one.quantiles, (over <= 0).mean(axis=0), strict=True)
            },
        }

    def _came(self, row: int, from_s: Floats, window_s: float, allowed_s: float) -> Floats:
        """The effective demand of the windows that begin from_s after the trace's start; NaN beyond its end."""
        step_s = self._interval_s
        arrivals = self._plant.demand[row]
        rates = arrivals[: len(arrivals) // step_s * step_s].reshape(-1, step_s).mean(axis=1)
        samples = max(round(window_s / step_s), 1)
        first = np.rint(from_s / step_s).astype(np.int64)
        there = first + samples <= len(rates)
        came = np.full(len(first), np.nan)
        if there.any():
            windows = np.lib.stride_tricks.sliding_window_view(rates, samples)[first[there]]
            came[there] = Stretches(samples, step_s, np.array([allowed_s])).effective(windows)
        return came
