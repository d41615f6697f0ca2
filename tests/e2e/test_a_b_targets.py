"""Stories a and b: replicas follow a demand that lies in the real Prometheus, for a Deployment, a StatefulSet and a custom resource."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.e2e.world import World, autoscaler, deployment, workload
from tests.realparts.api import Object


def ramp(at_s: float) -> float:
    """1.6 requests/s for 3 s, up to 11 within 16 s, there for 10 s, then back at once."""
    if at_s < 3:
        return 1.6
    if at_s < 19:
        return 1.6 + (at_s - 3) / 16 * 9.4
    return 11.0 if at_s < 29 else 1.6


async def test_a_deployment_follows_the_demand_up_before_the_queue_builds_and_down_after_the_window(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama"))
    await world.until_ready("llama", 2)
    async with world.controller("story-a"), world.traffic("llama", ramp) as traffic:
        await world.until_replicas("llama", lambda count: count >= 7)
        grown = await world.until_status("llama", lambda item: item["status"].get("readyReplicas", 0) >= 7)
        assert traffic.longest_wait_s < 5.0, "the promise of deploy/examples: nobody waits longer"
        status = grown["status"]
        assert "target" in status["reason"], "the policy's own sentence"
        assert status["leadTime"]["samples"] >= 4, "each start was measured"
        assert 1.0 <= status["leadTime"]["p50Seconds"] < 6.0  # pods tell whole seconds

        await world.until_replicas("llama", lambda count: count <= 3, timeout_s=60)
        events = [event for event in await world.events("llama") if event["reason"] == "SuccessfulRescale"]
        assert events, "each rescale is an event"
        assert any("target" in event["note"] for event in events), "which says why"
        shown = await world.control_plane.kubectl("get", "ia", "-n", world.namespace)
        assert "llama" in shown.out
        assert "Deployment" in shown.out or "Active" in shown.out


async def test_b_stateful_set(world: World) -> None:
    await world.apply(workload("StatefulSet", "embedder", 2), autoscaler("embedder", kind="StatefulSet"))
    await world.until_ready("embedder", 2)
    async with world.controller("story-b-stateful-set"), world.traffic("embedder", ramp):
        await world.until_replicas("embedder", lambda count: count >= 6, resource="apps/v1/{ns}/statefulsets")
        await world.until_ready("embedder", 6)
        await world.until_replicas("embedder", lambda count: count <= 3, resource="apps/v1/{ns}/statefulsets", timeout_s=60)


MODEL_SERVER = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "modelservers.serving.example.test"},
    "spec": {
        "group": "serving.example.test",
        "scope": "Namespaced",
        "names": {"kind": "ModelServer", "plural": "modelservers", "singular": "modelserver"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector",
                    },
                },
            }
        ],
    },
}
RIGHTS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {
        "name": "inference-autoscaler-targets-modelservers",
        "labels": {"inference-autoscaler.io/aggregate-to-targets": "true"},
    },
    "rules": [
        {"apiGroups": ["serving.example.test"], "resources": ["modelservers"], "verbs": ["list", "watch"]},
        {"apiGroups": ["serving.example.test"], "resources": ["modelservers/scale"], "verbs": ["get", "update"]},
    ],
}


@contextlib.asynccontextmanager
async def model_server_operator(world: World, name: str) -> AsyncIterator[None]:
    """Plays the custom resource's own operator: its replicas become those of a Deployment, whose selector it states."""
    api, ns = world.control_plane.api, world.namespace
    path = f"/apis/serving.example.test/v1/namespaces/{ns}/modelservers"

    async def follow() -> None:
        last = -1
        while True:

            def changed(items: dict[str, Object], last: int = last) -> bool:
                return name in items and items[name]["spec"]["replicas"] != last

            found = await api.until(path, changed, timeout_s=600)
            last = int(found[name]["spec"]["replicas"])
            await api.patch(f"/apis/apps/v1/namespaces/{ns}/deployments/{name}", {"spec": {"replicas": last}})
            await api.patch(f"{path}/{name}/status", {"status": {"replicas": last, "selector": f"app={name}"}})

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_b_custom_resource_with_a_scale_subresource(world: World) -> None:
    await world.control_plane.apply([MODEL_SERVER, RIGHTS])
    done = await world.control_plane.kubectl(
        "wait", "--for=condition=Established", "crd/modelservers.serving.example.test", "--timeout=20s"
    )
    assert not done.code, done.err
    server: Object = {
        "apiVersion": "serving.example.test/v1",
        "kind": "ModelServer",
        "metadata": {"name": "mistral"},
        "spec": {"replicas": 2},
    }
    await world.apply(
        server, deployment("mistral", 2), autoscaler("mistral", kind="ModelServer", api_version="serving.example.test/v1")
    )
    async with model_server_operator(world, "mistral"):
        await world.until_ready("mistral", 2)
        async with world.controller("story-b-custom-resource"), world.traffic("mistral", ramp):
            where = "serving.example.test/v1/{ns}/modelservers"
            await world.until_replicas("mistral", lambda count: count >= 6, resource=where)
            await world.until_ready("mistral", 6)
            await world.until_replicas("mistral", lambda count: count <= 3, resource=where, timeout_s=60)


@pytest.mark.parametrize("mode", ["Shadow", "Recommend"])
async def test_modes_that_do_not_act_show_what_they_would_do_and_change_nothing(world: World, mode: str) -> None:
    await world.apply(deployment("watched", 2), autoscaler("watched", mode=mode))
    await world.until_ready("watched", 2)
    async with world.controller(f"story-{mode.lower()}") as controller, world.traffic("watched", lambda _at_s: 8.0):
        item = await world.until_status("watched", lambda item: item["status"].get("desiredReplicas", 0) >= 5)
        assert item["status"]["currentReplicas"] == 2
        found = await controller.metrics()
        assert f'inference_autoscaler_desired_replicas{{namespace="{world.namespace}",name="watched"}}' in found
    assert await world.replicas("watched") == 2
    assert not world.scale_writes("watched")
