"""A reporter that keeps the last tick, and its explanations while the words are valid."""

from __future__ import annotations

from typing import Any

from autoscaler.explanation import explain_tick
from autoscaler.ports import Tick


class Kept:
    def __init__(self) -> None:
        self.tick: Tick | None = None
        self.documents: list[dict[str, Any]] | None = None

    async def report(self, tick: Tick) -> None:
        self.tick = tick
        self.documents = [explain_tick(tick, row) for row in range(len(tick.fleet))]
