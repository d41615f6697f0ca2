"""The connections: how many there may be, how long each may take over what, and what is answered to what is no HTTP.

aiohttp ends what is idle for long; it has no deadline for a request's head that arrives byte by byte, nor for a client that does not read
its answer, and no limit of connections. Each connection here says what it waits for and since when, and one look a second ends those that
take too long: no timer by request.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from autoscaler.external_metrics.answers import refusal
from autoscaler.external_metrics.targets import LONGEST

log = logging.getLogger(__name__)

_BODY_S: Final = 1.0
"""How long the rest of a request's body, which nobody reads, is waited for, so that the client sees its answer before the end."""
_FIRST_BYTES_S: Final = 1.0
"""How long who has said nothing yet may begin to, when the server stops: they may have come a moment ago."""
_LONGEST_HEADER: Final = LONGEST + 1  # differs from the line's limit, which is how the one fault is told from the other
_MOST_HEADERS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """handshake_s: for TLS. head_s: for a request's line and headers, from its first byte on or the connection's beginning. answer_s: to
    answer, and for the client to read it; kube-apiserver gives a request as long. idle_s: between two requests; longer than the 90 s after
    which kube-apiserver's own transport lets go (apimachinery, pkg/util/net/http.go), so that a request and the closing seldom meet.
    look_s: how often all this is looked at."""

    handshake_s: float = 10.0
    head_s: float = 10.0
    answer_s: float = 60.0
    idle_s: float = 150.0
    look_s: float = 1.0


class Waits(Enum):
    """What a connection is waited on for. FIRST: anything at all; clients also open some in store."""

    FIRST = "first head"
    HEAD = "head"
    ANSWER = "answer"
    IDLE = "idle"


_SILENT: Final = (Waits.IDLE, Waits.FIRST)


class Connection(RequestHandler):
    """One connection that has shaken hands. since_s: when `waits` began, by the event loop's clock."""

    __slots__ = ("since_s", "waits")

    def __init__(self, server: Connections, **limits: Any) -> None:
        super().__init__(server, **limits)
        self.waits = Waits.FIRST
        self.since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.since_s = self._loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.waits in _SILENT:
            self._now(Waits.HEAD)
        super().data_received(data)

    def begins(self) -> None:
        """A request's head is whole."""
        self._now(Waits.ANSWER)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished = await super().finish_response(request, resp, start_time)
        self._now(Waits.IDLE)
        return finished

    def abort(self) -> None:
        """Ends it without a word: whoever is at the other end isn't listening."""
        if self.transport is not None:
            self.transport.abort()

    def _now(self, waits: Waits) -> None:
        self.waits = waits
        self.since_s = self._loop.time()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers by itself: for what can't be parsed. Never with the request's own bytes in it."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        if isinstance(exc, LineTooLong):
            of_line = exc.args[1] == LONGEST
            response = refusal(414 if of_line else 431, f"{'the URL' if of_line else 'a header'} is longer than {LONGEST} bytes")
        elif status < 500:
            response = refusal(400, f"the request can't be understood as HTTP/1.1: {type(exc).__name__}")
        else:
            log.error("a request could not be answered", exc_info=exc)
            response = refusal(500, "the request could not be answered; the log of this server says why")
        response.force_close()
        return response


class Connections(web.Server):
    """All of them, on one listener. closed: how many this side ended, by reason.

    Beyond `most`, those that have been idle for longest are closed for the newer ones: whoever opens many and says nothing shuts out
    nobody but themselves.
    """

    def __init__(
        self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], most: int, deadlines: Deadlines
    ) -> None:
        super().__init__(handle, request_factory=self._request)
        self._most = most
        self.deadlines = deadlines
        self._after_s = {
            Waits.FIRST: deadlines.head_s,
            Waits.HEAD: deadlines.head_s,
            Waits.ANSWER: deadlines.answer_s,
            Waits.IDLE: deadlines.idle_s,
        }
        self._open: dict[Connection, None] = {}
        self._none_open = asyncio.Event()
        self._none_open.set()
        self.closed: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._open))

    def __call__(self) -> Connection:
        return Connection(
            self,
            loop=self._loop,
            access_log=None,
            keepalive_timeout=2 * self.deadlines.idle_s,  # what is idle is ended by `watch`
            lingering_time=_BODY_S,
            max_line_size=LONGEST,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
            auto_decompress=False,
        )

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.Request:
        if isinstance(protocol, Connection):
            protocol.begins()
        return web.Request(message, payload, protocol, writer, task, self._loop, client_max_size=0)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if isinstance(handler, Connection):
            if len(self._open) >= self._most:
                self.make_room()
            self._open[handler] = None
            self._none_open.clear()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            self._forget(handler)

    def make_room(self) -> None:
        """A few at a time, so that looking for them costs little by connection."""
        waiting = [one for one in self._open if one.waits is not Waits.ANSWER] or list(self._open)
        for one in heapq.nsmallest(1 + self._most // 64, waiting, key=lambda one: one.since_s):
            self._end(one, "too many")

    def _end(self, one: Connection, reason: str) -> None:
        self.closed[reason] += 1
        if one.waits in _SILENT:
            one.force_close()  # with a goodbye, so that the client opens another
        else:
            one.abort()
        # Its loss is told later, maybe after the other side's goodbye. It makes room now.
        self._forget(one)

    def _forget(self, one: Connection) -> None:
        self._open.pop(one, None)
        if not self._open:
            self._none_open.set()

    async def watch(self) -> None:
        """Ends what takes too long, until it is cancelled."""
        while True:
            await asyncio.sleep(self.deadlines.look_s)
            now_s = self._loop.time()
            for one in self:
                if now_s - one.since_s > self._after_s[one.waits]:
                    self._end(one, one.waits.value if one.waits is Waits.IDLE else f"slow {one.waits.value}")

    async def finish(self, within_s: float) -> None:
        """Closes what is idle, waits for what is being asked and answered, and ends what is left after `within_s`."""
        self._close_those(Waits.IDLE)
        if not await self._gone(min(within_s, _FIRST_BYTES_S)):
            self._close_those(Waits.FIRST)
            if not await self._gone(within_s - _FIRST_BYTES_S):
                for one in self:
                    self._end(one, "shutdown")
        await self.shutdown(0.0)

    def _close_those(self, waits: Waits) -> None:
        for one in self:
            if one.waits is waits:
                one.force_close()

    async def _gone(self, within_s: float) -> bool:
        """Whether the last one goes in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._none_open.wait()
        return not self._open
