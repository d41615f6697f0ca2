"""``season``: from here, demand changes as it did at this time yesterday, or at this time of the week a week ago.

Only the *change* is taken over, not the level: a service that grew by half since then keeps its new level. Days are of 24 hours: where
a clock is set for summer or winter, the day after is an hour off; the weights, which are learnt, and `spread` then count it less.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from autoscaler.core.constant import constant
from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Floats, Ints
from autoscaler.core.rows import beside

BIN_S: Final = 300
PERIODS: Final = (86_400 // BIN_S, 7 * 86_400 // BIN_S)
LONGEST_AHEAD: Final = 16
"""Bins, 80 minutes. Windows that lie further ahead are taken to lie there."""
SMOOTHED: Final = 4
"""Bins on which a level is a mean: 20 minutes, so that yesterday's noise is not foretold for today."""
BINS: Final = PERIODS[-1] + LONGEST_AHEAD + 2 * SMOOTHED
KNOWN_SHARE: Final = 0.5
"""A bin of which less than this was seen counts as not seen."""
_ONE: Final = constant(1.0)
_EDGES: Final[Ints] = np.arange(3)[:, None]
"""Of the bin in which the window begins, of the one after it, and its end: their places from the first on, (edges, 1)."""

Bins = npt.NDArray[np.float32]


class Season(Kept):
    """bins (n, BINS): mean rates by five minutes, the bin of Unix time b at place b mod BINS; NaN where not seen. The bin that is
    going on is summed up in total, samples (n,)."""

    bins: Bins
    total: Floats
    samples: Floats
    before: Floats
    turn: Floats

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._bin = -1
        self._step_s = 0.0
        self._forecast: Floats = np.full((n, len(PERIODS)), np.nan)

    def fresh(self, n: int) -> dict[str, Column]:
        changes = np.full((n, len(PERIODS)), np.nan)
        return {
            "bins": np.full((n, BINS), np.nan, dtype=np.float32),
            "total": np.zeros(n),
            "samples": np.zeros(n),
            "before": changes,
            "turn": changes.copy(),
        }

    def observe(self, moment: Moment) -> None:
        number = int((moment.at_s - 0.5 * moment.interval_s) // BIN_S)
        if number != self._bin:
            self._commit(number)
            self._look_back(moment)
        rates = moment.rates
        if moment.known is None:
            self.total += rates
            self.samples += _ONE
        else:
            self.total += np.where(moment.known, rates, 0.0)
            self.samples += moment.known
        self._step_s = moment.interval_s
        share = min(moment.at_s / BIN_S - number, 1.0)
        self._forecast = beside(moment.levels) + (self.before + share * self.turn)

    def _commit(self, number: int) -> None:
        """The bin that was going on has ended; bins that nobody saw hold nothing, not what was there a week ago."""
        if self._bin >= 0:
            enough = self.samples * self._step_s >= KNOWN_SHARE * BIN_S
            mean = np.divide(self.total, self.samples, out=np.full(len(self.total), np.nan), where=enough & (self.samples > 0))
            self.bins[:, self._bin % BINS] = mean
            for missed in range(max(self._bin + 1, number - BINS), number):
                self.bins[:, missed % BINS] = np.nan
        self.total[:], self.samples[:] = 0.0, 0.0
        self._bin = number

    def _look_back(self, moment: Moment) -> None:
        """By how much (in logs) demand changed one period ago from the beginning of this bin, and from its end, to the window."""
        ahead = np.minimum((moment.ahead_s + 0.5 * moment.window_s) / BIN_S, LONGEST_AHEAD - 1.0)
        whole = ahead.astype(np.int64)
        part = (ahead - whole)[:, None]
        width = int(whole.max(initial=0)) + 3
        first = self._bin - np.array(PERIODS) - SMOOTHED // 2
        places = (first[:, None] + np.arange(width + SMOOTHED - 1)) % BINS
        # A mean of a few bins around each edge of a bin, (n, periods, width); NaN where one of them is unknown.
        bins = self.bins[:, places].astype(np.float64)
        around = bins[:, :, :width]
        for further in range(1, SMOOTHED):
            around = around + bins[:, :, further : further + width]
        logs = np.log(np.maximum(around / SMOOTHED, moment.floors[:, None, None]))
        then = logs[np.arange(len(whole)), :, whole + _EDGES]  # (edges, n, periods)
        self.before = (1.0 - part) * then[0] + part * then[1] - logs[:, :, 0]
        self.turn = (1.0 - part) * then[1] + part * then[2] - logs[:, :, 1] - self.before

    def usual(self, at_s: float, until_s: Floats) -> Floats:
        """The highest rate (n,) of five minutes that yesterday had between at_s and until_s (n,); NaN where nothing of it was seen."""
        first = int(at_s // BIN_S) - PERIODS[0]
        wanted = np.minimum(np.ceil((until_s - at_s) / BIN_S), LONGEST_AHEAD).astype(np.int64) + 1
        width = int(wanted.max(initial=1))
        bins = self.bins[:, np.arange(first, first + width) % BINS]
        within = np.arange(width) < wanted[:, None]
        return np.asarray(np.fmax.reduce(np.where(within, bins, np.nan).astype(np.float64), 1))

    def forecast(self) -> Floats:
        return self._forecast

    def rearrange(self, rows: Ints) -> None:
        super().rearrange(rows)
        self._forecast = np.full((len(rows), len(PERIODS)), np.nan)

    def adopt(self, other: Any, rows: Ints) -> None:
        if self._bin < 0:
            self._bin, self._step_s = other._bin, other._step_s
        if other._bin < self._bin:
            other._commit(self._bin)  # its last bin has ended meanwhile
        super().adopt(other, rows)

    def save(self) -> dict[str, Any]:
        return {**super().save(), "bin": self._bin, "step_s": self._step_s}

    def load(self, state: Any) -> None:
        number, step_s = int(state["bin"]), float(state["step_s"])
        super().load(state)
        self._bin, self._step_s = number, step_s


FORECASTER = ForecasterType(
    name="season",
    summary="the change that yesterday and the same day of last week had at this time",
    experts=("as yesterday", "as last week"),
    make=Season,
    source="seasonal naive method on differences (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, §5.2)",
)
