"""Secrets that are lost or broken, caBundles of other hands, API servers that refuse or are away: on the real control plane."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from dataclasses import replace

import pytest
from aiohttp import web

from autoscaler.external_metrics.certificates import Lifetimes
from autoscaler.external_metrics.certificates.keeper import CertificateKeeper
from autoscaler.external_metrics.certificates.reading import end_s
from autoscaler.external_metrics.certificates.stored import Step, Stored
from tests.external_metrics.certificates.conftest import (
    ACCOUNT,
    API_SERVICE,
    API_SERVICES,
    CLUSTER_RULES,
    QUICK,
    ROLE_RULES,
    Load,
    World,
    as_keeper,
    bundle_of,
    running,
    until,
)
from tests.realparts.fault_proxy import Drop, Fault, kubernetes_error

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


def metric(keeper: CertificateKeeper, name: str, **labels: str) -> float | None:
    for family in keeper.families():
        if family.name == name:
            return family.samples.get(tuple(labels.items()))
    return None


async def mended(world: World, *differs: Stored) -> Stored:
    found = await world.until_secret(
        lambda stored: stored.is_whole and not stored.faults and stored.step is Step.STEADY and stored not in differs
    )
    await world.until_api_service(lambda item: bundle_of(item) == set(found.bundle))
    return found


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
            keeper.rotate_now()
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
    assert {event["responseStatus"]["code"] for event in events if "responseStatus" in event} <= {200, 201, 404, 409}
