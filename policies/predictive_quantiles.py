"""By how much a forecast may be exceeded, looked up now and then in what was seen."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats
from policies.forecasters.misses import Misses
from policies.predictive_grace import CLAIM

QUANTILES: Final = np.array([0.5, 0.9, 0.99])
"""Shown, and scored; the one that counts is the promise's own."""


class Quantiles(Kept):
    """By how many spreads a forecast is exceeded, (n,) each: as often as the promise bears (promised), as `Grace` watches (watched), and for
    QUANTILES (shown (n, 3)). NaN: to be looked up."""

    promised: Floats
    watched: Floats
    shown: Floats

    def fresh(self, n: int) -> dict[str, Column]:
        return {"promised": np.full(n, np.nan), "watched": np.full(n, np.nan), "shown": np.full((n, len(QUANTILES)), np.nan)}

    def forget(self, row: int) -> None:
        """They are to be looked up anew."""
        for column in (self.promised, self.watched, self.shown):
            column[row] = np.nan

    def look_up(self, misses: Misses, promised: Floats, rows: Bools | None) -> None:
        """promised (n,): how often the promise bears it. rows (n,): of which services; None: of all."""
        n = len(promised)
        shares = np.empty((n, 2 + len(QUANTILES)))
        shares[:, 0], shares[:, 1], shares[:, 2:] = promised, CLAIM, 1.0 - QUANTILES
        found = misses.exceeded(shares)
        if rows is not None:
            found = np.where(rows[:, None], found, np.column_stack([self.promised, self.watched, self.shown]))
        self.promised, self.watched, self.shown = found[:, 0], found[:, 1], found[:, 2:]
