"""Teaching the engine what Prometheus still knows of the past, service by service, until it is known.

Who needs it is batched: one *round* at a time reads the past of all services that lack it (queries stay constant in number, however many
there are) and shows it to policies of their own (``core.nursery``). It goes on beside the ticks, which so never wait long for it, and at a
later tick the engine's policies take over what was learnt. A service whose past can't be read is tried again, with growing pauses; one
that has none is done. The same for all: at the start, added later, or decided on by other signals or policies than before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from autoscaler.backoff import Backoff
from autoscaler.core.engine import Engine, PastOf
from autoscaler.core.model import Fleet, Readings
from autoscaler.core.nursery import Nursery
from autoscaler.ports import Clock, MetricSource

log = logging.getLogger(__name__)

FAR_STEP_S = 300.0
RETRY_FIRST_S = 10.0
RETRY_LONGEST_S = 300.0
FAR_TRIES = 8
"""So often, about half an hour long, the far past is asked for where only that can't be read: too many samples for the server, too slow. A
fleet's fortnight is much to ask for again and again, and what is seen from now on is learnt as well."""
_NOBODY: Mapping[int, str] = {}


@dataclass(slots=True, kw_only=True)
class _Round:
    """keys: who is taught, and of which past; at_s: when it began; nursery: None where it could not be made; failed: by key, in words."""

    keys: Mapping[str, PastOf]
    at_s: float
    nursery: Nursery | None = None
    moments: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    near_failed: set[str] = field(default_factory=set)
    """Of those, whose near past is missing."""


_Running: TypeAlias = tuple[_Round, asyncio.Task[None]]


class Learner:
    """Belongs to one controller. wait_s: the longest that a tick waits for a round it has begun (None: till its end); a fast answer is so
    known before the first decision."""

    def __init__(self, engine: Engine, metrics: MetricSource, clock: Clock, *, wait_s: float | None, seed: int = 0) -> None:
        self.told = asyncio.Event()
        """Set once a first round has ended, well or not, or nobody needs one: what can be known at the start is known."""
        self.faults: tuple[str, ...] = ()
        """What policies did wrong when they took over a past, at the last one."""
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._wait_s = wait_s
        self._backoff = Backoff(np.random.Generator(np.random.PCG64(seed)), RETRY_FIRST_S, RETRY_LONGEST_S)
        self._retry_at_s = 0.0
        self._known: dict[str, PastOf] = {}
        self._failed: dict[str, str] = {}
        self._far_tries: dict[str, int] = {}
        self._given_up: dict[str, str] = {}
        """Among the known: those whose far past could not be read, in words."""
        self._lacking: set[str] = set()
        self._compared: Mapping[str, PastOf] | None = None
        self._round: _Running | None = None

    async def step(self, fleet: Fleet, at_s: float) -> bool:
        """A tick's share of the work. True where the engine now knows a past that it didn't."""
        self._compare()
        if not self._lacking and self._round is None:
            return False
        changed = self._ended()
        if self._round is None and (keys := self._due()):
            taught = _Round(keys=keys, at_s=at_s)
            if self._wait_s is None:
                await self._read(fleet, taught)
                return self._take(taught) or changed
            task = asyncio.create_task(self._read(fleet, taught), name="the past")
            self._round = taught, task
            await asyncio.wait({task}, timeout=self._wait_s)
            changed = self._ended() or changed
        return changed

    def unlearnt(self) -> Mapping[int, str]:
        """Rows of the engine's fleet whose past is wanted and not known, in words."""
        if not self._lacking and not self._given_up:
            return _NOBODY
        row_of = self._engine.table.row_of
        words = self._given_up | {key: self._failed.get(key, "its past is being read") for key in self._lacking}
        return {row_of[key]: why for key, why in words.items() if key in row_of}

    async def close(self) -> None:
        """Ends a round that is under way."""
        if self._round is not None:
            _, task = self._round
            self._round = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # ------------------------------------------------------------ who

    def _compare(self) -> None:
        """Finds out who lacks a past, after the fleet has changed."""
        past_of = self._engine.past_of
        if past_of is self._compared:
            return
        self._compared = past_of
        self._known = {key: past for key, past in self._known.items() if past_of.get(key) == past}
        self._lacking = past_of.keys() - self._known.keys()
        self._failed = {key: words for key, words in self._failed.items() if key in self._lacking}
        self._far_tries = {key: tries for key, tries in self._far_tries.items() if key in self._lacking}
        self._given_up = {key: words for key, words in self._given_up.items() if key in self._known}
        if not self._lacking:
            self.told.set()

    def _due(self) -> dict[str, PastOf]:
        """Who is to be taught now: those never tried at once, together with those that failed once their pause is over."""
        again = self._clock.monotonic_s() >= self._retry_at_s
        return {key: self._engine.past_of[key] for key in self._lacking if again or key not in self._failed}

    # ------------------------------------------------------------ a round

    async def _read(self, fleet: Fleet, taught: _Round) -> None:
        """The far past in coarse steps, as far as the policies want it, then the near one in the controller's own steps."""
        engine, step_s, at_s = self._engine, self._engine.interval_s, taught.at_s
        try:
            nursery = taught.nursery = engine.nursery(fleet, taught.keys)
            near = [at_s - step_s * k for k in range(int(engine.lookback_s / step_s), 0, -1)]
            newest_far_s = (near[0] if near else at_s) - FAR_STEP_S
            count = int((newest_far_s - (at_s - nursery.backfill_s)) / FAR_STEP_S)
            far = [newest_far_s - FAR_STEP_S * k for k in range(count, -1, -1)] if count > 0 else []
            # Both at once, of the fleet as it is now: it may have changed before the first one is there.
            pasts = self._past(fleet, taught, nursery, far, far=True), self._past(fleet, taught, nursery, near, far=False)
            distant, recent = [await past for past in pasts] if self._wait_s is None else await asyncio.gather(*pasts)
            await self._show(taught, nursery, distant, FAR_STEP_S, far=True)
            await self._show(taught, nursery, recent, step_s, far=False)
            for key, words in nursery.failed.items():
                taught.failed.setdefault(key, words)
                taught.near_failed.add(key)
        except Exception as fault:  # of ours; it must not end the ticks
            log.exception("learning from the past failed")
            taught.failed = dict.fromkeys(taught.keys, f"internal fault: {fault}")
            taught.near_failed = set(taught.keys)

    async def _past(
        self, fleet: Fleet, taught: _Round, nursery: Nursery, times_s: list[float], *, far: bool
    ) -> Sequence[Readings]:
        wanted = nursery.wanted(far=far)
        if not times_s or not wanted:
            return ()
        past = await self._metrics.backfill(fleet, wanted, times_s)
        for row, words in past.failed.items():
            key = fleet.specs[row].key
            if key in taught.keys:
                taught.failed.setdefault(key, words)
                if not far:
                    taught.near_failed.add(key)
        return past.readings

    async def _show(self, taught: _Round, nursery: Nursery, past: Sequence[Readings], step_s: float, *, far: bool) -> None:
        taught.moments += len(past)
        for readings in past:
            nursery.learn(readings, step_s, far=far)
            if self._wait_s is not None:
                await asyncio.sleep(0)  # ticks go first

    def _ended(self) -> bool:
        """Takes what a round has learnt, if one is over. True where the engine now knows a past that it didn't."""
        if self._round is None or not self._round[1].done():
            return False
        (taught, task), self._round = self._round, None
        if task.cancelled() or task.exception() is not None:
            taught.failed = dict.fromkeys(taught.keys, f"internal fault: {'cancelled' if task.cancelled() else task.exception()}")
        return self._take(taught)

    def _take(self, taught: _Round) -> bool:
        """Lets the engine take over what a round has learnt. What could be read in part only is better than nothing once; later it would
        replace what was learnt since."""
        self.told.set()
        wanted = self._engine.past_of
        asked = {key for key, past in taught.keys.items() if wanted.get(key) == past}
        done = asked - taught.failed.keys()
        first = asked - self._failed.keys()
        if any(key in first for key in taught.failed) or any(key in self._failed for key in done):
            self._backoff.progress()
        known = done | self._give_up({key: words for key, words in taught.failed.items() if key in asked - taught.near_failed})
        self._known.update((key, wanted[key]) for key in known)
        self._lacking -= known
        self._note_failures({key: words for key, words in taught.failed.items() if key in asked - known})
        adopted = done | first
        if taught.nursery is None or not taught.moments or not adopted:
            return False
        log.info("the past was learnt: %d services, %d moments", len(done), taught.moments)
        self.faults = self._engine.adopt(taught.nursery, adopted, taught.at_s)
        for fault in self.faults:
            log.error("%s", fault)
        return True

    def _give_up(self, far_failed: Mapping[str, str]) -> set[str]:
        """Those of whom only the far past can't be read, and that often enough. They keep what they have learnt."""
        self._far_tries.update((key, self._far_tries.get(key, 0) + 1) for key in far_failed)
        over = {key: words for key, words in far_failed.items() if self._far_tries[key] >= FAR_TRIES}
        self._given_up.update((key, f"its far past was given up after {FAR_TRIES} tries: {words}") for key, words in over.items())
        for key, words in list(over.items())[:1]:
            log.warning("the far past of %d services was given up after %d tries; %s: %s", len(over), FAR_TRIES, key, words)
        return set(over)

    def _note_failures(self, failed: Mapping[str, str]) -> None:
        self._failed = {key: words for key, words in self._failed.items() if key in self._lacking}
        if not failed:
            return
        pause_s = self._backoff.next_s()
        self._retry_at_s = self._clock.monotonic_s() + pause_s
        new = [key for key, words in failed.items() if _prefixed(words) != self._failed.get(key)]
        self._failed.update((key, _prefixed(words)) for key, words in failed.items())
        if new:
            say = "the past of %d services can't be read and is tried again, next in %.0f s; %s: %s"
            log.warning(say, len(failed), pause_s, new[0], failed[new[0]])


def _prefixed(words: str) -> str:
    return f"its past can't be read and is tried again: {words}"
