"""Servers behind an APIService of the real control plane, keepers of their certificates, and a steady load through the aggregator."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import aiohttp
import numpy as np
from aiohttp import web
from cryptography import x509

from autoscaler.adapters.kubernetes.api import HttpKubeApi, KubeApi
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
from autoscaler.external_metrics.certificates.stored import Step, Stored, stored_in
from autoscaler.external_metrics.tls import ServingTls
from autoscaler.ports import Clock
from tests.realparts.api import Api, ApiError, Object, conditions
from tests.realparts.control_plane import ControlPlane
from tests.realparts.ports import LOOPBACK, free_port

SERVICE: Final = "external-metrics"
GROUP_VERSION: Final = "external.metrics.k8s.io/v1beta1"
API_SERVICE: Final = "v1beta1.external.metrics.k8s.io"
API_SERVICES: Final = "/apis/apiregistration.k8s.io/v1/apiservices"

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
    """A server that answers discovery, and serves whatever certificate it was last given. Replicas may share a port."""

    def __init__(self, port: int, client_ca: Path) -> None:
        self.answered = 0
        self.used: list[x509.Certificate] = []
        self._port = port
        self._tls = ServingTls()
        self._tls.trust([client_ca.read_bytes()])
        self._listening = socket.socket()
        self._runner: web.AppRunner | None = None

    def use(self, certificate_pem: bytes, key_pem: bytes) -> None:
        self._tls.use(certificate_pem, key_pem)
        self.used.append(x509.load_pem_x509_certificate(certificate_pem))

    async def __aenter__(self) -> Replica:
        app = web.Application()
        app.router.add_get("/apis/" + GROUP_VERSION, self._discover)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._listening.bind((LOOPBACK, self._port))
        await web.SockSite(self._runner, self._listening, ssl_context=self._tls.context).start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # asyncio loses a connection that it has accepted when its server is closed before it gets to it: first no more are accepted.
        asyncio.get_running_loop().remove_reader(self._listening)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
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

    def __init__(self, control_plane: ControlPlane, namespace: str, session: HttpKubeApi) -> None:
        self.control_plane = control_plane
        self.api: Api = control_plane.api
        self.namespace = namespace
        self.port = free_port()
        self.session = session

    # The parts.

    def replica(self) -> Replica:
        return Replica(self.port, self.control_plane.front_proxy_authority.certificate)

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
        self.failed: list[tuple[float, str]] = []
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

    def last_failure_s(self) -> float:
        """Monotonic; takes the failures so far off the list."""
        last_s = max((at_s for at_s, _ in self.failed), default=0.0)
        self.failed.clear()
        return last_s

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
                    self.failed.append((time.monotonic(), f"{answer.status}: {text}"))
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


async def mended(world: World, *differs: Stored) -> Stored:
    found = await world.until_secret(
        lambda stored: stored.is_whole and not stored.faults and stored.step is Step.STEADY and stored not in differs
    )
    await world.until_api_service(lambda item: bundle_of(item) == set(found.bundle))
    return found


def metric(keeper: CertificateKeeper, name: str, **labels: str) -> float | None:
    for family in keeper.families():
        if family.name == name:
            return family.samples.get(tuple(labels.items()))
    return None
