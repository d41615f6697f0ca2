"""A board that has lived through some ticks, behind a real listener on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest

from autoscaler.core.seen_nodes import SeenNode
from autoscaler.dashboard.board import Board
from autoscaler.dashboard.server import host_names, make_app, serve
from autoscaler.dashboard.stream import Streams
from autoscaler.ports import PoolTold
from tests.dashboard.world import Running, many_specs


@dataclass
class NotedDemo:
    """A demo that only notes what was asked of it."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        return {"asked": len(self.asked)}

    def pause_scaling(self, paused: bool) -> None:
        self.asked.append(("pause", paused))

    def set_speed(self, speed: float) -> None:
        self.asked.append(("speed", speed))

    def surge(self, factor: float, for_s: float, key: str | None) -> None:
        self.asked.append(("surge", factor, for_s, key))

    def outage(self, for_s: float) -> None:
        self.asked.append(("outage", for_s))

    def slow_starts(self, factor: float, for_s: float) -> None:
        self.asked.append(("slow-starts", factor, for_s))

    def calm(self) -> None:
        self.asked.append(("calm",))


@dataclass
class Served:
    """base: the server's address. running: ticks when told to."""

    base: str
    running: Running
    board: Board
    http: aiohttp.ClientSession
    streams: Streams
    demo: NotedDemo | None

    async def get(self, path: str, **settings: Any) -> tuple[int, Any]:
        async with self.http.get(self.base + path, **settings) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def served(
    *,
    ticks: int = 8,
    demo: bool = False,
    heartbeat_s: float = 15.0,
    most: int = 64,
    services: int = 0,
    nodes: Mapping[str, Sequence[SeenNode]] | None = None,
    told: Mapping[str, PoolTold] | None = None,
) -> AsyncIterator[Served]:
    """nodes: what can be seen of the pool h100's nodes, and of those of any further one. told: what the pools' systems say."""
    board = Board(told=lambda: told or {})
    running = Running(board, many_specs(services) if services else None)
    if nodes is not None:
        first = running.world.pools[0]
        running.world.pools = (first, *(replace(first, name=name) for name in nodes if name != first.name))
        running.world.nodes = nodes
    await running.tick(ticks)
    noted = NotedDemo() if demo else None
    streams = Streams(board, noted, heartbeat_s=heartbeat_s, most=most)
    app = make_app(
        board,
        metrics=lambda: (b"up 1\n", "text/plain; version=0.0.4"),
        ready=lambda: "" if board.tick is not None else "there was no tick yet",
        demo=noted,
        hosts=host_names("127.0.0.1") if demo else None,
        streams=streams,
    )
    async with serve(app, "127.0.0.1", 0) as port, aiohttp.ClientSession() as http:
        yield Served(f"http://127.0.0.1:{port}", running, board, http, streams, noted)


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served() as one:
        yield one
