"""Secrets that are lost or broken, and caBundles of other hands: on the real control plane."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from dataclasses import replace

import pytest

from tests.external_metrics.certificates.aggregated import (
    API_SERVICE,
    API_SERVICES,
    QUICK,
    Load,
    World,
    bundle_of,
    mended,
    metric,
    running,
    until,
)
from tests.external_metrics.certificates.rights import ACCOUNT, CLUSTER_RULES, ROLE_RULES


async def test_a_secret_that_is_lost_or_broken_costs_no_request(world: World) -> None:
    async with world.replica() as one, world.replica() as other:
        keepers = world.keeper(one.use), world.keeper(other.use, seed=8)
        async with running(*keepers):
            await world.until_served()
            first = await mended(world)
            async with Load(world):
                await world.api.delete(world.secret_path)
                assert await mended(world) == first
                for key in ("tls.crt", "tls.key", "authority.crt", "authority.key", "client.key", "ca.crt", "rotation.json"):
                    for value in (b"no PEM", None):
                        data = {key: None if value is None else base64.b64encode(value).decode()}
                        await world.api.patch(world.secret_path, {"data": data})
                        found = await mended(world)
                        assert (found.current, found.bundle) == (first.current, first.bundle)
                await world.api.patch(world.secret_path, {"data": None})
                found = await mended(world)
                assert (found.current, found.bundle) == (first.current, first.bundle)
                await asyncio.sleep(0.3)  # load on what is served now
            assert len(one.used) == len(other.used) == 1


async def test_a_secret_that_nobody_remembers_is_made_anew_beside_the_old(world: World) -> None:
    async with world.replica() as replica:
        async with running(world.keeper(replica.use)):
            await world.until_served()
            first = await mended(world)
        await world.api.delete(world.secret_path)
        async with running(world.keeper(replica.use)):
            both = await world.until_api_service(lambda item: len(bundle_of(item)) == 2)
            assert set(first.bundle) < bundle_of(both)
            await world.until_served()
            second = await mended(world, first)
            assert set(second.bundle).isdisjoint(first.bundle)


async def test_a_secret_that_was_exchanged_is_rotated_to_without_a_failed_request(world: World) -> None:
    async with world.replica() as replica:
        keeper = world.keeper(replica.use)
        async with running(keeper):
            await world.until_served()
            first, kept = await mended(world), (await world.api.get(world.secret_path))["data"]
            await world.annotate("now")
            second = await mended(world, first)
            async with Load(world):
                await world.api.patch(world.secret_path, {"data": kept})  # somebody restores a backup
                third = await mended(world, second)
                assert third.current == first.current
                await asyncio.sleep(0.3)  # load on what is served now


async def test_a_bundle_of_other_hands_is_put_right(world: World) -> None:
    async with world.replica() as replica, running(world.keeper(replica.use)):
        await world.until_served()
        first = await mended(world)
        for bundle in (b"", world.control_plane.authority.certificate.read_bytes()):
            await world.tell(bundle)
            await world.until_api_service(lambda item: bundle_of(item) == set(first.bundle), timeout_s=5)
            await world.until_served()
        await world.api.patch(f"{API_SERVICES}/{API_SERVICE}", {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}})
        item = await world.until_api_service(lambda item: bundle_of(item) == set(first.bundle), timeout_s=5)
        assert not item["spec"].get("insecureSkipTLSVerify")
        await world.api.delete(f"{API_SERVICES}/{API_SERVICE}")
        await world.api.create(
            API_SERVICES, {**item, "metadata": {"name": API_SERVICE}, "spec": {**item["spec"], "caBundle": None}}
        )
        await world.until_api_service(lambda item: bundle_of(item) == set(first.bundle), timeout_s=5)
        assert len(replica.used) == 1


async def test_a_bundle_that_is_emptied_under_load_is_soon_forgotten(world: World) -> None:
    async with world.replica() as replica, running(world.keeper(replica.use)):
        await world.until_served()
        async with Load(world) as load:
            emptied_s = time.monotonic()
            await world.tell(b"")
            await world.until_api_service(lambda item: bool(bundle_of(item)), timeout_s=5)
            await world.until_served()
            await asyncio.sleep(0.3)  # what was under way
            assert load.last_failure_s() < emptied_s + 2.0
            await asyncio.sleep(0.5)  # load on what is trusted now


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {"annotations": {"cert-manager.io/inject-ca-from": "metrics/ours"}}}, "cert-manager's to write"),
        ({"spec": {"service": {"name": "keda-metrics-apiserver"}}}, "belongs to Service .*/keda-metrics-apiserver"),
    ],
)
async def test_a_bundle_that_is_not_ours_is_left_alone_and_said(
    world: World, change: dict[str, object], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    await world.api.patch(f"{API_SERVICES}/{API_SERVICE}", change)
    foreign = world.control_plane.authority.certificate.read_bytes()
    await world.tell(foreign)
    before = await world.until_api_service(lambda _: True)
    async with world.replica() as replica:
        keeper = world.keeper(replica.use)
        with caplog.at_level(logging.WARNING):
            async with running(keeper):
                await asyncio.wait_for(keeper.ready.wait(), 10)
                await until(lambda: keeper.figures.fault == "hindered")
                assert metric(keeper, "certificate_fault", reason="hindered") == 1.0
                await world.annotate("leaf")
                await until(lambda: len(replica.used) == 2)
                item = await world.until_api_service(lambda _: True)
                assert item["spec"] == before["spec"]
        pattern = [record for record in caplog.records if "left alone" in record.getMessage()]
        assert pattern
        assert re.search(words, pattern[0].getMessage())


async def test_a_fight_for_the_bundle_is_no_storm(world: World) -> None:
    settings = replace(QUICK, writes_at_once=6, write_every_s=1.0)
    async with world.replica() as replica:
        keeper = world.keeper(replica.use, settings=settings)
        async with running(keeper):
            await world.until_served()
            began_s = time.monotonic()
            while time.monotonic() < began_s + 3.0:
                await world.until_api_service(lambda item: bool(bundle_of(item)))
                await world.tell(b"")
            assert keeper.figures.fault == "contested"
            assert keeper.figures.writes["Tell"] <= 6 + 5
            await world.until_api_service(lambda item: bool(bundle_of(item)))
            await until(lambda: keeper.figures.fault == "")


async def test_an_annotation_that_nobody_understands(world: World) -> None:
    async with world.replica() as replica:
        keeper = world.keeper(replica.use)
        async with running(keeper):
            await world.until_served()
            await world.annotate("yesterday")
            await until(lambda: keeper.figures.fault == "hindered")
            assert "'yesterday'; allowed: now, leaf" in keeper.figures.last_fault
            await world.annotate("leaf")
            await until(lambda: len(replica.used) == 2 and keeper.figures.fault == "")
            item = await world.api.get(world.secret_path)
            assert "inference-autoscaler.io/rotate" not in item["metadata"].get("annotations", {})


async def test_what_others_keep_in_the_secret_stays(world: World) -> None:
    async with world.replica() as replica, running(world.keeper(replica.use)):
        await world.until_served()
        await world.api.patch(
            world.secret_path,
            {
                "metadata": {"annotations": {"team": "x"}, "labels": {"a": "b"}},
                "data": {"more": base64.b64encode(b"1").decode()},
            },
        )
        await world.annotate("leaf")
        await until(lambda: len(replica.used) == 2)
        item = await world.api.get(world.secret_path)
        assert item["metadata"]["annotations"] == {"team": "x"}
        assert item["metadata"]["labels"]["a"] == "b"
        assert "more" in item["data"]


async def test_the_rights_are_those_that_are_used(world: World) -> None:
    """Under exactly ROLE_RULES and CLUSTER_RULES nothing is refused; and each of their verbs is needed."""
    user = f"system:serviceaccount:{world.namespace}:{ACCOUNT}"
    async with world.replica() as replica, running(world.keeper(replica.use)):
        await world.until_served()
        await world.annotate("leaf")
        await until(lambda: len(replica.used) == 2)
    wanted = {
        (resource, verb) for rule in (*ROLE_RULES, *CLUSTER_RULES) for resource in rule["resources"] for verb in rule["verbs"]
    }
    wanted.add(("selfsubjectreviews", "create"))  # everybody's, by system:basic-user
    await world.control_plane.audited(lambda event: event["user"]["username"] == user and event["verb"] == "update")
    events = [event for event in world.control_plane.audit_events() if event["user"]["username"] == user]
    assert {(event["objectRef"]["resource"], event["verb"]) for event in events} == wanted
    # Requests that were under way when the keeper stopped may end in anything, but for a refusal.
    assert not {401, 403} & {event["responseStatus"]["code"] for event in events if "responseStatus" in event}
