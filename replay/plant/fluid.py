"""The fluid plant: n services whose requests flow like water, second by second, as in the standard scenario."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.core.capacity import batch_at
from autoscaler.core.constant import constant
from autoscaler.core.model import Floats, Ints, ScalingSpec, States
from autoscaler.core.value import maker
from replay.plant.faults import Faults
from replay.plant.kernel import FluidState, Kernel, fluid_state, kernel_for
from replay.plant.nodes import Pool
from replay.plant.plant import Plant, PlantSettings
from replay.plant.pool_capacity import PoolCapacity
from replay.plant.signals import Replica, Scrape, signal
from replay.plant.waits import Waits, wait_quantile_s

_scrape = maker(Scrape)
_LOG_BYTES: Final = 1 << 25


@dataclass(frozen=True, slots=True, kw_only=True)
class FluidVerdict:
    """counts (w,): requests by their wait in whole seconds. kept: how many of them kept the promise."""

    counts: Floats
    kept: float

    @property
    def requests(self) -> float:
        return float(self.counts.sum())

    @property
    def attained_ratio(self) -> float:
        requests = self.requests
        return self.kept / requests if requests > 0 else 1.0

    def wait_quantile_s(self, quantile: float) -> float:
        return wait_quantile_s(self.counts, quantile)

    def further(self) -> dict[str, Any]:
        return {}

    def plus(self, other: FluidVerdict) -> FluidVerdict:
        longer, shorter = (self.counts, other.counts) if len(self.counts) >= len(other.counts) else (other.counts, self.counts)
        total = longer.copy()
        total[: len(shorter)] += shorter
        return FluidVerdict(counts=total, kept=self.kept + other.kept)


class FluidPlant(Plant):
    """allowed_wait_s (n,): the longest queue wait that keeps each service's promise."""

    waits: list[Waits]

    def __init__(
        self,
        specs: Sequence[ScalingSpec],
        demand: Floats,
        settings: PlantSettings,
        faults: Faults,
        pools: Sequence[Pool],
        pools_of: Sequence[Sequence[int]],
        allowed_wait_s: Floats,
        kernel: Kernel | None = None,
    ) -> None:
        super().__init__(specs, demand, settings, faults, pools, pools_of)
        n = len(specs)
        for row in range(n):
            self.life.begin_with(row, settings.initial)
        self.state: FluidState = fluid_state(tuple(specs), self.life.ready)
        self._given_per_s = self.state.capacity_per_s.copy()
        self._pool_capacity = PoolCapacity(specs, self.life)
        self._set_capacity(0)
        # The service ran before the trace begins: as much is running as its first second's demand keeps busy.
        capacity = self.state.capacity_per_s * self.state.ready
        share = np.divide(demand[:, 0], capacity, out=np.zeros(n), where=capacity > 0)
        self.state.running = batch_at(share, self.state.slots, self.state.slowdown) * self.state.ready
        self.replica = Replica(capacity_per_s=self.state.capacity_per_s, slots=self.state.slots, slowdown=self.state.slowdown)
        self._kernel = kernel or kernel_for(n, self.end_s)
        self._allowed_s = allowed_wait_s
        ticks = self.queue_by_tick.shape[1]
        self.waits: list[Waits] = [
            Waits(scored_from_s=settings.warmup_s, allowed_s=float(allowed), tick_s=settings.tick_s, ticks=ticks)
            for allowed in allowed_wait_s
        ]
        self._log_s = min(max(_LOG_BYTES // (8 * n), 256), 16384)
        self._log: Floats = np.zeros((n, self._log_s))
        self._log_from_s = 0
        self._window_s = constant(settings.window_s)
        # Windows longer than the period are means of several scrapes' sums.
        self._sums: deque[Floats] = deque(maxlen=settings.window_s // settings.scrape_s)
        self._pass_mark(0)

    def _at_most_s(self, from_s: int) -> int:
        return self._log_from_s + self._log_s

    def _set_capacity(self, at_s: int) -> None:
        """Where replicas don't do what the service is reckoned with: what they do now. In place, since signals look at the same array."""
        if self._pool_capacity.moved():
            self._pool_capacity.into(self._given_per_s)
            self.state.capacity_per_s[:] = self._given_per_s
        if (throughput := self.settings.throughput) is not None:
            self.state.capacity_per_s[:] = throughput.capacity_per_s(self._given_per_s, self.life.ready, at_s)
        if (updates := self.life.updates) is not None:
            of = self._given_per_s if throughput is None else self.state.capacity_per_s
            self.state.capacity_per_s[:] = of * updates.factors()

    def _flow(self, from_s: int, to_s: int) -> None:
        self._set_capacity(from_s)
        log_from = self._log_from_s
        self._kernel(self.state, self.demand[:, from_s:to_s], self._log[:, from_s - log_from : to_s - log_from])
        self.now_s = to_s
        if to_s - log_from == self._log_s:
            self._account()

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

    def _look(self, now_s: int, hidden: bool) -> Scrape | None:
        state = self.state
        sums = self._sums
        sums.append(state.sums.copy())
        state.sums.fill(0.0)
        if hidden:
            return None
        complete = len(sums) == sums.maxlen
        if not complete:
            total = np.full_like(state.sums, np.nan)
        elif len(sums) == 1:
            total = sums[0]
        else:
            total = np.array([np.sum(part, axis=0) for part in zip(*sums, strict=True)])
        means = total / self._window_s
        return _scrape(
            at_s=now_s,
            queue=state.queue.copy(),
            running=state.running.copy(),
            ready=self.life.ready.copy(),
            demand_per_s=means[0],
            utilization=means[1],
            complete=complete,
        )

    def signal(self, name: str, seen: Scrape) -> tuple[Floats, States | None]:
        return signal(name, seen, self.replica)

    def verdicts(self) -> list[FluidVerdict]:
        return [
            FluidVerdict(counts=counts, kept=float(counts[: int(allowed) + 1].sum()))
            for counts, allowed in zip(self.wait_counts(), self._allowed_s, strict=True)
        ]

    def queues(self) -> list[float]:
        queues: list[float] = self.state.queue.tolist()
        return queues

    def waits_by_tick(self, row: int) -> tuple[Floats, Ints]:
        if self.now_s == self.end_s:
            self._account()
        return self.waits[row].by_tick(self.now_s)

    def wait_counts(self) -> list[Floats]:
        if self.now_s == self.end_s:
            self._account()
            return [waits.with_waiting(self.now_s) for waits in self.waits]
        # A look in between, as a live page takes it, must not cut the log: sums of other blocks round differently.
        start_s, length = self._log_from_s, self.now_s - self._log_from_s
        arrivals, queues = self.demand[:, start_s : self.now_s], self._log[:, :length]
        return [waits.ahead(start_s, arrivals[row], queues[row]) for row, waits in enumerate(self.waits)]
