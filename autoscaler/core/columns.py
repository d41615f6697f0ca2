"""Columns (n,) that policies and the engine keep from tick to tick: as plain values to be saved, and where rows move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def plain(column: npt.NDArray[np.float64]) -> list[float | None]:
    """As JSON values: None for NaN."""
    return [None if value != value else value for value in column.tolist()]


def floats(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    """What plain gave, as a column again."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def plain_number(value: float) -> float | None:
    return None if value != value else value


def number(value: float | None) -> float:
    """What plain_number gave, again."""
    return float("nan") if value is None else float(value)


def rearranged(column: Any, rows: npt.NDArray[np.int64], missing: float = np.nan) -> Any:
    """A column (n, …) whose row i is this one's row rows[i], or `missing` where that is −1; of the same type."""
    after = np.full((len(rows), *column.shape[1:]), missing, dtype=column.dtype)
    known = rows >= 0
    after[known] = column[rows[known]]
    return after
