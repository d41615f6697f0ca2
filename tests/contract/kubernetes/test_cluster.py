"""The whole adapter on both servers: what it writes is what the API server takes, for each kind of target."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.events import EVENTS
from autoscaler.adapters.kubernetes.services import SERVICES
from autoscaler.adapters.kubernetes.status_reporter import StatusReporter
from autoscaler.clock import SystemClock
from autoscaler.controller import Controller
from tests.contract.kubernetes.conftest import CALL_S, WIDGETS, Server, until
from tests.contract.kubernetes.test_scale import DEPLOYMENTS, STATEFUL_SETS, widget, workload
from tests.installed_crds import install_crds
from tests.realparts.control_plane import ControlPlane
from tests.ticks import PER_REPLICA, MadeMetrics

BEHAVIOR = {"scaleUp": {"policies": []}, "scaleDown": {"stabilizationWindowSeconds": 0, "policies": []}}


@pytest_asyncio.fixture(loop_scope="session")
async def our_kinds(control_plane: ControlPlane) -> None:
    await install_crds(control_plane)


@pytest.fixture
def ready_server(server: Server, request: pytest.FixtureRequest) -> Server:
    """A server that knows our kinds: the fake does from the start."""
    if "real" in request.node.callspec.id:
        request.getfixturevalue("our_kinds")
    return server


@asynccontextmanager
async def running(server: Server, concurrency: list[float]) -> AsyncIterator[tuple[Controller, KubernetesCluster]]:
    cluster = KubernetesCluster(
        server.api,
        clock=SystemClock(),
        rng=np.random.default_rng(3),
        own_namespace=server.namespace,
        may_write=lambda: True,
        namespaces=[server.namespace],
    )
    async with cluster:
        await cluster.wait_synced(15)
        controller = Controller(
            clock=SystemClock(),
            metrics=MadeMetrics({"concurrency": lambda _at_s, _row: concurrency[0]}),
            cluster=cluster,
            policies={"per-replica": PER_REPLICA},
            reporters=[StatusReporter(server.api, cluster, SystemClock(), instance="pod-1")],
        )
        yield controller, cluster
        assert controller.reporter_failures == 0


def manifest(kind: str, api_version: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": {"name": "llama"},
        "spec": {
            "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": "llama"},
            "maxReplicas": 9,
            "mode": "Active",
            "policies": [{"name": "per-replica"}],
            "behavior": BEHAVIOR,
            **spec,
        },
    }


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Widget"])
async def test_a_tick_scales_and_says_so(ready_server: Server, kind: str) -> None:
    server = ready_server
    resource = {"Deployment": DEPLOYMENTS, "StatefulSet": STATEFUL_SETS, "Widget": WIDGETS}[kind]
    await server.create(resource, widget(2) if resource is WIDGETS else workload(kind, 2))
    if resource is WIDGETS:
        await server.patch(WIDGETS, "llama", {"status": {"selector": "app=llama"}}, "status")
    await server.create(SERVICES, manifest(kind, resource.api_version))
    concurrency = [38.0]
    async with running(server, concurrency) as (controller, cluster):
        ticked = await controller.tick()
        assert ticked.outcome.errors == {}
        await until(lambda: has_status(server, {"plannedReplicas": 4, "currentReplicas": 2}))
        found = await server.get(resource, "llama")
        assert found["spec"]["size" if resource is WIDGETS else "replicas"] == 4

        # Down again at the next tick, though the target's version has moved meanwhile.
        concurrency[0] = 9.0
        ticked = await controller.tick()
        assert ticked.fleet.current[0] == 4
        assert not ticked.fleet.hands_off.any(), ticked.fleet.hands_off_why
        assert ticked.outcome.errors == {}
        status = (await server.get(SERVICES, "llama"))["status"]
        assert (status["plannedReplicas"], status["memory"]["desired"]) == (1, 1)
        assert {c["type"] for c in status["conditions"]} == {"Ready", "AbleToScale", "ScalingActive", "ScalingLimited"}
        events = await server.api.request("GET", EVENTS.path(server.namespace), timeout_s=CALL_S)
        ours = sorted(event["note"] for event in events["items"] if event["reason"] == "SuccessfulRescale")
        assert [note[:18] for note in ours] == ["New size: 1, was 4", "New size: 4, was 2"]

        # Somebody else's number is left alone, and the status says whose it is.
        path = "spec", ("size" if resource is WIDGETS else "replicas")
        await server.patch(resource, "llama", {path[0]: {path[1]: 7}})
        async with asyncio.timeout(10):
            while not (fleet := await cluster.observe(time.time())).hands_off[0]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert fleet.hands_off_why[0].startswith("ForeignWriter: ")
        await controller.tick()
        await until(lambda: has_condition(server, "AbleToScale", "ForeignWriter"))
        assert (await server.get(resource, "llama"))[path[0]][path[1]] == 7


async def has_status(server: Server, wanted: dict[str, Any]) -> bool:
    status = (await server.get(SERVICES, "llama")).get("status") or {}
    return all(status.get(name) == value for name, value in wanted.items())


async def has_condition(server: Server, type_: str, reason: str) -> bool:
    status = (await server.get(SERVICES, "llama")).get("status") or {}
    return any(c["type"] == type_ and c["reason"] == reason for c in status.get("conditions") or ())
