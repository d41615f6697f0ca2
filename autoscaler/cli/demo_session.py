"""One run of the demo: ticks until the end or Ctrl-C, the page beside them, and the buttons (dashboard.controls.Demo)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import click

from autoscaler.adapters.telemetry.families import CONTENT_TYPE
from autoscaler.adapters.telemetry.metrics import Metrics
from autoscaler.cli.demo_nodes import NodeStory
from autoscaler.cli.demo_summary import nodes_words, percent
from autoscaler.clock import ManualClock, PacedClock
from autoscaler.controller import Controller
from autoscaler.core.model import Pause
from autoscaler.dashboard.board import Board
from autoscaler.dashboard.server import host_names, make_app, serve
from autoscaler.errors import UsageError
from autoscaler.ports import PoolTold, Reporter
from autoscaler.waiting import first_of

LAST_WORDS_S: Final = 0.7
"""How long open pages get to hear that the demo has ended."""


class Plant(Protocol):
    """The simulated world. Times are whole seconds from its start."""

    @property
    def now_s(self) -> int: ...

    @property
    def end_s(self) -> int: ...

    def advance_to(self, at_s: int) -> None: ...

    def surge(self, factor: float, for_s: float, key: str | None) -> None: ...

    def fault(self, kind: str, for_s: float, factor: float = 1.0) -> None: ...

    def calm(self) -> None: ...

    def attained(self) -> Mapping[str, float]: ...

    def nodes(self) -> Mapping[str, int]: ...

    def told(self) -> Mapping[str, PoolTold]: ...


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that a button has set off. until_s: Unix."""

    what: str
    until_s: float
    factor: float | None = None
    key: str | None = None


class Session:
    """start_s: Unix time of the plant's second 0. allowed_s: by service, the wait that its promise allows. `controller` is set once it has
    been made (its reporters are ours)."""

    controller: Controller

    def __init__(
        self,
        *,
        plant: Plant,
        start_s: float,
        interval_s: int,
        clock: ManualClock | PacedClock,
        trace: str,
        allowed_s: Mapping[str, float],
    ) -> None:
        self.clock = clock
        self.trace = trace
        self.allowed_s = allowed_s
        self.pause: Pause | None = None
        self.stopped_early = False
        self.story = NodeStory(plant.told)
        self._plant = plant
        self._start_s = start_s
        self._interval_s = interval_s
        self._stop = asyncio.Event()
        self._on: list[Disturbance] = []
        self._finished = False
        self._board: Board | None = None
        self._metrics: Metrics | None = None
        if isinstance(clock, PacedClock):
            self._board = Board(attained=plant.attained, nodes=plant.nodes, told=plant.told)
            self._metrics = Metrics()

    @property
    def reporters(self) -> list[Reporter]:
        return [self.story, *(reporter for reporter in (self._board, self._metrics) if reporter is not None)]

    # ------------------------------------------------------------ running

    async def run(self, listen: tuple[str, int] | None) -> None:
        """Until the plant's end, or until the process is asked to stop. listen: where the page is; None: there is none."""
        with _stops(self._stop):
            if listen is None or self._board is None:
                await self._live()
                return
            async with self._page(self._board, *listen):
                await self._live()
                self._finished = True
                self._board.wake()
                await asyncio.sleep(LAST_WORDS_S)

    async def _live(self) -> None:
        plant = self._plant
        for at_s in range(0, plant.end_s, self._interval_s):
            if not await self._until(at_s):
                self.stopped_early = True
                return
            plant.advance_to(at_s)
            tick = await self.controller.tick()
            if at_s == 0 and (faults := [*self.controller.engine.faults.values(), *tick.problems]):
                raise UsageError("\n".join(faults))
        if await self._until(plant.end_s):
            plant.advance_to(plant.end_s)
        else:
            self.stopped_early = True

    async def _until(self, at_s: int) -> bool:
        """Sleeps until second `at_s`; False where the process was asked to stop."""
        if isinstance(self.clock, ManualClock):
            self.clock.advance_to(self._start_s + at_s)
            await asyncio.sleep(0)  # lets a Ctrl-C through
            return not self._stop.is_set()
        await first_of(self.clock.sleep_until(self._start_s + at_s), self._stop.wait())
        return not self._stop.is_set()

    @asynccontextmanager
    async def _page(self, board: Board, host: str, port: int) -> AsyncIterator[None]:
        metrics = self._metrics
        app = make_app(
            board,
            metrics=None if metrics is None else lambda: (metrics.render(), CONTENT_TYPE),
            ready=lambda: "" if board.tick is not None else "there was no tick yet",
            demo=self,
            hosts=host_names(host),
        )
        async with serve(app, host, port) as bound:
            address = f"[{host}]" if ":" in host else host
            click.echo(f"The page: http://{address}:{bound}/", err=True)
            if sys.stderr.isatty():
                click.echo("Ctrl-C ends the demo with the score so far.", err=True)
            yield

    # ------------------------------------------------------------ the buttons

    def state(self) -> dict[str, Any]:
        now_s = self.clock.now_s()
        self._on = [one for one in self._on if one.until_s > now_s]
        return {
            "trace": "made traffic" if self.trace == "made" else self.trace,
            "speed": self.clock.speed if isinstance(self.clock, PacedClock) else None,
            "now_s": now_s,
            "started_at_s": self._start_s,
            "ends_at_s": self._start_s + self._plant.end_s,
            "scaling_paused": self.pause is not None,
            "on": [{"what": one.what, "factor": one.factor, "key": one.key, "until_s": one.until_s} for one in self._on],
            "finished": self._finished,
            "summary": self._summary() if self._finished else None,
        }

    def pause_scaling(self, paused: bool) -> None:
        self.pause = Pause(direction="Both", until_s=None, reason="by hand, in the demo") if paused else None

    def set_speed(self, speed: float) -> None:
        if isinstance(self.clock, PacedClock):
            self.clock.set_speed(speed)

    def surge(self, factor: float, for_s: float, key: str | None) -> None:
        self._plant.surge(factor, for_s, key)
        self._note("surge", for_s, factor, key)

    def outage(self, for_s: float) -> None:
        self._plant.fault("MetricsOutage", for_s)
        self._note("outage", for_s)

    def slow_starts(self, factor: float, for_s: float) -> None:
        self._plant.fault("SlowStarts", for_s, factor)
        self._note("slow-starts", for_s, factor)

    def calm(self) -> None:
        self._plant.calm()
        self._on.clear()

    def _note(self, what: str, for_s: float, factor: float | None = None, key: str | None = None) -> None:
        self._on.append(Disturbance(what, self.clock.now_s() + for_s, factor, key))

    def _summary(self) -> str:
        attained = self._plant.attained().get("")
        kept = (
            "No request arrived." if attained is None else f"{percent(attained)} of all requests waited no longer than promised."
        )
        return " ".join(filter(None, (kept, nodes_words(self.story))))


@contextmanager
def _stops(stop: asyncio.Event) -> Iterator[None]:
    """While open, SIGINT and SIGTERM set `stop`: the score so far is worth printing."""
    loop = asyncio.get_running_loop()
    added = []
    for one in (signal.SIGINT, signal.SIGTERM):
        # Not there on every platform, nor outside the main thread (tests).
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(one, stop.set)
            added.append(one)
    try:
        yield
    finally:
        for one in added:
            loop.remove_signal_handler(one)
