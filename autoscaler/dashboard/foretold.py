"""What forecasts said of moments that have come, and of those that are still to come: the band of the page's demand plot."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, Ints
from autoscaler.core.rows import some
from autoscaler.ports import Tick

KEPT: Final = 256
"""Ticks whose forecasts are kept: an hour of lead time at ticks of 15 s."""


@dataclass(slots=True)
class _Made:
    """The forecasts of one tick. rows of the fleet → place; times_s (m,), values (m, q): of the nearest window."""

    policy: str
    unit: str
    made_at_s: float
    rows: Ints
    times_s: Floats
    quantiles: Floats
    values: Floats


class Foretold:
    """Of each service the first policy that forecasts counts."""

    def __init__(self) -> None:
        self._made: deque[list[_Made]] = deque(maxlen=KEPT)

    def forget(self) -> None:
        """The fleet's rows have changed."""
        self._made.clear()

    def add(self, tick: Tick) -> None:
        made = []
        for policy, rows, forecast in tick.decisions.forecasts:
            times_s = forecast.times_s[:, 0] if forecast.times_s.ndim > 1 else np.full(len(rows), forecast.times_s[0])
            made.append(
                _Made(
                    policy, forecast.unit, float(forecast.made_at_s), rows, times_s, forecast.quantiles, forecast.values[:, :, 0]
                )
            )
        self._made.append(made)

    def of_now(self, at_s: float, services: int) -> tuple[Floats, Floats]:
        """(lowest, highest) quantile (n,) of what was foretold for the windows that have begun by `at_s`, the latest of each service."""
        low, high = np.full(services, np.nan), np.full(services, np.nan)
        for made in reversed(self._made):
            for one in made:
                due = (one.times_s <= at_s) & np.isnan(low[one.rows])
                if some(due):
                    low[one.rows[due]], high[one.rows[due]] = one.values[due, 0], one.values[due, -1]
            if made and not np.isnan(low).any():
                break
        return low, high

    def ahead(self, at_s: float, row: int) -> dict[str, Any] | None:
        """What has been foretold for windows that begin after `at_s`, in order of time, as the API gives it; None: nothing."""
        times_s: list[float] = []
        values: list[list[float | None]] = []
        latest: _Made | None = None
        for made in self._made:
            for one in made:
                place = int(np.searchsorted(one.rows, row))
                if place < len(one.rows) and one.rows[place] == row:
                    if one.times_s[place] > (times_s[-1] if times_s else at_s):
                        times_s.append(float(one.times_s[place]))
                        values.append([float(value) if np.isfinite(value) else None for value in one.values[place]])
                    latest = one
                    break
        if latest is None:
            return None
        return {
            "policy": latest.policy,
            "unit": latest.unit,
            "made_at_s": latest.made_at_s,
            "times_s": times_s,
            "quantiles": latest.quantiles.tolist(),
            "values": [list(line) for line in zip(*values, strict=True)] if values else [[] for _ in latest.quantiles],
        }
