"""What is to happen when: a plant's calendar."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class Events:
    """Events in the order of their second, those of one second in the order in which they were planned."""

    def __init__(self) -> None:
        self._planned: list[tuple[int, int, Callable[[int, Any], None], Any]] = []
        self._serial = count()

    def plan(self, at_s: int, act: Callable[[int, Any], None], about: Any) -> None:
        heapq.heappush(self._planned, (at_s, next(self._serial), act, about))

    def next_s(self, before_s: int) -> int:
        """The next event's time if it is earlier, else before_s."""
        planned = self._planned
        return planned[0][0] if planned and planned[0][0] < before_s else before_s

    def happen(self, at_s: int) -> None:
        """Everything that is due until at_s."""
        planned = self._planned
        while planned and planned[0][0] <= at_s:
            due_s, _, act, about = heapq.heappop(planned)
            act(due_s, about)
