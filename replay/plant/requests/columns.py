"""Columns of numbers as a kernel wants them: numpy arrays for the compiled one, lists for the plain one (which is fastest over lists)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscaler.core.model import Floats, Ints


@dataclass(frozen=True, slots=True)
class Columns:
    """arrays: numpy's, else lists. A table of several rows is a two-dimensional array, or a list of lists."""

    arrays: bool

    def of(self, values: Any) -> Any:
        """Values (n,) or (rows, n) as a column or a table."""
        return np.ascontiguousarray(values) if self.arrays else np.asarray(values).tolist()

    def floats(self, *shape: int) -> Any:
        """Numbers that are written before they are read."""
        return np.empty(shape) if self.arrays else self._lists(shape, 0.0)

    def ints(self, *shape: int, value: int = 0) -> Any:
        return np.full(shape, value, dtype=np.int64) if self.arrays else self._lists(shape, value)

    def notes(self, *shape: int) -> Any:
        """Whole numbers that are written before they are read."""
        return np.empty(shape, dtype=np.int64) if self.arrays else self._lists(shape, 0)

    def picked(self, column: Any, which: Any) -> Floats:
        """Entries of a column, by a slice or by their places, as an array."""
        if self.arrays:
            chosen: Floats = column[which]
            return chosen
        if isinstance(which, slice):
            return np.array(column[which], dtype=np.float64)
        return np.array([column[one] for one in which.tolist()], dtype=np.float64)

    @staticmethod
    def listed(column: Any, start: int, end: int) -> Ints:
        """Whole numbers of a column, a copy."""
        return np.array(column[start:end], dtype=np.int64)

    @staticmethod
    def _lists(shape: tuple[int, ...], value: Any) -> list[Any]:
        if len(shape) == 1:
            return [value] * shape[0]
        return [[value] * shape[1] for _ in range(shape[0])]
