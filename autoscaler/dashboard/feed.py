"""``GET /api/published``: what a controller publishes, for the external metrics API servers, as it is decided.

Nothing is queued for a reader: each gets the newest tick when it can take it, whole, and costs no memory.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import chain
from typing import Any, Final

from aiohttp import web

from autoscaler.dashboard.security import error
from autoscaler.dashboard.stream import sent
from autoscaler.published import PATH
from autoscaler.publishing import Publisher, head_line

MOST_READERS: Final = 16
MOST_OF_ONE_ADDRESS: Final = 4
"""Whoever reaches this port could otherwise hold all the places alone, and every HPA would stand still."""
ALIVE_S: Final = 5.0
"""An empty line so often, so that a reader can tell a quiet controller from a lost connection."""


class Feed:
    """controller: the name that readers are told."""

    def __init__(self, publisher: Publisher, controller: str) -> None:
        self._publisher = publisher
        self._controller = controller
        self._tasks: dict[asyncio.Task[Any], str | None] = {}
        """By who reads: the address."""

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PATH, self.handle)
        app.on_shutdown.append(self.close)

    async def close(self, _app: web.Application) -> None:
        for task in list(self._tasks):
            task.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if len(self._tasks) >= MOST_READERS:
            return error(503, f"{MOST_READERS} readers are there already; try again later")
        if list(self._tasks.values()).count(request.remote) >= MOST_OF_ONE_ADDRESS:
            return error(503, f"{MOST_OF_ONE_ADDRESS} readers of {request.remote} are there already; try again later")
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = request.remote
        try:
            return await self._send(request)
        finally:
            del self._tasks[task]

    async def _send(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        await response.prepare(request)
        with suppress(ConnectionError, TimeoutError):  # whoever went away, or takes nothing for long, connects again
            await sent(response, head_line(self._controller))
            await self._tell(response)
        return response

    async def _tell(self, response: web.StreamResponse) -> None:
        publisher, seen = self._publisher, 0
        objects: tuple[bytes, ...] | None = None
        while True:
            if not await publisher.news.after(seen, ALIVE_S):
                await sent(response, b"\n")
                continue
            seen = publisher.news.count
            # Taken together, before anything is awaited: a tick's columns are in the order of these objects.
            tick, before, objects = publisher.tick_lines(), objects, publisher.objects
            # One after the other: while many objects are sent the tick grows older, which its first line then tells.
            for line in chain(() if objects is before else objects, tick):
                await sent(response, line)
