"""How many late requests a promise still allows, and how bold that makes a forecast: a level steered by what the promise has cost.

A promise of 99.5 % allows one request in two hundred to be late. How many are late is seen where requests wait: who arrives while the
queue takes longer than is allowed is late. The account of those that were allowed so far minus those that were late decides how often
a forecast may be too low: with late requests saved up it may be bolder, after a bad hour it is more careful. As an integral controller's
its error stays bounded, so over weeks the promise is met however wrong the forecast's own idea of its misses is (adaptive conformal
inference: Gibbs & Candès, NeurIPS 2021, with the promise in place of coverage).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Floats
from autoscaler.core.rows import chosen, some
from autoscaler.core.seen import any_unknown

SPEED: Final = 0.0002
"""How fast the account moves boldness, for a promise that allows one late request in a hundred; by the root of what is allowed
slower for stricter ones, whose late requests are rarer and tell more each."""
FURTHEST: Final = 1.0
"""Boldness is at most e times more or less than without an account: a month of luck is no licence."""
SMALLEST_PER_S: Final = 1e-9
TYPICAL_S: Final = 75_000.0
"""Over how long the typical number of requests is learnt."""
_MOST: Final = constant(FURTHEST)
_LEAST: Final = constant(-FURTHEST)
_SMALLEST_PER_S: Final = constant(SMALLEST_PER_S)
_ZERO: Final = constant(0.0)


class Allowance(Kept):
    """care (n,): the logarithm by which a forecast may be too low less often than the promise alone says. typical (n,): mean rate."""

    care: Floats
    typical: Floats

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._of: tuple[Floats, Floats, float] | None = None
        self._share: Floats = np.empty(0)
        self._speed: Floats = np.empty(0)
        self._pace: Floats = np.empty(0)
        self._calm: Floats = np.empty(0)

    def fresh(self, n: int) -> dict[str, Column]:
        return {"care": np.zeros(n), "typical": np.zeros(n)}

    def learn(
        self, rates: Floats, waits_s: Floats, allowed_s: Floats, late_ratio: Floats, aim: Floats, interval_s: float
    ) -> None:
        """rates (n,): arrivals; waits_s (n,): how long the newest of them waits; NaN where unknown, which moves nothing.

        late_ratio (n,): what the promise allows, 1 − promised; aim (n,): the share of it to spend."""
        of = self._of
        if of is None or of[0] is not late_ratio or of[1] is not aim or of[2] != interval_s:
            self._of = late_ratio, aim, interval_s
            self._share = aim * late_ratio
            self._pace = constant(interval_s / TYPICAL_S)
            self._speed = interval_s * SPEED / np.sqrt(np.maximum(late_ratio, 1e-6) * 100.0)
            self._calm = self._speed * -self._share
        if any_unknown(rates):
            known = rates == rates
            waits_s, rates = np.where(known, waits_s, 0.0), np.where(known, rates, self.typical)
        typical = chosen(self.typical > _ZERO, self.typical, rates)
        self.typical = typical + self._pace * (rates - typical)
        late = waits_s > allowed_s
        moves = self._speed * (late - self._share) if some(late) else self._calm
        if any_unknown(waits_s):
            moves = np.where(waits_s == waits_s, moves, 0.0)
        care = self.care + moves * (rates / np.maximum(self.typical, _SMALLEST_PER_S))
        self.care = np.minimum(np.maximum(care, _LEAST), _MOST)
