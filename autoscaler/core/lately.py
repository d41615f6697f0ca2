"""To which services something happened lately: a time each, and for how long it counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.model import Bools, Floats, Ints
from autoscaler.core.rows import some


class Lately:
    """Of n services. at_s (n,): when it last happened, NaN where it never did. within_s: for how long that counts, (n,) or the same for all."""

    def __init__(self, within_s: Floats | float) -> None:
        self.at_s: Floats = np.empty(0)
        self.within_s = within_s
        self._until_s = -np.inf
        """From then on it is nobody's, so that most ticks look no further."""

    def rearrange(self, rows: Ints, within_s: Floats | float) -> None:
        """Row i becomes what row rows[i] was, or a new one to which it never happened (−1)."""
        self.at_s, self.within_s = rearranged(self.at_s, rows), within_s
        self._set_until()

    def mark(self, rows: int | Sequence[int], at_s: float) -> None:
        """It happened to these rows at `at_s`."""
        self.at_s[rows] = at_s
        self._set_until()

    def _set_until(self) -> None:
        self._until_s = float(np.max(self.at_s + self.within_s, initial=-np.inf, where=~np.isnan(self.at_s)))

    def look(self, at_s: float) -> Bools | None:
        """Rows (n,) to which it happened so lately that it counts at `at_s`; None: nowhere."""
        if at_s >= self._until_s:
            return None
        lately: Bools = at_s - self.at_s < self.within_s
        return lately if some(lately) else None

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self.at_s = self.at_s + by_s
        self._until_s += by_s

    def save(self) -> list[float | None]:
        """The times, as plain JSON values."""
        return plain(self.at_s)

    def load(self, times: Sequence[float | None]) -> None:
        """What save gave, of as many services."""
        self.at_s = floats(times)
        self._set_until()
