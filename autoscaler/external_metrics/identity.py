"""Who asks and what for: the words between authentication, authorization and the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from aiohttp import web

GROUP: Final = "external.metrics.k8s.io"
VERSION: Final = "v1beta1"
GROUP_VERSION: Final = f"{GROUP}/{VERSION}"

MASTERS: Final = "system:masters"
AUTHENTICATED: Final = "system:authenticated"

Method: TypeAlias = Literal["front-proxy", "certificate", "token"]
"""How somebody's identity was verified: told by the API server in front of us, by a client certificate, by a bearer token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody whose identity was verified, as Kubernetes names them. extra: (key, values), keys in lower case. method: how."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    method: Method | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAccess:
    """Reading one metric in one namespace: verb ``list`` of the resource `metric`, as the API server itself asks for such a GET."""

    namespace: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathAccess:
    """Reading a path that is no resource: discovery, OpenAPI, own metrics. Verb ``get``."""

    path: str


Access: TypeAlias = MetricAccess | PathAccess


class Authenticator(Protocol):
    async def authenticate(self, request: web.Request) -> User:
        """Who asks. Raises ``answers.RefusedError`` (401) where that can't be verified."""


class Authorizer(Protocol):
    async def authorize(self, user: User, access: Access) -> None:
        """Returns where `user` may. Raises ``answers.RefusedError`` (403) where not, or where nobody can tell in time."""
