"""The request-level plant: every request is one, with its own prompt, output, wait, first token and end.

Replicas batch continuously (``replay.plant.requests.kernel``). A replica that leaves takes no more requests, finishes those it has, and
holds its slot until then. Nothing runs when the trace begins. Services that share requests as prefill and decode are played one after the
other in each span: nothing flows back from decode to prefill, so that is exact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.model import Floats, Ints, ScalingSpec, States
from replay.plant.faults import Faults
from replay.plant.nodes import Pool
from replay.plant.plant import Plant, PlantSettings
from replay.plant.requests import kernel as places
from replay.plant.requests.fates import Fates, Tally, promise
from replay.plant.requests.sources import Source
from replay.plant.requests.station import BORN, OUTPUT, Station, waiting
from replay.plant.requests.window import Machine, Period, Stretch, Window, signal

_FOREVER_S: Final = 1 << 60
_CRUMB: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceModel:
    """How one service serves. token_s (K + 1,): of a batch. source: where its requests come from, None for a decode service.

    prompt_weight: prefill work of a prompt token here (0 where prompts are read elsewhere). writes: output tokens are made here.
    """

    token_s: Floats
    source: Source | None
    prompt_weight: float
    writes: bool = True
    cache_tokens: float


class RequestsPlant(Plant):
    """decodes: the row of the decode service by that of its prefill service. grace_s: the longest that a leaving replica finishes requests.
    fast: the compiled kernel, where numba is there."""

    waits: list[Fates]

    def __init__(
        self,
        specs: Sequence[ScalingSpec],
        demand: Floats,
        settings: PlantSettings,
        faults: Faults,
        pools: Sequence[Pool],
        pools_of: Sequence[Sequence[int]],
        models: Sequence[ServiceModel],
        decodes: Mapping[int, int] | None = None,
        grace_s: int | None = None,
        fast: bool = True,
    ) -> None:
        super().__init__(specs, demand, settings, faults, pools, pools_of)
        n = len(specs)
        self._models = list(models)
        self._decodes = dict(decodes or {})
        self._grace_s = grace_s
        # Prefill before decode.
        self._order = sorted(range(n), key=lambda row: row in self._decodes.values())
        self.stations = [Station(model.token_s, fast=fast) for model in models]
        self._known_s = [0 if model.source is not None else self.end_s for model in models]
        self._handed = [0] * n
        ticks = self.queue_by_tick.shape[1]
        self.waits = [
            Fates(promise(spec.objective), scored_from_s=settings.warmup_s, tick_s=settings.tick_s, ticks=ticks) for spec in specs
        ]
        self.machine = Machine(
            full_work_per_s=np.array([(len(model.token_s) - 1) / model.token_s[-1] for model in models]),
            cache_tokens=np.array([model.cache_tokens for model in models]),
            prompt_weight=np.array([model.prompt_weight for model in models]),
            quantile=np.array([spec.objective.promised_ratio for spec in specs]),
        )
        self._periods: deque[Period] = deque(maxlen=settings.window_s // settings.scrape_s)
        self._told: list[list[Stretch]] = [[] for _ in specs]
        self._marked: list[tuple[int, int]] = [(-1, -1) for _ in specs]
        self._seen = [_Place() for _ in specs]
        self._came_at_scrape = [0] * n
        self._came_before = [0] * n
        self._ready_s: Floats = np.zeros(n)
        self.life.servers = self
        for row in range(n):
            self.life.begin_with(row, settings.initial)
        self._pass_mark(0)

    # ------------------------------------------------------------ replicas (lifecycle.Servers)

    def join(self, row: int, replicas: int, at_s: int) -> None:
        self.stations[row].join(replicas, at_s)

    def leave(self, row: int, replicas: int, at_s: int) -> None:
        self._measure(row, at_s)
        self.stations[row].leave(replicas, _FOREVER_S if self._grace_s is None else at_s + self._grace_s)

    def lose(self, row: int, ready: int, leaving: int, at_s: int) -> None:
        self._measure(row, at_s)
        self._settle(row)
        self.stations[row].lose(ready, leaving)

    # ------------------------------------------------------------ time

    def _at_most_s(self, from_s: int) -> int:
        for station in self.stations:
            if station.leaving:
                return from_s + 1  # a slot is given back at the second in which its replica has finished
        limit_s: int = self.end_s
        if self.settings.keep_series:
            limit_s = min(limit_s, (from_s // self.settings.tick_s + 1) * self.settings.tick_s)
        for row, known_s in enumerate(self._known_s):
            if known_s <= from_s < self.end_s:
                self._receive(row, from_s)
                known_s = self._known_s[row]
            limit_s = min(limit_s, max(known_s, from_s + 1))
        return limit_s

    def _receive(self, row: int, from_s: int) -> None:
        """The next chunk of a service's requests."""
        model = self._models[row]
        assert model.source is not None
        found = model.source.next(from_s, self.demand[row])
        prompt, output = found.prompt, found.output
        if (throughput := self.settings.throughput) is not None:
            longer = 1.0 / throughput.factors_at(found.times_s)
            prompt, output = prompt * longer, output * longer
        self._append(row, found.times_s, found.times_s, prompt, output)
        self._known_s[row] = found.until_s

    def _append(self, row: int, born: Floats, came: Floats, prompt: Floats, output: Floats) -> None:
        prefill = self._models[row].prompt_weight * prompt
        station = self.stations[row]
        if station.known + len(came) > station.capacity:
            self._settle(row, len(came))
        work = prefill + output if self._models[row].writes else prefill
        # Every request has something to do, be it that its prompt and its output are empty.
        station.append(born, came, prompt, output, prefill, np.maximum(work, _CRUMB))

    def surge(self, factor: float, lasts_s: int, row: int | None = None, from_s: int | None = None) -> None:
        super().surge(factor, lasts_s, row, from_s)
        for one, model in enumerate(self._models):
            # What was drawn beyond now is drawn again.
            if model.source is not None and row in (None, one) and self._known_s[one] > self.now_s:
                self.stations[one].forget_unseen()
                self._known_s[one] = self.now_s

    def _flow(self, from_s: int, to_s: int) -> None:
        mark = to_s >= self._next_scrape_s
        for row in self._order:
            station = self.stations[row]
            if self._known_s[row] < to_s:
                self._receive(row, self._known_s[row])
            before = station.waiting if self.settings.keep_series else 0
            station.run(from_s, to_s, mark)
            if mark:
                self._marked[row] = (to_s, self.life.changes)
            if row in self._decodes:
                self._hand_over(row)
            if self.settings.keep_series:
                tick = from_s // self.settings.tick_s
                longest = max(int(station.counts[places.PEAK]), before, station.waiting)
                self.queue_by_tick[row, tick] = max(self.queue_by_tick[row, tick], longest)
                station.counts[places.PEAK] = 0
        self._ready_s += self.life.ready * (to_s - from_s)
        for row, station in enumerate(self.stations):
            if station.leaving:
                if min(station.leaving.values()) <= to_s:
                    self._measure(row, to_s)
                    self._settle(row)
                gone = station.finished(to_s)
                if gone:
                    self.life.gone(row, gone, to_s)

    def _hand_over(self, row: int) -> None:
        """Requests whose prompt is read go to the service that writes their output."""
        station, to = self.stations[row], self._decodes[row]
        jobs = station.ended(self._handed[row])
        self._handed[row] += len(jobs)
        if len(jobs):
            rows = (BORN, places.ENDED, places.PROMPT, OUTPUT)
            self._append(to, *(station.picked(one, jobs) for one in rows))

    # ------------------------------------------------------------ looking

    def _measure(self, row: int, at_s: int) -> None:
        """Brings the replicas to this moment, unless they are there and nothing has changed since."""
        mark = (at_s, self.life.changes)
        if self._marked[row] != mark:
            self.stations[row].run(at_s, at_s, mark=True)
            self._marked[row] = mark

    def _read(self, row: int, counts: Sequence[int]) -> None:
        """Notes what became known since the last time."""
        station, seen = self.stations[row], self._seen[row]
        head, shown, ended = counts[places.HEAD], counts[places.SHOWN], counts[places.DONE]
        if head > seen.head or shown > seen.shown or ended > seen.ended:
            self._told[row].append(
                Stretch(
                    columns=station.columns,
                    requests=station.requests,
                    noted=station.noted,
                    began=(seen.head, head),
                    first=(seen.shown, shown),
                    ended=(seen.ended, ended),
                )
            )
            seen.head, seen.shown, seen.ended = head, shown, ended

    def _look(self, now_s: int, hidden: bool) -> Window | None:
        sums, now = [], []
        for row, station in enumerate(self.stations):
            self._measure(row, now_s)
            counts = station.counted()
            self._read(row, counts)
            sums.append(station.take_sums())
            total = self._came_before[row] + counts[places.ARRIVED]
            queue = waiting(counts)
            oldest_s = now_s - station.requests[places.CAME][int(station.waiting_requests()[0])] if queue else 0.0
            now.append((total - self._came_at_scrape[row], queue, counts[places.RUNNING], oldest_s))
            self._came_at_scrape[row] = total
        came, queues, running, oldest = np.array(now, dtype=np.float64).reshape(-1, 4).T
        told, self._told = self._told, [[] for _ in sums]
        self._periods.append(Period(came=came, ready_s=self._ready_s, sums=sums, told=told))
        self._ready_s = np.zeros(len(sums))
        if hidden:
            return None
        periods = tuple(self._periods)
        return Window(
            at_s=now_s,
            window_s=self.settings.window_s,
            queue=queues,
            running=running,
            ready=self.life.ready.copy(),
            oldest_s=oldest,
            periods=periods,
            complete=len(periods) == self._periods.maxlen,
        )

    def signal(self, name: str, seen: Window) -> tuple[Floats, States | None]:
        return signal(name, seen, self.machine)

    # ------------------------------------------------------------ judging

    def _settle(self, row: int, room: int = 0) -> None:
        """Counts the requests that have ended, and forgets them."""
        station = self.stations[row]
        self._read(row, station.counted())
        ended = station.ended()
        if len(ended):
            self.waits[row].account(station, ended)
        before = int(station.counts[places.ARRIVED])
        station.settle(room)
        self._came_before[row] += before - int(station.counts[places.ARRIVED])
        self._seen[row] = _Place(head=int(station.counts[places.HEAD]))
        self._handed[row] = 0

    def _unfinished(self, row: int) -> tuple[Floats, Floats, Floats, Floats]:
        """What runs or waits now, with its age where it isn't known."""
        if self.now_s == self.end_s:
            # Before the end replicas aren't brought here: a score in between must not move a single bit.
            self._measure(row, self.now_s)
        self._settle(row)
        station, now = self.stations[row], float(self.now_s)

        def aged(row: int, jobs: Ints, since: Floats) -> Floats:
            return np.minimum(station.picked(row, jobs), now) - since

        running, waiting = np.sort(station.running_requests()), station.waiting_requests()
        jobs = np.concatenate([running, waiting])
        born, came = station.picked(BORN, jobs), station.picked(places.CAME, jobs)
        waits = aged(places.STARTED, running, came[: len(running)])
        first = aged(places.FIRST, running, born[: len(running)])
        age = now - born
        return born, np.concatenate([waits, now - came[len(running) :]]), np.concatenate([first, age[len(running) :]]), age

    def verdicts(self) -> list[Tally]:
        return [fates.with_unfinished(*self._unfinished(row)) for row, fates in enumerate(self.waits)]

    def waits_by_tick(self, row: int) -> tuple[Floats, Ints]:
        return self.waits[row].by_tick_with(*self._unfinished(row))

    def wait_counts(self) -> list[Floats]:
        return [fates.counts_with(*self._unfinished(row)[:2]) for row, fates in enumerate(self.waits)]

    def queues(self) -> list[float]:
        return [float(station.waiting) for station in self.stations]


@dataclass(slots=True)
class _Place:
    """Up to where a station's columns have been read."""

    head: int = 0
    shown: int = 0
    ended: int = 0
