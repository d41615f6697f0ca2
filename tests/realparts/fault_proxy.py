"""A proxy before a real server that answers for it when a test says so: errors, silence, delays, cut streams.

The rest goes through to the real server, so that only the fault is made up.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import ssl
import time
from collections.abc import Callable
from types import TracebackType

import aiohttp
import yarl
from aiohttp import web

from tests.realparts.ports import LOOPBACK, free_port

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host", "content-length"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer like this; the real server never sees the request."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Hang:
    """Take the request and never answer."""


@dataclasses.dataclass(frozen=True)
class Drop:
    """Close the connection without an answer, after the real server has answered (`lost_answer`) or instead of asking it."""

    lost_answer: bool = False


@dataclasses.dataclass(frozen=True)
class Delay:
    """Hand on after so many seconds."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """Hand on, and change the body of the answer."""

    change: Callable[[bytes], bytes]


Fault = Answer | Hang | Drop | Delay | Rewrite
Rule = Callable[[web.Request], Fault | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """A request that arrived, and how it was answered (0: not at all)."""

    at_s: float  # monotonic
    method: str
    path_qs: str
    status: int


class FaultProxy:
    """`async with FaultProxy(url) as proxy:` then set `proxy.rule`; `proxy.requests` says what was asked.

    The user's Authorization header goes through; a client certificate can't, so use a token.
    """

    def __init__(
        self, target: str, *, target_context: ssl.SSLContext | None = None, server_context: ssl.SSLContext | None = None
    ) -> None:
        self.rule: Rule = lambda request: None
        self.requests: list[Seen] = []
        self._target = target
        self._target_context = target_context
        self._server_context = server_context
        self._port = free_port()
        self.url = f"{'https' if server_context else 'http'}://{LOOPBACK}:{self._port}"
        self._streams: set[asyncio.Task[object]] = set()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> FaultProxy:
        async with contextlib.AsyncExitStack() as stack:
            connector = aiohttp.TCPConnector(ssl=self._target_context or True, limit=0)
            session = aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
            self._session = await stack.enter_async_context(session)
            app = web.Application(client_max_size=64 * 2**20)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, LOOPBACK, self._port, ssl_context=self._server_context).start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut_streams()
        await self._stack.aclose()

    def cut_streams(self) -> None:
        """Break off every answer that is under way: watches end in the middle."""
        for stream in list(self._streams):
            stream.cancel()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        at_s, status = time.monotonic(), 0
        fault = self.rule(request)
        try:
            match fault:
                case Answer():
                    status = fault.status
                    return web.Response(status=status, body=fault.body, headers=fault.headers)
                case Hang():
                    await asyncio.Event().wait()  # until the client gives up
                case Drop(lost_answer=False):
                    return _dropped(request)
                case Delay():
                    await asyncio.sleep(fault.seconds)
            task = asyncio.current_task()
            assert task
            self._streams.add(task)
            try:
                answer = await self._forward(request, fault)
            finally:
                self._streams.discard(task)
            status = answer.status
            return answer
        finally:
            self.requests.append(Seen(at_s=at_s, method=request.method, path_qs=request.path_qs, status=status))

    async def _forward(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        if isinstance(fault, Rewrite):
            headers.pop("Accept-Encoding", None)
        body = await request.read()
        try:
            async with self._session.request(
                request.method,
                yarl.URL(self._target + request.raw_path, encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
            ) as real:
                kept = {name: value for name, value in real.headers.items() if name.lower() not in _HOP_BY_HOP}
                if isinstance(fault, Drop):
                    await real.read()
                    return _dropped(request)
                if isinstance(fault, Rewrite):
                    return web.Response(status=real.status, body=fault.change(await real.read()), headers=kept)
                answer = web.StreamResponse(status=real.status, headers=kept)
                await answer.prepare(request)
                async for chunk in real.content.iter_any():
                    await answer.write(chunk)
                return answer
        except aiohttp.ClientConnectorError:
            return _dropped(request)  # the real server is away: so are we


def kubernetes_error(
    status: int, reason: str, message: str = "made up by the test", *, retry_after_s: int | None = None
) -> Answer:
    """An error as the API server words it, e.g. `kubernetes_error(410, "Expired")`."""
    headers = {"Content-Type": "application/json"}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body = json.dumps({**document, "reason": reason, "message": message, "code": status}).encode()
    return Answer(status=status, body=body, headers=headers)


def times(count: int, fault: Fault, condition: Callable[[web.Request], bool] = lambda request: True) -> Rule:
    """A rule that meets the first so many requests that fulfil the condition."""
    left = count

    def rule(request: web.Request) -> Fault | None:
        nonlocal left
        if left <= 0 or not condition(request):
            return None
        left -= 1
        return fault

    return rule


def _dropped(request: web.Request) -> web.StreamResponse:
    if request.transport:
        request.transport.abort()
    return web.Response(status=502)  # nobody is there to read it
