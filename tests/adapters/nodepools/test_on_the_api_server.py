"""Backends on the real API server, under the rights of deploy/components alone, with the real CRDs where the Go module cache has them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import yaml

from autoscaler.adapters.kubernetes import credentials
from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.nodepools.backend import Backend, Wish
from autoscaler.adapters.nodepools.headroom import Headroom
from autoscaler.adapters.nodepools.kube_objects import KubeObjects
from autoscaler.adapters.nodepools.min_size import MinSize
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from autoscaler.adapters.nodepools.scale import MANAGED_BY, MAX_SIZE, MIN_SIZE, Scale
from autoscaler.core.model import PoolSpec
from autoscaler.spec import Headroom as HeadroomSettings
from autoscaler.spec import ObjectRef, Toleration
from tests.adapters.nodepools.definitions import BUFFERS, MACHINES, NODE_POOLS, SHELVES, Definitions
from tests.conftest import ROOT
from tests.installed_crds import GROUP_PATH, install_crds
from tests.realparts.control_plane import ControlPlane

pytestmark = pytest.mark.realparts

CALL_S = 10.0
SYSTEM = "inference-autoscaler"
ROOM = "inference-autoscaler-placeholders"
COMPONENTS = ("nodepool-karpenter", "nodepool-cluster-api", "nodepool-min-size", "nodepool-headroom")


@dataclass
class Server:
    """The real API server: `objects` under the components' rights, `control_plane` as admin."""

    control_plane: ControlPlane
    objects: KubeObjects
    namespace: str
    clock: list[float]
    definitions: Definitions

    async def serve(self, wanted: Any) -> None:
        """Puts a definition in and waits until it is served."""
        await self.definitions.serve(wanted)
        self.clock[0] += 3600.0  # what was discovered is stale

    async def create(self, path: str, item: Any) -> Any:
        return await self.control_plane.api.create(path, item)


def none_ready() -> int | None:
    return 0


def nobody_knows() -> int | None:
    return None


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rights(control_plane: ControlPlane) -> AsyncIterator[Definitions]:
    """The components, applied for these tests and taken away afterwards with the definitions that were not there before."""
    deploy = ROOT / "deploy"
    await control_plane.kubectl("apply", "--server-side", "-k", str(deploy / "base"))
    for name in COMPONENTS:
        done = await control_plane.kubectl("apply", "--server-side", "-k", str(deploy / "components" / name))
        assert not done.code, done.err
        assert not done.err, done.err
    account = f"system:serviceaccount:{SYSTEM}:{SYSTEM}"
    await control_plane.until_allowed(account, verb="delete", resource="deployments", group="apps", namespace=ROOM)
    await control_plane.until_allowed(account, verb="patch", resource="machinedeployments", group="cluster.x-k8s.io")
    definitions = Definitions(control_plane)
    yield definitions
    await definitions.take_away()
    for name in COMPONENTS:
        words = ("--ignore-not-found", "--wait=false")
        await control_plane.kubectl("delete", "-k", str(deploy / "components" / name), *words)


@pytest_asyncio.fixture(loop_scope="session")
async def server(rights: Definitions, control_plane: ControlPlane, namespace: str) -> AsyncIterator[Server]:
    access = await credentials.from_kubeconfig(
        str(await control_plane.service_account_kubeconfig(SYSTEM, SYSTEM)), None, time.monotonic
    )
    clock = [0.0]
    async with HttpKubeApi(access) as api:
        yield Server(control_plane, KubeObjects(api, lambda: clock[0]), namespace, clock, rights)


async def problem(asking: Any) -> PoolProblem:
    with pytest.raises(PoolProblem) as met:
        await asking
    return met.value


def wish(nodes: int, taken: int | None = None) -> Wish:
    return Wish(nodes=nodes, reason="a test", taken=taken, per_node=8)


async def ordered(backend: Backend, nodes: int, taken: int | None = None) -> None:
    await backend.set_target(wish(nodes, taken), await backend.get(CALL_S), CALL_S)


# ------------------------------------------------------------ scale


def node_pool(name: str, replicas: int | None) -> Any:
    template = {
        "spec": {
            "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
            "requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}],
        }
    }
    spec: Any = {"template": template}
    if replicas is not None:
        spec |= {"replicas": replicas, "limits": {"nodes": "9"}}
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": spec}


async def test_a_static_karpenter_pool(server: Server) -> None:
    await server.serve(NODE_POOLS)
    name = server.namespace
    await server.create("/apis/karpenter.sh/v1/nodepools", node_pool(name, 2))
    backend = Scale(server.objects, ObjectRef(api_version="karpenter.sh/v1", kind="NodePool", name=name), none_ready)
    state = await backend.get(CALL_S)
    assert (state.target, state.ready, state.max_nodes, state.owner) == (2, 0, 9, "")
    await ordered(backend, 5)
    assert (await server.control_plane.api.get(f"/apis/karpenter.sh/v1/nodepools/{name}"))["spec"]["replicas"] == 5
    state = await backend.get(CALL_S)
    assert (state.target, state.owner) == (5, "")
    # Somebody else's word counts, and an order over what was read before it is refused by the server itself.
    done = await server.control_plane.kubectl("scale", "nodepool", name, "--replicas=3")
    assert not done.code, done.err
    assert (await problem(backend.set_target(wish(7), state, CALL_S))).reason == PoolReason.Conflict
    assert "kubectl" in (await backend.get(CALL_S)).owner


async def test_a_dynamic_karpenter_pool_is_karpenter_s(server: Server) -> None:
    await server.serve(NODE_POOLS)
    await server.create("/apis/karpenter.sh/v1/nodepools", node_pool("dynamic", None))
    backend = Scale(server.objects, ObjectRef(api_version="karpenter.sh/v1", kind="NodePool", name="dynamic"), none_ready)
    met = await problem(backend.get(CALL_S))
    assert met.reason == PoolReason.OwnedElsewhere
    assert "Headroom" in met.words


def machine_deployment(annotations: dict[str, str] | None = None) -> Any:
    metadata = {"name": "h100", "annotations": annotations or {}}
    return {"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": metadata, "spec": {"replicas": 2}}


def machines(server: Server) -> tuple[str, ObjectRef]:
    path = f"/apis/cluster.x-k8s.io/v1beta2/namespaces/{server.namespace}/machinedeployments"
    return path, ObjectRef(
        api_version="cluster.x-k8s.io/v1beta2", kind="MachineDeployment", name="h100", namespace=server.namespace
    )


async def test_a_machine_deployment_and_who_else_may_own_it(server: Server) -> None:
    await server.serve(MACHINES)
    path, ref = machines(server)
    await server.create(path, machine_deployment())
    backend = Scale(server.objects, ref, nobody_knows)
    await server.control_plane.api.patch(f"{path}/h100/status", {"status": {"replicas": 2, "readyReplicas": 1}})
    state = await backend.get(CALL_S)
    assert (state.target, state.ready, state.owner) == (2, 1, "")
    await ordered(backend, 4)
    assert (await backend.get(CALL_S)).owner == "", "the last word is ours"
    for annotation in (MAX_SIZE, MANAGED_BY):
        await server.control_plane.api.patch(f"{path}/h100", {"metadata": {"annotations": {annotation: "3"}}})
        assert (await backend.get(CALL_S)).owner
        await server.control_plane.api.patch(f"{path}/h100", {"metadata": {"annotations": {annotation: None}}})
    # GitOps: an applier's number is its own, also where it is the same as ours.
    applied = machine_deployment() | {"spec": {"replicas": 4}}
    await server.control_plane.apply(applied, namespace=server.namespace)
    assert "kubectl applies spec.replicas" in (await backend.get(CALL_S)).owner
    assert (
        await problem(Scale(server.objects, ObjectRef(api_version="v1", kind="Pod", name="x"), none_ready).get(CALL_S))
    ).reason == (PoolReason.NotUsable)


async def test_a_kind_of_ones_own_whose_count_lies_elsewhere(server: Server) -> None:
    """Without a right to it the words say so; with one it is sized."""
    await server.serve(SHELVES)
    path = f"/apis/contract.test/v1/namespaces/{server.namespace}/shelves"
    item = {"apiVersion": "contract.test/v1", "kind": "Shelf", "metadata": {"name": "h100"}, "spec": {"machines": 1}}
    await server.create(path, item)
    ref = ObjectRef(api_version="contract.test/v1", kind="Shelf", name="h100", namespace=server.namespace)
    # Not as the controller: what that is refused is looked for in the audit log by tests/e2e/test_z_audit.py.
    nobody = await server.control_plane.service_account_kubeconfig(server.namespace, "default")
    async with HttpKubeApi(await credentials.from_kubeconfig(str(nobody), None, time.monotonic)) as api:
        refused = await problem(Scale(KubeObjects(api, time.monotonic), ref, nobody_knows).get(CALL_S))
        assert refused.reason == PoolReason.NotPermitted
        assert "shelves" in refused.words
    access = await credentials.from_kubeconfig(str(server.control_plane.admin_kubeconfig), None, time.monotonic)
    async with HttpKubeApi(access) as api:
        backend = Scale(KubeObjects(api, time.monotonic), ref, none_ready)
        await ordered(backend, 3)
        assert (await server.control_plane.api.get(f"{path}/h100"))["spec"] == {"machines": 3}
        assert (await backend.get(CALL_S)).owner == ""
        done = await server.control_plane.kubectl("scale", "shelf/h100", "--replicas=2", "-n", server.namespace)
        assert not done.code, done.err
        assert "kubectl set spec.replicas" in (await backend.get(CALL_S)).owner


# ------------------------------------------------------------ minimum size


async def test_cluster_autoscaler_s_lower_bound(server: Server) -> None:
    await server.serve(MACHINES)
    path, ref = machines(server)
    await server.create(path, machine_deployment())
    backend = MinSize(server.objects, ref, none_ready)
    met = await problem(backend.get(CALL_S))
    assert met.reason == PoolReason.NotUsable
    assert MAX_SIZE in met.words
    await server.control_plane.api.patch(f"{path}/h100", {"metadata": {"annotations": {MAX_SIZE: "6"}}})
    state = await backend.get(CALL_S)
    assert (state.target, state.max_nodes, state.owner) == (0, 6, "")
    await backend.set_target(wish(4), state, CALL_S)
    item = await server.control_plane.api.get(f"{path}/h100")
    assert item["metadata"]["annotations"] == {MAX_SIZE: "6", MIN_SIZE: "4"}
    assert item["spec"] == {"replicas": 2}, "the size is cluster-autoscaler's"
    assert (await problem(backend.set_target(wish(5), state, CALL_S))).reason == PoolReason.Conflict
    done = await server.control_plane.kubectl(
        "annotate", "--overwrite", "machinedeployment/h100", f"{MIN_SIZE}=1", "-n", server.namespace
    )
    assert not done.code, done.err
    assert "kubectl-annotate" in (await backend.get(CALL_S)).owner


# ------------------------------------------------------------ headroom


def headroom(server: Server, method: Any = "Auto", *, uid: str = "", image: str = "registry.example.com/pause:3.10") -> Headroom:
    settings = HeadroomSettings(
        namespace=ROOM,
        image=image,
        method=method,
        tolerations=[Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")],
    )
    selector = {"realparts.test/namespace": server.namespace}
    pool = PoolSpec(
        name=server.namespace,
        min_nodes=0,
        max_nodes=9,
        accelerators_per_node=8,
        uid=uid,
        node_selector=tuple(selector.items()),
    )
    return Headroom(server.objects, pool, settings, lambda: 1)


async def test_placeholder_pods_keep_room_and_give_way(server: Server) -> None:
    plane = server.control_plane
    backend = headroom(server, "Placeholder")
    name = f"inference-autoscaler-{server.namespace}"[:63]
    pods = f"/api/v1/namespaces/{ROOM}/pods"
    assert (await backend.get(CALL_S)).target is None
    await plane.add_gpu_node("room-1", 8, labels={"realparts.test/namespace": server.namespace})
    await ordered(backend, 1, taken=5)
    found = await plane.api.until(pods, lambda items: sum(one["status"].get("phase") == "Running" for one in items.values()) == 3)
    (pod, *_) = found.values()
    assert pod["spec"]["priority"] == -10
    assert pod["spec"]["preemptionPolicy"] == "Never"
    assert pod["spec"]["nodeName"] == "room-1"
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"nvidia.com/gpu": "1"}
    state = await backend.get(CALL_S)
    assert (state.target, state.ready, state.problem) == (1, 1, "")
    assert await backend.set_target(wish(1, 5), state, CALL_S) is state, "nothing is sent where nothing changes"
    # A service's pod that asks for six finds five free at most: placeholders give way to it at once.
    service = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "llama"},
        "spec": {"containers": [{"name": "server", "image": "server", "resources": {"limits": {"nvidia.com/gpu": "7"}}}]},
    }
    await plane.api.create(f"/api/v1/namespaces/{server.namespace}/pods", service)
    await plane.api.until(
        f"/api/v1/namespaces/{server.namespace}/pods", lambda items: items["llama"]["status"].get("phase") == "Running"
    )
    # Two nodes are planned now: what the pod does not take is asked for, and the scheduler says what is short.
    await ordered(headroom(server, "Placeholder"), 2, taken=7)
    await plane.api.until(pods, lambda items: len(_alive(items)) == 9)
    await ordered(headroom(server, "Placeholder"), 0, taken=7)
    await plane.api.until(pods, lambda items: not items)
    assert (await backend.get(CALL_S)).target is None
    assert not [
        item
        for item in (await plane.api.get(f"/apis/apps/v1/namespaces/{ROOM}/deployments"))["items"]
        if item["metadata"]["name"] == name
    ]


def _alive(items: dict[str, Any]) -> list[str]:
    return [name for name, pod in items.items() if "deletionTimestamp" not in pod["metadata"]]


async def test_what_we_did_not_make_is_not_touched(server: Server) -> None:
    backend = headroom(server, "Placeholder")
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    name = f"inference-autoscaler-{server.namespace}"
    item = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    path = f"/apis/apps/v1/namespaces/{ROOM}/deployments"
    await server.control_plane.kubectl("create", "-n", ROOM, "-f", "-", input=yaml.safe_dump(item))
    try:
        met = await problem(backend.get(CALL_S))
        assert met.reason == PoolReason.OwnedElsewhere
        assert name in met.words
    finally:
        await server.control_plane.api.delete(f"{path}/{name}")


async def test_placeholders_that_can_t_be_made_are_told_with_the_reason(server: Server) -> None:
    plane = server.control_plane
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"requests.nvidia.com/gpu": "0"}},
    }
    await plane.apply(quota, namespace=ROOM)
    # The quota is in force once its controller has counted.
    await plane.api.until(f"/api/v1/namespaces/{ROOM}/resourcequotas", lambda items: "used" in items["none"].get("status", {}))
    try:
        backend = headroom(server, "Placeholder")
        await ordered(backend, 1, taken=0)
        await plane.api.until(
            f"/apis/apps/v1/namespaces/{ROOM}/deployments",
            lambda items: any("ReplicaFailure" in str(item.get("status")) for item in items.values()),
        )
        state = await backend.get(CALL_S)
        assert state.reason == PoolReason.QuotaExceeded
        assert "exceeded quota" in state.problem
        await ordered(backend, 0, taken=0)
    finally:
        await plane.api.delete(f"/api/v1/namespaces/{ROOM}/resourcequotas/none")


async def test_a_capacity_buffer_where_it_is_served(server: Server) -> None:
    plane = server.control_plane
    if not await server.definitions.are_there(BUFFERS):
        assert (await problem(headroom(server, "CapacityBuffer").get(CALL_S))).reason == PoolReason.NotUsable
    await ordered(headroom(server, "Placeholder"), 1, taken=0)  # of a time without buffers: a Deployment
    await server.serve(BUFFERS)
    backend = headroom(server)
    await ordered(backend, 2, taken=4)
    base = f"/apis/autoscaling.x-k8s.io/v1beta1/namespaces/{ROOM}/capacitybuffers"
    (buffer,) = (await plane.api.get(base))["items"]
    assert buffer["spec"]["replicas"] == 12
    template = await plane.api.get(f"/api/v1/namespaces/{ROOM}/podtemplates/{buffer['spec']['podTemplateRef']['name']}")
    assert template["template"]["spec"]["containers"][0]["resources"]["requests"] == {"nvidia.com/gpu": "1"}
    assert not (await plane.api.get(f"/apis/apps/v1/namespaces/{ROOM}/deployments"))["items"], (
        "two ways would keep twice the room"
    )
    # Killed between the two objects: the buffer is gone, its template is there.
    await plane.api.delete(f"{base}/{buffer['metadata']['name']}")
    again = headroom(server)
    await ordered(again, 2, taken=4)
    (buffer,) = (await plane.api.get(base))["items"]
    assert buffer["spec"]["replicas"] == 12
    state = await again.get(CALL_S)
    assert (state.target, state.version) == (2, 12)
    await ordered(again, 2, taken=16)
    # It stays with nothing to keep: Karpenter does not notice the last one's end.
    (buffer,) = (await plane.api.get(base))["items"]
    assert buffer["spec"]["replicas"] == 0
    await ordered(headroom(server, "Placeholder"), 1, taken=0)
    assert not (await plane.api.get(base))["items"], "the other way is left with nothing behind"
    assert not (await plane.api.get(f"/api/v1/namespaces/{ROOM}/podtemplates"))["items"]
    await ordered(headroom(server, "Placeholder"), 0, taken=0)


async def test_a_changed_manifest_is_taken_in_and_what_was_made_goes_with_the_pool(server: Server) -> None:
    plane = server.control_plane
    await install_crds(plane)
    pools = f"{GROUP_PATH}/acceleratorpools"
    name = server.namespace
    item = {
        "apiVersion": "inference-autoscaler.io/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": name},
        "spec": {"maxNodes": 3},
    }
    uid = (await plane.api.create(pools, item))["metadata"]["uid"]
    deployments = f"/apis/apps/v1/namespaces/{ROOM}/deployments"
    await ordered(headroom(server, "Placeholder", uid=uid), 1, taken=0)
    # The same numbers with another image, in a new process.
    await ordered(headroom(server, "Placeholder", uid=uid, image="registry.example.com/pause:3.11"), 1, taken=0)
    found = await plane.api.get(f"{deployments}/inference-autoscaler-{name}"[: len(deployments) + 64])
    assert found["spec"]["template"]["spec"]["containers"][0]["image"].endswith("3.11")
    await plane.api.delete(f"{pools}/{name}")
    # The real garbage collector takes it away, and its pods with it. It looks for new kinds of owners every 30 s, and ours may be new to it.
    await plane.api.until(deployments, lambda items: f"inference-autoscaler-{name}" not in items, timeout_s=100)
