"""What the plan may count on where something is short; plain facts that records and statuses keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Short:
    """A shortage. since_s: its beginning. until_s: the end of the pause, or (trying > 0) when the attempt began. pause_s: the last pause.
    there: nodes of a pool, or replicas of a service, that count. trying: how many more are tried now, 0 in a pause. resource: what is short.
    said: who says so, in words. Times are Unix seconds."""

    since_s: float
    until_s: float
    pause_s: float
    there: int
    trying: int
    resource: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """most: nodes, or replicas, that may be counted on; of them `trying` are tried and not yet there."""

    most: int
    trying: int
    words: str
    state: Short


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """pools: by name. services: by row. lost: nodes by pool that count for nothing, though they are there (Ready without accelerators, or told
    to go). ordered_for_lost: of them, those that nobody but us replaces. released: by row, stuck replicas that hold no place. loss_per_node_hour:
    by pool, how often a node is lost, where that was seen."""

    pools: Mapping[str, Bound] = field(default_factory=dict)
    services: Mapping[int, Bound] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    ordered_for_lost: Mapping[str, int] = field(default_factory=dict)
    released: Mapping[int, int] = field(default_factory=dict)
    loss_per_node_hour: Mapping[str, float] = field(default_factory=dict)
