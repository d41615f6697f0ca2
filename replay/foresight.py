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


class _Told:
    """What one policy foretold of its rows (m,): blocks of (ticks,) times it was told at, (ticks, m) times it is of, (ticks, m, q) values."""

    def __init__(self, rows: Ints, forecast: Forecast) -> None:
        self.rows = rows
        self.first = forecast
        self.full: list[tuple[Floats, npt.NDArray[np.float32]]] = []
        self._begin()

    def _begin(self) -> None:
        self._count = 0
        self._times_s: Floats = np.empty((BLOCK, len(self.rows)))
        self._values: npt.NDArray[np.float32] = np.empty((BLOCK, len(self.rows), len(self.first.quantiles)), dtype=np.float32)

    def add(self, forecast: Forecast) -> None:
        place = self._count
        times_s = forecast.times_s
        self._times_s[place] = times_s[:, 0] if times_s.ndim > 1 else times_s[0]
        self._values[place] = forecast.values[:, :, 0]
        self._count = place + 1
        if self._count == BLOCK:
            self.flush()

    def flush(self) -> None:
        self.full.append((self._times_s[: self._count].copy(), self._values[: self._count].copy()))
        self._begin()

    def of(self, place: int) -> tuple[Floats, Floats]:
        """The times (ticks,) and values (ticks, q) of one of its rows."""
        self.flush()
        times_s = np.concatenate([times[:, place] for times, _ in self.full])
        return times_s, np.concatenate([values[:, place] for _, values in self.full]).astype(np.float64)


class Foresight:
    """A Reporter that keeps the forecasts of every tick from scored_from_s (Unix) on. Where several policies forecast for one service,
    the first of them is judged; of a forecast for several times, the nearest one."""

    def __init__(self, plant: Plant, start_s: float, scored_from_s: float, interval_s: int) -> None:
        self._plant = plant
        self._start_s = start_s
        self._scored_from_s = scored_from_s
        self._interval_s = interval_s
        self._told: dict[str, _Told] = {}

    async def report(self, tick: Tick) -> None:
        if not tick.decisions.forecasts or tick.plan.at_s < self._scored_from_s:
            return
        for policy, rows, forecast in tick.decisions.forecasts:
            told = self._told.get(policy)
            if told is None:
                told = self._told[policy] = _Told(rows, forecast)
            told.add(forecast)

    def score(self, row: int, allowed_s: float) -> dict[str, Any] | None:
        """``horizon_s``: how far ahead the window began. ``coverage``: by quantile, the share of windows that needed at most what was said.
        ``pinball``: the mean loss in requests/s over quantiles and windows (Koenker & Bassett, Econometrica 46, 1978). None: no forecast."""
        told = next((one for one in self._told.values() if row in one.rows), None)
        if told is None:
            return None
        one = told.first
        times_s, values = told.of(int(np.searchsorted(told.rows, row)))
        came = self._came(row, times_s - self._start_s, one.window_s, allowed_s)
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
