"""When the nodes that come were asked for, as far as we asked for them ourselves."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Request:
    at_s: float
    nodes: int


class NodeOrders:
    """Requests of one pool that no node has answered yet, oldest first.

    A raised target is a request of as many nodes, a lowered one takes the latest requests back. Each node that comes answers the oldest one.
    What was asked before a restart isn't known after it: such nodes are measured by the pods that waited for them, or not at all.
    """

    __slots__ = ("_open", "_target")

    def __init__(self) -> None:
        self._target: int | None = None
        self._open: deque[_Request] = deque()

    def times_s(self, most: int) -> list[float]:
        """When the nodes that haven't come were asked for, of the first so many of them."""
        times: list[float] = []
        for request in self._open:
            times += [request.at_s] * min(request.nodes, most - len(times))
        return times

    def __len__(self) -> int:
        return sum(request.nodes for request in self._open)

    def aim(self, nodes: int, at_s: float) -> None:
        """The target is so many nodes from now on. The same again changes nothing; the first one only says from where to count."""
        before, self._target = self._target, nodes
        if before is None or nodes == before:
            return
        if nodes > before:
            self._open.append(_Request(at_s, nodes - before))
        else:
            self._take(before - nodes, -1)

    def keep(self, most: int) -> None:
        """No more than so many nodes can still be missing: older requests were met without a new node, by one that came back or by room on
        others (of a backend that asks for room, not for nodes). Left open they would be answered by a node of hours later."""
        self._take(len(self) - most, 0)

    def shift(self, by_s: float) -> None:
        """The clock by which requests were noted was set by so much."""
        for request in self._open:
            request.at_s += by_s

    def answered(self, by_s: float) -> float | None:
        """When the node that was made at `by_s` was asked for; None where we didn't. Not by a request that came after it."""
        if not self._open or self._open[0].at_s > by_s + 1.0:  # a node's creation is told in whole seconds
            return None
        at_s = self._open[0].at_s
        self._take(1, 0)
        return at_s

    def _take(self, nodes: int, end: int) -> None:
        """So many are no longer open, of the oldest requests (end 0) or of the latest (−1); of none more than there are."""
        while nodes > 0 and self._open:
            request = self._open[end]
            taken = min(nodes, request.nodes)
            request.nodes -= taken
            nodes -= taken
            if not request.nodes:
                del self._open[end]
