"""How often nodes of a pool are lost: they go though nobody asked them to, as spot nodes do."""

from __future__ import annotations

import math
from typing import Final

from autoscaler.spec import LossesStatus

PRIOR_LOSSES: Final = 1.0
PRIOR_NODE_HOURS: Final = 720.0
"""What is assumed of a pool of which nothing is known yet: as if one loss had been seen in a node's month. It weighs as much as that, so the
first losses of a spot pool already speak louder."""
FORGOTTEN_S: Final = 14 * 86_400.0
"""After so long what was seen counts 1/e: how scarce a machine is changes over weeks."""
LONGEST_GAP_S: Final = 900.0
"""Hours in which nobody looked (a suspended process, a clock that was set) are not counted."""


class NodeLosses:
    """losses and node_hours as they count now, the older the less."""

    __slots__ = ("_at_s", "losses", "node_hours")

    def __init__(self, kept: LossesStatus | None = None) -> None:
        self.losses = kept.nodes if kept is not None else 0.0
        self.node_hours = kept.node_hours if kept is not None else 0.0
        self._at_s: float | None = None

    def passed(self, nodes: int, now_s: float) -> None:
        """So many nodes were there until now."""
        before_s, self._at_s = self._at_s, now_s
        if before_s is None or not 0 < now_s - before_s <= LONGEST_GAP_S:
            return
        kept = math.exp(-(now_s - before_s) / FORGOTTEN_S)
        self.losses *= kept
        self.node_hours = self.node_hours * kept + nodes * (now_s - before_s) / 3600.0

    def lost(self) -> None:
        """A node went unasked."""
        self.losses += 1.0

    @property
    def per_node_hour(self) -> float:
        """The mean of the Gamma distribution that the prior and what was seen make (Poisson losses)."""
        return (PRIOR_LOSSES + self.losses) / (PRIOR_NODE_HOURS + self.node_hours)
