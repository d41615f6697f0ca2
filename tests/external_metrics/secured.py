"""A TLS server on loopback that answers each request with who asked, or with why that could not be told."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from autoscaler.external_metrics.answers import RefusedError, refusal
from autoscaler.external_metrics.identity import Access, Authenticator, Authorizer, MetricAccess
from autoscaler.external_metrics.tls import ServingTls
from tests.external_metrics.issued import SERVER, Issued, client_context, root


class Answer(NamedTuple):
    """An HTTP answer's status and JSON; status 0: the handshake or the connection was refused."""

    code: int
    document: Any

    @property
    def message(self) -> str:
        """Of a refusal, which must be a whole Status."""
        assert self.document["kind"] == "Status"
        assert self.document["status"] == "Failure"
        assert self.document["code"] == self.code
        return str(self.document["message"])

    @property
    def user(self) -> dict[str, Any]:
        """Who it was that asked."""
        assert self.code == 200, self.document
        return dict(self.document)


class Secured:
    """`async with` it; GET any path: ``/NAMESPACE/METRIC`` is that metric to the authorizer, where there is one."""

    def __init__(self, tls: ServingTls, authenticator: Authenticator, authorizer: Authorizer | None = None) -> None:
        self.tls = tls
        self.ca = root("server-ca")
        self.port = 0
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Secured:
        pair = self.ca.issue("server", usages=SERVER, hosts=["localhost"])
        self.tls.use(pair.pem, pair.key_pem)
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls.context).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            user = await self._authenticator.authenticate(request)
            if self._authorizer is not None:
                namespace, _, metric = request.path.strip("/").partition("/")
                access: Access = MetricAccess(namespace=namespace, metric=metric)
                await self._authorizer.authorize(user, access)
        except RefusedError as why:
            return refusal(why.code, why.message)
        return web.json_response(asdict(user))

    # Asking.

    def session(self, shown: Issued | None = None, chain: Sequence[Issued] = ()) -> aiohttp.ClientSession:
        """Whose requests go over one connection that is kept, with this client certificate."""
        connector = aiohttp.TCPConnector(limit=1, ssl=client_context(self.ca, shown, chain))
        return aiohttp.ClientSession(f"https://localhost:{self.port}", connector=connector)

    async def ask(
        self, *headers: tuple[str, str], shown: Issued | None = None, chain: Sequence[Issued] = (), path: str = "/"
    ) -> Answer:
        """One request over a connection of its own."""
        async with self.session(shown, chain) as session:
            return await ask(session, *headers, path=path)

    async def ask_raw(self, head: bytes, shown: Issued | None = None) -> Answer:
        """These very bytes as header lines, which no client library would send."""
        context = client_context(self.ca, shown)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname="localhost")
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + head + b"\r\n\r\n")
        async with asyncio.timeout(5.0):
            answer = await reader.read()
        writer.close()
        status, _, rest = answer.partition(b"\r\n")
        body = rest.partition(b"\r\n\r\n")[2]
        try:
            document = json.loads(body)
        except ValueError:
            document = body.decode()
        return Answer(int(status.split()[1]), document)


async def ask(session: aiohttp.ClientSession, *headers: tuple[str, str], path: str = "/") -> Answer:
    try:
        async with session.get(path, headers=CIMultiDict(headers), timeout=aiohttp.ClientTimeout(total=15.0)) as answer:
            return Answer(answer.status, await answer.json())
    except (aiohttp.ClientError, ssl.SSLError, ConnectionError) as fault:
        return Answer(0, str(fault))
