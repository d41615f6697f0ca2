"""Follows the controllers: one long answer from each, taken in line by line.

Each address behind each URL is followed by itself (a headless Service names one for each pod), so that the new leader is already there
when the lead passes on. Whoever can't be reached is tried again; meanwhile the values grow older, and in the end become errors.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

import aiohttp
import msgspec
import numpy as np

from autoscaler.adapters.kubernetes.lines import Lines, LineTooLongError
from autoscaler.backoff import Backoff
from autoscaler.errors import OutsideError, UsageError
from autoscaler.external_metrics.standstill import Standstills
from autoscaler.external_metrics.store import Held, Index, Snapshot, Store
from autoscaler.ports import Clock
from autoscaler.published import PATH, SCHEMA, AnyLine, Column, End, Head, Objects, TickLine

log = logging.getLogger(__name__)

RESOLVE_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 3.0
SILENT_S: Final = 16.0
"""Without even an empty line for so long, a connection is lost: three of those that a controller sends."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 2.0
"""Short ones: a restarted controller's first data is to be served within two seconds."""
LARGEST_LINE_BYTES: Final = 16 * 2**20


class Following:
    """Keeps `store` up to date from the controllers at `urls` (``http://HOST:PORT``). Run `run()` as a task.

    Raises UsageError for a URL that can't be one.
    """

    def __init__(self, urls: Sequence[str], store: Store, clock: Clock, rng: np.random.Generator) -> None:
        self._places = [_split(url) for url in urls]
        self._store = store
        self._clock = clock
        self._rng = rng
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._faults: dict[tuple[str, str], str] = {}
        self._standstills = Standstills(clock)
        self.first = asyncio.Event()
        """Set when the first values are served."""

    @property
    def connected(self) -> int:
        """How many controllers are told by now."""
        return sum(1 for key in self._tasks if not self._faults.get(key))

    def why_not(self) -> str:
        """Why nothing is told, in words; "" where somebody speaks."""
        if self.connected:
            return ""
        return "; ".join(sorted(set(self._faults.values()))) or "no controller was found yet"

    async def run(self) -> None:
        """Never returns; cancel it."""
        watching = asyncio.create_task(self._standstills.watch(), name="standstills")
        try:
            async with aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENT_S),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
            ) as session:
                while True:
                    await self._look(session)
                    await asyncio.sleep(RESOLVE_S)
        finally:
            tasks = [watching, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        """Begins to follow new addresses, and ends with those that are no longer named."""
        found: dict[tuple[str, str], SplitResult] = {}
        for place in self._places:
            try:
                for address in await _addresses(place):
                    found[place.netloc, address] = place
            except OSError as fault:
                # The name server is away, or nobody is behind the name. Whoever speaks is heard on.
                self._note((place.netloc, ""), f"{place.hostname} can't be found: {fault.strerror or fault}")
                found |= {key: place for key in self._tasks if key[0] == place.netloc}
            else:
                self._faults.pop((place.netloc, ""), None)
        for key in [key for key in self._tasks if key not in found]:
            self._tasks.pop(key).cancel()
            self._faults.pop(key, None)
        for key, place in found.items():
            if key not in self._tasks:
                self._faults[key] = f"{place.scheme}://{key[1]} was not reached yet"
                self._tasks[key] = asyncio.create_task(self._follow(session, key, place), name=f"following {key[1]}")

    async def _follow(self, session: aiohttp.ClientSession, key: tuple[str, str], place: SplitResult) -> None:
        backoff = Backoff(self._rng, FIRST_PAUSE_S, LONGEST_PAUSE_S)
        url = f"{place.scheme}://{key[1]}{PATH}"
        while True:
            standstills = self._standstills.count()
            try:
                async with session.get(url, headers={"Host": place.netloc}, allow_redirects=False) as answer:
                    if answer.status != 200:
                        raise OutsideError(f"{url} answered {answer.status}")
                    await self._listen(key, self._lines(answer, standstills), backoff.progress)
                self._note(key, f"{url} ended its answer")
            except (aiohttp.ClientError, OSError, TimeoutError, OutsideError, LineTooLongError, msgspec.MsgspecError) as fault:
                self._note(key, f"{url}: {str(fault) or type(fault).__name__}")
            except Exception as fault:
                # Bytes that nobody foresaw. Who stopped following would never be told anything again, and say that all is well.
                log.exception("what came from %s can't be taken in; trying again", url)
                self._note(key, f"{url}: {type(fault).__name__}")
            await asyncio.sleep(backoff.next_s())

    def _note(self, key: tuple[str, str], why: str) -> None:
        if self._faults.get(key) != why:
            log.warning("%s", why)
        self._faults[key] = why

    async def _listen(self, key: tuple[str, str], lines: AsyncIterator[bytes], progress: Callable[[], None]) -> None:
        decoder = msgspec.json.Decoder(AnyLine)
        controller, index, growing = "", Index(), Index()
        revision = -1
        tick: TickLine | None = None
        received_s = 0.0
        columns: list[Held] = []
        async for text in lines:
            match decoder.decode(text):
                case Head(schema=schema, controller=name):
                    if schema != SCHEMA:
                        raise OutsideError(
                            f"the controller {name} speaks form {schema}, this program {SCHEMA}: use the same version of both"
                        )
                    controller = f"{name}@{key[1]}"
                    log.info("following the controller %s", controller)
                    self._faults.pop(key, None)
                case _ if not controller:
                    raise OutsideError("it didn't say first who speaks, and in which form")
                case Objects() as part:
                    if part.first == 0:
                        growing = Index()
                    growing.add(part.objects)
                    if len(growing.objects) >= part.count:
                        index, revision = growing, part.revision
                case TickLine() as tick:
                    if tick.revision != revision:
                        raise OutsideError(f"a tick of revision {tick.revision} came with the objects of {revision}")
                    received_s, columns = self._clock.monotonic_s(), []
                case Column() as column:
                    columns.append(Held.of(column))
                case End(number=number) if tick is not None and tick.number == number:
                    if self._store.take(Snapshot.of(controller, index, tick, received_s, columns)):
                        self.first.set()
                    progress()
                case End():
                    raise OutsideError("a tick ended that had not begun")
            await asyncio.sleep(0)  # a line may be long: who asks for a value goes first

    async def _lines(self, answer: aiohttp.ClientResponse, standstills: int) -> AsyncIterator[bytes]:
        """Raises OutsideError once this process stood still since there were so many `standstills`."""
        lines = Lines(LARGEST_LINE_BYTES)
        while chunk := await answer.content.readany():
            for line in lines.feed(chunk):
                if self._standstills.count() != standstills:
                    raise OutsideError("this process stood still; how old what came meanwhile is, nobody knows")
                yield line


def _split(url: str) -> SplitResult:
    place = urlsplit(url)
    try:
        usable = place.scheme == "http" and place.hostname and place.path in ("", "/") and not place.query and not place.username
        _ = place.port, (place.hostname or "").encode("idna")  # as the look-up of the name does, later
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"--controller: '{url}' is not allowed; http://HOST:PORT, such as http://inference-autoscaler-controllers:8080"
        )
    return place


async def _addresses(place: SplitResult) -> list[str]:
    """HOST:PORT of each address behind the name."""
    assert place.hostname is not None
    found = await asyncio.get_running_loop().getaddrinfo(place.hostname, place.port or 80, type=socket.SOCK_STREAM)
    return sorted({_address(str(address[0]), int(address[1])) for *_, address in found})


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
