"""The live stream: server-sent events that tell what is newer than what the client has.

Nothing is queued for a client. Each message is made when it can be sent, from the rings, and holds all that came since the last one:
a slow client gets fewer and larger messages, and costs no memory.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import orjson
from aiohttp import web

from autoscaler.dashboard.board import Board
from autoscaler.dashboard.controls import Demo
from autoscaler.dashboard.security import error

MOST_STREAMS: Final = 64
HEARTBEAT_S: Final = 15.0
SMALLEST_GAP_S: Final = 0.1
"""A sped-up demo ticks more often than eyes can follow."""
SEND_TIMEOUT_S: Final = 30.0
RETRY_MS: Final = 2000
"""How soon a browser connects again."""


class Streams:
    """All open streams of one server."""

    def __init__(self, board: Board, demo: Demo | None, *, heartbeat_s: float = HEARTBEAT_S, most: int = MOST_STREAMS) -> None:
        self._board = board
        self._demo = demo
        self._heartbeat_s = heartbeat_s
        self._most = most
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def open(self) -> int:
        return len(self._tasks)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """GET /api/stream[?service=namespace/name[&since_s=UNIX_SECONDS]]"""
        key = request.query.get("service")
        try:
            since_s = float(request.query.get("since_s", "inf"))
        except ValueError:
            return error(400, f"since_s: '{request.query['since_s']}' is not allowed; Unix seconds")
        if len(self._tasks) >= self._most:
            return error(503, f"{self._most} streams are open already; try again later", {"Retry-After": "10"})
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await self._send(request, key, since_s)
        finally:
            self._tasks.discard(task)

    async def close(self, _app: web.Application) -> None:
        """Ends all streams: a shutdown doesn't wait for people to close their pages."""
        for task in list(self._tasks):
            task.cancel()

    async def _send(self, request: web.Request, key: str | None, since_s: float) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        # A reader that went away, or takes nothing for long, is no fault: whoever wants more connects again.
        with suppress(ConnectionError, TimeoutError):
            await response.write(f"retry: {RETRY_MS}\n\n".encode())
            await self._tell(response, key, since_s)
        return response

    async def _tell(self, response: web.StreamResponse, key: str | None, since_s: float) -> None:
        seen = -1
        while True:
            if not await self._board.news.after(seen, self._heartbeat_s):
                await sent(response, b"event: heart\ndata: {}\n\n")
                continue
            seen = self._board.news.count
            message = self._message(key, since_s)
            since_s = message["at_s"] or since_s
            body = b"event: tick\ndata: " + orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n\n"
            await sent(response, body)
            await asyncio.sleep(SMALLEST_GAP_S)

    def _message(self, key: str | None, since_s: float) -> dict[str, Any]:
        """The fleet, the chosen service with the columns later than `since_s` (inf: none of the past), and the demo's state."""
        fleet = self._board.fleet()
        return {
            "at_s": fleet.get("at_s"),
            "fleet": fleet,
            "service": None if key is None else self._board.service(key, since_s),
            "demo": None if self._demo is None else self._demo.state(),
        }


async def sent(response: web.StreamResponse, data: bytes) -> None:
    """Raises TimeoutError where the reader takes nothing for long."""
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await response.write(data)
