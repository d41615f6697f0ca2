"""The server: who asks, may they, and what is answered; for every request in the same order.

One handler and no router: a URL is taken apart once (and remembered, since HPAs ask the same again and again), and what is served is a
dozen fixed paths and the values.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Protocol

from aiohttp import web

from autoscaler.adapters.telemetry.families import CONTENT_TYPE, Family
from autoscaler.external_metrics import discovery, openapi
from autoscaler.external_metrics.answers import RefusedError, json_answer, refusal
from autoscaler.external_metrics.catalogue import close_to
from autoscaler.external_metrics.connections import Connections, Deadlines
from autoscaler.external_metrics.documents import Document
from autoscaler.external_metrics.identity import GROUP, GROUP_VERSION, Authenticator, Authorizer, MetricAccess, PathAccess, User
from autoscaler.external_metrics.listening import allow_descriptors, bind, listen, shrink_tls_buffers
from autoscaler.external_metrics.negotiation import need_json
from autoscaler.external_metrics.own_metrics import OwnMetrics
from autoscaler.external_metrics.targets import Target, selector_of, target_of
from autoscaler.external_metrics.value_lists import value_list
from autoscaler.external_metrics.values import Values
from autoscaler.ports import Clock

log = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 1024
_HEALTH: Final = ("/healthz", "/livez", "/readyz")
_GROUP_PATH: Final = f"/apis/{GROUP}"
_VERSION_PATH: Final = f"/apis/{GROUP_VERSION}"
_SERVER: Final = "inference-autoscaler"
_DESCRIPTORS_APART: Final = 2048
"""Those that are no connections: who is silent or shakes hands, the controllers' feed, the API server, upstreams."""

Check = Callable[[], str]
"""Says why something is not well, in words; "" where it is."""


class Upstreams(Protocol):
    """Other adapters, to which some metrics are passed on."""

    def owns(self, namespace: str, metric: str) -> bool:
        """Whether it is answered there. metric: in lower case."""

    async def forward(self, namespace: str, metric: str, query_string: str, user: User) -> web.Response:
        """The adapter's answer. Raises RefusedError."""


def _fine() -> str:
    return ""


def _no_families() -> Iterable[Family]:
    return ()


class App:
    """What answers; ``serve`` lets it be asked.

    ready: why it is not ready, in words, for /readyz; "" where it is. metrics: series that other parts count, for /metrics. draining: whether
    it is about to stop; then it is not ready, and each answer is the last on its connection.
    """

    def __init__(
        self,
        values: Values,
        authenticator: Authenticator,
        authorizer: Authorizer,
        *,
        clock: Clock,
        upstreams: Upstreams | None = None,
        ready: Check = _fine,
        metrics: Callable[[], Iterable[Family]] = _no_families,
    ) -> None:
        self._values = values
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._clock = clock
        self._upstreams = upstreams
        self._ready = ready
        self._metrics = OwnMetrics(values, metrics)
        self._version = _version()
        self.connections: Connections | None = None
        self.draining = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers anything. Never raises but for a cancellation."""
        began_s = self._clock.monotonic_s()
        kind = "malformed"
        response: web.StreamResponse
        try:
            target = target_of(request.raw_path)
            kind = self._kind(target)
            response = await (self._health(request, target) if kind == "health" else self._authorized(request, target, kind))
        except RefusedError as refused:
            # A header may have held bytes that are no UTF-8; what is told of it must be.
            response = refusal(refused.code, refused.message.encode("utf-8", "backslashreplace").decode())
            if refused.code == 405:
                response.headers["Allow"] = "GET"
        except Exception:  # whatever it is, the client gets a Status and the process goes on
            log.exception("a request of kind %s could not be answered", kind)
            response = refusal(500, "the request could not be answered; the log of this server says why")
        response.headers["Server"] = _SERVER
        if self.draining or request.body_exists:
            response.force_close()
        self._metrics.count(kind, response.status, self._clock.monotonic_s() - began_s)
        return response

    def _kind(self, target: Target) -> str:
        """For own metrics, and which way an answer is made."""
        if target.metric:
            return (
                "upstream" if self._upstreams is not None and self._upstreams.owns(target.namespace, target.metric) else "values"
            )
        path = target.path
        if path in _HEALTH:
            return "health"
        if path.startswith("/openapi"):
            return "openapi"
        return "discovery" if path.startswith("/apis") else "other"

    async def _health(self, request: web.BaseRequest, target: Target) -> web.Response:
        _need_get(request)
        why = ""
        if target.path == "/readyz":
            why = "this process is about to stop" if self.draining else self._ready()
        if why:
            raise RefusedError(503, f"not ready: {why}")
        return web.Response(text="ok", headers={"Cache-Control": "no-cache, private", "X-Content-Type-Options": "nosniff"})

    async def _authorized(self, request: web.BaseRequest, target: Target, kind: str) -> web.StreamResponse:
        assert isinstance(request, web.Request)  # `Connections` makes no other
        user = await self._authenticator.authenticate(request)
        _need_get(request)
        namespace, metric = target.namespace, target.metric
        if not metric:
            await self._authorizer.authorize(user, PathAccess(path=target.path))
            return self._document(request, target)
        await self._authorizer.authorize(user, MetricAccess(namespace=namespace, metric=metric))
        need_json(_accept(request))
        if kind == "upstream":
            assert self._upstreams is not None
            return await self._upstreams.forward(namespace, metric, target.query_string, user)
        try:
            return json_answer(value_list(self._values, namespace, metric, selector_of(target)))
        except RefusedError as refused:
            if refused.code != 404 or not self._values.has_data() or namespace in self._values.namespaces():
                raise
            raise RefusedError(404, refused.message + await self._close_namespaces(namespace, metric, user)) from None

    async def _close_namespaces(self, namespace: str, metric: str, user: User) -> str:
        """Only those that `user` may read as well: a tenant learns nothing of the others, not even that they are there."""
        allowed = []
        for close in close_to(namespace, sorted(self._values.namespaces())):
            with contextlib.suppress(RefusedError):
                await self._authorizer.authorize(user, MetricAccess(namespace=close, metric=metric))
                allowed.append(close)
        return f"; there is {' and '.join(allowed)}" if allowed else ""

    def _document(self, request: web.Request, target: Target) -> web.Response:
        path, accept, if_none_match = target.path, _accept(request), request.headers.get("If-None-Match")
        if path == "/apis":
            return discovery.apis(accept, if_none_match)
        if path == openapi.V2_PATH:
            return openapi.v2(accept, if_none_match)
        if path == openapi.V3_PATH:
            return openapi.v3(accept, if_none_match)
        if path == openapi.V3_GROUP_PATH:
            return openapi.v3_group(accept, if_none_match, target.query, self._clock.now_s())
        if path == "/metrics":
            return web.Response(body=self._metrics.render(self.connections), headers={"Content-Type": CONTENT_TYPE})
        fixed = {_GROUP_PATH: discovery.GROUP_ALONE, _VERSION_PATH: discovery.RESOURCES, "/version": self._version}.get(path)
        if fixed is None:
            raise _no_such_path(path)
        need_json(accept)
        return fixed.answer(if_none_match)


def _accept(request: web.BaseRequest) -> str:
    """All of its Accept headers as one."""
    found = request.headers.getall("Accept", ())
    return found[0] if len(found) == 1 else ",".join(found)


def _need_get(request: web.BaseRequest) -> None:
    if request.method != "GET":
        raise RefusedError(405, f"{request.method} is not allowed: everything here is read with GET")


def _no_such_path(path: str) -> RefusedError:
    if path.startswith("/openapi/"):
        return openapi.missing(path)
    if path.startswith("/apis/"):
        return RefusedError(
            404,
            f"{path[:200]}: there is no such resource; values are at {_VERSION_PATH}/namespaces/NAMESPACE/METRIC?labelSelector=…",
        )
    return RefusedError(
        404, f"{path[:200]}: there is no such path; there are /apis, /openapi/v2, /openapi/v3, /version, /metrics, /healthz"
    )


def _version() -> Document:
    """As Kubernetes tells its own (apimachinery, pkg/version/types.go); of these clients read major, minor and gitVersion."""
    try:
        ours = version("inference-autoscaler")
    except PackageNotFoundError:  # run from a tree that isn't installed
        ours = "0.0"
    major, minor, *_ = ours.split(".")
    return Document({"major": major, "minor": minor, "gitVersion": f"v{ours}", "platform": "python"})


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that is there. port: the one that it listens on."""

    port: int
    connections: Connections


@contextlib.asynccontextmanager
async def serve(
    app: App,
    host: str,
    port: int,
    tls_context: ssl.SSLContext | None,
    *,
    reuse_port: bool = False,
    drain_s: float = 0.0,
    finish_s: float = 10.0,
    most_connections: int = MOST_CONNECTIONS,
    deadlines: Deadlines | None = None,
) -> AsyncIterator[Serving]:
    """Listens while the context is open. Raises OutsideError where the address can't be had.

    host: "" for all addresses; port: 0 for any free one. tls_context: None speaks plain HTTP. reuse_port: other processes may listen there as
    well. Leaving takes drain_s seconds in which requests still work but /readyz says no, so that they come elsewhere, and then up to finish_s
    for those that are under way.
    """
    if tls_context is not None:
        shrink_tls_buffers()
    descriptors = allow_descriptors()
    most = min(most_connections, max(descriptors - _DESCRIPTORS_APART, descriptors // 4))
    listening = bind(host, port, reuse_port=reuse_port)
    connections = app.connections = Connections(app.handle, most, deadlines or Deadlines())
    app.draining = False
    async with listen(listening, connections, tls_context) as listener:
        try:
            yield Serving(listener.port, connections)
        finally:
            app.draining = True
            await asyncio.sleep(drain_s)
            listener.close()
            began_s = asyncio.get_running_loop().time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(finish_s):
                    await listener.shaken()
            await connections.finish(max(0.0, began_s + finish_s - asyncio.get_running_loop().time()))
