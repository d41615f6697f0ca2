"""When the nodes that come were asked for, as far as we asked for them ourselves."""

from __future__ import annotations

from collections import deque


class NodeOrders:
    """Requests of one pool that no node has answered yet, oldest first.

    A raised target is a request of as many nodes, a lowered one takes the latest requests back. Each node that comes answers the oldest one.
    What was asked before a restart isn't known after it: such nodes are measured by the pods that waited for them, or not at all.
    """

    __slots__ = ("_open", "_target")

    def __init__(self) -> None:
        self._target: int | None = None
        self._open: deque[list[float]] = deque()  # [at_s, nodes]

    def times_s(self, most: int) -> list[float]:
        """When the nodes that haven't come were asked for, of the first so many of them."""
        times: list[float] = []
        for at_s, nodes in self._open:
            times += [at_s] * min(int(nodes), most - len(times))
        return times

    def __len__(self) -> int:
        return int(sum(nodes for _, nodes in self._open))

    @property
    def target(self) -> int | None:
        """What is asked for; None where nobody has told."""
        return self._target

    def aim(self, nodes: int, at_s: float) -> None:
        """The target is so many nodes from now on. The same again changes nothing; the first one only says from where to count."""
        before, self._target = self._target, nodes
        if before is None or nodes == before:
            return
        if nodes > before:
            self._open.append([at_s, float(nodes - before)])
            return
        back = float(before - nodes)
        while back > 0 and self._open:
            taken = min(back, self._open[-1][1])
            self._open[-1][1] -= taken
            back -= taken
            if not self._open[-1][1]:
                self._open.pop()

    def keep(self, most: int) -> None:
        """No more than so many nodes can still be missing: older requests were met without a new node, by one that came back or by room on
        others (of a backend that asks for room, not for nodes). Left open they would be answered by a node of hours later."""
        beyond = len(self) - most
        while beyond > 0:
            taken = min(float(beyond), self._open[0][1])
            self._open[0][1] -= taken
            beyond -= int(taken)
            if not self._open[0][1]:
                self._open.popleft()

    def shift(self, by_s: float) -> None:
        """The clock by which requests were noted was set by so much."""
        for order in self._open:
            order[0] += by_s

    def answered(self, by_s: float) -> float | None:
        """When the node that was made at `by_s` was asked for; None where we didn't. Not by a request that came after it."""
        if not self._open or self._open[0][0] > by_s + 1.0:  # a node's creation is told in whole seconds
            return None
        self._open[0][1] -= 1
        at_s = self._open[0][0]
        if not self._open[0][1]:
            self._open.popleft()
        return at_s
