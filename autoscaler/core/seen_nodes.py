"""Nodes one by one and what runs on each, for people to look at. No decision reads any of it; what decisions need is in ``node_facts``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

NodeState: TypeAlias = Literal["silent", "noticed", "unready", "cordoned", "leaving", "asked", "starting", "ready"]
NODE_STATES: Final[tuple[NodeState, ...]] = (
    "silent",
    "noticed",
    "unready",
    "cordoned",
    "leaving",
    "asked",
    "starting",
    "ready",
)
"""What wants looking at first. silent: Ready for long and advertises no accelerators. noticed: told to go by somebody else (a spot reclaim,
maintenance). unready: was Ready and isn't. cordoned: closed to new pods. leaving: on its way out. asked: ordered, nothing of it is there yet.
starting: there, not of use yet. ready: pods that need accelerators can be placed on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The replicas of one service (``namespace/name``) on one node: pods by how far they are, and the accelerators that all of them take."""

    service: str
    ready: int = 0
    starting: int = 0
    draining: int = 0
    accelerators: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenNode:
    """name: "" of one that was only asked for. since_s: Unix, of `asked` when it was, of `starting` when it was made, of `silent` and `ready` since
    when it is Ready; None where nobody knows. accelerators: that it has. others: of these, taken by pods of none of our services. why: what
    somebody said of it (the taint of a notice); replaced: whether who said so brings another node by itself, if it takes one."""

    name: str
    state: NodeState
    since_s: float | None = None
    accelerators: int = 0
    runs: tuple[Runs, ...] = ()
    others: int = 0
    why: str = ""
    replaced: bool = False

    @property
    def taken(self) -> int:
        return self.others + sum(one.accelerators for one in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPool:
    """All nodes of a pool. counts: by state, of those that are there or asked for. free: accelerators of `ready` nodes that no pod takes; None
    where not all pods are seen. pick(most): up to so many of the nodes, the oldest first; where there are more, those that aren't simply
    ready are among them before the others. Asked only until the next tick: who sees a lot of nodes tells of few."""

    counts: Mapping[NodeState, int]
    free: int | None
    pick: Callable[[int], tuple[SeenNode, ...]] = field(compare=False)

    @property
    def nodes(self) -> int:
        return sum(self.counts.values())


NodesOf: TypeAlias = Callable[[str], SeenPool | None]
"""By pool name; None where its nodes can't be seen one by one. Asked when somebody wants to know, and only until the next tick."""


def no_nodes(_pool: str) -> SeenPool | None:
    return None


def picked(states: Sequence[NodeState], most: int) -> list[int]:
    """Places of up to `most` of the nodes, in their order; where there are more, those that aren't simply ready come before the others."""
    if len(states) <= most:
        return list(range(len(states)))
    rank = {state: place for place, state in enumerate(NODE_STATES)}
    return sorted(sorted(range(len(states)), key=lambda place: rank[states[place]])[:most])
