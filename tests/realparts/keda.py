"""A real KEDA on loopback, with a certificate authority of its own: the operator, and the adapter that serves external metrics."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import pathlib
import shutil
from collections.abc import Sequence
from types import TracebackType

import aiohttp

from tests.realparts import parts
from tests.realparts.api import ApiError, Object
from tests.realparts.certificates import Authority
from tests.realparts.control_plane import ControlPlane
from tests.realparts.ports import LOOPBACK, free_port
from tests.realparts.processes import Process

PROGRAMS = ("keda-operator", "keda-adapter")
NAMESPACE = "keda"
SERVICE = "keda-metrics-apiserver"
SERVER_NAME = f"{SERVICE}.{NAMESPACE}.svc"
API_SERVICE = "v1beta1.external.metrics.k8s.io"
FRONT_PROXY_NAME = "front-proxy-client"


class Keda:
    """`async with Keda(directory, control_plane) as keda:`; it acts as an admin, and watches all namespaces.

    front_proxies: further authorities whose clients' X-Remote-… headers the adapter believes, besides the aggregator's; names: of such
    clients.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        control_plane: ControlPlane,
        *,
        front_proxies: Sequence[Authority] = (),
        names: Sequence[str] = (),
    ) -> None:
        self._programs = parts.need(*PROGRAMS)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._control_plane = control_plane
        self._kubeconfig = control_plane.user_kubeconfig("keda", groups=["system:masters"])
        self.authority = Authority("keda-authority", directory)
        pair = self.authority.server("keda", names=[SERVER_NAME, "localhost", LOOPBACK], client=True)
        self._certificates = directory / "certificates"  # what KEDA mounts from its Secret
        self._certificates.mkdir(exist_ok=True)
        for source, name in ((self.authority.certificate, "ca.crt"), (pair.certificate, "tls.crt"), (pair.key, "tls.key")):
            shutil.copyfile(source, self._certificates / name)
        bundle = directory / "front-proxies.crt"
        authorities = [control_plane.front_proxy_authority, *front_proxies]
        bundle.write_bytes(b"".join(authority.certificate.read_bytes() for authority in authorities))
        self._front_proxies = (bundle, [FRONT_PROXY_NAME, *names])
        self.port = free_port()
        grpc = f"localhost:{free_port()}"
        self.operator = self._operator(grpc)
        self.adapter = self._adapter(grpc)

    @property
    def url(self) -> str:
        """Of the adapter; its certificate is for SERVER_NAME, and for this host, too."""
        return f"https://localhost:{self.port}"

    @property
    def processes(self) -> list[Process]:
        return [self.operator, self.adapter]

    async def __aenter__(self) -> Keda:
        crds = self._programs["keda-operator"].parent / "keda-crds"
        await self._control_plane.apply("---\n".join(path.read_text() for path in sorted(crds.glob("*.yaml"))))
        await self._control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
        with contextlib.suppress(ApiError):  # an earlier one's
            await self._control_plane.create_namespace(NAMESPACE)
        try:
            # The adapter waits for the operator's port.
            await asyncio.gather(*(process.start() for process in self.processes))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes))

    async def own_the_group(self) -> None:
        """What KEDA's manifests install: its Service and the APIService, which names its certificate authority."""
        await self._control_plane.apply([self.service(), self.api_service()], namespace=NAMESPACE)
        await self._control_plane.api.until(
            "/apis/apiregistration.k8s.io/v1/apiservices",
            lambda found: any(
                condition["type"] == "Available" and condition["status"] == "True"
                for condition in found[API_SERVICE].get("status", {}).get("conditions", ())
            ),
            fieldSelector=f"metadata.name={API_SERVICE}",
        )

    def service(self) -> Object:
        """Endpoints must not hold loopback addresses: a name that leads there instead."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"name": "https", "port": self.port}]},
        }

    def api_service(self) -> Object:
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": SERVICE, "namespace": NAMESPACE, "port": self.port},
                "caBundle": base64.b64encode(self.authority.certificate.read_bytes()).decode(),
            },
        }

    def _operator(self, grpc: str) -> Process:
        health = f"{LOOPBACK}:{free_port()}"
        command = [
            str(self._programs["keda-operator"]),
            f"--kubeconfig={self._kubeconfig}",
            f"--cert-dir={self._certificates}",
            f"--ca-dir={self._certificates}",
            f"--metrics-service-bind-address={grpc}",
            "--metrics-bind-address=0",
            f"--health-probe-bind-address={health}",
            # The certificates lie there already, and nobody but a test changes the APIService.
            "--enable-cert-rotation=false",
            "--enable-apiservice-patching=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]
        return self._process("keda-operator", command, f"http://{health}/readyz")

    def _adapter(self, grpc: str) -> Process:
        bundle, names = self._front_proxies
        command = [
            str(self._programs["keda-adapter"]),
            *(f"--{flag}kubeconfig={self._kubeconfig}" for flag in ("", "authentication-", "authorization-", "lister-")),
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self.port}",
            f"--port={free_port()}",  # its own metrics
            f"--cert-dir={self._certificates}",
            f"--tls-cert-file={self._certificates / 'tls.crt'}",
            f"--tls-private-key-file={self._certificates / 'tls.key'}",
            f"--client-ca-file={self._certificates / 'ca.crt'}",
            f"--requestheader-client-ca-file={bundle}",
            f"--requestheader-allowed-names={','.join(names)}",
            f"--metrics-service-address={grpc}",
        ]
        return self._process("keda-adapter", command, f"{self.url}/readyz")

    def _process(self, name: str, command: list[str], health_url: str) -> Process:
        environment = {
            "WATCH_NAMESPACE": "",
            "POD_NAMESPACE": NAMESPACE,
            "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
            "KEDA_HTTP_DEFAULT_TIMEOUT": "3000",
        }
        context = self.authority.client_context()

        async def ready() -> bool:
            timeout = aiohttp.ClientTimeout(total=5)
            try:
                async with (
                    aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout) as http,
                    http.get(health_url) as answer,
                ):
                    return answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                return False

        return Process(name, command, directory=self.directory, ready=ready, environment=environment)
