"""Which targets are being updated: replicas of another version take the place of those that are there.

Each replacement disturbs what is seen of a service for a while. What the replica that left had counted is missing until the others' rates have
risen, means over pods mix two versions, and where fewer are ready than were asked for, requests wait that will not wait later. So
within ``SETTLES_S`` after a replacement nothing is taken away (``constraints``). The count itself is the target's ``spec.replicas``, and an
update changes no wish. An update that stands still (a canary that is looked at for hours, a version that does not start) is no reason to
hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.model import Bools, Fleet, Floats, Ints, Versions
from autoscaler.core.rows import some

SETTLES_S: Final = 300.0
"""As long as HPA's own window for shrinking, and longer than the metrics' windows."""


class Updates:
    """Of n services. replaced_at_s (n,): when the shares of versions last changed, NaN where they never did."""

    def __init__(self) -> None:
        self.replaced_at_s: Floats = np.empty(0)
        self._seen: list[Versions] = []
        self._last: tuple[Versions, ...] | None = None
        self._until_s = -np.inf

    def rearrange(self, rows: Ints) -> None:
        """Row i becomes what row rows[i] was, or one that was never looked at (−1)."""
        self.replaced_at_s = rearranged(self.replaced_at_s, rows)
        self._seen = [self._seen[row] if row >= 0 else () for row in rows.tolist()]
        self._last = None

    def look(self, fleet: Fleet, at_s: float) -> Bools | None:
        """Rows (n,) in which replicas were replaced lately; None: nowhere."""
        versions = fleet.versions
        if versions is not None and versions is not self._last:
            self._last = versions
            self._compare(versions, at_s)
        if at_s >= self._until_s:
            return None
        lately: Bools = at_s - self.replaced_at_s < SETTLES_S
        return lately if some(lately) else None

    def _compare(self, versions: tuple[Versions, ...], at_s: float) -> None:
        for row, (before, now) in enumerate(zip(self._seen, versions, strict=True)):
            if now == before or not now:
                continue  # where nothing is ready, nothing is known
            if before:
                self.replaced_at_s[row] = at_s
                self._until_s = at_s + SETTLES_S
            self._seen[row] = now

    def words(self, row: int) -> str:
        """The versions and their shares."""
        shares = sorted(self._seen[row], key=lambda pair: -pair[1])
        return ", ".join(f"{share:.0%} of the ready replicas are of version {version or 'unknown'}" for version, share in shares)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self.replaced_at_s = self.replaced_at_s + by_s
        self._until_s += by_s

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"replaced_at_s": plain(self.replaced_at_s), "seen": [[list(pair) for pair in one] for one in self._seen]}

    def load(self, state: Mapping[str, Any]) -> None:
        """What save gave, of as many services."""
        self.replaced_at_s = floats(state["replaced_at_s"])
        self._seen = [tuple((str(version), float(share)) for version, share in one) for one in state["seen"]]
        self._last = None
        self._until_s = float(np.max(self.replaced_at_s, initial=-np.inf, where=~np.isnan(self.replaced_at_s))) + SETTLES_S
