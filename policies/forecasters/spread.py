"""How far off a forecast will probably be: the scale of its error, by how far off the last ones were and how restless demand is."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats, Ints
from policies.forecasters.levels import HALF_LIVES_S as LEVELS_S
from policies.forecasters.levels import fading
from policies.forecasters.regression import Regression

ERRORS_S: Final = (300.0, 900.0, 3600.0, 43_200.0)
"""Half-lives over which errors are remembered."""
MOVES_S: Final = (120.0, 600.0, 3600.0)
"""Half-lives over which the moves of the 15-second level are remembered."""
FEATURES: Final = len(ERRORS_S) + len(MOVES_S) + 3
MEMORY_S: Final = 75_000.0
"""How long an example counts (to 1/e)."""
AT_FIRST: Final = 0.08
"""The error of a forecast for a service of which nothing is known, in logs: 8 %."""
SMALLEST: Final = 0.01
LARGEST: Final = 1.6
TYPICAL: Final = 1.6
"""What the exponential of the mean log of errors is multiplied by to be their usual scale: 1.6 to 1.9 for bell-shaped ones."""
FARTHEST: Final = 6.0
_OFFSET: Final = 0.003  # added to errors, so that one that is nearly exact by chance has no huge negative log
_BASE = LEVELS_S.index(60.0)
_LONG = LEVELS_S.index(600.0)


class Spread(Kept):
    """squares (n, 4), moves (n, 3): means of squared errors and moves that forget; latest (n,): the 15-second level before."""

    squares: Floats
    moves: Floats
    latest: Floats
    seen: Floats

    def __init__(self, n: int) -> None:
        super().__init__(n)
        start = np.zeros(FEATURES)
        start[ERRORS_S.index(3600.0)] = 1.0
        self._regression = Regression(n, start)
        self._interval_s = self._step_s = 0.0
        self._error_share: Floats = np.empty(0)
        self._move_share: Floats = np.empty(0)

    def fresh(self, n: int) -> dict[str, Column]:
        return {
            "squares": np.full((n, len(ERRORS_S)), AT_FIRST**2),
            "moves": np.full((n, len(MOVES_S)), AT_FIRST**2),
            "latest": np.full(n, np.nan),
            "seen": np.zeros(n),
        }

    def features(self, logs: Floats, interval_s: float) -> Floats:
        """What tells the scale now, (n, FEATURES); logs (n, levels): of ``Levels``, whose moves are learnt here."""
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            self._move_share = fading(interval_s, np.array(MOVES_S))
        moved = logs[:, 0] - self.latest
        squared = np.where(moved == moved, moved * moved, AT_FIRST**2)[:, None]
        self.latest = logs[:, 0]
        self.moves = self.moves + self._move_share * (squared - self.moves)
        into = np.empty((len(logs), FEATURES))
        errors, moves = len(ERRORS_S), len(ERRORS_S) + len(MOVES_S)
        into[:, :errors] = self.squares
        np.maximum(self.moves, 1e-6, out=into[:, errors:moves])
        np.log(into[:, :moves], out=into[:, :moves])
        into[:, :moves] *= 0.5
        into[:, moves] = -0.5 * logs[:, _BASE]
        np.abs(logs[:, _BASE] - logs[:, _LONG], out=into[:, moves + 1])
        into[:, moves + 2] = 1.0
        return into

    def scale(self, features: Floats) -> Floats:
        """The usual error in logs, (n,). Never further from what it was over half a day than by a factor of five."""
        usual = np.sqrt(self.squares[:, -1])
        found = TYPICAL * np.exp(np.minimum(self._regression.predict(features), 0.0))
        return np.asarray(np.minimum(np.maximum(found, np.maximum(SMALLEST, 0.2 * usual)), np.minimum(5.0 * usual, LARGEST)))

    def learn(self, features: Floats, errors: Floats, spreads: Floats, step_s: float, known: Bools | None) -> None:
        """errors (n,): how far off a forecast was, made when the features were these, and by how much it said it would be, spreads (n,). step_s:
        since the last ones. known: which rows have one, None for all."""
        # One jump of demand says little of the errors that follow it: it counts as a large error, not as large as it was.
        off = np.minimum(np.abs(errors), FARTHEST * spreads) + _OFFSET
        if known is not None:
            off = np.where(known, off, 1.0)
        self._regression.learn(features, np.log(off), 1.0 - step_s / MEMORY_S, known)
        if step_s != self._step_s:
            self._step_s, self._error_share = step_s, fading(step_s, np.array(ERRORS_S))
        share = np.maximum(self._error_share, 1.0 / (self.seen[:, None] + 8.0))
        after = self.squares + share * ((off * off)[:, None] - self.squares)
        if known is None:
            self.squares, self.seen = after, self.seen + 1.0
        else:
            self.squares, self.seen = np.where(known[:, None], after, self.squares), self.seen + known

    def rearrange(self, rows: Ints) -> None:
        super().rearrange(rows)
        self._regression.rearrange(rows)

    def adopt(self, other: Any, rows: Ints) -> None:
        super().adopt(other, rows)
        self._regression.adopt(other._regression, rows)

    def save(self) -> dict[str, Any]:
        return {**super().save(), "regression": self._regression.save()}

    def load(self, state: Any) -> None:
        super().load(state)
        self._regression.load(state["regression"])
