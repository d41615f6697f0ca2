"""Story l: HPAs follow what the external metrics API serves, through the real aggregator; whatever dies, nothing is scaled down by it."""

from __future__ import annotations

import asyncio
import csv
import gzip
import itertools
import json
import math
import os
import shlex
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.conftest import ROOT
from tests.docs.pages import shell_lines
from tests.e2e.audit import Right, refused, rights, used
from tests.e2e.metrics_api import ACCOUNT, Asking, MetricsApi, hpa, of
from tests.e2e.world import SYSTEM, Controller, World, autoscaler, deployment, workload
from tests.realparts.api import Object
from tests.realparts.control_plane import ControlPlane

HPA_CONTROLLER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
SPEEDED_UP = 40.0
HOUR_S = 3600.0
BIN_S = 30.0
FOLLOWED_WITHIN_S = 3.5
"""An HPA looks once a second here; the tick itself, the feed and the write of the scale take a moment each."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def metrics_api(control_plane: ControlPlane, deployed: Path) -> AsyncIterator[MetricsApi]:
    async with MetricsApi(control_plane) as api:
        yield api


def recorded_hour() -> Callable[[float], float]:
    """Requests/s of a recorded hour, by seconds of the story: Azure's of 2023 where the shared traces are, else twenty
    minutes that ship, thrice."""
    shared = Path(os.environ.get("SHARED_TRACES", ROOT.parent / "shared" / "traces")) / "azure-llm-2023-conv.csv.gz"
    counts = [0.0] * int(HOUR_S / BIN_S)
    for at_s in azure(shared) if shared.is_file() else plain(ROOT / "replay" / "standard" / "traces" / "chat.csv.gz"):
        if at_s < HOUR_S:
            counts[int(at_s / BIN_S)] += 1.0
    if not shared.is_file():  # of an even demand, which says little: up and down thrice
        counts = [count * (1.0 + 0.7 * math.sin(6.0 * math.pi * place / len(counts))) for place, count in enumerate(counts)]
    scale = 12.0 / (sum(counts) / HOUR_S)
    return lambda at_s: scale * counts[min(max(int(at_s * SPEEDED_UP / BIN_S), 0), len(counts) - 1)] / BIN_S


def azure(file: Path) -> Sequence[float]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        times = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in csv.DictReader(lines)]
    return [at_s - times[0] for at_s in times]


def plain(file: Path) -> Sequence[float]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        third = [float(row["arrival_s"]) for row in csv.DictReader(lines)]
    return [at_s + HOUR_S / 3 * turn for turn in range(3) for at_s in third]


def foreteller(name: str, *, kind: str = "Deployment", **spec: Any) -> Object:
    """All three see the very same series of demand, so that they decide the same."""
    return autoscaler(
        name,
        kind=kind,
        minReplicas=2,
        maxReplicas=30,
        signals={
            "presets": ["vllm"],
            "staleAfter": "8s",
            "queries": [{"signal": "demand", "query": 'sum(rate(gateway_requests_total{service="driven"}[10s]))'}],
        },
        objective={"signal": "queue_wait_s", "target": "5s", "promised": "99%"},
        policies=[{"name": "predictive"}],
        **spec,
    )


def planned(records: Path, key: str) -> list[tuple[float, int]]:
    """(when, the planned count) of every tick of the object."""
    found: list[tuple[float, int]] = []
    for file in sorted(records.iterdir()):
        row = None
        for line in file.read_text("utf-8").splitlines():
            record = json.loads(line)
            if record["kind"] == "fleet":
                keys = [f"{one['namespace']}/{one['name']}" for one in record["services"]]
                row = keys.index(key) if key in keys else None
            elif record["kind"] == "tick" and row is not None:
                found.append((record["at_s"], int(record["planned"][row])))
    return found


def written_by_hpa(world: World, name: str) -> list[tuple[float, int]]:
    """(when, the count) of every write of the target's scale by the HPA controller."""
    return sorted(
        (datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(), int(event["requestObject"]["spec"]["replicas"]))
        for event in world.control_plane.audit_events()
        if event.get("objectRef", {}).get("subresource") == "scale"
        and event["verb"] == "update"
        and event["objectRef"].get("namespace") == world.namespace
        and event["objectRef"].get("name") == name
        and event["user"]["username"] == HPA_CONTROLLER
        and event["stage"] == "ResponseComplete"
        and event["responseStatus"]["code"] == 200
    )


def steps(counts: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Only where the count changes."""
    return [this for before, this in itertools.pairwise([(0.0, -1), *counts]) if before[1] != this[1]]


async def test_l_hpas_follow_a_recorded_hour_as_the_scale_subresource_does(world: World, metrics_api: MetricsApi) -> None:
    driven, followed, ordered = "driven", "followed", "ordered"
    await world.apply(
        deployment(driven, 4),
        deployment(followed, 4),
        workload("StatefulSet", ordered, 4),
        foreteller(driven),
        foreteller(followed, mode="Recommend"),
        foreteller(ordered, kind="StatefulSet", mode="Recommend"),
    )
    for name in (driven, followed, ordered):
        await world.until_ready(name, 4)
    demand = recorded_hour()
    async with (
        world.traffic(driven, demand, past_s=600.0, has_past=True),
        world.traffic(followed, demand, past_s=600.0, has_past=True),
        world.traffic(ordered, demand, past_s=600.0, has_past=True),
        world.controller("story-l") as controller,
        metrics_api.server("story-l-api", controller.url),
    ):
        await metrics_api.until_available()
        await world.apply(hpa(followed), hpa(ordered, kind="StatefulSet"))
        began_s = time.time()
        await asyncio.sleep(HOUR_S / SPEEDED_UP)  # the recorded hour itself
        raw = await world.control_plane.kubectl("get", "--raw", path_of(world.namespace, followed))
        (told,) = json.loads(raw.out)["items"]
        explained = await explained_at(controller, world.namespace, followed, told["timestamp"])
        ended_s = time.time() - FOLLOWED_WITHIN_S
    assert told["metricLabels"]["inference-autoscaler.io/name"] == followed
    assert int(told["value"]) == explained["planned"], "what kubectl prints is what explain says"
    by_scale = steps(planned(controller.records, f"{world.namespace}/{driven}"))
    assert len(by_scale) >= 10, "the hour moved"
    for name in (followed, ordered):
        decided = planned(controller.records, f"{world.namespace}/{name}")
        plans = [one for one in decided if began_s < one[0] < ended_s]
        writes = written_by_hpa(world, name)
        assert writes, "the HPA wrote"
        for (at_s, count), after in itertools.pairwise(plans):
            if count == after[1] and count != count_at(writes, after[0] + FOLLOWED_WITHIN_S, default=4):
                late = [one for one in plans if after[0] < one[0] <= after[0] + FOLLOWED_WITHIN_S and one[1] != count]
                assert late, f"{name} was to have {count} since {at_s}, and has {count_at(writes, after[0], default=4)}"
        asked = {count for _, count in decided}
        assert {count for at_s, count in writes if at_s > began_s + FOLLOWED_WITHIN_S} <= asked, "nothing but what was published"
        twin = planned(controller.records, f"{world.namespace}/{driven}")
        agreeing = agreement(twin, plans)
        assert agreeing >= 0.9, f"{name} decided as its twin in {agreeing:.0%} of the ticks"
        during = [count for at_s, count in twin if began_s < at_s < ended_s]
        dearer = sum(count for _, count in plans) / sum(during)
        assert 0.9 <= dearer <= 1.1, f"{name} took {dearer:.0%} of its twin's replicas over the hour"


def path_of(namespace: str, name: str) -> str:
    """As the README writes it."""
    return (
        f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/desired-replicas"
        f"?labelSelector=inference-autoscaler.io%2Fname%3D{name}"
    )


async def explained_at(controller: Controller, namespace: str, name: str, timestamp: str) -> Object:
    """What `autoscaler explain --at` says of the tick that a value is of. Its timestamp has whole seconds."""
    at_s = datetime.fromisoformat(timestamp).timestamp() + 0.999
    document: Object = await controller.get(f"/api/services/{namespace}/{name}/explain?at={at_s}")
    return document


def count_at(writes: Sequence[tuple[float, int]], at_s: float, default: int) -> int:
    before = [count for written_s, count in writes if written_s <= at_s]
    return before[-1] if before else default


def agreement(twin: Sequence[tuple[float, int]], plans: Sequence[tuple[float, int]]) -> float:
    """The share of ticks at which the plan is at most one replica beyond what its twin's is within FOLLOWED_WITHIN_S of them.

    The time is the HPA's period and its echo in the next decision. The replica is what a hysteresis keeps of it: whether pods were ready one
    tick sooner or later can decide on which side of a step a count stays."""
    judged = 0
    near = 0
    for at_s, count in plans:
        around = [one for other_s, one in twin if abs(other_s - at_s) <= FOLLOWED_WITHIN_S]
        if around:
            judged += 1
            near += min(around) - 1 <= count <= max(around) + 1
    return near / judged


async def test_l_with_the_controller_dead_hpas_hold_and_go_on_when_it_is_back(world: World, metrics_api: MetricsApi) -> None:
    demand = 8.0
    follower = autoscaler("llama", mode="Recommend", publish={"maxAge": "4s", "signals": ["demand", "queue"]})
    await world.apply(deployment("llama", 2), follower)
    await world.until_ready("llama", 2)
    async with world.traffic("llama", lambda _at_s: demand), Asking(world.control_plane) as asking:
        controller = world.controller("story-l-dies")
        started = await controller.__aenter__()
        async with metrics_api.server("story-l-api-2", started.url):
            try:
                await metrics_api.until_available()
                await world.apply(hpa("llama"))
                grown = await world.until_replicas("llama", lambda count: count >= 6)
                assert await asking.value(world.namespace, "demand", "llama") > 0.0
                await frozen_prometheus_is_not_felt(world, asking)
                demand = 1.0  # what would be decided now is a smaller count, and nobody is there to decide it
                await started.process.kill()
                await until_unscalable(world, "llama")
                assert await world.replicas("llama") >= grown, "nothing scales down by what nobody knows"
                status, document = await asking.get(f"/namespaces/{world.namespace}/desired-replicas", labelSelector=of("llama"))
                assert status == 503
                assert document["reason"] == "ServiceUnavailable"
                assert f"{world.namespace}/llama" in document["message"]
                writes = len(written_by_hpa(world, "llama"))
                await asyncio.sleep(3.0)  # three of the HPA's periods
                assert len(written_by_hpa(world, "llama")) == writes
                assert (await metrics_api.available())["status"] == "True", "discovery needs no controller"
                await started.process.start(ready_within_s=40)
                await world.until_replicas("llama", lambda count: count < grown, timeout_s=60)
            finally:
                await controller.__aexit__(None, None, None)


async def frozen_prometheus_is_not_felt(world: World, asking: Asking) -> None:
    """Nothing is asked of it when a value is: the count is told on, held and fresh; signals are errors as soon as nobody knows them."""
    grown = await asking.value(world.namespace, "desired-replicas", "llama")
    world.prometheus.process.freeze()
    try:
        async with asyncio.timeout(30):
            while (await asking.get(f"/namespaces/{world.namespace}/demand", labelSelector=of("llama")))[0] == 200:
                began_s = time.monotonic()
                assert await asking.value(world.namespace, "desired-replicas", "llama") == grown
                assert time.monotonic() - began_s < 2.0
                await asyncio.sleep(0.2)
        status, document = asking.bad[-1][1], json.loads(asking.bad[-1][2])
        assert (status, document["reason"]) == (503, "ServiceUnavailable")
        assert await asking.value(world.namespace, "desired-replicas", "llama") == grown
    finally:
        world.prometheus.process.thaw()
    async with asyncio.timeout(30):
        while (await asking.get(f"/namespaces/{world.namespace}/demand", labelSelector=of("llama")))[0] != 200:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.2)


async def until_unscalable(world: World, name: str) -> None:
    """Until the HPA says that it gets no metric."""
    await world.control_plane.api.until(
        f"/apis/autoscaling/v2/namespaces/{world.namespace}/horizontalpodautoscalers",
        lambda found: any(
            one["type"] == "ScalingActive" and one["status"] == "False" and one["reason"] == "FailedGetExternalMetric"
            for one in found[name].get("status", {}).get("conditions", [])
        ),
        timeout_s=30,
    )


async def test_l_servers_come_and_go_and_certificates_change_without_a_failed_get(world: World, metrics_api: MetricsApi) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama", mode="Recommend"))
    await world.until_ready("llama", 2)
    path = f"/namespaces/{world.namespace}/desired-replicas"
    fast = ("--ca-settle=2s", "--ca-overlap=2s")
    async with (
        world.traffic("llama", lambda _at_s: 3.0),
        world.controller("story-l-serves") as controller,
        metrics_api.server("story-l-one", controller.url, extra=fast) as one,
        metrics_api.server("story-l-other", controller.url, extra=fast) as other,
        Asking(world.control_plane) as asking,
    ):
        await metrics_api.until_available()
        await world.until_condition("llama", "ScalingActive", "True")
        assert await asking.value(world.namespace, "desired-replicas", "llama") >= 1
        available = await metrics_api.available()
        async with asking.steadily(path, of("llama")):
            await one.restart()
            await other.restart()
            first = await serving_certificate(metrics_api)
            await rotated(world.control_plane)
            await until_other_certificate(metrics_api, first)
            restarted = sum(asking.answered.values())
            assert restarted > 100
        assert not asking.bad, asking.bad[:3]
        assert len(asking.told) >= 5
        assert {len(values) for values in asking.told.values()} == {1}, "both tell the same of a tick"
        assert one.first_data_s() < 2.0
        assert other.first_data_s() < 2.0
        # A crash: what is in flight on that process is lost, and nothing else.
        async with asking.steadily(path, of("llama"), at_once=4):
            before = asking.answered[200]
            await one.kill()
            while asking.answered[200] < before + 200:  # noqa: ASYNC110 - requests signal nothing
                await asyncio.sleep(0.05)
        assert len(asking.bad) <= 4, asking.bad
        await namespaces_still_go(world.control_plane)
        after = await metrics_api.available()
        assert after["status"] == "True"
        assert after["lastTransitionTime"] == available["lastTransitionTime"], "the aggregator never took it for unavailable"


async def rotated(control_plane: ControlPlane) -> None:
    """As an administrator asks for another CA."""
    await control_plane.api.patch(
        f"/api/v1/namespaces/{SYSTEM}/secrets/{ACCOUNT}", {"metadata": {"annotations": {"inference-autoscaler.io/rotate": "now"}}}
    )


async def serving_certificate(metrics_api: MetricsApi) -> str:
    import ssl

    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", metrics_api.port))


async def until_other_certificate(metrics_api: MetricsApi, first: str) -> None:
    """Both processes share the port, so several new connections in a row must show it."""
    async with asyncio.timeout(60):
        in_a_row = 0
        while in_a_row < 10:
            in_a_row = in_a_row + 1 if await serving_certificate(metrics_api) != first else 0
            await asyncio.sleep(0.1)


async def namespaces_still_go(control_plane: ControlPlane) -> None:
    """The namespace controller asks every API for what is in a namespace before it lets it go."""
    await control_plane.create_namespace("goes")
    await control_plane.api.delete("/api/v1/namespaces/goes")
    await control_plane.api.until("/api/v1/namespaces", lambda found: "goes" not in found, timeout_s=40)


async def test_l_the_readme_takes_an_hpa_user_from_apply_to_the_first_scaling(world: World, metrics_api: MetricsApi) -> None:
    """The section's commands as printed; between the first two the Service is pointed at this machine, since pods don't run here."""
    commands = [
        line.replace(" models ", f" {world.namespace} ").replace("/models/", f"/{world.namespace}/")
        for line in shell_lines(ROOT / "README.md")
        if any(word in line for word in ("external-metrics", "apiservice", "hpa-desired-replicas", "external.metrics.k8s.io"))
    ]
    assert len(commands) == 4
    await world.apply(deployment("llama", 1))
    await world.until_ready("llama", 1)
    async with (
        world.traffic("llama", lambda _at_s: 6.0, past_s=600.0, has_past=True),
        world.controller("story-l-readme") as controller,
        metrics_api.as_from_nothing(),
    ):
        printed = ""
        for number, command in enumerate(commands):
            words = [str(ROOT / word) if word.startswith("deploy/") else word for word in shlex.split(command)[1:]]
            if number == 1:
                await metrics_api.point_here()
                server = await metrics_api.process("story-l-readme-api", controller.url)
                await server.start(ready_within_s=40)
            if number == 3:
                await world.until_condition("llama", "Ready", "True")
            done = await world.control_plane.kubectl(*words, timeout_s=90)
            assert done.code == 0, f"{command}\n{done.err}"
            printed = done.out
        try:
            (item,) = json.loads(printed)["items"]
            explained = await explained_at(controller, world.namespace, "llama", item["timestamp"])
            assert int(item["value"]) == explained["planned"] > 1
            await world.until_replicas("llama", lambda count: count > 1)
            assert written_by_hpa(world, "llama")
        finally:
            await server.stop()


async def test_l_z_the_servers_rights_are_enough_and_all_needed(control_plane: ControlPlane, metrics_api: MetricsApi) -> None:
    """After the others: from the audit log, as for the controller."""
    who = f"system:serviceaccount:{SYSTEM}:{ACCOUNT}"
    events = [event for event in control_plane.audit_events() if event["user"]["username"] == who]
    assert not refused(events), refused(events)
    get = control_plane.api.get
    granted: set[Right] = set()
    for path in (
        f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{ACCOUNT}",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SYSTEM}/roles/{ACCOUNT}",
    ):
        granted |= set(rights(await get(path)))
    assert not granted - used(events), sorted(granted - used(events))
