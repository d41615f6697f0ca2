"""For which roles something that others asked of them was lost: they keep for a while what they have.

A role that runs for another's sake has no wish of its own for it, so no window remembers it. Where the other one's object leaves (deleted, or its
manifest no longer valid), is joined by a second one of the same role, scales something else, or where a ratio changes, that is as often a mistake
that is mended soon as it is meant; and the other's replicas run on in any case. So nobody shrinks because of it within ``roles.HOLDS_S``, or
the role's own window for shrinking where that is longer (``core.role_sizing``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.model import Bools, Floats, Ints
from autoscaler.core.roles import Roles
from autoscaler.core.rows import some


class RoleHold:
    """Of n services. lost_at_s (n,): when something that was asked of them was lost, NaN where nothing was. hold_s (n,): for how long that counts."""

    def __init__(self) -> None:
        self.lost_at_s: Floats = np.empty(0)
        self.hold_s: Floats = np.empty(0)
        self._until_s = -np.inf

    def rearrange(self, rows: Ints, before: Roles | None, roles: Roles | None, at_s: float) -> None:
        """Row i becomes what row rows[i] was, or a new one (−1); before, roles: of the old rows and of the new ones (None: nobody has a role)."""
        self.lost_at_s = rearranged(self.lost_at_s, rows)
        self.hold_s = np.zeros(len(rows))
        if roles is not None:
            self.hold_s = roles.hold_s
            if before is not None:
                lost = [
                    row
                    for row, old in enumerate(rows.tolist())
                    if roles.has_role(row) and before.asks_of(old) - roles.asks_of(row)
                ]
                self.lost_at_s[lost] = at_s
        self._set_until()

    def _set_until(self) -> None:
        known = ~np.isnan(self.lost_at_s)
        self._until_s = float(np.max(self.lost_at_s + self.hold_s, initial=-np.inf, where=known))

    def look(self, at_s: float) -> Bools | None:
        """Rows (n,) that lost something lately; None: nowhere."""
        if at_s >= self._until_s:
            return None
        lately: Bools = at_s - self.lost_at_s < self.hold_s
        return lately if some(lately) else None

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self.lost_at_s = self.lost_at_s + by_s
        self._until_s += by_s

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"lost_at_s": plain(self.lost_at_s)}

    def load(self, state: Mapping[str, Any]) -> None:
        """What save gave, of the same services."""
        self.lost_at_s = floats(state["lost_at_s"])
        self._set_until()
