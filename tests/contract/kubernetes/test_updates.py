"""What the real controllers of Deployments and StatefulSets do in an update is what the adapter takes it for: surge, versions, rollbacks.

Only on the real control plane: the fake has no such controllers. Pods are of no node; who is ready is written by the test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.pods import PODS
from autoscaler.adapters.kubernetes.services import SERVICES
from autoscaler.clock import SystemClock
from autoscaler.core.model import Fleet
from tests.contract.kubernetes.conftest import CALL_S, Server
from tests.contract.kubernetes.test_cluster import manifest
from tests.contract.kubernetes.test_scale import DEPLOYMENTS, STATEFUL_SETS, workload
from tests.installed_crds import install_crds
from tests.realparts.control_plane import ControlPlane

pytestmark = pytest.mark.realparts


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(control_plane: ControlPlane, real_server: Server) -> AsyncIterator[KubernetesCluster]:
    await install_crds(control_plane)
    made = KubernetesCluster(
        real_server.api,
        clock=SystemClock(),
        rng=np.random.default_rng(3),
        own_namespace=real_server.namespace,
        may_write=lambda: False,
        namespaces=[real_server.namespace],
    )
    async with made:
        yield made


class Target:
    """A target whose pods become ready when the test says so."""

    def __init__(self, server: Server, cluster: KubernetesCluster) -> None:
        self.server, self.cluster = server, cluster

    async def make_ready(self, most: int = 99) -> None:
        """Up to so many of those that are not."""
        for pod in await self.pods():
            if most and not ready(pod) and "deletionTimestamp" not in pod["metadata"]:
                most -= 1
                conditions = [
                    {"type": kind, "status": "True", "lastTransitionTime": now()} for kind in ("Ready", "ContainersReady")
                ]
                status = {"status": {"phase": "Running", "conditions": conditions}}
                await self.server.patch(PODS, pod["metadata"]["name"], status, "status")

    async def pods(self) -> list[Object]:
        listed = await self.server.api.request("GET", PODS.path(self.server.namespace), timeout_s=CALL_S)
        found: list[Object] = listed["items"]
        return found

    async def seen(self, true: Callable[[Fleet], Any], *, with_ready: bool = False) -> Fleet:
        """The first fleet that is as wanted; with_ready: all pods become ready as they come."""
        async with asyncio.timeout(30):
            while True:
                fleet = await self.cluster.observe(time.time())
                if len(fleet) and true(fleet):
                    return fleet
                if with_ready:
                    await self.make_ready()
                await asyncio.sleep(0.05)


def ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ())


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def template(mark: str) -> Object:
    return {"spec": {"template": {"metadata": {"annotations": {"mark": mark}}}}}


def shares(fleet: Fleet) -> dict[str, float]:
    """The versions' shares of the ready replicas."""
    return {} if fleet.versions is None else dict(fleet.versions[0])


def only(fleet: Fleet) -> str:
    """The one version of all ready replicas, "" while there are several."""
    return next(iter(shares(fleet))) if len(shares(fleet)) == 1 else ""


async def test_a_deployment_with_surge_and_its_rollback(real_server: Server, cluster: KubernetesCluster) -> None:
    made = workload("Deployment", 4)
    made["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}
    await real_server.create(DEPLOYMENTS, made)
    await real_server.create(SERVICES, manifest("Deployment", "apps/v1"))
    target = Target(real_server, cluster)
    fleet = await target.seen(lambda fleet: fleet.ready[0] == 4, with_ready=True)
    assert fleet.surge is None
    first = only(fleet)
    assert first

    await real_server.patch(DEPLOYMENTS, "llama", template("two"))
    fleet = await target.seen(lambda fleet: fleet.surge is not None and fleet.surge[0] == 2)
    assert (fleet.current[0], fleet.ready[0], fleet.starting[0]) == (4, 4, 0)
    assert only(fleet) == first
    # One of the new ones takes the place of an old one.
    await target.make_ready(1)
    fleet = await target.seen(lambda fleet: len(shares(fleet)) == 2 and fleet.ready[0] == 4)
    assert shares(fleet)[first] == 0.75
    fleet = await target.seen(lambda fleet: only(fleet) not in ("", first) and fleet.surge is None, with_ready=True)
    second = only(fleet)
    assert (fleet.current[0], fleet.ready[0], fleet.starting[0]) == (4, 4, 0)

    # The same template again is the same version again.
    await real_server.patch(DEPLOYMENTS, "llama", {"spec": {"template": {"metadata": {"annotations": {"mark": None}}}}})
    fleet = await target.seen(lambda fleet: only(fleet) not in ("", second) and fleet.surge is None, with_ready=True)
    assert only(fleet) == first


async def test_a_stateful_set_replaces_its_pods_one_by_one(real_server: Server, cluster: KubernetesCluster) -> None:
    made = workload("StatefulSet", 3)
    made["spec"]["podManagementPolicy"] = "Parallel"
    await real_server.create(STATEFUL_SETS, made)
    await real_server.create(SERVICES, manifest("StatefulSet", "apps/v1"))
    target = Target(real_server, cluster)
    first = only(await target.seen(lambda fleet: fleet.ready[0] == 3, with_ready=True))
    assert first
    await real_server.patch(STATEFUL_SETS, "llama", template("two"))
    fleet = await target.seen(lambda fleet: fleet.ready[0] == 2)
    assert (fleet.current[0], fleet.starting[0], fleet.surge) == (3, 1, None)
    fleet = await target.seen(lambda fleet: fleet.ready[0] == 3 and only(fleet) not in ("", first), with_ready=True)
    await real_server.patch(STATEFUL_SETS, "llama", {"spec": {"template": {"metadata": {"annotations": {"mark": None}}}}})
    assert only(await target.seen(lambda fleet: fleet.ready[0] == 3 and only(fleet) == first, with_ready=True)) == first
