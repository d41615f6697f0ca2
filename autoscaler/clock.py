"""Clocks: the machine's, a faster one for the demo, and one that only moves when told to."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep_until(self, at_s: float) -> None:
        # In slices, since somebody may set the clock forward while we sleep.
        while (left := at_s - time.time()) > 0:
            await asyncio.sleep(min(left, 1.0))


class FastClock:
    """Time that starts at `start_s` and runs `speed` times as fast as the machine's."""

    def __init__(self, start_s: float, speed: float) -> None:
        self._start_s = start_s
        self._began_s = time.monotonic()
        self._speed = speed

    def now_s(self) -> float:
        return self._start_s + (time.monotonic() - self._began_s) * self._speed

    def monotonic_s(self) -> float:
        return self.now_s()

    async def sleep_until(self, at_s: float) -> None:
        while (left := (at_s - self.now_s()) / self._speed) > 0:
            await asyncio.sleep(left)


class ManualClock:
    """Time that jumps: sleeping until a moment makes it that moment at once."""

    __slots__ = ("_now_s",)

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._now_s

    def advance_to(self, at_s: float) -> None:
        if at_s < self._now_s:
            raise ValueError(f"time does not go back: it is {self._now_s}, asked for {at_s}")
        self._now_s = at_s

    async def sleep_until(self, at_s: float) -> None:
        if at_s > self._now_s:
            self._now_s = at_s
