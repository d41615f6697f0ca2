"""What a batch-first policy learns: arrays with a leading service axis that move, are taken over, saved and loaded together."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Ints

Column: TypeAlias = npt.NDArray[Any]


class Kept:
    """Base for what is learnt of n services. A subclass names its arrays in ``fresh``, and has an attribute of the same name for each.

    rearrange, adopt, save and load mean what they mean for a policy (``autoscaler.core.policy``)."""

    def __init__(self, n: int) -> None:
        self._put(self.fresh(n))

    def fresh(self, n: int) -> dict[str, Column]:
        """By attribute, the arrays (n, …) of services of which nothing is known."""
        raise NotImplementedError

    def _put(self, columns: Mapping[str, Column]) -> None:
        for name, column in columns.items():
            setattr(self, name, column)

    def rearrange(self, rows: Ints) -> None:
        """New row i is the old row rows[i], or a new service where that is −1."""
        columns = self.fresh(len(rows))
        known = rows >= 0
        for name, column in columns.items():
            column[known] = getattr(self, name)[rows[known]]
        self._put(columns)

    def adopt(self, other: Any, rows: Ints) -> None:
        """Row i takes over what `other` has learnt of its row rows[i]; rows of −1 keep their own."""
        taken = rows >= 0
        for name in self.fresh(0):
            getattr(self, name)[taken] = getattr(other, name)[rows[taken]]

    def save(self) -> dict[str, Any]:
        return {name: to_text(getattr(self, name)) for name in self.fresh(0)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError where the state is not of these arrays; then nothing has changed."""
        columns = {}
        for name in self.fresh(0):
            mine = getattr(self, name)
            columns[name] = from_text(str(state.get(name, "")), mine.dtype, mine.shape)
        self._put(columns)


def to_text(column: Column) -> str:
    """Little-endian numbers in base64: exact, and a third of the length of decimals."""
    # Thousands of services make tens of megabytes: no copy more than needed.
    little = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<"))
    return binascii.b2a_base64(little.data if little.size else b"", newline=False).decode("ascii")


def from_text(text: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Column:
    """What to_text gave. Raises ValueError where it is not of this type and shape."""
    found = np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype.newbyteorder("<"))
    return found.astype(dtype).reshape(shape)
