"""The fluid plant: n services whose requests flow like water, second by second, as in the standard scenario.

Each service has one queue, replicas that start, serve and drain, and (unless several name one pool) nodes of its own. A plant is moved
by ``advance_to``; between two moves the controller looks at its scrapes and asks for replicas (``replay.plant.ports``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.capacity import batch_at
from autoscaler.core.model import Floats, ScalingSpec
from autoscaler.errors import UsageError
from replay.plant.faults import Fault, Faults
from replay.plant.kernel import FluidState, Kernel, fluid_state, kernel_for
from replay.plant.lifecycle import Lifecycle, Times
from replay.plant.nodes import Pool
from replay.plant.signals import Replica, Scrape
from replay.plant.waits import Waits

_LOG_BYTES: Final = 1 << 25


@dataclass(frozen=True, slots=True, kw_only=True)
class FluidSettings:
    """What a fluid plant needs beside services and demand, in whole seconds. late: scrapes between the latest one and what is seen.

    initial: ready replicas at the start. keep_series: remember queue and wait tick by tick, for plots.
    """

    times: Times
    initial: int = 10
    scrape_s: int = 15
    window_s: int = 15
    late: int = 1
    warmup_s: int = 0
    tick_s: int = 15
    keep_series: bool = True


class FluidPlant:
    """n services over a demand (n, T) of requests per second; T ends the plant's life.

    allowed_wait_s (n,): the longest queue wait that keeps each service's promise.
    """

    def __init__(
        self,
        specs: Sequence[ScalingSpec],
        demand: Floats,
        settings: FluidSettings,
        faults: Faults,
        pools: Sequence[Pool],
        pool_of: Sequence[int],
        allowed_wait_s: Floats,
        kernel: Kernel | None = None,
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
        self.end_s = demand.shape[1]
        self.life = Lifecycle(specs, pools, pool_of, settings.times, faults)
        for row in range(n):
            self.life.begin_with(row, settings.initial)
        self.state: FluidState = fluid_state(tuple(specs), self.life.ready)
        # The service ran before the trace begins: as much is running as its first second's demand keeps busy.
        capacity = self.state.capacity_per_s * self.state.ready
        share = np.divide(demand[:, 0], capacity, out=np.zeros(n), where=capacity > 0)
        self.state.running = batch_at(share, self.state.slots, self.state.slowdown) * self.state.ready
        self.replica = Replica(capacity_per_s=self.state.capacity_per_s, slots=self.state.slots, slowdown=self.state.slowdown)
        self._kernel = kernel or kernel_for(n, self.end_s)
        ticks = -(-self.end_s // settings.tick_s) if settings.keep_series else 0
        self.waits = [
            Waits(scored_from_s=settings.warmup_s, allowed_s=float(allowed), tick_s=settings.tick_s, ticks=ticks)
            for allowed in allowed_wait_s
        ]
        self.queue_by_tick: Floats = np.zeros((n, ticks))
        self._log_s = min(max(_LOG_BYTES // (8 * n), 256), 16384)
        self._log: Floats = np.zeros((n, self._log_s))
        self._log_from_s = 0
        self._next_scrape_s = settings.scrape_s  # at second 0 there is nothing to see yet
        self._next_check_s = 0
        # Windows longer than the period are means of several scrapes' sums.
        self._sums: deque[tuple[Floats, Floats]] = deque(maxlen=settings.window_s // settings.scrape_s)
        self.scrapes: deque[Scrape] = deque(maxlen=settings.late + 1)
        self._replica_s_at_warmup: Floats = np.zeros(n)
        self._node_s_at_warmup: Floats = np.zeros(len(self.life.pools))
        self._warm = False
        self._next_mark_s = 0
        self._pass_mark(0)

    def __len__(self) -> int:
        return len(self.demand)

    # ------------------------------------------------------------ time

    def advance_to(self, at_s: int) -> None:
        """Lives until at_s (at most the demand's end): then everything due at at_s has happened, and its scrape is taken."""
        at_s = min(at_s, self.end_s)
        life = self.life
        now = self.now_s
        # What was asked for since then may be due at once.
        life.happen(now)
        while now < at_s:
            now = self._flow(now, at_s)
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
            self._scrape(now)
            self._next_scrape_s += settings.scrape_s
        self._next_mark_s = min(self._next_check_s, self._next_scrape_s)
        if not self._warm:
            self._next_mark_s = min(self._next_mark_s, settings.warmup_s)

    def _flow(self, from_s: int, at_most_s: int) -> int:
        """Flows until the next moment at which anything happens, at_most_s at the latest; returns that moment."""
        log_from = self._log_from_s
        to_s = self._next_mark_s
        if at_most_s < to_s:
            to_s = at_most_s
        if log_from + self._log_s < to_s:
            to_s = log_from + self._log_s
        to_s = self.life.next_event_s(to_s)
        self._kernel(self.state, self.demand[:, from_s:to_s], self._log[:, from_s - log_from : to_s - log_from])
        self.now_s = to_s
        if to_s - log_from == self._log_s:
            self._account()
        return to_s

    def _account(self) -> None:
        """Works out the waits of the logged seconds and begins a new log."""
        start_s, length = self._log_from_s, self.now_s - self._log_from_s
        if length == 0:
            return
        arrivals, queues = self.demand[:, start_s : self.now_s], self._log[:, :length]
        for row, waits in enumerate(self.waits):
            waits.add(start_s, arrivals[row], queues[row])
        if self.settings.keep_series:
            tick_s = self.settings.tick_s
            first = start_s // tick_s
            edges = np.maximum(np.arange(first * tick_s, self.now_s, tick_s) - start_s, 0)
            peaks = np.maximum.reduceat(queues, edges, axis=1)
            into = self.queue_by_tick[:, first : first + len(edges)]
            np.maximum(into, peaks, out=into)
        self._log[:, :length] = 0.0
        self._log_from_s = self.now_s

    def _scrape(self, now: int) -> None:
        state = self.state
        sums = self._sums
        n = len(self)
        sums.append((state.arrived, state.used))
        state.arrived, state.used = np.zeros(n), np.zeros(n)
        if self.faults.known and (self.faults.holds("ScrapeGap", now) or self.faults.holds("MetricsOutage", now)):
            return
        complete = len(sums) == sums.maxlen
        if not complete:
            arrived = used = np.full(n, np.nan)
        elif len(sums) == 1:
            arrived, used = sums[0]
        else:
            arrived, used = np.sum([one for one, _ in sums], axis=0), np.sum([one for _, one in sums], axis=0)
        window_s = self.settings.window_s
        self.scrapes.append(
            Scrape(
                now,
                state.queue.copy(),
                state.running.copy(),
                self.life.ready.copy(),
                arrived / window_s,
                used / window_s,
                complete,
            )
        )

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
        else:
            self.faults.add(fault)

    # ------------------------------------------------------------ the score's raw figures

    def _begin_score(self, now: int) -> None:
        self._warm = True
        life = self.life
        self._replica_s_at_warmup = np.array([life.replica_s(row, now) for row in range(len(self))])
        self._node_s_at_warmup = np.array([pool.node_s(now) for pool in life.pools])

    def replica_s(self) -> Floats:
        """Replica-seconds since the warm-up, (n,); zero before its end."""
        now = self.now_s
        if not self._warm:
            return np.zeros(len(self))
        return np.array([self.life.replica_s(row, now) for row in range(len(self))]) - self._replica_s_at_warmup

    def node_s(self) -> Floats:
        """Node-seconds since the warm-up, by pool; zero before its end."""
        if not self._warm:
            return np.zeros(len(self.life.pools))
        return np.array([pool.node_s(self.now_s) for pool in self.life.pools]) - self._node_s_at_warmup

    def wait_counts(self) -> list[Floats]:
        """Requests that arrived since the warm-up by their wait in whole seconds, one array a service."""
        self._account()
        return [waits.with_waiting(self.now_s) for waits in self.waits]
