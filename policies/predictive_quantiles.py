"""By how much a forecast may be exceeded, looked up now and then in what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats, Ints
from autoscaler.core.seen import any_unknown
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

    any_missing = True
    """Whether anybody's are to be looked up."""

    def _put(self, columns: Mapping[str, Column]) -> None:
        super()._put(columns)
        self.any_missing = any_unknown(self.promised)

    def adopt(self, other: Any, rows: Ints) -> None:
        super().adopt(other, rows)
        self.any_missing = any_unknown(self.promised)

    def forget(self, row: int) -> None:
        """They are to be looked up anew."""
        for column in (self.promised, self.watched, self.shown):
            column[row] = np.nan
        self.any_missing = True

    def look_up(self, misses: Misses, promised: Floats, rows: Bools | None) -> None:
        """promised (n,): how often the promise bears it. rows (n,): of which services; None: of all."""
        n = len(promised)
        shares = np.empty((n, 2 + len(QUANTILES)))
        shares[:, 0], shares[:, 1], shares[:, 2:] = promised, CLAIM, 1.0 - QUANTILES
        found = misses.exceeded(shares)
        if rows is not None:
            found = np.where(rows[:, None], found, np.column_stack([self.promised, self.watched, self.shown]))
        self.promised, self.watched, self.shown = found[:, 0], found[:, 1], found[:, 2:]
        self.any_missing = any_unknown(self.promised)
