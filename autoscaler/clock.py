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
        while (left := at_s - time.time()) > 0:  # noqa: ASYNC110 - time itself is waited for, nobody signals it
            await asyncio.sleep(min(left, 1.0))


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


class PacedClock:
    """A ManualClock that keeps pace with the machine's: moving on by t seconds takes t ÷ speed of its seconds. Ticks fall on exactly the
    same moments at any speed, so what is decided is the same as in a replay.

    speed may change at any moment; at 0 time stands still.
    """

    def __init__(self, start_s: float, speed: float) -> None:
        self._now_s = start_s
        self._speed = speed
        self._changed = asyncio.Event()

    @property
    def speed(self) -> float:
        return self._speed

    def set_speed(self, speed: float) -> None:
        self._speed = speed
        self._changed.set()
        self._changed = asyncio.Event()

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._now_s

    async def sleep_until(self, at_s: float) -> None:
        left_s = at_s - self._now_s
        while left_s > 0:
            speed, changed, began_s = self._speed, self._changed, time.monotonic()
            try:
                await asyncio.wait_for(changed.wait(), left_s / speed if speed > 0 else None)
            except TimeoutError:
                break
            left_s -= (time.monotonic() - began_s) * speed
        self._now_s = max(self._now_s, at_s)
