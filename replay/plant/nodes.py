"""One pool of simulated nodes. Slots are counted, not placed: nodes needed = slots held ÷ slots per node, rounded up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoscaler.core.node_losses import NodeLosses
from replay.plant.notices import Notice


@dataclass(slots=True, eq=False)
class Cohort:
    """Replicas of one service that were created together and are not ready. on: the pool on whose ready nodes they have slots and are starting, None
    while they wait for some; due_s: when they are ready, below 0 before they begin. notice: of the nodes that they are on, where these were told to
    go. A cancelled cohort has count 0 and stays where it lies until it is met."""

    row: int
    count: int
    created_s: int
    on: Pool | None = None
    begun_s: int = 0
    due_s: int = -1
    notice: Notice | None = None


@dataclass(slots=True)
class Request:
    """Nodes requested together, not ready."""

    count: int
    asked_s: int


class Pool:
    """A pool's nodes and slots.

    held: slots of all replicas (starting, ready, draining, and those that wait for a node of this pool alone). used: the part of it on ready
    nodes. owed: further slots that nodes are made for here by the rule, of services on several pools (``replay.plant.growing``). warm: free slots in
    which a replica has run on this node, so that only a model must be loaded into it. waiting: who waits for slots, in the order in which they get
    them. headroom: slots to hold beyond the replicas. fixed: the count that a plan set, None where the rule (600 s spare) rules. notices: of the
    ready nodes, those that were told to go. losses: what is learnt from lost nodes. price_per_h: what so many nodes cost in an hour, None where
    nobody says.
    """

    __slots__ = (
        "_node_s",
        "_paid_s",
        "_touched_s",
        "_used_s",
        "coming",
        "fixed",
        "headroom",
        "held",
        "losses",
        "max_nodes",
        "min_nodes",
        "name",
        "notices",
        "owed",
        "price_per_h",
        "ready",
        "requests",
        "slots",
        "spare_since_s",
        "used",
        "waiting",
        "warm",
    )

    def __init__(
        self,
        name: str,
        slots: int,
        min_nodes: int = 0,
        max_nodes: int | None = None,
        price_per_h: Callable[[int], float] | None = None,
    ) -> None:
        self.name = name
        self.price_per_h = price_per_h
        self.slots = slots
        self.min_nodes = min_nodes
        self.max_nodes = max_nodes
        self.ready = 0
        self.coming = 0
        self.held = 0
        self.used = 0
        self.headroom = 0
        self.owed = 0
        self.fixed: int | None = None
        self.notices: list[Notice] = []
        self.losses = NodeLosses()
        self.spare_since_s: int | None = None
        self.requests: list[Request] = []
        self.warm = 0
        self.waiting: deque[Cohort] = deque()
        self._node_s = 0.0
        self._used_s = 0.0
        self._paid_s = 0.0
        self._touched_s = 0

    @property
    def total(self) -> int:
        return self.ready + self.coming

    @property
    def noticed(self) -> int:
        """Ready nodes that were told to go."""
        return sum(notice.nodes for notice in self.notices)

    def needed(self) -> int:
        """Nodes for all slots held and owed and the headroom, by the rule."""
        return max(self._nodes_for(self.held + self.owed + self.headroom), self.min_nodes)

    def wanted(self) -> int:
        """Nodes to have now: what the plan says (but none with replicas on it goes), or what is needed, within the pool's size."""
        if self.fixed is not None:
            return max(self.fixed, self._nodes_for(self.used))
        needed = self.needed()
        return needed if self.max_nodes is None else min(needed, self.max_nodes)

    def _nodes_for(self, slots: int) -> int:
        return -(-(slots + self.shut) // self.slots)

    @property
    def free(self) -> int:
        """Slots on ready nodes that nobody holds, and that somebody may take: those on nodes that were told to go are shut. Who is on one of these in
        part counts as being there, so more may be taken on them than they have."""
        free = self.ready * self.slots - self.used
        if not self.notices:
            return free
        of_others = (self.ready - self.noticed) * self.slots - (self.used - sum(notice.used for notice in self.notices))
        return min(free, of_others)

    @property
    def shut(self) -> int:
        """Slots that nobody holds and nobody may take."""
        return self.ready * self.slots - self.used - self.free if self.notices else 0

    def queue(self, cohort: Cohort, priorities: Sequence[int]) -> None:
        """Higher priorities (by service) wait before lower ones, else in the order of their creation."""
        mine, place = priorities[cohort.row], len(self.waiting)
        while place and priorities[self.waiting[place - 1].row] < mine:
            place -= 1
        self.waiting.insert(place, cohort)

    def leave(self, slots: int, at_s: int) -> None:
        """Slots on ready nodes are given back."""
        self.touch(at_s)
        self.held -= slots
        self.used -= slots
        self.warm += slots

    def take_warm(self, slots: int) -> int:
        """As many warm slots as there are, up to `slots`, are taken."""
        taken = min(slots, max(min(self.warm, self.free), 0))
        self.warm -= taken
        return taken

    def node_s(self, at_s: int) -> float:
        """Node-seconds until at_s, from the request of each node."""
        return self._node_s + self.total * (at_s - self._touched_s)

    def used_s(self, at_s: int) -> float:
        """Slot-seconds until at_s in which a replica was on a node."""
        return self._used_s + self.used * (at_s - self._touched_s)

    def paid(self, at_s: int) -> float:
        """What the nodes cost until at_s, from the request of each; 0 where nobody says."""
        return (self._paid_s + self._price() * (at_s - self._touched_s)) / 3600.0

    def touch(self, at_s: int) -> None:
        """Before the number of nodes or of slots in use changes."""
        passed_s = at_s - self._touched_s
        if passed_s:
            self._node_s += self.total * passed_s
            self._used_s += self.used * passed_s
            self._paid_s += self._price() * passed_s
            self._touched_s = at_s

    def _price(self) -> float:
        return 0.0 if self.price_per_h is None else self.price_per_h(self.total)

    def request(self, count: int, at_s: int) -> Request:
        self.touch(at_s)
        self.coming += count
        request = Request(count, at_s)
        self.requests.append(request)
        return request

    def arrive(self, request: Request, at_s: int) -> bool:
        """The request's nodes are ready; False where all of them were cancelled."""
        if request.count == 0:
            return False
        self.touch(at_s)
        self.coming -= request.count
        self.ready += request.count
        self.requests.remove(request)
        return True

    def release(self, count: int, at_s: int) -> None:
        """Gives up nodes: first those that have not come yet, the latest requests first."""
        self.touch(at_s)
        while count and self.requests:
            last = self.requests[-1]
            cut = min(count, last.count)
            last.count -= cut
            self.coming -= cut
            count -= cut
            if last.count == 0:
                self.requests.pop()
        self.ready -= count

    def lose(self, count: int, at_s: int, notice: Notice | None = None) -> None:
        """Ready nodes are taken away, all of a notice's where there was one."""
        self.touch(at_s)
        if notice is not None:
            self.notices.remove(notice)
        for _ in range(count):
            self.ready -= 1
            self.losses.gone(left=self.ready, asked=self.fixed, noticed=notice is not None)

    def spare_to_release(self, at_s: int, spare_s: int) -> int:
        """How many nodes go now by the rule; to be asked every check."""
        spare = self.total - self.needed()
        if self.fixed is not None or spare <= 0:
            self.spare_since_s = None
            return 0
        if self.spare_since_s is None:
            self.spare_since_s = at_s
        if at_s - self.spare_since_s < spare_s:
            return 0
        self.spare_since_s = None
        return spare
