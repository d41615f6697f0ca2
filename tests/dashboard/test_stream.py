"""The stream: every tick once, hearts in silence, bounded by design."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from tests.dashboard.conftest import Served, served
from tests.dashboard.world import START_S, STEP_S

CHAT = "assistants/chat-70b"


async def event(answer: aiohttp.ClientResponse) -> tuple[str, Any]:
    """The next named event."""
    name = ""
    while True:
        line = (await asyncio.wait_for(answer.content.readline(), 10)).decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: ") and name:
            return name, json.loads(line[6:])


async def test_each_message_holds_what_is_new(server: Served) -> None:
    async with server.http.get(f"{server.base}/api/stream?service={CHAT}&since_s={START_S + 5 * STEP_S}") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        name, first = await event(answer)
        assert name == "tick"
        assert first["service"]["history"]["times_s"] == [START_S + 6 * STEP_S, START_S + 7 * STEP_S]
        assert first["demo"] is None
        await server.running.tick(3)
        seen: list[float] = []
        while len(seen) < 3:
            _, message = await event(answer)
            seen += message["service"]["history"]["times_s"]
        assert seen == [START_S + k * STEP_S for k in (8, 9, 10)]
        assert message["fleet"]["tick"] == 11


async def test_a_reader_that_was_slow_gets_all_at_once(server: Served) -> None:
    async with server.http.get(f"{server.base}/api/stream?service={CHAT}") as answer:
        _, first = await event(answer)
        assert first["service"]["history"]["times_s"] == []
        for _ in range(30):
            await server.running.tick()
            await asyncio.sleep(0)
        messages, ticks = 0, 0
        while ticks < 30:
            _, message = await event(answer)
            messages += 1
            ticks += len(message["service"]["history"]["times_s"])
        assert ticks == 30
        assert messages < 6


async def test_hearts_come_in_silence() -> None:
    async with served(heartbeat_s=0.05) as one, one.http.get(f"{one.base}/api/stream") as answer:
        assert (await event(answer))[0] == "tick"
        assert (await event(answer))[0] == "heart"


async def test_only_so_many_streams_and_none_left_behind() -> None:
    async with served(most=2, heartbeat_s=0.05) as one:
        first = await one.http.get(f"{one.base}/api/stream")
        second = await one.http.get(f"{one.base}/api/stream")
        await event(first)
        await event(second)
        status, body = await one.get("/api/stream")
        assert status == 503
        assert "2 streams" in body["error"]["message"]
        first.close()
        for _ in range(100):
            if one.streams.open < 2:
                break
            await asyncio.sleep(0.05)
        assert one.streams.open == 1
        second.close()


async def test_a_service_that_is_gone_is_null(server: Served) -> None:
    async with server.http.get(f"{server.base}/api/stream?service=team/ghost") as answer:
        _, message = await event(answer)
        assert message["service"] is None
        assert message["fleet"]["tick"] == 8
