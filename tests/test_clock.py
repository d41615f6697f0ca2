"""Clocks keep their promises to whoever sleeps on them."""

from __future__ import annotations

import asyncio
import time

import pytest

from autoscaler.clock import ManualClock, PacedClock


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
