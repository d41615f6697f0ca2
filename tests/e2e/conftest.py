"""The product as deployed: CRDs and rights of deploy/, once a session; a namespace a story."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import ROOT
from tests.e2e.audit import WHO
from tests.e2e.node_pools import COMPONENTS, PLACEHOLDERS, Pools, pools_of
from tests.e2e.world import SYSTEM, World
from tests.realparts.control_plane import ControlPlane
from tests.realparts.karpenter import Karpenter
from tests.realparts.prometheus_server import PrometheusServer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deployed(control_plane: ControlPlane) -> AsyncIterator[Path]:
    """`kubectl apply -k deploy/base`; gives the kubeconfig of the controller's service account: its rights and no others."""
    for _ in range(2):  # the first time the CRDs may not be served yet when an object of theirs comes
        done = await control_plane.kubectl("apply", "--server-side", "-k", str(ROOT / "deploy" / "base"))
        if not done.code:
            break
    assert not done.code, done.err
    await control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    # The pods of deploy/'s own Deployment have no node to run on here; the stories start the controller as a process.
    await control_plane.keep_off_nodes(SYSTEM)
    yield await control_plane.service_account_kubeconfig(SYSTEM, SYSTEM)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sizes_pools(control_plane: ControlPlane, deployed: Path) -> None:
    """The components of deploy/ that the stories of node pools need; the audit at the end reads their rights, so they stay."""
    rights = ROOT / "deploy" / "components"
    for component in COMPONENTS:
        done = await control_plane.kubectl("apply", "--server-side", "-k", str(rights / component))
        assert not done.code, done.err
    await control_plane.until_allowed(WHO, verb="get", resource="nodepools", group="karpenter.sh")
    await control_plane.until_allowed(WHO, verb="create", resource="deployments", group="apps", namespace=PLACEHOLDERS)


@pytest_asyncio.fixture(loop_scope="session")
async def pools(
    control_plane: ControlPlane,
    prometheus: PrometheusServer,
    deployed: Path,
    sizes_pools: None,
    karpenter: Karpenter,
    namespace: str,
) -> AsyncIterator[Pools]:
    """A story's own namespace without a node: a real Karpenter makes them, for AcceleratorPools whose names begin with the namespace's."""
    async with pools_of(World(control_plane, prometheus, namespace, deployed)) as mine:
        yield mine


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    control_plane: ControlPlane, prometheus: PrometheusServer, deployed: Path, namespace: str
) -> AsyncIterator[World]:
    """A story's own namespace with 32 GPUs in it. Its manifests are gone before its workloads are, so no controller sees them leave."""
    await control_plane.add_gpu_node("node", 32, namespace=namespace)
    yield World(control_plane, prometheus, namespace, deployed)
    await control_plane.api.delete(f"/apis/inference-autoscaler.io/v1alpha1/namespaces/{namespace}/inferenceautoscalers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The audit log is read when all stories have been told."""
    items.sort(key=lambda item: "test_z_audit" in item.nodeid)
