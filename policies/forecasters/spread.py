"""How far off a forecast will probably be: the scale of its error, by how far off the last ones were and how restless demand is."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats, Ints
from autoscaler.core.rows import beside, some
from autoscaler.core.seen import any_unknown
from policies.forecasters.fading import fading
from policies.forecasters.levels import HALF_LIVES_S as LEVELS_S
from policies.forecasters.regression import Regression

ERRORS_S: Final = (300.0, 900.0, 3600.0, 43_200.0)
"""Half-lives over which errors are remembered."""
MOVES_S: Final = (120.0, 600.0, 3600.0)
"""Half-lives over which the moves of the 15-second level are remembered."""
_ERRORS: Final = len(ERRORS_S)
_SQUARES: Final = len(ERRORS_S) + len(MOVES_S)
FEATURES: Final = _SQUARES + 3
MEMORY_S: Final = 75_000.0
"""How long an example counts (to 1/e)."""
AT_FIRST: Final = 0.08
"""The error of a forecast for a service of which nothing is known, in logs: 8 %."""
SMALLEST: Final = 0.01
LARGEST: Final = 1.6
TYPICAL: Final = 1.6
"""What the exponential of the mean log of errors is multiplied by to be their usual scale: 1.6 to 1.9 for bell-shaped ones."""
FARTHEST: Final = 6.0
SURPRISED: Final = 4.0
"""An error of so many spreads is a surprise: something began that no forecast could know. All forecasts made before it began miss it, one
after the other, and say it once; what follows them is as calm or as restless as it was."""
_TINY: Final = constant(1e-6)
_HALF: Final = constant(0.5)
_MINUS_HALF: Final = constant(-0.5)
_ONE: Final = constant(1.0)
_TYPICAL: Final = constant(TYPICAL)
_SMALLEST: Final = constant(SMALLEST)
_LARGEST: Final = constant(LARGEST)
_LEAST_SHARE: Final = constant(0.2)
_MOST_TIMES: Final = constant(5.0)
_OFFSET: Final = 0.003  # added to errors, so that one that is nearly exact by chance has no huge negative log
_BASE = LEVELS_S.index(60.0)
_LONG = LEVELS_S.index(600.0)


class Spread(Kept):
    """squares (n, 7): means that forget, of squared errors (ERRORS_S) and of squared moves (MOVES_S). latest (n,): the 15-second level
    before. seen (n,): how many errors were learnt from. surprised (n,): whether the last one was a surprise."""

    squares: Floats
    latest: Floats
    seen: Floats
    surprised: Bools

    def __init__(self, n: int) -> None:
        super().__init__(n)
        start = np.zeros(FEATURES)
        start[ERRORS_S.index(3600.0)] = 1.0
        self.regression = Regression(n, start)
        self._interval_s = self._step_s = 0.0
        self._error_share: Floats = np.empty(0)
        self._move_share: Floats = np.empty(0)

    def fresh(self, n: int) -> dict[str, Column]:
        return {
            "squares": np.full((n, _SQUARES), AT_FIRST**2),
            "latest": np.full(n, np.nan),
            "seen": np.zeros(n),
            "surprised": np.zeros(n, dtype=np.bool_),
        }

    def features(self, logs: Floats, interval_s: float, into: Floats) -> None:
        """Writes what tells the scale now into `into` (n, FEATURES); logs (n, levels): of ``Levels``, whose moves are learnt here."""
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            self._move_share = fading(interval_s, np.array(MOVES_S))[None, :]
        moved = logs[:, 0] - self.latest
        if any_unknown(moved):
            moved = np.where(moved == moved, moved, AT_FIRST)
        self.latest = logs[:, 0]
        moves = self.squares[:, _ERRORS:]
        step = beside(moved * moved + _TINY) - moves
        step *= self._move_share
        moves += step
        scales = into[:, :_SQUARES]
        np.log(self.squares, out=scales)
        scales *= _HALF
        level = logs[:, _BASE]
        into[:, _SQUARES] = _MINUS_HALF * level
        into[:, _SQUARES + 1] = abs(level - logs[:, _LONG])
        into[:, _SQUARES + 2] = _ONE

    def scale(self, features: Floats, row: int | None = None) -> Floats:
        """The usual error in logs, (n,); with a row, (m,): of that service at m moments. Never further from what it was over half a day than by
        a factor of five."""
        usual = np.exp(features[:, _ERRORS - 1])
        found = _TYPICAL * np.exp(self.regression.predict(features, row))
        found = np.maximum(found, np.maximum(_SMALLEST, _LEAST_SHARE * usual))
        return np.minimum(found, np.minimum(_MOST_TIMES * usual, _LARGEST))

    def learn(self, features: Floats, errors: Floats, spreads: Floats, step_s: float, known: Bools | None) -> None:
        """errors (n,): how far off a forecast was, made when the features were these, and by how much it said it would be, spreads (n,). step_s:
        since the last ones. known: which rows have one, None for all."""
        surprised = errors > SURPRISED * spreads
        again = surprised & self.surprised
        self.surprised = surprised
        if some(again):
            known = ~again if known is None else known & ~again
        # One jump of demand says little of the errors that follow it: it counts as a large error, not as large as it was.
        off = np.minimum(np.abs(errors), FARTHEST * spreads) + _OFFSET
        if known is not None:
            off = np.where(known, off, 1.0)
        self.regression.learn(features, np.log(off), 1.0 - step_s / MEMORY_S, known)
        if step_s != self._step_s:
            self._step_s, self._error_share = step_s, fading(step_s, np.array(ERRORS_S))
        share = np.maximum(self._error_share, 1.0 / (self.seen[:, None] + 8.0))
        if known is not None:
            share = np.where(known[:, None], share, 0.0)
        squares = self.squares[:, :_ERRORS]
        squares += share * ((off * off)[:, None] - squares)
        self.seen = self.seen + 1.0 if known is None else self.seen + known

    def rearrange(self, rows: Ints) -> None:
        super().rearrange(rows)
        self.regression.rearrange(rows)

    def adopt(self, other: Any, rows: Ints) -> None:
        super().adopt(other, rows)
        self.regression.adopt(other.regression, rows)

    def save(self) -> dict[str, Any]:
        return {**super().save(), "regression": self.regression.save()}

    def load(self, state: Any) -> None:
        super().load(state)
        self.regression.load(state["regression"])
