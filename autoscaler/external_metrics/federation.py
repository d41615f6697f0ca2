"""The administrator's file for ``autoscaler external-metrics --upstreams``: other adapters, and which requests go on to them.

Only one APIService can own a group, so whoever owns it asks the others. Its structure is checked by the same walker as manifests: every
fault with its line.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from autoscaler.configuration import read_settings
from autoscaler.spec import HTTPS_PATTERN, NAMESPACES_PATTERN, ROLE_PATTERN, Base, DnsName, Duration
from autoscaler.structure import Flaw

FLAG: Final = "--upstreams"
EVERY: Final = "*"
TOKEN_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"

Namespace = Annotated[str, Meta(pattern=NAMESPACES_PATTERN, max_length=63)]
Prefix = Annotated[str, Meta(pattern=r"^[^/%\s]+$", min_length=1, max_length=253)]


class Service(Base):
    """A Service of the cluster."""

    namespace: DnsName
    name: DnsName
    port: Annotated[int, Meta(ge=1, le=65535)] = 443


class BreakerSettings(Base):
    """When an upstream is left alone for a time."""

    faults: Annotated[int, Meta(ge=1, le=1000)] = 5
    """So many in a row open it."""
    first_pause: Duration = "1s"
    """Before the first probe; each further pause is twice as long."""
    longest_pause: Duration = "30s"


class Upstream(Base):
    """Another adapter, and the requests that are its own: those of `namespaces`, of metrics that begin with one of `metricPrefixes`, or,
    where both are given, those that are both."""

    name: Annotated[str, Meta(pattern=ROLE_PATTERN, max_length=63)]
    """In messages and metrics."""
    identity: Literal["impersonation", "frontProxy"]
    """How it is told who asks: by our service account acting as the user, or by our client certificate and X-Remote-… headers, which an
    upstream believes only if our certificate authority is among its request-header ones."""
    url: Annotated[str, Meta(pattern=HTTPS_PATTERN, max_length=2048)] | None = None
    service: Service | None = None
    """Instead of a URL."""
    ca_file: Annotated[str, Meta(min_length=1)] | None = None
    """The authority that signed its serving certificate; read again when it changes."""
    ca: str | None = None
    """The same as PEM text."""
    server_name: DnsName | None = None
    """Name to expect in its certificate; the host's, or the Service's <name>.<namespace>.svc, where left out."""
    namespaces: list[Namespace] = msgspec.field(default_factory=list)
    """'*' is every one."""
    metric_prefixes: list[Prefix] = msgspec.field(default_factory=list)
    """In any case: metrics' names have none."""
    before_own: bool = False
    """Whether it is asked for metrics, too, whose names are in our own catalogue."""
    token_file: Annotated[str, Meta(min_length=1)] = TOKEN_FILE
    """Our service account's token; for impersonation."""
    deadline: Duration = "5s"
    """For the whole of a request; half of it may be waited for a free place."""
    concurrency: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Requests under way at once; as many more may wait."""
    largest_answer_bytes: Annotated[int, Meta(ge=1024, le=64 * 2**20)] = 2**20
    breaker: BreakerSettings = msgspec.field(default_factory=BreakerSettings)

    @property
    def address(self) -> str:
        """Its URL, without a slash at the end."""
        if self.url is not None:
            return self.url.rstrip("/")
        assert self.service is not None
        return f"https://{self.service.name}.{self.service.namespace}.svc:{self.service.port}"

    @property
    def expected_name(self) -> str:
        """The name that its certificate must have."""
        return self.server_name or urlsplit(self.address).hostname or ""

    def owns(self, namespace: str, metric: str) -> bool:
        """Whether such a request is its own."""
        there = not self.namespaces or EVERY in self.namespaces or namespace in self.namespaces
        return there and (not self.metric_prefixes or metric.lower().startswith(self._prefixes()))

    def _prefixes(self) -> tuple[str, ...]:
        return tuple(prefix.lower() for prefix in self.metric_prefixes)


class Federation(Base):
    """The whole file. The first upstream that owns a request gets it."""

    upstreams: Annotated[
        list[Upstream], Meta(extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})
    ]


def load_federation(path: Path) -> Federation:
    """The file. Raises UsageError with every fault: line, key, value, what is allowed."""
    return read_settings(path, Federation, FLAG, _flaws)


def overlaps(federation: Federation) -> list[str]:
    """Which upstreams share requests with an earlier one, which gets them; a sentence each, for the log."""
    found = []
    for later, second in enumerate(federation.upstreams):
        for earlier, first in enumerate(federation.upstreams[:later]):
            if (what := _shared(first, second)) is not None:
                found.append(
                    f"upstreams[{later}] ({second.name}) and upstreams[{earlier}] ({first.name}) both own {what}; the first one gets them"
                )
    return found


def _shared(first: Upstream, second: Upstream) -> str | None:
    """What both own, in words; None where nothing is."""
    namespaces = _both(first.namespaces, second.namespaces)
    prefixes = _longer(_lower(first.metric_prefixes), _lower(second.metric_prefixes))
    if namespaces is None or prefixes is None:
        return None
    metrics = "metrics that begin with " + " or ".join(map(repr, prefixes)) if prefixes else "all metrics"
    return metrics + (" in " + ", ".join(namespaces) if namespaces else " in every namespace")


def _both(first: Sequence[str], second: Sequence[str]) -> list[str] | None:
    """[]: all of them. None: none."""
    if not first or EVERY in first:
        return [] if EVERY in second else list(second)
    if not second or EVERY in second:
        return list(first)
    return [name for name in second if name in first] or None


def _longer(first: Sequence[str], second: Sequence[str]) -> list[str] | None:
    """Of each pair of prefixes of which one begins the other, the longer. []: all metrics. None: none."""
    if not first or not second:
        return [*first, *second]
    found = {max(one, other, key=len) for one in first for other in second if one.startswith(other) or other.startswith(one)}
    return sorted(found) or None


def _lower(words: Sequence[str]) -> list[str]:
    return [word.lower() for word in words]


def _flaws(federation: Federation) -> Iterator[Flaw]:
    for index, upstream in enumerate(federation.upstreams):
        at = ("upstreams", index)
        if (upstream.url is None) == (upstream.service is None):
            yield Flaw(path=(*at, "url"), value=upstream.url, message="either url or service is expected")
        elif upstream.url is not None and not _has_host(upstream.url):
            yield Flaw(
                path=(*at, "url"), value=upstream.url, message="an https:// URL with a host and, at most, a port is expected"
            )
        if (upstream.ca_file is None) == (upstream.ca is None):
            message = "either caFile or ca (PEM) is expected: an upstream's certificate is always verified"
            yield Flaw(path=(*at, "caFile"), value=upstream.ca_file, message=message)
        elif upstream.ca is not None and not _is_pem(upstream.ca):
            yield Flaw(path=(*at, "ca"), value=None, message="a PEM certificate is expected (-----BEGIN CERTIFICATE-----)")
        if not upstream.namespaces and not upstream.metric_prefixes:
            message = "namespaces, metricPrefixes or both are expected; ['*'] is every namespace"
            yield Flaw(path=(*at, "namespaces"), value=None, message=message)


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0) and parts.path in ("", "/")
    except ValueError:
        return False


def _is_pem(text: str) -> bool:
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return bool(text.strip())
