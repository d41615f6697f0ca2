"""How much of the promise was kept so far, estimated from ticks.

A tick counts as kept when the objective's signal was within its target, weighted by the demand at that moment: the signal is the
objective's quantile already, so this says how often the promise held, not which single requests met it. Where somebody counts the
requests themselves (the demo's plant does), the page shows those instead.
"""

from __future__ import annotations

import numpy as np

from autoscaler.core.model import Fleet, Floats, Ints, Readings
from autoscaler.core.signals import SignalState


class Attained:
    """Sums (n,) in the fleet's order; they move with the services when the fleet changes."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._kept: Floats = np.empty(0)
        self._seen: Floats = np.empty(0)
        self._by_signal: list[tuple[str, Ints]] = []
        self._targets: Floats = np.empty(0)

    def rearrange(self, fleet: Fleet) -> None:
        kept, seen = np.zeros(len(fleet)), np.zeros(len(fleet))
        rows = {spec.key: row for row, spec in enumerate(fleet.specs)}
        for key, row in rows.items():
            before = self._rows.get(key)
            if before is not None:
                kept[row], seen[row] = self._kept[before], self._seen[before]
        self._rows, self._kept, self._seen = rows, kept, seen
        self._targets = np.array([spec.objective.target for spec in fleet.specs], dtype=np.float64)
        by_signal: dict[str, list[int]] = {}
        for row, spec in enumerate(fleet.specs):
            by_signal.setdefault(spec.objective.signal, []).append(row)
        self._by_signal = [(name, np.array(some, dtype=np.int64)) for name, some in by_signal.items()]

    def objective(self, readings: Readings) -> Floats:
        """The value of each service's objective signal, (n,); NaN where it is unknown or idle (nobody waits for nothing)."""
        values = np.full(len(self._targets), np.nan)
        for name, rows in self._by_signal:
            column = readings.signals.get(name)
            if column is not None:
                values[rows] = np.where(column.state[rows] == SignalState.KNOWN, column.values[rows], np.nan)
        return values

    def add(self, objective: Floats, demand: Floats) -> None:
        """One tick: demand (n,) in requests/s; where it is unknown the tick weighs 1."""
        known = ~np.isnan(objective)
        weight = np.where(known, np.where(np.isnan(demand), 1.0, demand), 0.0)
        self._seen += weight
        self._kept += np.where(known & (objective <= self._targets), weight, 0.0)

    def ratios(self) -> Floats:
        """(n,), NaN where nothing was seen yet."""
        ratios: Floats = np.divide(self._kept, self._seen, out=np.full(len(self._seen), np.nan), where=self._seen > 0)
        return ratios

    def whole(self) -> float:
        """Of all services together; NaN where nothing was seen yet."""
        seen = float(self._seen.sum())
        return float(self._kept.sum()) / seen if seen > 0 else float("nan")
