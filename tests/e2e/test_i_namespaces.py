"""Story i: a controller that serves two teams' namespaces, under the rights of deploy/examples/some-namespaces and no others.

A control plane of its own: in the stories' one the controller has the whole cluster's rights, and its audit log tells of those.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import ROOT
from tests.docs.pages import shell_lines
from tests.e2e.audit import WHO, ours, refused, rights, used
from tests.e2e.world import SYSTEM, World, autoscaler, deployment, workload
from tests.realparts.control_plane import ControlPlane
from tests.realparts.prometheus_server import PrometheusServer

TEAMS = ("team-a", "team-b")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
POOL: dict[str, Any] = {
    "apiVersion": "inference-autoscaler.io/v1alpha1",
    "kind": "AcceleratorPool",
    "metadata": {"name": "shared"},
    "spec": {"maxNodes": 4, "acceleratorsPerNode": 8},
}


@pytest_asyncio.fixture(loop_scope="session")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    async with ControlPlane(tmp_path_factory.mktemp("namespaces-control-plane")) as running:
        for name in (*TEAMS, "team-c"):
            await running.create_namespace(name)
        # As whoever had the whole cluster served before: the page's commands take away what the base left.
        page = [line for line in shell_lines(ROOT / "docs" / "operations.md") if line.startswith("kubectl delete cluster")]
        assert len(page) == 2
        for command in ("kubectl apply -k deploy/base", "kubectl apply -k deploy/examples/some-namespaces", *page):
            words = [str(ROOT / word) if word.startswith("deploy/") else word for word in command.split()[1:]]
            done = await running.kubectl(*words)
            assert not done.code, f"{command}: {done.err}"
        done = await running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        assert not done.code, done.err
        yield running


async def test_i_two_namespaces_are_served_and_no_right_reaches_further(
    plane: ControlPlane, prometheus: PrometheusServer
) -> None:
    kubeconfig = await plane.service_account_kubeconfig(SYSTEM, SYSTEM)
    a, b, c = (World(plane, prometheus, name, kubeconfig) for name in (*TEAMS, "team-c"))
    for name in TEAMS:
        await plane.until_allowed(WHO, verb="list", resource="pods", namespace=name)
        await plane.add_gpu_node("node", 32, namespace=name)
    await plane.until_allowed(WHO, verb="list", resource="acceleratorpools", group="inference-autoscaler.io")
    await plane.apply(POOL)
    await a.apply(deployment("llama", 2), autoscaler("llama", nodePool="shared", acceleratorsPerReplica=1))
    await b.apply(workload("StatefulSet", "embedder", 2), autoscaler("embedder", kind="StatefulSet"))
    await c.apply(deployment("other", 2), autoscaler("other"))
    await asyncio.gather(a.until_ready("llama", 2), b.until_ready("embedder", 2))

    arguments = await _arguments(plane)
    assert arguments == [f"--namespace={name}" for name in TEAMS]
    busy = lambda at_s: 9.0 if at_s < 15 else 1.6  # noqa: E731
    async with (
        a.traffic("llama", busy),
        b.traffic("embedder", busy),
        a.controller("story-i", *arguments) as controller,
    ):
        stateful = "apps/v1/{ns}/statefulsets"
        await asyncio.gather(
            a.until_replicas("llama", lambda count: count >= 5),
            b.until_replicas("embedder", lambda count: count >= 5, resource=stateful),
        )
        await asyncio.gather(
            a.until_replicas("llama", lambda count: count <= 3, timeout_s=60),
            b.until_replicas("embedder", lambda count: count <= 3, resource=stateful, timeout_s=60),
        )
        await a.until_status("llama", lambda item: "readyReplicas" in item["status"])
        assert await a.events("llama")
        served = await controller.get("/api/services")
        assert sorted(row["key"] for row in served["services"]) == ["team-a/llama", "team-b/embedder"]
    # The other team's object was not looked at, and the pool that others may use, too, has no number of ours.
    assert await c.replicas("other") == 2
    listed = await plane.api.get("/apis/inference-autoscaler.io/v1alpha1/namespaces/team-c/inferenceautoscalers")
    assert "status" not in listed["items"][0]
    pool = await plane.api.get("/apis/inference-autoscaler.io/v1alpha1/acceleratorpools/shared")
    assert "plannedNodes" not in pool.get("status", {})

    # The Lease is given back when the controller ends: its last request is in the log then.
    events = ours(plane)
    assert not refused(events), "\n".join(refused(events))
    elsewhere = {event["objectRef"].get("namespace") for event in events if "namespace" in event.get("objectRef", {})}
    assert elsewhere == {*TEAMS, SYSTEM}
    granted = {right for role in await _bound(plane) for right in rights(role)}
    unused = granted - used(events)
    assert not unused, "\n".join(map(str, sorted(unused)))


async def _arguments(plane: ControlPlane) -> list[str]:
    """`--namespace=…` of the installed Deployment: what the story's controller is started with."""
    installed = await plane.api.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/{SYSTEM}")
    (container,) = installed["spec"]["template"]["spec"]["containers"]
    return [word for word in container["args"] if word.startswith("--namespace=")]


async def _bound(plane: ControlPlane) -> list[dict[str, Any]]:
    """Every role that is bound to the controller's account, in the cluster and in each namespace. Of cluster-wide rights there is the
    reading of pools and their nodes, and nothing else."""
    account = {"kind": "ServiceAccount", "name": SYSTEM, "namespace": SYSTEM}
    cluster = [one for one in await _items(plane, "clusterrolebindings") if account in one.get("subjects", [])]
    assert [one["roleRef"]["name"] for one in cluster] == [SYSTEM]
    wide = await plane.api.get(f"{RBAC}/clusterroles/{SYSTEM}")
    read = [("inference-autoscaler.io", "acceleratorpools"), ("", "nodes")]
    assert set(rights(wide)) == {(*resource, verb) for resource in read for verb in ("list", "watch")}
    bindings = [one for one in await _items(plane, "rolebindings") if account in one.get("subjects", [])]
    assert sorted(one["metadata"]["namespace"] for one in bindings) == sorted((*TEAMS, SYSTEM))
    assert all(one["roleRef"]["kind"] == "Role" for one in bindings), json.dumps(bindings)
    names = [(one["metadata"]["namespace"], one["roleRef"]["name"]) for one in bindings]
    return [wide, *[await plane.api.get(f"{RBAC}/namespaces/{namespace}/roles/{name}") for namespace, name in names]]


async def _items(plane: ControlPlane, plural: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await plane.api.get(f"{RBAC}/{plural}"))["items"]
    return found
