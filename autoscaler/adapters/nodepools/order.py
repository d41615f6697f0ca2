"""From the plan's number to what is asked of the system: bounds, the cool-down, pauses and the step limit, in this order, always. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from autoscaler.adapters.nodepools.backend import PoolState

NOBODY_SHRINKS: Final = ("Both", "Down")
NOBODY_GROWS: Final = ("Both", "Up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A pool's own. max_step: the most nodes on their way, or leaving, at a time."""

    min_nodes: int
    max_nodes: int
    max_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """nodes: what is asked for. why: what made another number of the plan's, in words; "" nothing did."""

    nodes: int
    why: str


def order(planned: int, lately: int, limits: Limits, state: PoolState, paused: str = "") -> Order:
    """planned: the plan's number now. lately: the largest one of the cool-down, or the present target while that has not passed.
    paused: the direction that is paused for the whole cluster, "" none.

    The step counts from what is ready, not from what was asked last: nodes that never come are so waited for, not asked for again, and a
    restart in the middle of a step takes no second one.
    """
    whys = []

    def cut(nodes: int, low: float, high: float, why: str) -> int:
        bounded = int(max(low, min(high, nodes)))
        if bounded != nodes:
            whys.append(f"{why}: {bounded} instead of {nodes}")
        return bounded

    nodes = cut(planned, limits.min_nodes, limits.max_nodes, "minNodes and maxNodes of the pool")
    nodes = cut(nodes, min(lately, limits.max_nodes), float("inf"), "the cool-down before nodes are given back")
    multiple = state.multiple
    nodes = -(-nodes // multiple) * multiple
    if nodes > limits.max_nodes:
        nodes = limits.max_nodes // multiple * multiple
    low = 0 if state.min_nodes is None else state.min_nodes
    high = float("inf") if state.max_nodes is None else state.max_nodes
    nodes = cut(nodes, min(low, high), high, "the system's own bounds")
    target = state.target if state.target is not None else state.ready or 0
    if state.target is not None and paused in NOBODY_SHRINKS:
        nodes = cut(nodes, target, float("inf"), "shrinking is paused")
    if paused in NOBODY_GROWS:
        nodes = cut(nodes, float("-inf"), target, "growing is paused")
    there = target if state.ready is None else state.ready
    step = max(limits.max_step, multiple)
    nodes = cut(
        nodes, min(target, there - step), max(target, there + step), f"at most {step} nodes on their way or leaving at a time"
    )
    if multiple > 1 and nodes != target:
        nodes = nodes // multiple * multiple if nodes > target else -(-nodes // multiple) * multiple
    return Order(nodes=nodes, why="; ".join(whys))


class CoolDown:
    """The wishes of the last `cool_down_s` seconds: no fewer nodes than the largest of them are asked for."""

    def __init__(self, cool_down_s: float) -> None:
        self._cool_down_s = cool_down_s
        self._began_s: float | None = None
        self._wishes: deque[tuple[float, int]] = deque()

    def take(self, at_s: float, planned: int, target: int | None) -> int:
        """Takes in a wish, by the monotonic clock; the largest of the cool-down. Before it has passed since the first wish (after a start, too)
        what the system was asked for counts as one."""
        if self._began_s is None:
            self._began_s = at_s
        while self._wishes and self._wishes[-1][1] <= planned:
            self._wishes.pop()
        self._wishes.append((at_s, planned))
        while self._wishes[0][0] < at_s - self._cool_down_s:
            self._wishes.popleft()
        largest = self._wishes[0][1]
        young = at_s - self._began_s < self._cool_down_s
        return max([largest, *([target] if young and target is not None else [])])


def together(words: Iterable[str]) -> str:
    return "; ".join(filter(None, words))
