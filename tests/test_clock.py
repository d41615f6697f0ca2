"""Clocks keep their promises to whoever sleeps on them."""

from __future__ import annotations

import asyncio
import time

import pytest

from autoscaler.clock import ClockSteps, ManualClock, PacedClock, SystemClock


async def test_a_paced_clock_wakes_at_exactly_the_moment_after_its_share_of_real_time() -> None:
    clock = PacedClock(1000.0, 100.0)
    began_s = time.monotonic()
    await clock.sleep_until(1010.0)
    assert clock.now_s() == clock.monotonic_s() == 1010.0
    assert time.monotonic() - began_s >= 0.09
    await clock.sleep_until(900.0)
    assert clock.now_s() == 1010.0


async def test_a_paced_clock_changes_its_pace_while_somebody_sleeps() -> None:
    clock = PacedClock(0.0, 1.0)
    sleeping = asyncio.create_task(clock.sleep_until(3600.0))
    await asyncio.sleep(0.01)
    clock.set_speed(0.0)
    await asyncio.sleep(0.05)
    assert not sleeping.done()
    clock.set_speed(1e6)
    await asyncio.wait_for(sleeping, 5)
    assert (clock.now_s(), clock.speed) == (3600.0, 1e6)


async def test_a_paced_clock_that_stands_still_stays_where_it_is() -> None:
    clock = PacedClock(0.0, 0.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(clock.sleep_until(1.0), 0.05)
    assert clock.now_s() == 0.0


async def test_a_manual_clock_jumps_and_never_goes_back() -> None:
    clock = ManualClock(5.0)
    await clock.sleep_until(4.0)
    await clock.sleep_until(7.0)
    assert clock.now_s() == 7.0
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance_to(6.0)


class Settable(ManualClock):
    """A clock whose wall time can be set while its monotonic one goes on."""

    def __init__(self) -> None:
        super().__init__(1000.0)
        self.set_by_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.set_by_s


def test_a_clock_that_is_set_is_noticed_once_and_gentle_corrections_are_not() -> None:
    clock = Settable()
    steps = ClockSteps(clock)
    clock.advance_to(1015.0)
    assert steps.set_by_s() == 0.0
    clock.set_by_s = 3600.0
    assert steps.set_by_s() == pytest.approx(3600.0)
    assert steps.set_by_s() == 0.0
    clock.set_by_s = 0.0
    assert steps.set_by_s() == pytest.approx(-3600.0)
    for _ in range(1000):
        clock.set_by_s += 0.008
        assert steps.set_by_s() == 0.0


async def test_a_clock_that_is_set_back_does_not_keep_anybody_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    real = time.time
    sleeping = asyncio.create_task(clock.sleep_until(real() + 0.1))
    await asyncio.sleep(0)
    monkeypatch.setattr(time, "time", lambda: real() - 3600.0)
    async with asyncio.timeout(5):
        await sleeping
