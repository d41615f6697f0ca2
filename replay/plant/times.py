"""How long replicas and nodes take."""

from __future__ import annotations

from dataclasses import dataclass

from replay.plant.durations import Durations


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Whole seconds: from a slot to ready; how long a leaving replica holds its slot; from request to ready of a node; how long spare
    nodes stay; how often that is checked. start, node: the same where they vary. swap_s: from a warm slot to ready; None: as any other."""

    start_s: int
    drain_s: int
    node_s: int
    spare_s: int
    check_s: int
    start: Durations | None = None
    node: Durations | None = None
    swap_s: int | None = None
