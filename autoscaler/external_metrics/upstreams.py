"""Federation: requests that belong to another adapter (KEDA, prometheus-adapter) go on to it, since only one APIService can own the group.

Whoever asks was authenticated and authorised here before, and is carried on, so that the upstream decides once more by its own rules.
Discovery stays ours alone: it is bounded and static, and an HPA never looks at it (kubernetes, pkg/controller/podautoscaler/metrics/client.go
asks for the values straight away); merged from upstreams, one that hangs would hang everybody's discovery, and with it the deletion of
namespaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final
from urllib.parse import quote

import numpy as np
from aiohttp import web

from autoscaler.adapters.telemetry.families import Family, Labels
from autoscaler.errors import UsageError
from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.breaker import State
from autoscaler.external_metrics.federation import FLAG, Federation, Upstream
from autoscaler.external_metrics.identity import GROUP_VERSION, User
from autoscaler.external_metrics.upstream import UpstreamClient
from autoscaler.external_metrics.upstream_tls import ClientCertificate
from autoscaler.ports import Clock

_QUERY: Final = frozenset("!$%&'()*+,-./:;=?@_~[]^|{}`<>\"\\0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""What may stand in a request line's query as it came: visible ASCII without '#'."""


class Upstreams:
    """Other adapters by the requests they own. Use as an async context manager; nothing connects before it is needed.

    client_certificate: gives our certificate and key (PEM), asked before each request so that it can change; needed where an upstream has
    identity frontProxy. is_own: whether a metric (in lower case) is in our own catalogue; such ones go to no upstream but those with
    beforeOwn. Raises UsageError for an upstream with frontProxy without `client_certificate`.
    """

    def __init__(
        self,
        federation: Federation,
        *,
        clock: Clock,
        rng: np.random.Generator,
        client_certificate: ClientCertificate | None = None,
        is_own: Callable[[str], bool] = lambda metric: False,
    ) -> None:
        for index, upstream in enumerate(federation.upstreams):
            if upstream.identity == "frontProxy" and client_certificate is None:
                raise UsageError(
                    f"{FLAG}: upstreams[{index}].identity: frontProxy needs a client certificate of ours, and there is none: beside "
                    "--tls-cert give --client-cert and --client-key, or name impersonation, which needs none"
                )
        self._is_own = is_own
        self._clients = {
            upstream.name: UpstreamClient(upstream, clock=clock, rng=rng, client_certificate=client_certificate)
            for upstream in federation.upstreams
        }

    async def __aenter__(self) -> Upstreams:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            await client.close()

    def owns(self, namespace: str, metric: str) -> bool:
        """Whether such a request belongs to an upstream. metric: in any case."""
        return self._owner(namespace, metric) is not None

    async def forward(self, namespace: str, metric: str, query_string: str, user: User) -> web.Response:
        """The answer of the first upstream that owns it: its status code and its JSON body, errors too, and none of its headers.

        query_string: raw, as it stands in the request line. Raises RefusedError: 400 for what can stand in no request, 403 for a user
        that no header can tell, 404 where nobody owns it, 502, 503 and 504 as ``UpstreamClient.get`` does."""
        client = self._owner(namespace, metric)
        if client is None:
            raise RefusedError(404, f"no upstream owns the metric {metric!r} in namespace {namespace!r}")
        for what, segment in (("namespace", namespace), ("metric", metric)):
            # As Kubernetes (apimachinery, pkg/api/validation/path/name.go); "." and ".." would name another path.
            if not segment or segment in (".", "..") or "/" in segment or "%" in segment:
                raise RefusedError(
                    400, f"{segment!r} can't be a {what}: a name without '/' and '%' that is neither '.' nor '..' is allowed"
                )
        if not _QUERY.issuperset(query_string):
            raise RefusedError(400, "the query holds what must be percent-encoded in a URL")
        path = f"/apis/{GROUP_VERSION}/namespaces/{quote(namespace, safe='')}/{quote(metric, safe='')}"
        return await client.get(path, query_string, user)

    def families(self) -> Iterable[Family]:
        """For own metrics."""
        clients = self._clients.items()
        labels: dict[str, Labels] = {name: (("upstream", name),) for name in self._clients}
        yield Family(
            name="external_metrics_upstream_requests_total",
            help="Requests that went to an upstream, by the code that was answered; 499: whoever asked went away.",
            kind="counter",
            samples={
                (*labels[name], ("code", str(code))): count for name, client in clients for code, count in client.requests.items()
            },
        )
        yield Family(
            name="external_metrics_upstream_request_seconds_total",
            help="How long these took in all, waiting included.",
            kind="counter",
            samples={labels[name]: client.seconds for name, client in clients},
        )
        yield Family(
            name="external_metrics_upstream_requests_under_way",
            help="Requests that are under way or wait for a place.",
            kind="gauge",
            samples={labels[name]: client.under_way for name, client in clients},
        )
        yield Family(
            name="external_metrics_upstream_breaker",
            help="1 for the state of an upstream's breaker: while open it is not asked.",
            kind="gauge",
            samples={
                (*labels[name], ("state", state.value)): client.breaker.state is state
                for name, client in clients
                for state in State
            },
        )

    def _owner(self, namespace: str, metric: str) -> UpstreamClient | None:
        own = self._is_own(metric.lower())
        return next((client for client in self._clients.values() if _owns(client.upstream, namespace, metric, own)), None)


def _owns(upstream: Upstream, namespace: str, metric: str, own: bool) -> bool:
    return (upstream.before_own or not own) and upstream.owns(namespace, metric)
