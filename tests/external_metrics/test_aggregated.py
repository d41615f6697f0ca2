"""Through the real aggregator: discovery, OpenAPI and values as kubectl and the control plane's own controllers ask for them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import numpy as np
import pytest
import pytest_asyncio

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import find
from autoscaler.clock import SystemClock
from autoscaler.external_metrics.authentication import RequestAuthenticator
from autoscaler.external_metrics.authorization import ReviewedAuthorizer
from autoscaler.external_metrics.catalogue import METRICS
from autoscaler.external_metrics.identity import GROUP, GROUP_VERSION
from autoscaler.external_metrics.server import App, serve
from autoscaler.external_metrics.tls import ServingTls
from autoscaler.external_metrics.tokens import TokenReviews
from autoscaler.external_metrics.trust import TrustWatch
from autoscaler.published import DESIRED, NAME_LABEL, Column, Published
from tests.external_metrics.served import store_of
from tests.realparts.api import Object
from tests.realparts.certificates import Authority
from tests.realparts.control_plane import ControlPlane, Finished
from tests.realparts.ports import LOOPBACK

pytestmark = pytest.mark.realparts

SERVICE = "contract"
API_SERVICE = f"/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.{GROUP}"
TEAM = "contract-team"


class Aggregated:
    """Our server behind the aggregator, and every condition that the aggregator gave it."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self.unavailable: list[Object] = []

    async def kubectl(self, *arguments: str) -> str:
        done = await self.control_plane.kubectl(*arguments)
        assert done.code == 0, done.err
        return done.out

    async def raw(self, path: str) -> Finished:
        return await self.control_plane.kubectl("get", "--raw", path)

    def available(self, item: Object) -> bool:
        """Whether it is; that it ever was not, after it was, is remembered."""
        conditions = {one["type"]: one for one in item.get("status", {}).get("conditions", [])}
        found = conditions.get("Available")
        if found is not None and found["status"] != "True":
            self.unavailable.append(found)
        return found is not None and found["status"] == "True"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def aggregated(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Aggregated]:
    folder: Path = tmp_path_factory.mktemp("aggregated")
    clock, rng = SystemClock(), np.random.default_rng(7)
    objects = [Published(namespace=TEAM, name=name, max_age_s=3600.0) for name in ("llama", "qwen")]
    store = store_of(clock, objects, [Column(metric=DESIRED, values=[7.0, 2.5])])
    signed_by = Authority("aggregated", folder)
    pair = signed_by.server("serving", names=[f"{SERVICE}.{TEAM}.svc"])
    tls = ServingTls()
    tls.use(pair.certificate.read_bytes(), pair.key.read_bytes())
    credentials = await find(str(control_plane.admin_kubeconfig), clock.monotonic_s)
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(HttpKubeApi(credentials))
        trust = TrustWatch(api, admit=tls.trust, clock=clock, rng=rng)
        watching = asyncio.create_task(trust.run())
        stack.callback(watching.cancel)
        authenticator = RequestAuthenticator(
            trust=lambda: trust.current, tokens=TokenReviews(api, clock=clock, rng=rng), clock=clock
        )
        stack.push_async_callback(authenticator.close)
        authorizer = ReviewedAuthorizer(api, clock=clock, rng=rng)
        stack.push_async_callback(authorizer.close)
        await trust.has_synced.wait()
        app = App(store, authenticator, authorizer, clock=clock)
        serving = await stack.enter_async_context(serve(app, LOOPBACK, 0, tls.context))

        world = Aggregated(control_plane)
        await control_plane.create_namespace(TEAM)
        await control_plane.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": SERVICE, "namespace": TEAM},
                "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"name": "https", "port": serving.port}]},
            },
            namespace=TEAM,
        )
        await control_plane.apply(
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": f"v1beta1.{GROUP}"},
                "spec": {
                    "group": GROUP,
                    "version": "v1beta1",
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                    "service": {"name": SERVICE, "namespace": TEAM, "port": serving.port},
                    "caBundle": base64.b64encode(signed_by.certificate.read_bytes()).decode(),
                },
            }
        )
        await control_plane.api.until(
            "/apis/apiregistration.k8s.io/v1/apiservices",
            lambda there: world.available(there.get(f"v1beta1.{GROUP}", {})),
            fieldSelector=f"metadata.name=v1beta1.{GROUP}",
        )
        world.unavailable.clear()
        watched = asyncio.create_task(
            control_plane.api.until(
                "/apis/apiregistration.k8s.io/v1/apiservices",
                lambda there: not all(world.available(item) for item in there.values()),
                timeout_s=3600.0,
                fieldSelector=f"metadata.name=v1beta1.{GROUP}",
            )
        )
        try:
            yield world
        finally:
            watched.cancel()
            await asyncio.gather(watched, return_exceptions=True)
            # First: an API that nobody serves blocks the deletion of every namespace.
            await control_plane.api.delete(API_SERVICE)
            await control_plane.delete_namespace(TEAM)
    assert world.unavailable == [], "its condition stayed True for the whole run"


async def test_kubectl_reads_values(aggregated: Aggregated) -> None:
    path = f"/apis/{GROUP_VERSION}/namespaces/{TEAM}/{DESIRED}"
    done = await aggregated.raw(f"{path}?labelSelector={quote(f'{NAME_LABEL} in (llama)')}")
    (item,) = json.loads(done.out)["items"]
    assert (item["value"], item["metricLabels"]) == ("7", {NAME_LABEL: "llama"})
    missing = await aggregated.raw(f"{path}?labelSelector={quote(f'{NAME_LABEL}=lama')}")
    assert missing.code == 1
    assert f"no InferenceAutoscaler 'lama' in namespace '{TEAM}'; there is llama" in missing.err


async def test_kubectl_lists_the_metrics(aggregated: Aggregated) -> None:
    lines = (await aggregated.kubectl("api-resources", f"--api-group={GROUP}", "--no-headers")).splitlines()
    assert sorted(line.split()[0] for line in lines) == list(METRICS)
    assert all(line.split()[-1] == "ExternalMetricValueList" for line in lines)


async def test_kubectl_explains_a_metric(aggregated: Aggregated) -> None:
    async with asyncio.timeout(90):  # the aggregator looks once a minute
        while f"apis/{GROUP_VERSION}" not in json.loads((await aggregated.raw("/openapi/v3")).out)["paths"]:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    told = await aggregated.kubectl("explain", "desired-replicas.items.value")
    assert "KIND:       ExternalMetricValueList" in told
    assert "The value, as a Kubernetes quantity." in told
    whole = await aggregated.kubectl("explain", "demand-forecast", "--recursive")
    assert "metricLabels\t<map[string]string>" in whole


async def test_old_clients_find_it_without_aggregated_discovery(aggregated: Aggregated) -> None:
    group = json.loads((await aggregated.raw(f"/apis/{GROUP}")).out)
    assert group["preferredVersion"]["groupVersion"] == GROUP_VERSION
    resources = json.loads((await aggregated.raw(f"/apis/{GROUP_VERSION}")).out)
    assert [one["name"] for one in resources["resources"]] == list(METRICS)


async def test_the_cluster_s_own_discovery_has_every_metric(aggregated: Aggregated) -> None:
    """What current clients read: the aggregator's merged document, with our resources as fresh ones."""
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
    connector = aiohttp.TCPConnector(ssl=aggregated.control_plane.admin_context)
    async with asyncio.timeout(90), aiohttp.ClientSession(aggregated.control_plane.url, connector=connector) as session:
        while True:
            async with session.get("/apis", headers=accept) as answer:
                items = json.loads(await answer.text())["items"]
            found = [item for item in items if item["metadata"]["name"] == GROUP]
            if found and found[0]["versions"][0].get("resources"):
                break
            await asyncio.sleep(0.5)
    (version,) = found[0]["versions"]
    assert version["freshness"] == "Current"
    assert [one["resource"] for one in version["resources"]] == list(METRICS)


async def test_a_namespace_is_deleted_while_metrics_are_served(aggregated: Aggregated) -> None:
    await aggregated.control_plane.create_namespace("contract-passing")
    done = await aggregated.control_plane.kubectl("delete", "namespace", "contract-passing", "--timeout=30s")
    assert done.code == 0, done.err
