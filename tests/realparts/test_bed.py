"""The test bed does what tests will rely on: the real scheduler refuses, RBAC refuses, restarts are survived."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.realparts.api import ApiError, Object, Objects, is_ready
from tests.realparts.control_plane import ControlPlane
from tests.realparts.processes import Process
from tests.realparts.prometheus_server import PrometheusServer
from tests.realparts.remote_write import STALE_MARKER

pytestmark = pytest.mark.realparts


def deployment(name: str, *, replicas: int, annotations: dict[str, str] | None = None) -> Object:
    """A Deployment of one-GPU pods."""
    container: dict[str, Any] = {
        "name": "server",
        "image": "example.invalid/server",
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations or {}},
                "spec": {"containers": [container]},
            },
        },
    }


def ready(pods: Objects) -> int:
    """How many of them are ready."""
    return sum(is_ready(pod) for pod in pods.values())


async def test_full_node_leaves_a_pod_pending(control_plane: ControlPlane, namespace: str) -> None:
    """Three one-GPU pods, two GPUs: the real scheduler says what is short, and a second node helps."""
    await control_plane.add_gpu_node("a", 2, namespace=namespace)
    await control_plane.apply(deployment("llm", replicas=3), namespace=namespace)

    def one_is_refused(pods: Objects) -> bool:
        refused = [condition for pod in pods.values() for condition in pod["status"].get("conditions") or []]
        return ready(pods) == 2 and any("Insufficient nvidia.com/gpu" in item.get("message", "") for item in refused)

    path = f"/api/v1/namespaces/{namespace}/pods"
    pods = await control_plane.api.until(path, one_is_refused)
    assert sorted(pod["status"]["phase"] for pod in pods.values()) == ["Pending", "Running", "Running"]

    await control_plane.add_gpu_node("b", 2, namespace=namespace)
    pods = await control_plane.api.until(path, lambda pods: ready(pods) == 3)
    assert len(pods) == 3


async def test_namespaces_do_not_take_each_others_gpus(control_plane: ControlPlane, namespace: str) -> None:
    """A pod of this namespace does not run on the node of another one."""
    other = f"{namespace}-other"
    await control_plane.create_namespace(other)
    await control_plane.add_gpu_node("a", 1, namespace=other)
    await control_plane.apply(deployment("llm", replicas=1), namespace=namespace)
    await control_plane.apply(deployment("llm", replicas=1), namespace=other)
    await control_plane.api.until(f"/api/v1/namespaces/{other}/pods", lambda pods: ready(pods) == 1)
    pods = (await control_plane.api.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]
    assert [pod["spec"].get("nodeName") for pod in pods] == [None]
    await control_plane.delete_namespace(other)


async def test_scale_subresource_and_audit_log(control_plane: ControlPlane, namespace: str) -> None:
    """`kubectl scale` as somebody who may only that; what was asked, and what was refused, is in the audit log."""
    await control_plane.add_gpu_node("a", 4, namespace=namespace)
    await control_plane.apply(deployment("llm", replicas=1), namespace=namespace)
    rules = [{"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": ["get", "patch", "update"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "scaler"}, "rules": rules}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "scaler"}}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "scaler"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "scaler"},
        "subjects": [{"kind": "ServiceAccount", "name": "scaler", "namespace": namespace}],
    }
    await control_plane.apply([role, account, binding], namespace=namespace)
    scaler = await control_plane.service_account_kubeconfig(namespace, "scaler")

    code, out, err = await control_plane.kubectl("scale", "deployment/llm", "--replicas=3", kubeconfig=scaler)
    assert (code, out.strip(), err) == (0, "deployment.apps/llm scaled", "")
    await control_plane.api.until(f"/api/v1/namespaces/{namespace}/pods", lambda pods: ready(pods) == 3)

    code, _, err = await control_plane.kubectl("delete", "deployment/llm", kubeconfig=scaler)
    assert code == 1
    assert "Forbidden" in err

    user = f"system:serviceaccount:{namespace}:scaler"

    def by_scaler(event: Object, verb: str) -> bool:
        return bool(event["user"]["username"] == user and event["verb"] == verb)

    scaled = await control_plane.audited(lambda event: by_scaler(event, "patch"))
    assert scaled["objectRef"]["subresource"] == "scale"
    assert scaled["responseStatus"]["code"] == 200
    refused = await control_plane.audited(lambda event: by_scaler(event, "delete"))
    assert refused["responseStatus"]["code"] == 403


async def test_a_user_without_rights_is_refused(control_plane: ControlPlane, namespace: str) -> None:
    """RBAC holds for client certificates too; a known group gives its rights."""
    nobody = control_plane.user_kubeconfig("nobody")
    code, _, err = await control_plane.kubectl("get", "pods", "-n", namespace, kubeconfig=nobody)
    assert code == 1
    assert 'User "nobody" cannot list resource "pods"' in err
    admin = control_plane.user_kubeconfig("somebody", groups=["system:masters"], namespace=namespace)
    assert (await control_plane.kubectl("get", "pods", kubeconfig=admin)).code == 0


async def test_pods_take_the_time_that_the_test_says(control_plane: ControlPlane, namespace: str) -> None:
    """A slow start and a slow drain; a change of the pod while it loads does not start the wait anew."""
    await control_plane.add_gpu_node("a", 1, namespace=namespace)
    slow = {"kwok.test/ready-after-ms": "1500", "kwok.test/drain-after-ms": "1000"}
    await control_plane.apply(deployment("llm", replicas=1, annotations=slow), namespace=namespace)
    path = f"/api/v1/namespaces/{namespace}/pods"
    pods = await control_plane.api.until(path, lambda pods: any(pod["status"]["phase"] == "Running" for pod in pods.values()))
    running_s = time.monotonic()
    assert ready(pods) == 0
    (name,) = pods
    changes = 0
    while not is_ready(await control_plane.api.get(f"{path}/{name}")):  # were the wait begun anew, this would not end
        changes += 1
        await control_plane.api.patch(f"{path}/{name}", {"metadata": {"annotations": {"changes": str(changes)}}})
        await asyncio.sleep(0.1)
    assert changes >= 3
    assert 1.0 < time.monotonic() - running_s < 10

    deleted_s = time.monotonic()
    await control_plane.api.delete(f"/apis/apps/v1/namespaces/{namespace}/deployments/llm")
    await control_plane.api.until(path, lambda pods: not pods)
    assert 1.0 <= time.monotonic() - deleted_s < 10.0


@pytest.mark.parametrize("crash", [False, True], ids=["orderly", "crash"])
async def test_apiserver_restart_loses_nothing(control_plane: ControlPlane, namespace: str, crash: bool) -> None:
    """After a restart the objects are there and the controllers work on."""
    await control_plane.add_gpu_node("a", 2, namespace=namespace)
    await control_plane.apply(deployment("llm", replicas=1), namespace=namespace)
    path = f"/api/v1/namespaces/{namespace}/pods"
    await control_plane.api.until(path, lambda pods: ready(pods) == 1)
    before = control_plane.apiserver.pid
    await control_plane.restart_apiserver(crash=crash)
    assert control_plane.apiserver.pid != before
    scale = f"/apis/apps/v1/namespaces/{namespace}/deployments/llm/scale"
    await control_plane.api.patch(scale, {"spec": {"replicas": 2}})
    await control_plane.api.until(path, lambda pods: ready(pods) == 2)


async def test_frozen_apiserver_answers_later(control_plane: ControlPlane, namespace: str) -> None:
    """A frozen API server hangs; thawed it answers."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    control_plane.apiserver.freeze()
    try:
        with pytest.raises(TimeoutError):
            await control_plane.api.request("GET", path, timeout_s=0.5)
    finally:
        control_plane.apiserver.thaw()
    assert "items" in await control_plane.api.get(path)


async def test_api_errors_carry_their_status(control_plane: ControlPlane, namespace: str) -> None:
    """What the server refuses arrives as an error with its status and words."""
    with pytest.raises(ApiError, match=r'deployments\.apps "none" not found') as caught:
        await control_plane.api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/none")
    assert caught.value.status == 404


async def test_prometheus_returns_what_was_written(prometheus: PrometheusServer) -> None:
    """Values, text, NaN and the end of a series arrive as they were written, older samples after newer ones too."""
    now = time.time()
    labels = {"__name__": "bed_demand", "namespace": "é", "pod": "a"}
    await prometheus.write([(labels, [(now - 60, 1.0), (now - 30, 2.5)])])
    assert await prometheus.query("bed_demand", now) == [(labels, 2.5)]
    week_ago = now - 7 * 86400
    await prometheus.write([(labels, [(week_ago, 7.0)])])
    assert await prometheus.query("bed_demand", week_ago) == [(labels, 7.0)]

    await prometheus.write([({**labels, "pod": "b"}, [(now - 10, math.nan)])])
    ((_, value),) = await prometheus.query('bed_demand{pod="b"}', now)
    assert math.isnan(value)
    await prometheus.write([(labels, [(now - 5, STALE_MARKER)])])
    assert await prometheus.query('bed_demand{pod="a"}', now) == []
    assert await prometheus.query("scalar(vector(3))", now) == [({}, 3.0)]


async def test_prometheus_takes_a_long_history_at_once(prometheus: PrometheusServer) -> None:
    """More bytes than one literal of snappy holds."""
    now = time.time()
    samples = [(now - 3600 + step, float(step)) for step in range(3600)]
    labels = {"__name__": "bed_long"}
    await prometheus.write([({**labels, "pod": str(pod)}, samples) for pod in range(5)])
    assert await prometheus.query("sum(count_over_time(bed_long[2h]))", now) == [({}, 5 * 3600.0)]
    ((_, values),) = await prometheus.query_range('bed_long{pod="0"}', now - 30, now - 10, 10)
    assert len(values) == 3


async def test_prometheus_stops_and_freezes(prometheus: PrometheusServer) -> None:
    """Stopped it refuses, frozen it hangs, and its data outlive both."""
    now = time.time()
    await prometheus.write([({"__name__": "bed_kept"}, [(now, 4.0)])])
    await prometheus.stop()
    assert not prometheus.process.running
    with pytest.raises(OSError, match="Cannot connect"):
        await prometheus.query("bed_kept", now)
    await prometheus.start()
    prometheus.freeze()
    prometheus.thaw()
    assert await prometheus.query("bed_kept", now) == [({"__name__": "bed_kept"}, 4.0)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_everything_listens_on_loopback_only(control_plane: ControlPlane, prometheus: PrometheusServer) -> None:
    """No port of the test bed is open to others."""
    ours = {inode for process in [*control_plane.processes, prometheus.process] for inode in _sockets(process)}
    assert ours
    listening = [address for address, inode in _listening() if inode in ours]
    assert len(listening) >= 7
    assert [address for address in listening if not address.endswith(("0100007F", "00000000000000000000000001000000"))] == []


def _sockets(process: Process) -> set[str]:
    links = Path(f"/proc/{process.pid}/fd").iterdir()
    targets = [str(link.readlink()) for link in links if link.is_symlink()]
    return {target[8:-1] for target in targets if target.startswith("socket:[")}


def _listening() -> list[tuple[str, str]]:
    """Local address (hexadecimal) and inode of each listening TCP socket of this machine."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found.append((fields[1].split(":")[0], fields[9]))
    return found
