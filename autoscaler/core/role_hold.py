"""For which roles something that others asked of them was lost: they keep for a while what they have.

A role that runs for another's sake has no wish of its own for it, so no window remembers it. Where the other one's object leaves (deleted, or its
manifest no longer valid), is joined by a second one of the same role, scales something else, or where a ratio changes, that is as often a mistake
that is mended soon as it is meant; and the other's replicas run on in any case. So nobody shrinks because of it within ``roles.HOLDS_S``, or
the role's own window for shrinking where that is longer (``core.role_sizing``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoscaler.core.lately import Lately
from autoscaler.core.model import Bools, Ints
from autoscaler.core.roles import Roles


class RoleHold:
    """Of n services. lost: when something that was asked of them last was."""

    def __init__(self) -> None:
        self.lost = Lately(0.0)

    def rearrange(self, rows: Ints, before: Roles | None, roles: Roles | None, at_s: float) -> None:
        """Row i becomes what row rows[i] was, or a new one (−1); before, roles: of the old rows and of the new ones (None: nobody has a role)."""
        self.lost.rearrange(rows, 0.0 if roles is None else roles.hold_s)
        if before is not None and roles is not None:
            olds = enumerate(rows.tolist())
            self.lost.mark([row for row, old in olds if roles.has_role(row) and before.asks_of(old) - roles.asks_of(row)], at_s)

    def look(self, at_s: float) -> Bools | None:
        """Rows (n,) that lost something lately; None: nowhere."""
        return self.lost.look(at_s)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self.lost.shift(by_s)

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"lost_at_s": self.lost.save()}

    def load(self, state: Mapping[str, Any]) -> None:
        """What save gave, of the same services."""
        self.lost.load(state["lost_at_s"])
