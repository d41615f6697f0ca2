"""What every plant is: services that live through a demand, with replicas, nodes and faults, looked at through scrapes.

How requests are served is the part that differs: ``replay.plant.fluid`` lets them flow, ``replay.plant.requests`` plays each one. A plant is
moved by ``advance_to``; between two moves the controller looks at its scrapes and asks for replicas (``replay.plant.ports``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from autoscaler.core.model import Floats, Ints, ScalingSpec, States
from autoscaler.errors import UsageError
from replay.plant.faults import Fault, Faults
from replay.plant.lifecycle import Lifecycle
from replay.plant.losses import LossCounts
from replay.plant.nodes import Pool
from replay.plant.throughput import Throughput
from replay.plant.times import Times

QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
"""Of waits and latencies in a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantSettings:
    """What a plant needs beside services and demand, in whole seconds. late: scrapes between the latest one and what is seen.
    samples: scrapes of which a decision sees the mean.

    initial: ready replicas at the start. keep_series: remember queue and wait tick by tick, for plots. throughput: what replicas really do,
    None where it is what the manifest says.
    """

    times: Times
    initial: int = 10
    scrape_s: int = 15
    window_s: int = 15
    late: int = 1
    samples: int = 1
    warmup_s: int = 0
    tick_s: int = 15
    keep_series: bool = True
    throughput: Throughput | None = None


class Seen(Protocol):
    """A scrape, whatever it holds: when it was taken."""

    at_s: int


class WaitSeries(Protocol):
    """Of what was served: requests that waited too long and the longest wait (whole seconds), by the tick of their arrival; empty without
    keep_series.

    signal: what is judged, ``queue_wait_s``, ``ttft_s`` or ``latency_s``: "wait" means that. allowed_s: how long it may take.
    """

    signal: str
    allowed_s: float
    late_by_tick: Floats
    longest_by_tick: Ints


class Verdict(Protocol):
    """How some requests fared against a promise: those of one service, or (added) of several."""

    @property
    def requests(self) -> float: ...
    @property
    def attained_ratio(self) -> float: ...
    def wait_quantile_s(self, quantile: float) -> float: ...
    def further(self) -> dict[str, Any]:
        """Fields of the score that only this kind of plant can fill."""
        ...

    def plus(self, other: Any) -> Verdict: ...


class Plant(ABC):
    """n services over a demand (n, T) of requests per second; T ends the plant's life.

    waits: by service. queue_by_tick (n, ticks): the longest queue in each tick (without keep_series: no ticks).
    """

    waits: Sequence[WaitSeries]

    def __init__(
        self,
        specs: Sequence[ScalingSpec],
        demand: Floats,
        settings: PlantSettings,
        faults: Faults,
        pools: Sequence[Pool],
        pools_of: Sequence[Sequence[int]],
    ) -> None:
        for spec in specs:
            if not spec.capacity.per_s > 0:
                raise UsageError(
                    f"{spec.key}: a plant needs to know what a replica can do: capacity.requestsPerSecond in the manifest"
                )
        n = len(specs)
        self.demand = demand
        self.settings = settings
        self.faults = faults
        self.now_s = 0
        self.end_s: int = demand.shape[1]
        self.life = Lifecycle(specs, pools, pools_of, settings.times, faults)
        ticks = -(-self.end_s // settings.tick_s) if settings.keep_series else 0
        self.queue_by_tick: Floats = np.zeros((n, ticks))
        self.scrapes: deque[Any] = deque(maxlen=settings.late + settings.samples)
        self._next_scrape_s = settings.scrape_s  # at second 0 there is nothing to see yet
        self._next_check_s = 0
        self._replica_s_at_warmup: Floats = np.zeros(n)
        self._by_pool_at_warmup: list[list[float]] = [[0.0] * len(own) for own in self.life.pools_of]
        self._nodes_at_warmup: Floats = np.zeros((3, len(self.life.pools)))
        self._lost_at_warmup = self.life.lost(0)
        self._warm = False
        self._next_mark_s = 0

    def __len__(self) -> int:
        return len(self.demand)

    # ------------------------------------------------------------ what a kind of plant does its own way

    @abstractmethod
    def waits_by_tick(self, row: int) -> tuple[Floats, Ints]:
        """A service's late_by_tick and longest_by_tick; what isn't served yet is judged by its age, as ``verdicts`` judges it."""

    @abstractmethod
    def _flow(self, from_s: int, to_s: int) -> None:
        """Serves the requests of these seconds; nothing else happens in between."""

    @abstractmethod
    def _at_most_s(self, from_s: int) -> int:
        """The latest second until which `_flow` may go in one piece from here."""

    @abstractmethod
    def _look(self, now_s: int, hidden: bool) -> Any:
        """The scrape of this moment; also called where it is hidden (then the result isn't used), so that windows go on."""

    @abstractmethod
    def signal(self, name: str, seen: Any) -> tuple[Floats, States | None]:
        """Values (n,) and states (n,) of one signal in a scrape (None: all known); NaN where unknown or idle without a value."""

    @abstractmethod
    def verdicts(self) -> Sequence[Verdict]:
        """By service, of the requests that arrived since the warm-up; what isn't decided yet is judged by its age."""

    @abstractmethod
    def wait_counts(self) -> list[Floats]:
        """Requests that arrived since the warm-up by their wait in whole seconds (rounded up), one array a service."""

    @abstractmethod
    def queues(self) -> list[float]:
        """Requests that wait now, by service."""

    # ------------------------------------------------------------ time

    def advance_to(self, at_s: int) -> None:
        """Lives until at_s (at most the demand's end): then everything due at at_s has happened, and its scrape is taken."""
        at_s = min(at_s, self.end_s)
        life = self.life
        now = self.now_s
        # What was asked for since then may be due at once.
        life.happen(now)
        while now < at_s:
            to_s = self._next_mark_s
            if at_s < to_s:
                to_s = at_s
            limit_s = self._at_most_s(now)
            if limit_s < to_s:
                to_s = limit_s
            to_s = life.next_event_s(to_s)
            self._flow(now, to_s)
            self.now_s = now = to_s
            life.happen(now)
            if now >= self._next_mark_s:
                self._pass_mark(now)

    def _pass_mark(self, now: int) -> None:
        """Scrapes, node checks and the end of the warm-up have their moments."""
        settings = self.settings
        if not self._warm and now >= settings.warmup_s:
            self._begin_score(now)
        if now >= self._next_check_s:
            self.life.check_nodes(now)
            self._next_check_s += settings.times.check_s
        if now >= self._next_scrape_s:
            faults = self.faults
            hidden = bool(faults.known) and (faults.holds("ScrapeGap", now) or faults.holds("MetricsOutage", now))
            seen = self._look(now, hidden)
            if not hidden:
                self.scrapes.append(seen)
            self._next_scrape_s += settings.scrape_s
        self._next_mark_s = min(self._next_check_s, self._next_scrape_s)
        if not self._warm:
            self._next_mark_s = min(self._next_mark_s, settings.warmup_s)

    def seen(self, now_s: float) -> Any:
        """The scrape that a decision sees, None where there is none yet."""
        back = self._back(now_s)
        scrapes = self.scrapes
        return scrapes[-back] if len(scrapes) >= back else None

    def samples(self, now_s: float) -> Sequence[Any]:
        """The scrapes of which a decision sees the mean, newest last; as many as there are."""
        newest = len(self.scrapes) - self._back(now_s) + 1
        return list(self.scrapes)[max(newest - self.settings.samples, 0) : max(newest, 0)]

    def _back(self, now_s: float) -> int:
        """How far back from the latest scrape the newest one is that a decision sees; 1: the latest."""
        back = 1 + self.settings.late
        if self.faults.known and (lag_s := self.faults.lag_s(now_s)):
            back += math.ceil(lag_s / self.settings.scrape_s)
        return back

    # ------------------------------------------------------------ faults by hand

    def surge(self, factor: float, lasts_s: int, row: int | None = None, from_s: int | None = None) -> None:
        """Multiplies the demand from from_s (now) on."""
        start_s = self.now_s if from_s is None else max(from_s, self.now_s)
        if not self.demand.flags.writeable or self.demand.base is not None:
            self.demand = self.demand.copy()
        rows = slice(None) if row is None else slice(row, row + 1)
        self.demand[rows, start_s : start_s + lasts_s] *= factor

    def add_fault(self, fault: Fault) -> None:
        """A fault of any kind; a surge is put into the demand at once."""
        if fault.kind == "Surge":
            self.surge(fault.factor, int(fault.until_s - fault.from_s), fault.row, int(fault.from_s))
        elif fault.kind == "SpotLoss":
            self.life.lose_nodes(fault)
        else:
            if fault.kind == "MetricsLag":
                longest = self.settings.late + self.settings.samples + math.ceil(fault.by_s / self.settings.scrape_s)
                self.scrapes = deque(self.scrapes, maxlen=max(longest, self.scrapes.maxlen or 0))
            self.faults.add(fault)

    # ------------------------------------------------------------ the score's raw figures

    def _begin_score(self, now: int) -> None:
        self._warm = True
        life = self.life
        self._replica_s_at_warmup = np.array([life.replica_s(row, now) for row in range(len(self))])
        self._by_pool_at_warmup = [life.replica_s_by_pool(row, now) for row in range(len(self))]
        self._nodes_at_warmup = self._nodes(now)
        self._lost_at_warmup = life.lost(now)

    def replica_s(self) -> Floats:
        """Replica-seconds since the warm-up, (n,); zero before its end."""
        now = self.now_s
        if not self._warm:
            return np.zeros(len(self))
        return np.array([self.life.replica_s(row, now) for row in range(len(self))]) - self._replica_s_at_warmup

    def replica_s_by_pool(self) -> list[list[float]]:
        """The same by service and each of its pools (``Lifecycle.pools_of``); of several, what they waited for a place is on none."""
        now = self.now_s
        if not self._warm:
            return [[0.0] * len(own) for own in self.life.pools_of]
        return [
            [on_s - before_s for on_s, before_s in zip(self.life.replica_s_by_pool(row, now), before, strict=True)]
            for row, before in enumerate(self._by_pool_at_warmup)
        ]

    def node_s(self) -> Floats:
        """Node-seconds since the warm-up, by pool; zero before its end."""
        return np.asarray(self._nodes_since_warmup()[0])

    def used_slot_s(self) -> Floats:
        """Slot-seconds since the warm-up in which a replica was on a node, by pool; zero before its end."""
        return np.asarray(self._nodes_since_warmup()[1])

    def paid(self) -> Floats:
        """What nodes cost since the warm-up, by pool; zero before its end, and of pools without a price."""
        return np.asarray(self._nodes_since_warmup()[2])

    def lost(self) -> LossCounts:
        """What lost nodes took since the warm-up; nothing before its end."""
        return (self.life.lost(self.now_s) if self._warm else self._lost_at_warmup).since(self._lost_at_warmup)

    def _nodes(self, at_s: int) -> Floats:
        pools = self.life.pools
        figures = [[pool.node_s(at_s), pool.used_s(at_s), pool.paid(at_s)] for pool in pools]
        return np.array(figures, dtype=np.float64).reshape(len(pools), 3).T

    def _nodes_since_warmup(self) -> Floats:
        return self._nodes(self.now_s) - self._nodes_at_warmup if self._warm else np.zeros((3, len(self.life.pools)))
