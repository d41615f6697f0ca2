"""How often nodes of a pool are lost: they go though nobody asked them to, as spot nodes do."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from autoscaler.core.node_facts import PoolFacts

PRIOR_LOSSES: Final = 1.0
PRIOR_NODE_HOURS: Final = 720.0
"""What is assumed of a pool of which nothing is known yet: as if one loss had been seen in a node's month. It weighs as much as that, so the
first losses of a spot pool already speak louder."""
FORGOTTEN_S: Final = 14 * 86_400.0
"""After so long what was seen counts 1/e: how scarce a machine is changes over weeks."""
LOSSES_TOLD_S: Final = 3600.0
"""How often the losses are told anew where nothing else changes: each telling is a write of the pool's status."""
LONGEST_GAP_S: Final = 900.0
"""Hours in which nobody looked (a suspended process, a clock that was set) are not counted."""


class NodeLosses:
    """losses and node_hours as they count now, the older the less."""

    __slots__ = ("_at_s", "losses", "node_hours")

    def __init__(self, losses: float = 0.0, node_hours: float = 0.0) -> None:
        self.losses = losses
        self.node_hours = node_hours
        self._at_s: float | None = None

    def passed(self, nodes: int, now_s: float) -> None:
        """So many nodes were there until now."""
        before_s, self._at_s = self._at_s, now_s
        if before_s is None or not 0 < now_s - before_s <= LONGEST_GAP_S:
            return
        kept = math.exp(-(now_s - before_s) / FORGOTTEN_S)
        self.losses *= kept
        self.node_hours = self.node_hours * kept + nodes * (now_s - before_s) / 3600.0

    def gone(self, *, left: int, asked: int | None, noticed: bool) -> None:
        """A node goes, of which `left` stay. It is lost where it was to stay: fewer are left than are `asked` for, or it was told to go by
        somebody who doesn't size pools (noticed). Where nobody tells what is asked for (None), only the latter is known."""
        if noticed or (asked is not None and left < asked):
            self.losses += 1.0

    @property
    def per_node_hour(self) -> float:
        """The mean of the Gamma distribution that the prior and what was seen make (Poisson losses)."""
        return (PRIOR_LOSSES + self.losses) / (PRIOR_NODE_HOURS + self.node_hours)

    def told(self, facts: PoolFacts) -> PoolFacts:
        """The facts with what is known of losses, as precisely as is worth telling."""
        return replace(
            facts,
            losses=round(self.losses, 3),
            node_hours=round(self.node_hours, 1),
            loss_per_node_hour=round(self.per_node_hour, 6),
        )
