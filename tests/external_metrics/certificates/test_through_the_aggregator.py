"""Certificates through the real aggregator: made at the first start, and exchanged under a steady load without a failed request."""

from __future__ import annotations

import asyncio

from autoscaler.external_metrics.certificates import Lifetimes
from autoscaler.external_metrics.certificates.stored import Step
from tests.external_metrics.certificates.aggregated import Load, World, bundle_of, running, until
from tests.realparts.api import conditions


async def test_the_first_start(world: World) -> None:
    async with world.replica() as replica:
        keeper = world.keeper(replica.use)
        async with running(keeper):
            await asyncio.wait_for(keeper.ready.wait(), 10)
            await world.until_served()
            stored = await world.secret()
            assert stored.step is Step.STEADY
            assert stored.is_whole
            assert stored.faults == ()
            assert stored.current is not None
            assert bundle_of(await world.until_api_service(lambda _: True)) == {stored.current.ca}
            assert keeper.client_pair == stored.current.client
            assert len(replica.used) == 1


async def test_two_that_start_from_nothing_agree(world: World) -> None:
    async with world.replica() as one, world.replica() as other:
        keepers = world.keeper(one.use), world.keeper(other.use, seed=8)
        async with running(*keepers):
            await asyncio.gather(*(asyncio.wait_for(keeper.ready.wait(), 10) for keeper in keepers))
            await world.until_served()
            await until(lambda: keepers[0].serving_pair == keepers[1].serving_pair)
            stored = await world.secret()
            assert len(stored.bundle) == 1
            assert one.used == other.used
            assert len(one.used) == 1
            assert sum(keeper.figures.writes["Begin"] for keeper in keepers) == 1
            assert sum(keeper.figures.writes["Tell"] for keeper in keepers) == 1


async def test_new_leaves_fail_no_request(world: World) -> None:
    async with world.replica() as one, world.replica() as other:
        keepers = world.keeper(one.use), world.keeper(other.use, seed=8)
        async with running(*keepers):
            await world.until_served()
            before = await world.secret()
            async with Load(world):
                for count in (2, 3, 4):
                    await world.annotate("leaf")
                    await until(lambda count=count: len(one.used) == len(other.used) == count)  # type: ignore[misc]
                    await asyncio.sleep(0.5)  # load on what is served now
            stored = await world.secret()
            assert stored.bundle == before.bundle
            assert one.used == other.used
            assert len(set(one.used)) == 4
            assert one.answered > 20
            assert other.answered > 20


async def test_a_new_authority_fails_no_request(world: World) -> None:
    async with world.replica() as one, world.replica() as other:
        keepers = world.keeper(one.use), world.keeper(other.use, seed=8)
        async with running(*keepers):
            await world.until_served()
            first = await world.secret()
            async with Load(world):
                await world.annotate("now")
                announced = await world.until_secret(lambda stored: stored.step is Step.ANNOUNCED)
                assert announced.current == first.current
                assert set(announced.bundle) > set(first.bundle)
                assert len(one.used) == 1
                overlapping = await world.until_secret(lambda stored: stored.step is Step.OVERLAPPING)
                assert overlapping.current == announced.coming
                await until(lambda: len(one.used) == len(other.used) == 2)
                steady = await world.until_secret(lambda stored: stored.step is Step.STEADY)
                await world.until_api_service(lambda item: bundle_of(item) == set(steady.bundle))
                await world.annotate("now")
                again = await world.until_secret(lambda stored: stored.step is Step.STEADY and stored.current != steady.current)
                await world.until_api_service(lambda item: bundle_of(item) == set(again.bundle))
                await asyncio.sleep(0.5)  # load on what is served now
            assert one.used == other.used
            assert len(one.used) == 3
            assert set(again.bundle).isdisjoint(first.bundle)
            item = await world.until_api_service(lambda _: True)
            assert conditions(item)["Available"] == "True"


async def test_lifetimes_of_seconds_are_renewed_in_time(world: World) -> None:
    lifetimes = Lifetimes(ca_s=24.0, leaf_s=6.0)
    async with world.replica() as one, world.replica() as other:
        keepers = (
            world.keeper(one.use, lifetimes=lifetimes, settle_s=1.0, overlap_s=2.0),
            world.keeper(other.use, lifetimes=lifetimes, settle_s=1.0, overlap_s=2.0, seed=8),
        )
        async with running(*keepers):
            await world.until_served()
            first = await world.secret()
            async with Load(world):
                done = await world.until_secret(
                    lambda stored: stored.step is Step.STEADY and set(stored.bundle).isdisjoint(first.bundle), timeout_s=60
                )
                await world.until_api_service(lambda item: bundle_of(item) == set(done.bundle))
                await until(lambda: one.used[-1] == other.used[-1])
            assert len(set(one.used)) >= 4
            assert keepers[0].figures.writes["Begin"] + keepers[1].figures.writes["Begin"] == 1
