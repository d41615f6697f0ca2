"""What every node-pool backend is: a number of nodes that can be read and set.

Backends are level-triggered: `set_target` names the whole number, never a difference, so that an order that is given twice is one
order. They keep nothing that a restart would lose but the name of the last operation; what was asked for is read back from the system.
They do not retry, and never wait for an operation to end: the next tick looks again. No backend deletes a named node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from autoscaler.adapters.nodepools.reasons import PoolReason

ReadyNodes: TypeAlias = Callable[[], int | None]
"""How many of the pool's nodes are Ready and not leaving, the same way for every backend: as whoever watches nodes has seen it, from memory;
None where nobody knows."""


Sets: TypeAlias = Literal["Nodes", "Minimum", "Headroom"]
"""What a backend's number means: the pool's size; the lower bound of a node autoscaler that owns the size; room that it keeps free. A lower
Minimum or Headroom only allows the owner to remove nodes, when it likes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """A pool as its system tells it; None where it does not.

    target: nodes that it was last asked for, by whomever. ready: nodes that are ready. min_nodes, max_nodes: the system's own bounds.
    multiple: nodes come in multiples of this (zones). owner: who else owns the number, in words; "" nobody that can be seen.
    changing: the operation that is under way, in words; no order is given meanwhile. reason, problem: what is wrong though it answers
    (no capacity, a quota), in words. version: what an order is written over, opaque.
    """

    target: int | None = None
    ready: int | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None
    multiple: int = 1
    owner: str = ""
    changing: str = ""
    reason: PoolReason | None = None
    problem: str = ""
    version: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a pool is to be. nodes: within all bounds. reason: in words, for systems that keep it.

    taken: of nodes × per_node accelerators, those that pods of services ask for by themselves or nobody can take (None: nobody tells); only
    headroom asks for the rest.
    zones: of `nodes`, how many are to be in each of the pool's zones; none where it names no zones. Fewer than `nodes` in all where the zones'
    own bounds allow no more. spot: how many of them may be spot at the most; None where it says nothing of spot. Both say where nodes come
    and which go first, for systems that can tell; others order `nodes` alone.
    """

    nodes: int
    reason: str
    taken: int | None = None
    per_node: int = 1
    zones: Mapping[str, int] = field(default_factory=dict)
    spot: int | None = None


class Backend(Protocol):
    """One pool's system. Both calls return or raise PoolProblem within `deadline_s` seconds, whatever happens outside."""

    @property
    def sets(self) -> Sets: ...

    async def get(self, deadline_s: float) -> PoolState:
        """The pool now, from the system itself."""

    async def set_target(self, wish: Wish, over: PoolState, deadline_s: float) -> PoolState:
        """Asks for `wish.nodes`; nothing is sent where `over`, what `get` has just said, is so already. The state as it is known then."""
