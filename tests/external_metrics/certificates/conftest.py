"""An APIService on the real control plane, servers behind it, a steady load through it, and keepers with no more rights than documented."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509

from autoscaler.adapters.kubernetes.api import HttpKubeApi, KubeApi
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.adapters.kubernetes.informer import InformerSettings
from autoscaler.clock import SystemClock
from autoscaler.external_metrics.certificates import (
    SECRET_NAME,
    CertificateKeeper,
    KeeperSettings,
    Lifetimes,
    Plan,
    service_names,
)
from autoscaler.external_metrics.certificates.reading import certificates_in
from autoscaler.external_metrics.certificates.stored import Stored, stored_in
from autoscaler.ports import Clock
from tests.realparts.api import Api, ApiError, Object, conditions
from tests.realparts.control_plane import ControlPlane
from tests.realparts.ports import LOOPBACK, free_port

SERVICE: Final = "external-metrics"
GROUP_VERSION: Final = "external.metrics.k8s.io/v1beta1"
API_SERVICE: Final = "v1beta1.external.metrics.k8s.io"
API_SERVICES: Final = "/apis/apiregistration.k8s.io/v1/apiservices"
ACCOUNT: Final = "keeper"

ROLE_RULES: Final[list[Object]] = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET_NAME], "verbs": ["get", "list", "watch", "update"]},
]
CLUSTER_RULES: Final[list[Object]] = [
    {
        "apiGroups": ["apiregistration.k8s.io"],
        "resources": ["apiservices"],
        "resourceNames": [API_SERVICE],
        "verbs": ["get", "list", "watch", "patch"],
    },
]
"""All that a keeper may, as the package's docstring says it: every test on the real control plane runs under these."""

QUICK: Final = KeeperSettings(
    call_timeout_s=5.0,
    resync_s=5.0,
    backoff_first_s=0.05,
    backoff_max_s=0.5,
    writes_at_once=1000,
    informers=InformerSettings(backoff_first_s=0.05, backoff_max_s=0.5),
)
DAYS: Final = Lifetimes()


class Replica:
    """A TLS server that answers discovery, and serves whatever certificate it was last given. Replicas may share a port."""

    def __init__(self, port: int, folder: Path) -> None:
        self.answered = 0
        self.used: list[x509.Certificate] = []
        self._port = port
        self._file = folder / f"pair-{id(self)}.pem"
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._runner: web.AppRunner | None = None

    def use(self, certificate_pem: bytes, key_pem: bytes) -> None:
        self._file.write_bytes(key_pem + certificate_pem)
        self._context.load_cert_chain(self._file)
        self.used.append(x509.load_pem_x509_certificate(certificate_pem))

    async def __aenter__(self) -> Replica:
        app = web.Application()
        app.router.add_get("/apis/" + GROUP_VERSION, self._discover)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port, ssl_context=self._context, reuse_port=True).start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _discover(self, request: web.Request) -> web.Response:
        self.answered += 1
        resource = {"name": "m", "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
        body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": [resource]}
        # Two of three connections are not kept, so that there are handshakes at every moment.
        headers = {} if self.answered % 3 == 0 else {"Connection": "close"}
        return web.json_response(body, headers=headers)


class World:
    """The Service and the APIService of one test, and what is known of its certificates."""

    def __init__(self, control_plane: ControlPlane, namespace: str, folder: Path, session: HttpKubeApi) -> None:
        self.control_plane = control_plane
        self.api: Api = control_plane.api
        self.namespace = namespace
        self.port = free_port()
        self.session = session
        self._folder = folder

    # The parts.

    def replica(self) -> Replica:
        return Replica(self.port, self._folder)

    def keeper(
        self,
        use: Callable[[bytes, bytes], None],
        *,
        lifetimes: Lifetimes = DAYS,
        settle_s: float = 1.0,
        overlap_s: float = 2.0,
        api: KubeApi | None = None,
        clock: Clock | None = None,
        settings: KeeperSettings = QUICK,
        seed: int = 7,
    ) -> CertificateKeeper:
        return CertificateKeeper(
            self.session if api is None else api,
            namespace=self.namespace,
            service=SERVICE,
            use=use,
            plan=Plan(names=service_names(SERVICE, self.namespace), lifetimes=lifetimes, settle_s=settle_s, overlap_s=overlap_s),
            clock=SystemClock() if clock is None else clock,
            rng=np.random.default_rng(seed),
            settings=settings,
        )

    # What is there.

    @property
    def secret_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets/{SECRET_NAME}"

    async def secret(self) -> Stored:
        return stored_in((await self.api.get(self.secret_path)).get("data") or {})

    async def until_secret(self, true: Callable[[Stored], bool], timeout_s: float = 30.0) -> Stored:
        path = self.secret_path.removesuffix(f"/{SECRET_NAME}")
        found = await self.api.until(
            path,
            lambda items: SECRET_NAME in items and true(stored_in(items[SECRET_NAME].get("data") or {})),
            timeout_s=timeout_s,
            fieldSelector=f"metadata.name={SECRET_NAME}",
        )
        return stored_in(found[SECRET_NAME]["data"])

    async def until_api_service(self, true: Callable[[Object], bool], timeout_s: float = 30.0) -> Object:
        found = await self.api.until(
            API_SERVICES,
            lambda items: API_SERVICE in items and true(items[API_SERVICE]),
            timeout_s=timeout_s,
            fieldSelector=f"metadata.name={API_SERVICE}",
        )
        return found[API_SERVICE]

    async def until_served(self) -> None:
        """The aggregator itself has found us, and hands requests on."""
        await self.until_api_service(lambda item: conditions(item).get("Available") == "True")
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(ApiError):
                    await self.api.get("/apis/" + GROUP_VERSION)
                    return
                await asyncio.sleep(0.05)

    async def annotate(self, value: str) -> None:
        await self.api.patch(self.secret_path, {"metadata": {"annotations": {"inference-autoscaler.io/rotate": value}}})

    async def tell(self, ca_bundle: bytes) -> None:
        """Writes the caBundle as somebody else."""
        await self.api.patch(f"{API_SERVICES}/{API_SERVICE}", {"spec": {"caBundle": base64.b64encode(ca_bundle).decode()}})

    # What is set up.

    async def make_api_service(self, **spec: Any) -> None:
        metadata = {"name": SERVICE, "namespace": self.namespace}
        port = {"port": self.port, "name": "https"}
        outside = {"type": "ExternalName", "externalName": "localhost", "ports": [port]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": outside}
        await self.api.create(f"/api/v1/namespaces/{self.namespace}/services", service)
        wanted = {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": self.namespace, "name": SERVICE, "port": self.port},
            **spec,
        }
        item = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": wanted,
        }
        await self.api.create(API_SERVICES, item)


def bundle_of(api_service: Object) -> frozenset[x509.Certificate]:
    return frozenset(certificates_in(base64.b64decode(api_service["spec"].get("caBundle") or "")))


class Load:
    """GETs through the aggregator, several at a time, each as soon as the one before was answered."""

    def __init__(self, world: World, at_once: int = 4, pause_s: float = 0.01) -> None:
        self.failed: list[str] = []
        self.answered = 0
        self._world = world
        self._at_once = at_once
        self._pause_s = pause_s
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(self._at_once)]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if kind is None:
            assert self.failed == []
            assert self.answered > 50

    async def _ask(self) -> None:
        # Kept connections to the API server: what is exercised are those from there on.
        control_plane = self._world.control_plane
        connector = aiohttp.TCPConnector(ssl=control_plane.admin_context)
        async with aiohttp.ClientSession(connector=connector) as session:
            while True:
                async with session.get(f"{control_plane.url}/apis/{GROUP_VERSION}") as answer:
                    text = await answer.text()
                if answer.status == 200:
                    self.answered += 1
                else:
                    self.failed.append(f"{time.time():.3f} {answer.status}: {text}")
                await asyncio.sleep(self._pause_s)


@contextlib.asynccontextmanager
async def running(*keepers: CertificateKeeper) -> AsyncIterator[None]:
    """Runs them until the end of the block; one that ends by itself fails the test."""
    tasks = [asyncio.create_task(keeper.run()) for keeper in keepers]
    try:
        yield
        assert not [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(true: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Waits for what tasks of the same loop bring about."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def grant(control_plane: ControlPlane, namespace: str) -> None:
    """A ServiceAccount with ROLE_RULES and CLUSTER_RULES."""
    api, rbac = control_plane.api, "/apis/rbac.authorization.k8s.io/v1"
    version = "rbac.authorization.k8s.io/v1"
    name = f"{namespace}-{ACCOUNT}"
    subjects = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}]

    def reference(kind: str, of: str) -> Mapping[str, str]:
        return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": of}

    within = f"{rbac}/namespaces/{namespace}"
    await api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": ACCOUNT}})
    await api.create(f"{within}/roles", {"apiVersion": version, "metadata": {"name": ACCOUNT}, "rules": ROLE_RULES})
    binding = {"apiVersion": version, "metadata": {"name": ACCOUNT}, "subjects": subjects, "roleRef": reference("Role", ACCOUNT)}
    await api.create(f"{within}/rolebindings", binding)
    await api.create(f"{rbac}/clusterroles", {"apiVersion": version, "metadata": {"name": name}, "rules": CLUSTER_RULES})
    binding = {"apiVersion": version, "metadata": {"name": name}, "subjects": subjects, "roleRef": reference("ClusterRole", name)}
    await api.create(f"{rbac}/clusterrolebindings", binding)
    user = f"system:serviceaccount:{namespace}:{ACCOUNT}"
    await control_plane.until_allowed(user, verb="create", resource="secrets", namespace=namespace)
    await control_plane.until_allowed(
        user, verb="patch", group="apiregistration.k8s.io", resource="apiservices", name=API_SERVICE
    )


@contextlib.asynccontextmanager
async def as_keeper(control_plane: ControlPlane, namespace: str, url: str | None = None) -> AsyncIterator[HttpKubeApi]:
    """A session of that account; through a proxy at `url`, if given."""
    token = await control_plane.service_account_token(namespace, ACCOUNT)

    async def authorization() -> str:
        return f"Bearer {token}"

    credentials = Credentials(
        url or control_plane.url,
        ssl_context=control_plane.authority.client_context(),
        authorization=authorization,
        monotonic_s=time.monotonic,
    )
    async with HttpKubeApi(credentials) as session:
        yield session


@pytest_asyncio.fixture(loop_scope="session")
async def world(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> AsyncIterator[World]:
    """The Service, the APIService (nobody else's during the test), and a session with a keeper's rights."""
    await grant(control_plane, namespace)
    async with as_keeper(control_plane, namespace) as session:
        made = World(control_plane, namespace, tmp_path, session)
        await made.make_api_service()
        try:
            yield made
        finally:
            with contextlib.suppress(ApiError):
                await control_plane.api.delete(f"{API_SERVICES}/{API_SERVICE}")
            for kind in ("clusterrolebindings", "clusterroles"):
                await control_plane.api.delete(f"/apis/rbac.authorization.k8s.io/v1/{kind}/{namespace}-{ACCOUNT}")


@pytest.fixture
def plan() -> Plan:
    return Plan(names=service_names("external-metrics", "metrics"), lifetimes=Lifetimes(), settle_s=60.0, overlap_s=86400.0)
