"""What is seen of nodes: how long they take, stage by stage, and what is wrong with them. Facts only; what follows from them is the plan's.

The way of a replica that finds no room, and its stages (``core`` reckons with their sums, ``Fleet.node_lead_time_s`` and ``lead_time_s``):

    requested ─provisioned─▶ node object ─ready─▶ Ready ─advertised─▶ schedulable, accelerators in status.allocatable      (per pool)
    pod created ─scheduled─▶ on a node ─image─▶ containers started ─model─▶ Ready                                          (per target)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

NODE_STAGES: Final = ("provisioned", "ready", "advertised")
POD_STAGES: Final = ("scheduled", "image", "model")
WHOLE: Final = "whole"
"""All stages together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """How long a stage took, of the last `samples` of them: quantiles in seconds. name: of the stage, or ``WHOLE``."""

    name: str
    samples: int
    p50_s: float
    p90_s: float
    p99_s: float

    @property
    def words(self) -> str:
        return f"{self.name} {self.p50_s:.0f} s (p90 {self.p90_s:.0f}, p99 {self.p99_s:.0f}, {self.samples} seen)"


StagesOf: TypeAlias = Callable[[int], tuple[StageTime, ...]]
"""By row of the fleet: the measured stages of its replicas, ``whole`` first; empty where nothing was measured. Asked when somebody wants to
know, and only until the next tick."""


def no_stages(_row: int) -> tuple[StageTime, ...]:
    return ()


ENOUGH: Final = 3
"""Fewer samples say nothing yet: the manifest's start value is used."""
LATE_RATIO: Final = 1.25
LATE_S: Final = 10.0
"""What comes on top of a p99 before anything is called stuck: of a few samples it is the largest, and moments are told in whole seconds."""


UNMEASURED_RATIO: Final = 2.0
"""Of a start value from the manifest, which is a guess."""
UNMEASURED_LEAST_S: Final = 60.0
"""cluster-autoscaler alone takes up to a minute to see a Pending pod (its FAQ)."""


def late_s(p99_s: float) -> float:
    """From when on something is later than it ever was."""
    return LATE_RATIO * p99_s + LATE_S


def unmeasured_late_s(start_s: float) -> float:
    """The same where too little was measured."""
    return max(UNMEASURED_RATIO * start_s, UNMEASURED_LEAST_S)


def moment(at_s: float) -> str:
    """In words for people."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckReplicas:
    """Replicas of one service that find no node for longer than a node takes.

    replicas: so many wait longer than limit_s: the p99 of their pool's measured lead time and a margin, or twice its start value and at least a
    minute. since_s: when the first of them began to wait (Unix seconds). resource: what the scheduler says is short, an accelerator first; ""
    where it names none (a taint, an affinity). said: the scheduler's own words.
    """

    replicas: int
    since_s: float
    limit_s: float
    resource: str
    said: str

    @property
    def words(self) -> str:
        who = "1 replica waits" if self.replicas == 1 else f"{self.replicas} replicas wait"
        short = f"{self.resource} is short" if self.resource else "no node fits"
        return f"{who} for a node longer than nodes take ({self.limit_s:.0f} s), the first since {moment(self.since_s)}: {short} ({self.said})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentNodes:
    """Nodes of one pool that are Ready and advertise no accelerators for longer than limit_s: their driver or device plugin does not come up.
    They cost money and carry nothing. names: the first few. since_s: when the first of them became Ready (Unix seconds)."""

    nodes: int
    names: tuple[str, ...]
    since_s: float
    limit_s: float

    @property
    def words(self) -> str:
        who = "1 node is" if self.nodes == 1 else f"{self.nodes} nodes are"
        more = ", …" if self.nodes > len(self.names) else ""
        return (
            f"{who} Ready without any accelerator in status.allocatable for longer than it takes ({self.limit_s:.0f} s), the first since "
            f"{moment(self.since_s)}: {', '.join(self.names)}{more}; look at the device plugin and the driver there"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """A pool's nodes as they are seen. nodes: there (on their way out ones left out); ready: of them Ready; advertised: of those schedulable
    with accelerators. lead_s: what a new node takes as measured (p90), None while there are too few samples; stages: measured, ``whole``
    first. silent: None where all is well.

    noticed: of the nodes, those that were told to go (a spot reclaim, maintenance) and not by us; replaced: of these, those whose owner
    replaces them by itself. losses: nodes that went unasked within node_hours, both the older the less; loss_per_node_hour: what is learnt from
    them, with a prior; None where nobody counts."""

    nodes: int
    ready: int
    advertised: int
    lead_s: float | None = None
    stages: tuple[StageTime, ...] = ()
    silent: SilentNodes | None = None
    noticed: int = 0
    replaced: int = 0
    losses: float = 0.0
    node_hours: float = 0.0
    loss_per_node_hour: float | None = None

    @property
    def seen_loss_per_node_hour(self) -> float | None:
        """What is learnt from losses that were seen; None where the prior is all there is."""
        return self.loss_per_node_hour if self.losses >= 0.5 else None

    @property
    def loss_words(self) -> str:
        """How often a node is lost; "" where none was."""
        if (rate := self.seen_loss_per_node_hour) is None:
            return ""
        return f"a node is lost every {1 / rate:.0f} h ({self.losses:.1f} in {self.node_hours:.0f} node-hours seen)"

    @property
    def lost(self) -> int:
        """Nodes that are there and count for nothing."""
        return self.noticed + (0 if self.silent is None else self.silent.nodes)

    @property
    def beyond(self) -> int:
        """Of those, the ones that nobody but us replaces."""
        return self.lost - self.replaced

    @property
    def usable(self) -> int:
        """Nodes that count."""
        return max(self.nodes - self.lost, 0)
