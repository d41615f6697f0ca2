"""A server over a store of made values, with real if small ways of telling who asks and what they may."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from autoscaler.clock import SystemClock
from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.identity import Access, MetricAccess, User
from autoscaler.external_metrics.server import App, Serving, serve
from autoscaler.external_metrics.store import Held, Index, Snapshot, Store
from autoscaler.ports import Clock
from autoscaler.published import Column, Published, TickLine
from tests.realparts.certificates import Authority
from tests.realparts.ports import LOOPBACK

VALUES = "/apis/external.metrics.k8s.io/v1beta1/namespaces"
MASTER, TENANT, NOBODY = "master-token", "tenant-token", "nobody-token"


class Tokens:
    """An Authenticator by a table of bearer tokens."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = users

    async def authenticate(self, request: web.Request) -> User:
        user = self._users.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if user is None:
            raise RefusedError(401, "no token, or one that nobody knows")
        return user


class Namespaces:
    """An Authorizer by a table: user → the namespaces that they may read, "*" for everything."""

    def __init__(self, allowed: Mapping[str, frozenset[str]]) -> None:
        self._allowed = allowed
        self.asked: list[Access] = []

    def allow(self, user: str, namespace: str) -> None:
        self._allowed = {**self._allowed, user: self._allowed.get(user, frozenset()) | {namespace}}

    async def authorize(self, user: User, access: Access) -> None:
        self.asked.append(access)
        allowed = self._allowed.get(user.name, frozenset())
        if "*" in allowed or (isinstance(access, MetricAccess) and access.namespace in allowed):
            return
        raise RefusedError(403, f"user '{user.name}' may not")


def tokens() -> Tokens:
    return Tokens({MASTER: User(name="hpa"), TENANT: User(name="tenant"), NOBODY: User(name="nobody")})


def namespaces() -> Namespaces:
    return Namespaces({"hpa": frozenset(("*",)), "tenant": frozenset(("team",))})


def store_of(clock: Clock, objects: Sequence[Published], columns: Sequence[Column], *, age_s: float = 0.0) -> Store:
    """What a controller told `age_s` seconds ago."""
    store = Store(clock)
    index = Index()
    index.add(objects)
    tick = TickLine(number=1, revision=1, at_s=clock.now_s() - age_s, age_s=age_s, leading=True)
    assert store.take(Snapshot.of("one", index, tick, clock.monotonic_s(), [Held.of(column) for column in columns]))
    return store


@dataclass(frozen=True)
class Answer:
    """What came back."""

    code: int
    headers: Mapping[str, str]
    body: Any
    text: str


class Client:
    """Asks one server."""

    def __init__(self, url: str, session: aiohttp.ClientSession, serving: Serving, app: App) -> None:
        self.url = url
        self.session = session
        self.serving = serving
        self.app = app

    async def get(self, path: str, *, token: str = MASTER, method: str = "GET", **headers: str) -> Answer:
        """headers: with _ for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        asked = self.session.request(method, URL(self.url + path, encoded=True), headers=sent, allow_redirects=False)
        async with asked as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json" and text
            return Answer(answer.status, answer.headers, await answer.json() if is_json else None, text)


@contextlib.asynccontextmanager
async def served(
    values: Store, *, authority: Authority | None = None, port: int = 0, serving: Mapping[str, Any] | None = None, **app: Any
) -> AsyncIterator[Client]:
    """authority: signs the server's certificate; plain HTTP without."""
    made = App(
        values,
        app.pop("authenticator", tokens()),
        app.pop("authorizer", namespaces()),
        clock=app.pop("clock", SystemClock()),
        **app,
    )
    context = None if authority is None else server_context(authority)
    async with serve(made, LOOPBACK, port, context, **(serving or {})) as running:
        scheme = "http" if authority is None else "https"
        trusted = True if authority is None else authority.client_context()
        connector = aiohttp.TCPConnector(ssl=trusted)
        async with aiohttp.ClientSession(connector=connector, skip_auto_headers=["Accept", "Accept-Encoding"]) as session:
            yield Client(f"{scheme}://{LOOPBACK}:{running.port}", session, running, made)


def server_context(authority: Authority) -> ssl.SSLContext:
    pair = authority.server("external-metrics", names=["localhost", LOOPBACK])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def authority(directory: Path) -> Authority:
    return Authority("external-metrics-authority", directory)
