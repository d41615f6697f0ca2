"""``half-hour``: demand will need what it needed at most within the last half hour. A forecaster with one expert."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Floats

PART_S: Final = 300.0
PARTS: Final = 6


class HalfHour(Kept):
    """The last half hour in parts of five minutes, part p of Unix time at place p mod 6. highest (n, 6): the log of the highest effective
    demand, NaN where unknown; number (n, 6): which part it is of."""

    highest: Floats
    number: Floats

    def fresh(self, n: int) -> dict[str, Column]:
        return {"highest": np.full((n, PARTS), np.nan), "number": np.full((n, PARTS), -np.inf)}

    def observe(self, moment: Moment) -> None:
        part = moment.at_s // PART_S
        place = int(part) % PARTS
        same = self.number[:, place] == part
        self.highest[:, place] = np.where(same, np.fmax(self.highest[:, place], moment.reached), moment.reached)
        self.number[:, place] = part

    def forecast(self) -> Floats:
        recent = self.number > self.number.max(axis=1, keepdims=True) - PARTS
        return np.asarray(np.fmax.reduce(np.where(recent, self.highest, np.nan), axis=1, keepdims=True))


FORECASTER = ForecasterType(
    name="half-hour",
    summary="the highest effective demand of the last half hour",
    experts=("highest of half an hour",),
    make=HalfHour,
)
