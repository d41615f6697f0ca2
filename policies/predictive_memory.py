"""What ``predictive`` has learnt of one service over days and can't learn again from the past that a restart is shown: as a short text.

A restart is shown an hour of samples one by one, and eight days in steps of five minutes. From these levels, trends, peaks and the season
come back. What they can't bring back are what the experts' words are worth, how large errors are, how often the forecast missed, how the
promise was kept, and whether the forecast is trusted: they were learnt from forecasts that fell due. These are some 300 numbers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Final
from zlib import crc32

import numpy as np

from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Floats
from policies.forecasters.outlook import Outlook

VERSION: Final = 1

Place = tuple[Kept, str]
"""(who keeps it, the name of its array)."""


def of_outlook(outlook: Outlook) -> list[Place]:
    """What a forecast has learnt from its own errors."""
    return [
        (outlook.mix, "weights"),
        (outlook.mix, "covariances"),
        (outlook.spreads, "squares"),
        (outlook.spreads, "seen"),
        (outlook.spreads.regression, "weights"),
        (outlook.spreads.regression, "covariances"),
    ]


def text_of(places: Sequence[Place], row: int, names: Sequence[str]) -> str:
    """One row of these arrays. names: of the experts that they are of. "" where something in it is no number."""
    found = []
    for column in _columns(places):
        values: Floats = np.asarray(column[row], dtype=np.float64)
        if values.ndim == 2:
            # A covariance by its root: whatever rounding does to that, its square is a covariance.
            try:
                values = np.asarray(np.linalg.cholesky(values)[np.tril_indices(len(values))], dtype=np.float64)
            except np.linalg.LinAlgError:
                return ""
        found.append(values.reshape(-1))
    numbers = np.concatenate(found).astype("<f4")
    if not np.isfinite(numbers).all():
        return ""
    return base64.b64encode(_header(names) + numbers.tobytes()).decode("ascii")


def put_back(places: Sequence[Place], row: int, names: Sequence[str], text: str) -> bool:
    """Puts back what text_of gave. False, and nothing has changed, where it is of another version, other experts, or broken."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    header = _header(names)
    columns = list(_columns(places))
    sizes = [_size(column) for column in columns]
    if not data.startswith(header) or len(data) != len(header) + 4 * sum(sizes):
        return False
    numbers = np.frombuffer(data, dtype="<f4", offset=len(header)).astype(np.float64)
    if not np.isfinite(numbers).all():
        return False
    for column, values in zip(columns, np.split(numbers, np.cumsum(sizes)[:-1]), strict=True):
        column[row] = (
            _square(values, column.shape[1]) if column.ndim == 3 else values.reshape(column.shape[1:]).astype(column.dtype)
        )
    return True


def _columns(places: Sequence[Place]) -> Iterator[Column]:
    return (getattr(keeper, name) for keeper, name in places)


def _size(column: Column) -> int:
    d = column.shape[1] if column.ndim > 1 else 1
    return d * (d + 1) // 2 if column.ndim == 3 else d


def _square(root: Floats, d: int) -> Floats:
    lower = np.zeros((d, d))
    lower[np.tril_indices(d)] = root
    return np.asarray(lower @ lower.T)


def _header(names: Sequence[str]) -> bytes:
    return VERSION.to_bytes(2, "little") + crc32("\n".join(names).encode()).to_bytes(4, "little")
