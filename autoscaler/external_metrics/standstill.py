"""Notices that this process did not run for a while: stopped, in a frozen container, on a machine that was suspended.

What a controller sent meanwhile waited in our own buffers, and says of itself that it is new.
"""

from __future__ import annotations

import asyncio
from typing import Final

from autoscaler.ports import Clock

LOOK_S: Final = 1.0
STANDSTILL_S: Final = 5.0
"""Far beyond what a busy machine makes us wait, and far below any age limit."""


class Standstills:
    """Run `watch()` as a task: without it, time in which nobody looked counts as a standstill."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._looked_s = clock.monotonic_s()

    def count(self) -> int:
        """How many there were so far, one that ends just now included: whoever is woken first, before `watch` is, sees it as well."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s > STANDSTILL_S:
            self._count += 1
        self._looked_s = now_s
        return self._count

    async def watch(self) -> None:
        """Never returns; cancel it."""
        while True:
            self.count()
            await asyncio.sleep(LOOK_S)
