"""Story l: a service that shrinks leaves a whole node, whatever its PodDisruptionBudget says of evictions: there are none."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from autoscaler.adapters.kubernetes.api import MERGE_PATCH, HttpKubeApi
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.credentials import find
from autoscaler.adapters.kubernetes.pods import DELETION_COST
from autoscaler.clock import SystemClock
from autoscaler.record_files import files
from tests.conftest import ROOT
from tests.e2e.audit import WHO, ours, used
from tests.e2e.world import Controller, World, autoscaler, deployment
from tests.realparts.api import Object, Objects
from tests.realparts.control_plane import ControlPlane
from tests.realparts.prometheus_server import PrometheusServer


@pytest_asyncio.fixture(loop_scope="session")
async def fleet(control_plane: ControlPlane, prometheus: PrometheusServer, deployed: Any, namespace: str) -> AsyncIterator[World]:
    """Three nodes of 8 GPUs, and the right to say which pods leave first."""
    component = str(ROOT / "deploy" / "components" / "empty-nodes")
    done = await control_plane.kubectl("apply", "--server-side", "-k", component)
    assert not done.code, done.err
    await control_plane.until_allowed(WHO, verb="patch", resource="pods", namespace=namespace)
    for number in range(3):
        await control_plane.add_gpu_node(f"node-{number}", 8, namespace=namespace)
    yield World(control_plane, prometheus, namespace, deployed)
    await control_plane.api.delete(f"/apis/inference-autoscaler.io/v1alpha1/namespaces/{namespace}/inferenceautoscalers")
    await control_plane.kubectl("delete", "-k", component, "--ignore-not-found")


def by_node(pods: Objects) -> Counter[str]:
    return Counter(pod["spec"].get("nodeName", "") for pod in pods.values() if "deletionTimestamp" not in pod["metadata"])


def costs(pods: Objects) -> list[str]:
    found = [pod["metadata"].get("annotations") or {} for pod in pods.values()]
    return [one[DELETION_COST] for one in found if DELETION_COST in one]


async def test_l_a_scale_down_leaves_a_whole_node_and_evicts_nobody(fleet: World) -> None:
    plane, name = fleet.control_plane, fleet.namespace
    pods = f"/api/v1/namespaces/{name}/pods"

    def wish(replicas: int) -> Object:
        policies = [{"name": "fixed", "params": {"replicas": replicas}}]
        return autoscaler("llama", policies=policies, acceleratorsPerReplica=1, drain={"pods": "EmptyNodes"})

    guard = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "llama"},
        "spec": {"minAvailable": 12, "selector": {"matchLabels": {"app": "llama"}}},
    }
    await fleet.apply(deployment("llama", 12, gpus=1), guard, wish(12))
    await fleet.until_ready("llama", 12)
    assert sorted(by_node(await plane.api.until(pods, lambda found: len(found) == 12)).values()) == [4, 4, 4]
    await plane.api.until(
        f"/apis/policy/v1/namespaces/{name}/poddisruptionbudgets",
        lambda found: found["llama"].get("status", {}).get("currentHealthy") == 12,
    )
    async with fleet.controller("story-l-emptying") as controller:
        await fleet.until_condition("llama", "EmptiesNodes", "True", "PodsChosen")
        await fleet.apply(wish(8))
        await fleet.until_replicas("llama", lambda count: count == 8)
        left = await plane.api.until(pods, lambda found: len(found) == 8)
        assert sorted(by_node(left).values()) == [4, 4], "the node that was emptied has none of ours left"
        assert not costs(left)

        # One more leaves the next node to be emptied, not the other one.
        await fleet.apply(wish(7))
        await fleet.until_replicas("llama", lambda count: count == 7)
        left = await plane.api.until(pods, lambda found: len(found) == 7 and not costs(found))
        assert sorted(by_node(left).values()) == [3, 4]

    told = leavings(controller)
    assert "go, which frees 1 node" in told[0], told
    assert "the count follows" in told[0], told
    assert "which frees no whole node yet" in told[-1], told
    # The budget forbids every eviction, and nothing was evicted or deleted by us: the count alone was lowered.
    mine = [event for event in ours(plane) if (event.get("objectRef") or {}).get("namespace") == name]
    assert ("", "pods", "patch") in used(mine)
    assert not {right for right in used(mine) if right[2] in ("delete", "deletecollection") or right[1] == "pods/eviction"}


async def test_l_of_a_pod_only_its_deletion_cost_may_be_changed(fleet: World) -> None:
    plane = fleet.control_plane
    await fleet.apply(deployment("llama", 1, gpus=1))
    await fleet.until_ready("llama", 1)
    path = f"/api/v1/namespaces/{fleet.namespace}/pods"
    (name,) = await plane.api.until(path, lambda found: len(found) == 1)
    clock = SystemClock()
    async with HttpKubeApi(await find(str(fleet.kubeconfig), clock.monotonic_s)) as api:

        async def patch(body: Object) -> None:
            await api.request("PATCH", f"{path}/{name}", body=body, content_type=MERGE_PATCH, timeout_s=5.0)

        async with asyncio.timeout(30.0):  # the API server learns of a policy some moments after it is stored
            while True:
                try:
                    await patch({"metadata": {"labels": {"tried": "yes"}}})
                except ApiError as refused:
                    if "may not change labels" in str(refused):
                        break
                    raise
                await asyncio.sleep(0.2)
        ended = {"spec": {"activeDeadlineSeconds": 1}}
        for body, words in ((ended, "what pods run"), ({"metadata": {"annotations": {"a": "b"}}}, "its deletion cost only")):
            with pytest.raises(ApiError, match=words):
                await patch(body)
        await patch({"metadata": {"annotations": {DELETION_COST: "-1"}}})
        await patch({"metadata": {"annotations": {DELETION_COST: None}}})


def leavings(controller: Controller) -> list[str]:
    """What the controller said of who leaves, tick by tick, as recorded."""
    lines = [line for file in files(controller.records) for line in file.read_text(encoding="utf-8").splitlines()]
    return [words for line in lines if '"leaving"' in line for words in json.loads(line)["leaving"].values()]
