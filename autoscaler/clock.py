"""Clocks: the machine's, a faster one for the demo, and one that only moves when told to."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from autoscaler.ports import Clock

GENTLE_S: Final = 1.0
"""NTP corrects smaller errors by letting the clock run faster or slower, by 8 ms in 15 s at most."""


_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        # Linux stops CLOCK_MONOTONIC while the machine is suspended. Time passes then all the same: for a lease, a window, an outage.
        return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)

    async def sleep_until(self, at_s: float) -> None:
        # In slices, since somebody may set the clock forward while we sleep; and set back, it must not keep us asleep for as long.
        end_s = time.monotonic() + at_s - time.time()
        while (left := min(at_s - time.time(), end_s - time.monotonic())) > 0:  # noqa: ASYNC110 - time itself is waited for
            await asyncio.sleep(min(left, 1.0))


class ClockSteps:
    """Notices that the machine's wall clock was set (by hand, by NTP, after a pause of the whole machine).

    Windows and holds are told apart by wall times, which a restart finds in the objects' status. They age by the time that really passed: so
    whoever keeps such times moves them along by what is found here. Pauses and schedules name moments of the wall clock and mean them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s = clock.now_s() - clock.monotonic_s()

    def set_by_s(self) -> float:
        """By how much the clock was set since the last call, forward or (negative) back; 0 for what is only corrected gently."""
        offset_s = self._clock.now_s() - self._clock.monotonic_s()
        by_s, self._offset_s = offset_s - self._offset_s, offset_s
        return by_s if abs(by_s) > GENTLE_S else 0.0


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
                async with asyncio.timeout(left_s / speed if speed > 0 else None):
                    await changed.wait()
            except TimeoutError:
                break
            left_s -= (time.monotonic() - began_s) * speed
        self._now_s = max(self._now_s, at_s)
