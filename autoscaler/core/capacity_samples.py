"""What a replica is seen to do: samples of (work done, work that a full batch would have had time for), taken from the signals.

What a service finishes is its `throughput`; where that isn't counted, it is what arrived less what more is in it now: ``done = demand × t −
Δ(queue + running)``. Its batch b = running ÷ ready tells which share u(b) of the full throughput it gave (``core.capacity``), and where
requests wait on most replicas it gave all it has, whatever its batch: a cache may be full before the slots are. So ``exposure = ready ×
share × t`` replica-seconds of full throughput stand against `done`, and done ÷ exposure is the capacity.

Nothing is told by a reading that is unknown, stale, or the same as before, by one after a gap, nor while the number of ready replicas
changes: those that start and those that drain do part of the work. Nor while they are of several versions: that would be the mean of two
numbers, and of neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from autoscaler.core.capacity import utilization_at
from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.model import Bools, Floats
from autoscaler.core.value import maker, tick_value

STEADY: Final = 0.05
"""The count of ready replicas is steady while it stays within this share; of two hundred one may go at any time."""
SETTLE_LEAST_S: Final = 30.0
SETTLE_MOST_S: Final = 300.0
"""How long batches take to settle after the count has changed: a request's time in service, within these. Before, new replicas work on
requests of which none is finished yet."""
WAITING_PER_SLOT: Final = 0.1
"""Where as many requests wait per slot (at least one per replica), all replicas are taken to have all they can do."""

_COLUMNS: Final = ("at_s", "running", "queue", "ready", "changed_at_s")


@tick_value
class Look:
    """What is read of services, (n,) each: throughput_per_s, demand_per_s, running, queue with NaN where unknown; age_s of the first, or where
    that is unknown of the demand, and the span_s over which it is a mean; ready and draining replicas; slots and slowdown as in ``core.capacity``;
    mixed: whether ready ones are of several versions."""

    throughput_per_s: Floats
    demand_per_s: Floats
    running: Floats
    queue: Floats
    age_s: Floats
    span_s: Floats
    ready: Floats
    draining: Floats
    slots: Floats
    slowdown: Floats
    mixed: Bools


@tick_value
class Samples:
    """done (n,): requests finished. exposure (n,): replica-seconds of full throughput in which that was done, 0 where nothing is told.
    share (n,): of the full throughput. step_s (n,): how long it took."""

    done: Floats
    exposure: Floats
    share: Floats
    step_s: Floats


_samples = maker(Samples)


class Sampler:
    """Remembers the last reading of n services, to compare the next one with."""

    def __init__(self, n: int) -> None:
        self.at_s = np.full(n, np.nan)
        self.running = np.full(n, np.nan)
        self.queue = np.full(n, np.nan)
        self.ready = np.full(n, np.nan)
        self.changed_at_s = np.full(n, np.nan)
        self.queues: Bools = np.zeros(n, dtype=np.bool_)
        """Whose queue was ever known: some servers have none."""

    def rearrange(self, rows: Any) -> None:
        """Row i becomes what row rows[i] was, or one that was never looked at (−1)."""
        for name in _COLUMNS:
            setattr(self, name, rearranged(getattr(self, name), rows))
        self.queues = rearranged(self.queues, rows, False)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self.at_s = self.at_s + by_s
        self.changed_at_s = self.changed_at_s + by_s

    def take(self, at_s: float, interval_s: float, look: Look) -> Samples:
        """The samples that end with this look."""
        self._watch_replicas(at_s, look)
        self.queues = self.queues | ~np.isnan(look.queue)
        queue = np.where(self.queues, look.queue, 0.0)
        moment_s = at_s - look.age_s
        span_s = np.where(np.isnan(look.span_s), interval_s, look.span_s)
        grown = look.running + queue - self.running - self.queue
        counted = np.isfinite(look.throughput_per_s)
        rate = np.where(counted, look.throughput_per_s, look.demand_per_s)
        known = np.isfinite(rate + look.running + queue + moment_s)
        step_s = moment_s - self.at_s
        service_s = np.divide(look.running, rate, out=np.zeros_like(rate), where=rate > 0.0)
        settle_s = np.clip(service_s, SETTLE_LEAST_S, SETTLE_MOST_S)
        steady = moment_s - span_s >= self.changed_at_s + settle_s
        tells: Bools = known & (step_s > 0.0) & (step_s <= np.maximum(span_s, 2.0 * interval_s)) & steady & (look.ready > 0.0)

        step_s = np.where(tells, step_s, 0.0)
        ready = np.where(tells, look.ready, 1.0)
        batch = 0.5 * (look.running + self.running) / ready
        waiting = np.minimum(queue, self.queue) / ready
        crowded = np.minimum(waiting / np.maximum(WAITING_PER_SLOT * look.slots, 1.0), 1.0)
        share = np.maximum(utilization_at(batch, look.slots, look.slowdown), crowded)
        found = _samples(
            done=np.where(tells, np.where(counted, look.throughput_per_s * step_s, look.demand_per_s * step_s - grown), 0.0),
            exposure=np.where(tells, ready * share * step_s, 0.0),
            share=np.where(tells, share, 0.0),
            step_s=step_s,
        )
        new = known & ~(moment_s <= self.at_s)
        self.at_s = np.where(new, moment_s, self.at_s)
        self.running = np.where(new, look.running, self.running)
        self.queue = np.where(new, queue, self.queue)
        return found

    def _watch_replicas(self, at_s: float, look: Look) -> None:
        changed = ~(np.abs(look.ready - self.ready) <= STEADY * self.ready) | (look.draining > STEADY * look.ready) | look.mixed
        self.ready = np.where(changed, look.ready, self.ready)
        self.changed_at_s = np.where(changed, at_s, self.changed_at_s)

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {name: plain(getattr(self, name)) for name in _COLUMNS} | {"queues": self.queues.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        """What save gave, of as many services."""
        for name in _COLUMNS:
            setattr(self, name, floats(state[name]))
        self.queues = np.array(state["queues"], dtype=np.bool_)
