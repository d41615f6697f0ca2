"""A bed for each backend: the backend itself, the server it talks to, and what the tests want to know of that server."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.adapters.kubernetes.secrets import KubernetesSecrets
from autoscaler.adapters.nodepools.aks import Aks
from autoscaler.adapters.nodepools.aws_keys import AwsIdentity
from autoscaler.adapters.nodepools.azure_token import AzureToken
from autoscaler.adapters.nodepools.backend import Backend, PoolState, Wish
from autoscaler.adapters.nodepools.eks import Eks
from autoscaler.adapters.nodepools.gke import Gke
from autoscaler.adapters.nodepools.google_token import GoogleToken
from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.kube_objects import KubeObjects
from autoscaler.adapters.nodepools.min_size import MinSize
from autoscaler.adapters.nodepools.scale import MAX_SIZE, MIN_SIZE, Scale
from autoscaler.adapters.nodepools.webhook import Webhook
from autoscaler.clock import ManualClock
from autoscaler.spec import Aks as AksSettings
from autoscaler.spec import Eks as EksSettings
from autoscaler.spec import Gke as GkeSettings
from autoscaler.spec import ObjectRef, OwnSecretKey
from autoscaler.spec import Webhook as WebhookSettings
from tests.adapters.nodepools.amazon import ROLE, Amazon
from tests.adapters.nodepools.cloud_server import CloudServer, Refusal, Seen
from tests.adapters.nodepools.google import Google
from tests.adapters.nodepools.microsoft import SUBSCRIPTION, Microsoft
from tests.fakes.kube_api import FakeKubeApi
from tests.fakes.kube_store import BUILT_IN, Kind
from tests.realparts.certificates import Authority

CALL_S = 5.0
MACHINES = Kind(
    "cluster.x-k8s.io",
    "v1beta2",
    "machinedeployments",
    "MachineDeployment",
    status=True,
    replicas="spec.replicas",
    selector="spec.selector",
)


@dataclass
class Bed:
    """One backend under test. again: another one of it, as after a restart. target: what the system was asked for. orders: how many orders
    it has taken. finish: the operation that is under way ends; None where orders take no time. expire: the credential is taken no more."""

    backend: Backend
    again: Callable[[], Backend]
    fail: Callable[..., Any]
    target: Callable[[], int]
    orders: Callable[[], int]
    kube: FakeKubeApi
    clock: ManualClock
    finish: Callable[[], None] | None = None
    expire: Callable[[], None] | None = None
    secrets: list[str] = field(default_factory=list)
    server: CloudServer | None = None
    write: str = "POST"
    write_part: str = ""
    reads_each_time: bool = False

    async def get(self) -> PoolState:
        return await self.backend.get(CALL_S)

    async def set(self, nodes: int, over: PoolState | None = None) -> PoolState:
        return await self.backend.set_target(Wish(nodes=nodes, reason="a test"), over or await self.get(), CALL_S)


class Around:
    """What all beds stand on: a fake API server, a session, a clock, a folder; two of the pool's nodes are seen to be ready."""

    def __init__(self, kube: FakeKubeApi, api: HttpKubeApi, http: JsonHttp, folder: Path) -> None:
        self.kube, self.api, self.http, self.folder = kube, api, http, folder
        self.clock = ManualClock(1_800_000_000.0)
        self.objects = KubeObjects(api, self.clock.monotonic_s)

    def ready(self) -> int | None:
        return 2

    def file(self, name: str, content: str) -> str:
        path = self.folder / name
        path.write_text(content + "\n")
        return str(path)


@asynccontextmanager
async def around(folder: Path) -> AsyncIterator[Around]:
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(FakeKubeApi((*BUILT_IN, MACHINES)))
        clock = ManualClock()
        api = await stack.enter_async_context(HttpKubeApi(Credentials(kube.url, monotonic_s=clock.monotonic_s)))
        http = await stack.enter_async_context(JsonHttp())
        yield Around(kube, api, http, folder)


def cloud_bed(
    around: Around,
    server: Google | Amazon | Microsoft | Hook,
    make: Callable[[], Backend],
    target: Callable[[], int],
    expire: Callable[[], None],
    secrets: list[str],
    **how: Any,
) -> Bed:
    """Of a server whose orders take time. how: further fields of the bed."""
    return Bed(
        make(),
        make,
        server.fail,
        target,
        lambda: len(server.orders),
        around.kube,
        around.clock,
        server.finish,
        expire,
        secrets,
        server,
        **how,
    )


def gke(around: Around, server: Google, set_by: Any = "Size") -> Bed:
    settings = GkeSettings(
        project="example-project", location="europe-west4", cluster="inference", node_pool="h100", set_by=set_by
    )
    token = GoogleToken(around.http, around.clock, {"GCE_METADATA_HOST": server.url.removeprefix("http://")})

    def make() -> Backend:
        return Gke(around.http, token, settings, around.ready, container=server.url, compute=server.url)

    def expire() -> None:
        server.token = "ya29.second-secret"

    def target() -> int:
        return sum(server.zones.values()) if set_by == "Size" else int(server.autoscaling.get("totalMinNodeCount", 0))

    secrets = ["ya29.first-secret", "ya29.second-secret"]
    return cloud_bed(around, server, make, target, expire, secrets, write_part=":set")


def eks(around: Around, server: Amazon, set_by: Any = "Size", *, agent: bool = False) -> Bed:
    environment = {
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": around.file("web-identity", server.web_identity_token),
    }
    if agent:
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": around.file("agent", server.agent_token),
        }
    identity = AwsIdentity(around.http, around.clock, f"{server.url}/", environment)
    settings = EksSettings(region="eu-central-1", cluster="inference", nodegroup="h100", set_by=set_by)

    def make() -> Backend:
        return Eks(around.http, identity, around.clock, settings, around.ready, endpoint=server.url)

    def expire() -> None:
        server.keys = ("ASIAEXAMPLE2", "second/secret+key", "second-session-token")

    def target() -> int:
        return server.config["desiredSize" if set_by == "Size" else "minSize"]

    secrets = ["first/secret+key", "first-session-token", "second/secret+key", "second-session-token"]
    secrets += [server.web_identity_token, server.agent_token]
    return cloud_bed(around, server, make, target, expire, secrets, write_part="update-config")


def aks(around: Around, server: Microsoft, set_by: Any = "Size") -> Bed:
    environment = {
        "AZURE_CLIENT_ID": "client-id",
        "AZURE_TENANT_ID": "tenant-id",
        "AZURE_FEDERATED_TOKEN_FILE": around.file("federated", server.assertion),
        "AZURE_AUTHORITY_HOST": f"{server.url}/",
    }
    token = AzureToken(around.http, around.clock, server.url, environment)
    settings = AksSettings(subscription=SUBSCRIPTION, resource_group="rg", cluster="inference", agent_pool="h100", set_by=set_by)

    def make() -> Backend:
        return Aks(around.http, token, settings, around.ready, management=server.url)

    def expire() -> None:
        server.token = "eyJ.second-secret"

    def target() -> int:
        return int(server.properties["count" if set_by == "Size" else "minCount"])

    secrets = ["eyJ.first-secret", "eyJ.second-secret", server.assertion]
    return cloud_bed(around, server, make, target, expire, secrets, write="PUT")


class Hook(CloudServer):
    """A webhook as docs/node-pools.md says it."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__(tls)
        self.nodes = 2
        self.token = "hook-first-secret"
        self.changing = ""
        self.orders: list[Any] = []

    async def answer(self, seen: Seen) -> web.Response:
        if (seen.method, seen.path) != ("POST", "/size"):
            raise Refusal(404, "NotFound", "no such path")
        if seen.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Unauthorized", "no such token")
        asked = seen.document
        assert (asked["schema"], asked["pool"]) == (1, "h100")
        if asked["operation"] == "Set":
            if self.changing:
                raise Refusal(409, "Conflict", "another order is under way")
            self.orders.append(asked)
            self.nodes, self.changing = asked["nodes"], "machines are fetched"
        return web.json_response({"target": self.nodes, "ready": 2, "minNodes": 0, "maxNodes": 20, "changing": self.changing})

    def refusal(self, status: int, code: str, message: str) -> web.Response:
        return web.json_response({"code": code, "message": message}, status=status)

    def finish(self) -> None:
        self.changing = ""


def hook_tls(folder: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context and the PEM text of its authority."""
    authority = Authority("hook", folder)
    pair = authority.server("hook-server", names=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context, authority.certificate.read_text()


def webhook(around: Around, server: Hook, ca: str) -> Bed:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    around.kube.create(
        "secrets",
        {"metadata": {"name": "hook"}, "data": {"token": encoded(server.token), "ca.crt": encoded(ca)}},
        namespace="system",
    )
    settings = WebhookSettings(
        url=f"{server.url}/size",
        bearer_token=OwnSecretKey(name="hook", key="token"),
        ca=OwnSecretKey(name="hook", key="ca.crt"),
    )

    def make() -> Backend:
        return Webhook(around.http, KubernetesSecrets(around.api), "system", "h100", settings)

    def expire() -> None:
        server.token = "hook-second-secret"
        around.kube.patch("secrets", "hook", {"data": {"token": encoded(server.token)}}, namespace="system")

    secrets = ["hook-first-secret", "hook-second-secret"]
    return cloud_bed(around, server, make, lambda: server.nodes, expire, secrets, write_part="/size", reads_each_time=True)


def machine_deployment(replicas: int, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"name": "h100", "namespace": "team", "annotations": dict(annotations or {})},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas},
    }


def writes(kube: FakeKubeApi) -> int:
    return sum(request.method in ("PUT", "PATCH", "POST") for request in kube.requests)


def kube_fault(kube: FakeKubeApi) -> Callable[..., Any]:
    """The words of ``CloudServer.fail`` in the fake API server's."""

    def fail(**how: Any) -> Any:
        method, part, content = how.pop("method", ""), how.pop("part", ""), how.pop("content", None)
        for of_clouds_only in ("document", "echo", "headers"):
            how.pop(of_clouds_only, None)
        if content is not None:
            how = {"document": ["no", "object"], "times": how.get("times", 1)}
        return kube.fail(method, part, **how)

    return fail


OBJECT = ObjectRef(api_version="cluster.x-k8s.io/v1beta2", kind="MachineDeployment", name="h100", namespace="team")


def scale(around: Around) -> Bed:
    around.kube.create("machinedeployments", machine_deployment(2))

    def make() -> Backend:
        return Scale(around.objects, OBJECT, around.ready)

    def target() -> int:
        return int(around.kube.get("machinedeployments", "h100")["spec"]["replicas"])

    return Bed(make(), make, kube_fault(around.kube), target, lambda: writes(around.kube), around.kube, around.clock, write="PUT")


def min_size(around: Around) -> Bed:
    around.kube.create("machinedeployments", machine_deployment(2, {MIN_SIZE: "2", MAX_SIZE: "20"}))

    def make() -> Backend:
        return MinSize(around.objects, OBJECT, around.ready)

    def target() -> int:
        return int(around.kube.get("machinedeployments", "h100")["metadata"]["annotations"][MIN_SIZE])

    return Bed(
        make(), make, kube_fault(around.kube), target, lambda: writes(around.kube), around.kube, around.clock, write="PATCH"
    )


CLOUDS = ("gke", "gke-minimum", "eks", "eks-minimum", "eks-agent", "aks", "aks-minimum", "webhook")
"""Their orders take time, and their credentials are the backends' own."""
NAMES = (*CLOUDS, "scale", "min-size")


@asynccontextmanager
async def bed_of(name: str, folder: Path) -> AsyncIterator[Bed]:
    """A pool of two nodes, of up to twenty."""
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(around(folder))

        async def started(server: CloudServer) -> Any:
            context: AbstractAsyncContextManager[CloudServer] = server
            return await stack.enter_async_context(context)

        match name:
            case "gke":
                yield gke(base, await started(Google({"europe-west4-a": 2})))
            case "gke-minimum":
                limits = {"enabled": True, "totalMinNodeCount": 2, "totalMaxNodeCount": 20, "locationPolicy": "ANY"}
                yield gke(base, await started(Google({"europe-west4-a": 1, "europe-west4-b": 1}, limits)), "Minimum")
            case "eks":
                yield eks(base, await started(Amazon()))
            case "eks-minimum":
                yield eks(base, await started(Amazon(low=2)), "Minimum")
            case "eks-agent":
                yield eks(base, await started(Amazon()), agent=True)
            case "aks":
                yield aks(base, await started(Microsoft()))
            case "aks-minimum":
                yield aks(base, await started(Microsoft(autoscaling=(2, 20))), "Minimum")
            case "webhook":
                tls, ca = hook_tls(folder)
                yield webhook(base, await started(Hook(tls)), ca)
            case "scale":
                yield scale(base)
            case "min-size":
                yield min_size(base)
            case _:
                raise ValueError(json.dumps(name))
