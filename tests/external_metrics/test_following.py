"""What an API server makes of a feed that is cut, late, or not what it should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import orjson
import pytest
from aiohttp import web

from autoscaler.clock import SystemClock
from autoscaler.errors import UsageError
from autoscaler.external_metrics.following import Following
from autoscaler.external_metrics.standstill import STANDSTILL_S
from autoscaler.external_metrics.store import Store
from autoscaler.external_metrics.values import Value
from autoscaler.published import DESIRED, PATH
from tests.external_metrics.test_published import everything, until
from tests.realparts.ports import LOOPBACK


def line(kind: str, **fields: object) -> bytes:
    return orjson.dumps({"kind": kind, **fields}) + b"\n"


def tick_of(replicas: float, number: int = 1) -> list[bytes]:
    one = {"namespace": "team", "name": "llama", "max_age_s": 60.0}
    return [
        line("objects", revision=1, first=0, count=1, objects=[one]),
        line("tick", number=number, revision=1, at_s=1e9, age_s=0.0, leading=True),
        line("column", metric=DESIRED, values=[replicas]),
        line("end", number=number),
    ]


HEAD = line("head", schema=1, controller="one")


class Leaps:
    """A clock that can be told that time passed while nobody ran."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self.passed_s = 0.0

    def now_s(self) -> float:
        return self._system.now_s() + self.passed_s

    def monotonic_s(self) -> float:
        return self._system.monotonic_s() + self.passed_s

    async def sleep_until(self, at_s: float) -> None:
        await self._system.sleep_until(at_s)


class Speaker:
    """A controller that says what it is told to: each connection the next of `answers`, the last of them again and again."""

    def __init__(self, *answers: Sequence[bytes]) -> None:
        self._answers = list(answers)
        self.connections = 0
        self.more: asyncio.Queue[bytes] = asyncio.Queue()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        answer = self._answers[min(self.connections, len(self._answers) - 1)]
        self.connections += 1
        response = web.StreamResponse()
        await response.prepare(request)
        for part in answer:
            await response.write(part)
        while True:
            await response.write(await self.more.get())


@asynccontextmanager
async def followed(speaker: Speaker, clock: Leaps) -> AsyncIterator[tuple[Following, Store]]:
    app = web.Application()
    app.router.add_get(PATH, speaker.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    port = runner.addresses[0][1]
    store = Store(clock)
    following = Following([f"http://{LOOPBACK}:{port}"], store, clock, np.random.default_rng(1))
    task = asyncio.create_task(following.run())
    try:
        yield following, store
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.cleanup()


def llama(store: Store) -> list[Value]:
    return store.find("team", DESIRED, everything, "llama")


@pytest.mark.parametrize(
    "strange",
    [
        b'{"kind":"head","controller":"\xff"}\n',
        b'{"kind":"head","controller":"one","more":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        b'{"kind":"something"}\n',
        b"<html>\n",
        line("end", number=7),
        line("tick", number=1, revision=8, at_s=1e9, age_s=0.0, leading=True),
    ],
    ids=["no UTF-8", "deep", "unknown", "no JSON", "an end alone", "other objects"],
)
async def test_whatever_a_controller_says_it_is_listened_to_again(strange: bytes) -> None:
    speaker = Speaker([HEAD, strange], [HEAD, *tick_of(4.0)])
    async with followed(speaker, Leaps()) as (following, store):
        await asyncio.wait_for(following.first.wait(), 10)
        assert [value.value for value in llama(store)] == [4.0]
        assert following.why_not() == ""
    assert speaker.connections == 2


async def test_what_waited_while_this_process_stood_still_is_not_taken_for_new() -> None:
    clock = Leaps()
    speaker = Speaker([HEAD, *tick_of(9.0)], [HEAD])
    async with followed(speaker, clock) as (following, store):
        await asyncio.wait_for(following.first.wait(), 10)
        # Sent before, read after: as if the controller had died while we were stopped, with a tick of its in our buffers.
        clock.passed_s += 600.0
        for part in tick_of(2.0, number=2):
            speaker.more.put_nowait(part)
        await until(lambda: speaker.connections == 2)
        (value,) = llama(store)
        assert value.value == 9.0
        assert value.age_s > 600.0, "what was known before has aged, and is an error by now"


async def test_being_busy_for_a_moment_is_no_standstill() -> None:
    clock = Leaps()
    speaker = Speaker([HEAD, *tick_of(9.0)])
    async with followed(speaker, clock) as (following, store):
        await asyncio.wait_for(following.first.wait(), 10)
        clock.passed_s += STANDSTILL_S / 2
        for part in tick_of(2.0, number=2):
            speaker.more.put_nowait(part)
        await until(lambda: [value.value for value in llama(store)] == [2.0])
    assert speaker.connections == 1


async def test_a_tick_that_is_cut_is_not_taken() -> None:
    speaker = Speaker([HEAD, *tick_of(9.0)])
    async with followed(speaker, Leaps()) as (following, store):
        await asyncio.wait_for(following.first.wait(), 10)
        for part in tick_of(2.0, number=2)[:-1]:
            speaker.more.put_nowait(part)
        speaker.more.put_nowait(line("head", schema=1, controller="two"))
        await until(speaker.more.empty)
        await asyncio.sleep(0.05)
        assert [value.value for value in llama(store)] == [9.0]


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_a_name_that_can_be_no_hosts_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(UsageError, match="--controller"):
        Following([f"http://{host}:8080"], Store(SystemClock()), SystemClock(), np.random.default_rng(1))


@pytest.mark.parametrize("host", ["[::1]", "127.0.0.1", "a.b.svc", "bücher.example"])
def test_names_of_hosts_are_taken(host: str) -> None:
    Following([f"http://{host}:8080"], Store(SystemClock()), SystemClock(), np.random.default_rng(1))
