"""API servers that refuse, or are away for one replica or for all."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from aiohttp import web

from autoscaler.external_metrics.certificates import Lifetimes
from autoscaler.external_metrics.certificates.reading import end_s
from tests.external_metrics.certificates.aggregated import (
    Load,
    World,
    mended,
    metric,
    running,
    until,
)
from tests.external_metrics.certificates.rights import as_keeper
from tests.realparts.fault_proxy import Drop, Fault, kubernetes_error


async def test_a_storm_of_conflicts_costs_little_and_passes(world: World) -> None:
    refusing = True

    def rule(request: web.Request) -> Fault | None:
        if refusing and request.method in ("POST", "PUT", "PATCH") and not request.path.endswith("reviews"):
            return kubernetes_error(409, "AlreadyExists" if request.method == "POST" else "Conflict")
        return None

    async with (
        world.control_plane.fault_proxy() as proxy,
        as_keeper(world.control_plane, world.namespace, proxy.url) as session,
        world.replica() as replica,
    ):
        proxy.rule = rule
        keeper = world.keeper(replica.use, api=session)
        async with running(keeper):
            await until(lambda: keeper.figures.faults["conflict"] >= 6)
            writes = [one for one in proxy.requests if one.status == 409]
            assert len(writes) <= 8
            assert writes[-1].at_s - writes[0].at_s > 0.6  # by backoff, not as fast as it goes
            refusing = False
            await world.until_served()


async def test_while_the_api_server_is_away_what_is_in_hand_is_served(world: World, caplog: pytest.LogCaptureFixture) -> None:
    lifetimes = Lifetimes(ca_s=3600.0, leaf_s=4.0)
    async with (
        world.control_plane.fault_proxy() as proxy,
        as_keeper(world.control_plane, world.namespace, proxy.url) as session,
        world.replica() as replica,
    ):
        keeper = world.keeper(replica.use, api=session, lifetimes=lifetimes)
        async with running(keeper):
            await world.until_served()
            with caplog.at_level(logging.WARNING):
                proxy.rule = lambda request: Drop()
                proxy.cut_streams()
                used = len(replica.used)
                assert keeper.serving_pair is not None
                held = keeper.serving_pair
                await until(lambda: time.time() > end_s(held.leaf) + 1.0)
                assert keeper.serving_pair == held
                assert len(replica.used) == used
                left_s = metric(keeper, "certificate_expiry_seconds", kind="serving")
                assert left_s is not None
                assert left_s < 0
                assert metric(keeper, "certificate_fault", reason="api") == 1.0
                texts = [record.getMessage() for record in caplog.records if "certificates:" in record.getMessage()]
                assert any("should have been renewed and expires within a minute" in text for text in texts)
                assert any("HAS EXPIRED" in text for text in texts)
                assert len(texts) < 8
            proxy.rule = lambda request: None
            await until(lambda: keeper.serving_pair != held)
            await world.until_served()
            assert keeper.figures.fault == ""


async def test_a_replica_that_is_cut_off_for_a_rotation_costs_no_request(world: World) -> None:
    async with (
        world.control_plane.fault_proxy() as proxy,
        as_keeper(world.control_plane, world.namespace, proxy.url) as session,
        world.replica() as one,
        world.replica() as other,
    ):
        keepers = world.keeper(one.use, overlap_s=5.0), world.keeper(other.use, overlap_s=5.0, seed=8, api=session)
        async with running(*keepers):
            await world.until_served()
            await until(lambda: len(other.used) == 1)
            first = await mended(world)
            async with Load(world):
                proxy.rule = lambda request: Drop()
                proxy.cut_streams()
                await world.annotate("now")
                await until(lambda: len(one.used) == 2)
                await asyncio.sleep(1.0)  # load on both
                assert len(other.used) == 1
                proxy.rule = lambda request: None
                await until(lambda: len(other.used) == 2, timeout_s=3)
                await mended(world, first)
                await asyncio.sleep(0.3)  # load on what is served now
            assert one.used == other.used
