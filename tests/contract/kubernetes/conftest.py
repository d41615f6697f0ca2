"""One server fixture, two servers: the fake, and the real API server where its programs are."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio

from autoscaler.adapters.kubernetes import credentials
from autoscaler.adapters.kubernetes.api import HttpKubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Discovery, Resource
from tests.fakes.kube_api import FakeKubeApi
from tests.fakes.kube_store import Kind
from tests.realparts.control_plane import ControlPlane

WIDGETS = Resource(group="contract.test", version="v1", plural="widgets", kind="Widget", scale=True)
CALL_S = 10.0


@dataclass
class Server:
    """An API server to be judged, through the product's own session, and a namespace of the test's own."""

    api: HttpKubeApi
    namespace: str

    async def create(self, resource: Resource, item: Object) -> Object:
        return await self.api.request("POST", resource.path(self.namespace), body=item, timeout_s=CALL_S)

    async def get(self, resource: Resource, name: str) -> Object:
        return await self.api.request("GET", resource.path(self.namespace, name), timeout_s=CALL_S)

    async def patch(self, resource: Resource, name: str, patch: Object, part: str | None = None) -> Object:
        """As somebody else: the API server notes the field manager, which is how the adapter knows its own writes."""
        path = resource.path(self.namespace, name, part)
        params, kind = {"fieldManager": "kubectl"}, "application/merge-patch+json"
        return await self.api.request("PATCH", path, params=params, body=patch, content_type=kind, timeout_s=CALL_S)

    async def delete(self, resource: Resource, name: str) -> Object:
        return await self.api.request("DELETE", resource.path(self.namespace, name), timeout_s=CALL_S)


@pytest_asyncio.fixture(loop_scope="session")
async def fake_server() -> AsyncIterator[Server]:
    async with FakeKubeApi(bookmark_s=0.2) as fake:
        fake.store.serve(
            Kind("contract.test", "v1", "widgets", "Widget", replicas="spec.size", selector="status.selector", status=True)
        )
        fake.create("customresourcedefinitions", _crd())
        async with HttpKubeApi(credentials.Credentials(fake.url, monotonic_s=time.monotonic)) as api:
            yield Server(api, "team")


@pytest_asyncio.fixture(loop_scope="session")
async def real_server(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Server]:
    access = await credentials.from_kubeconfig(str(control_plane.admin_kubeconfig), None, time.monotonic)
    async with HttpKubeApi(access) as api:
        await control_plane.apply(_crd())
        discovery = Discovery(api, lambda: next(_hours))
        await until(lambda: discovery.resolve(WIDGETS.api_version, "Widget", CALL_S))
        yield Server(api, namespace)


_hours = iter(range(0, 10**9, 3600))  # a clock by which no cached answer is fresh


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.realparts)])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


async def until(ask: Callable[[], Awaitable[object]], timeout_s: float = 20.0) -> None:
    """Asks an outside server until the answer is true; there is no event to wait for on the other side."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                if await ask():
                    return
            except ApiError as fault:
                if not re.search("NotFound|ServiceUnavailable", fault.reason):
                    raise
            await asyncio.sleep(0.05)


def _crd() -> Object:
    open_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.contract.test"},
        "spec": {
            "group": "contract.test",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {"type": "object", "properties": {"size": {"type": "integer"}, "other": open_object}},
                                "status": open_object,
                            },
                        }
                    },
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.size",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                }
            ],
        },
    }
