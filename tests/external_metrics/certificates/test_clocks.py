"""Clocks that are wrong: certificates are made by the time of the API server, which verifies them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from tests.external_metrics.certificates.aggregated import (
    QUICK,
    World,
    metric,
    running,
    until,
)

DAY_S = 86400.0


class SetClock:
    """The machine's clock, set wrongly by `by_s`."""

    def __init__(self, by_s: float = 0.0) -> None:
        self.by_s = by_s

    def now_s(self) -> float:
        return time.time() + self.by_s

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self.now_s()))


@pytest.mark.parametrize("by_s", [400 * DAY_S, -400 * DAY_S])
async def test_a_clock_that_is_wrong_from_the_start(world: World, by_s: float) -> None:
    async with world.replica() as one, world.replica() as other:
        keepers = world.keeper(one.use, clock=SetClock(by_s)), world.keeper(other.use, seed=8)
        async with running(keepers[0]):
            await world.until_served()
            async with running(keepers[1]):
                await asyncio.wait_for(keepers[1].ready.wait(), 10)
                ahead_s = metric(keepers[0], "certificate_clock_ahead_seconds")
                assert ahead_s == pytest.approx(-by_s, abs=3)
                assert one.used == other.used
                left_s = metric(keepers[0], "certificate_expiry_seconds", kind="serving")
                assert left_s == pytest.approx(90 * DAY_S, abs=60)
                assert not any(keepers[1].figures.writes.values())


async def test_a_clock_that_is_set_while_it_runs_renews_nothing(world: World) -> None:
    clock = SetClock()
    async with world.replica() as replica:
        keeper = world.keeper(replica.use, clock=clock, settings=replace(QUICK, resync_s=0.1, time_s=0.3))
        async with running(keeper):
            await world.until_served()
            writes = keeper.figures.writes.total()
            for by_s in (400 * DAY_S, -400 * DAY_S):
                clock.by_s = by_s
                await until(lambda: metric(keeper, "certificate_clock_ahead_seconds") == pytest.approx(-clock.by_s, abs=3))
            assert keeper.figures.writes.total() == writes
