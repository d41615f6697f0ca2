"""The last values of many services, each a vector, by how many moments ago they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autoscaler.core.columns import rearranged
from autoscaler.core.kept import from_text, to_text
from autoscaler.core.model import Floats, Ints


class Ring:
    """The last `length` vectors of `width` numbers of n services; NaN where there was none."""

    def __init__(self, n: int, length: int, width: int) -> None:
        self._values: Floats = np.full((length, n, width), np.nan)  # time first: a moment is one piece of memory
        self._newest = 0
        self._rows = np.arange(n)

    @property
    def length(self) -> int:
        return len(self._values)

    @property
    def width(self) -> int:
        return int(self._values.shape[2])

    def push(self) -> Floats:
        """Makes room for a new moment (the oldest one goes) and returns it, (n, width), to be filled."""
        self._newest = (self._newest + 1) % len(self._values)
        newest: Floats = self._values[self._newest]
        return newest

    def ago(self, moments: int | Ints) -> Floats:
        """The vectors (n, width) of so many moments before the newest (0: itself), one number for all or one a row; below `length`."""
        place = (self._newest - moments) % len(self._values)
        found: Floats = self._values[place] if isinstance(moments, int) else self._values[place, self._rows]
        return found

    def of(self, row: int) -> Floats:
        """One service's vectors (length, width), in no order of time, to be changed in place."""
        own: Floats = self._values[:, row]
        return own

    def in_order(self) -> Floats:
        """All of it, (length, n, width), oldest first."""
        return np.roll(self._values, -1 - self._newest, axis=0)

    def resize(self, length: int) -> None:
        """Keeps the newest `length` moments."""
        old = self.in_order()
        self._values = np.full((length, *old.shape[1:]), np.nan)
        keep = min(length, len(old))
        self._values[length - keep :] = old[len(old) - keep :]
        self._newest = length - 1

    def rearrange(self, rows: Ints) -> None:
        """New row i is the old row rows[i], or a new service where that is −1."""
        self._values = np.stack([rearranged(moment, rows) for moment in self._values])
        self._rows = np.arange(len(rows))

    def adopt(self, other: Ring, rows: Ints) -> None:
        """Row i takes over what `other` holds in its row rows[i]; rows of −1 keep their own. It grows to the other's length."""
        if other.length > self.length:
            self.resize(other.length)
        taken = rows >= 0
        mine, theirs = self.in_order(), other.in_order()
        keep = min(len(mine), len(theirs))
        mine[:, taken] = np.nan
        mine[len(mine) - keep :, taken] = theirs[len(theirs) - keep :, rows[taken]]
        self._values, self._newest = mine, len(mine) - 1

    def save(self) -> dict[str, Any]:
        return {"length": self.length, "values": to_text(self.in_order())}

    def load(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError where the state is not of these services."""
        length = int(state["length"])
        self._values = from_text(str(state["values"]), self._values.dtype, (length, *self._values.shape[1:]))
        self._newest = length - 1
