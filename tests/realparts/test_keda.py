"""KEDA in the test bed does what the tests of federation rely on: a trigger on the real Prometheus is served by its own adapter."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.realparts.control_plane import ControlPlane
from tests.realparts.keda import Keda
from tests.realparts.prometheus_server import PrometheusServer
from tests.realparts.scaled_objects import deployment, scaled_object, until_served
from tests.realparts.test_bed import _listening, _sockets

pytestmark = pytest.mark.realparts


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keda(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keda]:
    async with Keda(tmp_path_factory.mktemp("keda"), control_plane) as running:
        yield running


async def test_a_trigger_is_served(keda: Keda, control_plane: ControlPlane, prometheus: PrometheusServer, namespace: str) -> None:
    await keda.own_the_group()
    try:
        now_s = time.time()
        await prometheus.write([({"__name__": "keda_demand", "namespace": namespace}, [(now_s, 70.0)])])
        await control_plane.apply(deployment("llama"), namespace=namespace)
        query = f'last_over_time(keda_demand{{namespace="{namespace}"}}[1h])'
        await control_plane.apply(scaled_object("llama", prometheus.url, query, threshold=10), namespace=namespace)
        found = await until_served(control_plane, namespace, "llama")
        assert [(item["metricName"], item["value"]) for item in found["items"]] == [("s0-prometheus", "70")]
        # And the real HPA controller, which KEDA made an HPA for, follows it.
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        await control_plane.api.until(path, lambda all_of_them: all_of_them["llama"]["spec"]["replicas"] == 7, timeout_s=60)
    finally:
        await control_plane.api.delete("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io")
        await control_plane.kubectl("delete", "scaledobject", "--all", "-n", namespace)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_it_listens_on_loopback_only(keda: Keda) -> None:
    await asyncio.gather(*(process.wait_ready() for process in keda.processes))
    ours = {inode for process in keda.processes for inode in _sockets(process)}
    listening = [address for address, inode in _listening() if inode in ours]
    assert len(listening) >= 4
    assert [address for address in listening if not address.endswith(("0100007F", "00000000000000000000000001000000"))] == []
