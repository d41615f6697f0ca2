"""What a real Karpenter does by itself: what our node pools are built upon."""

from __future__ import annotations

from typing import Any

import pytest

from tests.realparts.api import Object, Objects, conditions, is_ready
from tests.realparts.control_plane import NAMESPACE_LABEL, ControlPlane
from tests.realparts.karpenter import NODE_POOLS, POOL_LABEL, Karpenter

pytestmark = pytest.mark.realparts


def deployment(name: str, namespace: str, *, replicas: int, gpus: int, **pod: Any) -> Object:
    """A Deployment of pods of so many GPUs."""
    gpu = {"nvidia.com/gpu": str(gpus)}
    # Requests too: those of a pod are filled in from its limits, those of a template are not, and a CapacityBuffer reads the template.
    container = {"name": "server", "image": "example.invalid/server", "resources": {"requests": gpu, "limits": gpu}}
    spec = {
        "containers": [container],
        # Said by the template too, not by admission alone: a CapacityBuffer reads the template.
        "nodeSelector": {NAMESPACE_LABEL: namespace},
        "terminationGracePeriodSeconds": 0,
        **pod,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }


async def scale(control_plane: ControlPlane, namespace: str, name: str, replicas: int) -> None:
    done = await control_plane.kubectl("-n", namespace, "scale", name, f"--replicas={replicas}")
    assert not done.code, done.err


async def test_a_static_pool_follows_its_scale_subresource(
    control_plane: ControlPlane, karpenter: Karpenter, namespace: str
) -> None:
    """Up, down, and the scale tells how many there are."""
    pool = await karpenter.add_pool(namespace, replicas=1)
    await karpenter.until_nodes(pool, 1)
    await scale(control_plane, "default", f"nodepool/{pool}", 3)
    nodes = await karpenter.until_nodes(pool, 3)
    assert {node["status"]["allocatable"]["nvidia.com/gpu"] for node in nodes.values()} == {"8"}
    pools = await control_plane.api.until(NODE_POOLS, lambda pools: pools[pool]["status"].get("nodes") == 3)
    answer = await control_plane.api.get(f"{NODE_POOLS}/{pool}/scale")
    assert (answer["spec"]["replicas"], answer["status"]) == (3, {"replicas": 3}), pools[pool]["status"]
    await scale(control_plane, "default", f"nodepool/{pool}", 1)
    await karpenter.until_nodes(pool, 1)


async def test_a_karpenter_that_was_killed_finishes_what_it_began(
    control_plane: ControlPlane, karpenter: Karpenter, namespace: str
) -> None:
    """Between the NodeClaims and their nodes: none is lost for good, none is there twice."""
    pool = await karpenter.add_pool(namespace, replicas=3, registered_after="2s", ready_after_ms=2000)
    claims = "/apis/karpenter.sh/v1/nodeclaims"
    await control_plane.api.until(claims, lambda found: len(found) == 3, labelSelector=f"{POOL_LABEL}={pool}")
    await karpenter.process.kill()
    await karpenter.process.start()
    await karpenter.until_nodes(pool, 3, timeout_s=90.0)
    assert len((await control_plane.api.get(claims, labelSelector=f"{POOL_LABEL}={pool}"))["items"]) == 3


async def test_a_dynamic_pool_follows_pending_pods(control_plane: ControlPlane, karpenter: Karpenter, namespace: str) -> None:
    """Nine one-GPU pods need two nodes, which are ready when they are told to be; without pods the nodes go."""
    pool = await karpenter.add_pool(namespace, registered_after="2s", ready_after_ms=3000, advertised_after_ms=2000)
    await control_plane.apply(deployment("llm", namespace, replicas=9, gpus=1), namespace=namespace)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    await control_plane.api.until(pods, lambda pods: sum(map(is_ready, pods.values())) == 9, timeout_s=60.0)
    await karpenter.until_nodes(pool, 2)
    await scale(control_plane, namespace, "deployment/llm", 0)
    await karpenter.until_nodes(pool, 0, timeout_s=90.0)


async def test_a_capacity_buffer_brings_a_node_ahead_of_pods(
    control_plane: ControlPlane, karpenter: Karpenter, namespace: str
) -> None:
    """A Deployment without replicas has room for one; its first pod doesn't wait, and the room is made anew."""
    pool = await karpenter.add_pool(namespace)
    await control_plane.apply(deployment("llm", namespace, replicas=0, gpus=8), namespace=namespace)
    buffer = {
        "apiVersion": "autoscaling.x-k8s.io/v1beta1",
        "kind": "CapacityBuffer",
        "metadata": {"name": "llm"},
        "spec": {
            "provisioningStrategy": "buffer.x-k8s.io/active-capacity",
            "scalableRef": {"apiGroup": "apps", "kind": "Deployment", "name": "llm"},
            "replicas": 1,
        },
    }
    await control_plane.apply(buffer, namespace=namespace)
    first = await karpenter.until_nodes(pool, 1, timeout_s=60.0)
    buffers = f"/apis/autoscaling.x-k8s.io/v1beta1/namespaces/{namespace}/capacitybuffers"
    await control_plane.api.until(buffers, lambda found: conditions(found["llm"]).get("Provisioning") == "True", timeout_s=60.0)

    await scale(control_plane, namespace, "deployment/llm", 1)
    pods = await control_plane.api.until(
        f"/api/v1/namespaces/{namespace}/pods", lambda pods: len(pods) == 1 and all(map(is_ready, pods.values()))
    )
    assert [pod["spec"]["nodeName"] for pod in pods.values()] == list(first), "the pod took the room that was kept"
    await karpenter.until_nodes(pool, 2, timeout_s=60.0)

    await control_plane.api.delete(f"{buffers}/llm")
    await karpenter.until_nodes(pool, 1, timeout_s=90.0)


async def test_placeholder_pods_are_preempted_and_bring_the_next_node(
    control_plane: ControlPlane, karpenter: Karpenter, namespace: str
) -> None:
    """A real pod is placed at once in the placeholder's stead; the placeholder, Pending again, makes Karpenter bring another node."""
    pool = await karpenter.add_pool(namespace)
    low = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": f"{namespace}-low"}, "value": -10}
    await control_plane.apply(low)
    placeholder = deployment("placeholder", namespace, replicas=1, gpus=8, priorityClassName=f"{namespace}-low")
    await control_plane.apply(placeholder, namespace=namespace)
    first = await karpenter.until_nodes(pool, 1, timeout_s=60.0)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    await control_plane.api.until(pods, lambda pods: all(map(is_ready, pods.values())) and len(pods) == 1)

    await control_plane.apply(deployment("llm", namespace, replicas=1, gpus=8), namespace=namespace)

    def both_run(found: Objects) -> bool:
        return len(found) == 2 and all(map(is_ready, found.values()))

    placed = await control_plane.api.until(pods, both_run, timeout_s=60.0)
    node_of = {pod["metadata"]["labels"]["app"]: pod["spec"]["nodeName"] for pod in placed.values()}
    assert node_of["llm"] in first
    assert node_of["placeholder"] not in first
    await karpenter.until_nodes(pool, 2)
    await control_plane.api.delete(f"/apis/scheduling.k8s.io/v1/priorityclasses/{namespace}-low")
