"""Every scale write is refused where the target is no longer what the decision was made on."""

from __future__ import annotations

import pytest

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.scale import FIELD_MANAGER, ScaleClient
from autoscaler.core.model import Written
from tests.contract.kubernetes.conftest import CALL_S, WIDGETS, Server

DEPLOYMENTS = Resource(group="apps", version="v1", plural="deployments", kind="Deployment", scale=True)
STATEFUL_SETS = Resource(group="apps", version="v1", plural="statefulsets", kind="StatefulSet", scale=True)


def workload(kind: str, replicas: int) -> Object:
    """A Deployment or StatefulSet whose pods nobody starts: a selector of nodes that do not exist."""
    labels = {"app": "llama"}
    pod = {"nodeSelector": {"none": "such"}, "containers": [{"name": "server", "image": "example.invalid/server"}]}
    spec: Object = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "llama"}, "spec": spec}


def widget(replicas: int) -> Object:
    return {"apiVersion": "contract.test/v1", "kind": "Widget", "metadata": {"name": "llama"}, "spec": {"size": replicas}}


@pytest.fixture(params=["Deployment", "StatefulSet", "Widget"])
async def target(request: pytest.FixtureRequest, server: Server) -> Resource:
    resource = {"Deployment": DEPLOYMENTS, "StatefulSet": STATEFUL_SETS, "Widget": WIDGETS}[request.param]
    await server.create(resource, widget(2) if resource is WIDGETS else workload(request.param, 2))
    if resource is WIDGETS:
        await server.patch(WIDGETS, "llama", {"status": {"selector": "app=llama"}}, "status")
    return resource


async def replicas(server: Server, resource: Resource) -> int:
    return (await ScaleClient(server.api, lambda: True).read(resource, server.namespace, "llama", CALL_S)).replicas


async def test_reads_and_writes(server: Server, target: Resource) -> None:
    client = ScaleClient(server.api, lambda: True)
    state = await client.read(target, server.namespace, "llama", CALL_S)
    assert (state.replicas, state.selector) == (2, "app=llama")
    done = await client.write(target, server.namespace, "llama", replicas=5, decided_on=state, timeout_s=CALL_S)
    assert done.written == Written.DONE
    assert done.state is not None
    assert done.state.replicas == 5
    managers = (await server.get(target, "llama"))["metadata"]["managedFields"]
    assert FIELD_MANAGER in {entry["manager"] for entry in managers if entry.get("subresource") == "scale"}


async def test_the_api_server_refuses_a_stale_version(server: Server, target: Resource) -> None:
    """What all fencing stands on: PUT on scale honours metadata.resourceVersion."""
    client = ScaleClient(server.api, lambda: True)
    old = await client.read(target, server.namespace, "llama", CALL_S)
    await server.patch(target, "llama", {"metadata": {"labels": {"touched": "yes"}}})
    body = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "llama", "namespace": server.namespace, "resourceVersion": old.resource_version},
        "spec": {"replicas": 7},
    }
    with pytest.raises(ApiError) as refused:
        await server.api.request("PUT", target.path(server.namespace, "llama", "scale"), body=body, timeout_s=CALL_S)
    assert refused.value.conflict
    assert await replicas(server, target) == 2


async def test_a_late_write_over_somebody_elses_is_refused(server: Server, target: Resource) -> None:
    client = ScaleClient(server.api, lambda: True)
    old = await client.read(target, server.namespace, "llama", CALL_S)
    other = await client.write(target, server.namespace, "llama", replicas=4, decided_on=old, timeout_s=CALL_S)
    assert other.written == Written.DONE
    late = await client.write(target, server.namespace, "llama", replicas=9, decided_on=old, timeout_s=CALL_S)
    assert late.written == Written.REFUSED
    assert "from 2 to 4" in late.why
    assert await replicas(server, target) == 4


async def test_a_version_that_moved_for_other_reasons_does_not_stop_an_honest_write(server: Server, target: Resource) -> None:
    client = ScaleClient(server.api, lambda: True)
    for touched in "once", "twice", "thrice":  # the target's own controller may move it once more just then, as it may in a tick
        old = await client.read(target, server.namespace, "llama", CALL_S)
        await server.patch(target, "llama", {"metadata": {"labels": {"touched": touched}}})
        done = await client.write(target, server.namespace, "llama", replicas=5, decided_on=old, timeout_s=CALL_S)
        if done.written == Written.DONE:
            break
    assert done.written == Written.DONE
    assert await replicas(server, target) == 5


async def test_who_no_longer_leads_does_not_try_again(server: Server, target: Resource) -> None:
    asked = iter([True, False])
    client = ScaleClient(server.api, lambda: next(asked))
    old = await client.read(target, server.namespace, "llama", CALL_S)
    await server.patch(target, "llama", {"metadata": {"labels": {"touched": "yes"}}})
    late = await client.write(target, server.namespace, "llama", replicas=5, decided_on=old, timeout_s=CALL_S)
    assert late.written == Written.REFUSED
    assert await replicas(server, target) == 2


async def test_another_object_of_the_same_name_is_not_scaled(server: Server, target: Resource) -> None:
    client = ScaleClient(server.api, lambda: True)
    old = await client.read(target, server.namespace, "llama", CALL_S)
    await server.delete(target, "llama")
    kind = target.kind
    await server.create(target, widget(2) if target is WIDGETS else workload(kind, 2))
    late = await client.write(target, server.namespace, "llama", replicas=9, decided_on=old, timeout_s=CALL_S)
    assert late.written == Written.REFUSED
    assert await replicas(server, target) == 2
