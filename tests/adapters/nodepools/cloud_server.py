"""What the clouds' fakes have in common: a server on loopback that notes what it is asked, and misbehaves on command."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Seen:
    """A request as it arrived. path: with its query, as it was sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Fault:
    """What to do wrong with the next `times` requests of `method` ("" any) whose path holds `part`."""

    method: str = ""
    part: str = ""
    times: float = 1
    status: int = 200
    document: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False
    echo: bool = False
    """Repeat all headers and the body of the request in the words of the refusal, as badly made proxies do."""


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the test
    """Becomes an answer of the cloud's form."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class CloudServer:
    """`async with CloudServer() as server:` then `server.url`. Subclasses answer and say how a refusal looks."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.answered = asyncio.Event()
        """Set once a request that hung was answered after all."""
        self.url = ""
        self._tls = tls
        self._let_go = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._let_go.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def fail(self, **how: Any) -> Fault:
        fault = Fault(**how)
        self.faults.append(fault)
        return fault

    def release(self) -> None:
        """Those that hang are answered."""
        self._let_go.set()

    async def answer(self, seen: Seen) -> web.Response:
        raise NotImplementedError

    def refusal(self, status: int, code: str, message: str) -> web.Response:
        raise NotImplementedError

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(request.method, request.raw_path, headers, await request.read())
        self.seen.append(seen)
        for fault in self.faults:
            if fault.times > 0 and fault.method in ("", seen.method) and fault.part in seen.path:
                fault.times -= 1
                return await self._wrong(request, seen, fault)
        return await self._right(seen)

    async def _right(self, seen: Seen) -> web.Response:
        try:
            return await self.answer(seen)
        except Refusal as refusal:
            return self.refusal(refusal.status, refusal.code, refusal.message)

    async def _wrong(self, request: web.Request, seen: Seen, fault: Fault) -> web.StreamResponse:
        if fault.hang:
            await self._let_go.wait()
            answer = await self._right(seen)
            self.answered.set()
            return answer
        if fault.drop:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault.content is not None:
            return web.Response(status=fault.status, body=fault.content)
        if fault.echo:
            words = f"refused: {json.dumps(dict(seen.headers))} {seen.body.decode()}"
            return self.refusal(fault.status, "Refused", words)
        return web.json_response(fault.document, status=fault.status, headers=dict(fault.headers))
