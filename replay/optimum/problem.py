"""What the clairvoyant decides: one service's arrivals tick by tick, and what counts, starts and stops cost in the score's own books.

Costs are replica-seconds since the warm-up, exactly as a replay counts them: a replica costs from the order that creates it (``start``
before it serves) to the end of its draining, and what lies before the warm-up's end or after the trace's costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoscaler.core.model import Floats, Ints, ScalingSpec
from autoscaler.errors import UsageError
from replay.scenario import Scenario, whole_s

ROOM: float = 1.25
"""Counts up to the need of the worst minute times this (and a few more) are looked at, as far as the manifest allows."""
FEW = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Whole seconds, but for capacity_per_s (of one replica). counts: what may be chosen, rising; the largest is as the manifest's.

    allowed_s: longest wait that keeps the promise. initial: ready replicas at the trace's start.
    """

    capacity_per_s: float
    min_replicas: int
    max_replicas: int
    multiple: int
    allowed_s: int
    tick_s: int
    start_s: int
    drain_s: int
    warmup_s: int
    initial: int


def settings_of(spec: ScalingSpec, scenario: Scenario, allowed_s: float) -> Settings:
    """Raises UsageError for a service without a stated capacity, and for replicas that don't keep to it."""
    if not spec.capacity.per_s > 0:
        raise UsageError(
            f"{spec.key}: the optimum needs to know what a replica can do: capacity.requestsPerSecond in the manifest"
        )
    if scenario.replicas.throughput or scenario.replicas.mixed:
        raise UsageError(
            "the optimum is worked out for replicas that do what the manifest says: leave out scenario.replicas.throughput and .mixed"
        )
    return Settings(
        capacity_per_s=spec.capacity.per_s,
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        multiple=max(spec.replica_multiple, 1),
        allowed_s=int(allowed_s),
        tick_s=whole_s(scenario.interval),
        start_s=whole_s(scenario.replicas.start),
        drain_s=whole_s(scenario.replicas.drain),
        warmup_s=whole_s(scenario.warmup),
        initial=scenario.replicas.initial,
    )


class Problem:
    """One service on one trace. arrivals (T,): requests in each second of the whole trace, warm-up included.

    Ticks are numbered from the trace's start; decided are those from first_tick, in which the warm-up ends, to the last.
    """

    def __init__(self, arrivals: Floats, settings: Settings, most: int | None = None) -> None:
        """most: the largest count to look at, instead of what the worst minute suggests."""
        self.settings = settings
        self.seconds = len(arrivals)
        if settings.warmup_s >= self.seconds:
            raise UsageError(f"a warm-up of {settings.warmup_s} s leaves nothing to score of {self.seconds} s")
        tick_s, allowed_s = settings.tick_s, settings.allowed_s
        self.ticks = -(-self.seconds // tick_s)
        self.first_tick = settings.warmup_s // tick_s
        self.start_ticks = -(-settings.start_s // tick_s)
        padded = np.zeros(self.ticks * tick_s)
        padded[: self.seconds] = arrivals
        self.arrivals: Floats = padded
        arrived = np.concatenate([np.zeros(allowed_s + 1), np.cumsum(padded)])
        seconds = np.arange(len(padded))
        # Whoever came allowed_s seconds ago and is not served at the end of this second is late.
        due = np.zeros(len(padded))
        due[allowed_s:] = padded[: len(padded) - allowed_s] if allowed_s else padded
        due[(seconds - allowed_s < settings.warmup_s) | (seconds >= self.seconds)] = 0.0
        self.due: Floats = due
        self.recent: Floats = arrived[seconds + allowed_s + 1] - arrived[seconds + 1]
        self.requests = float(arrivals[settings.warmup_s :].sum())
        self.most = self._most() if most is None else most
        step = settings.multiple
        counts = np.arange(-(-settings.min_replicas // step) * step, self.most + step, step)
        self.counts: Ints = counts[counts <= settings.max_replicas]
        if not len(self.counts):
            raise UsageError(f"no multiple of {step} lies between {settings.min_replicas} and {settings.max_replicas} replicas")
        self._least = int(self.counts[0])
        if settings.initial < self._least and self.first_tick < self.start_ticks:
            # Until the first order is ready, there are fewer than the manifest allows.
            self.counts = np.concatenate([[settings.initial], self.counts])

    def _most(self) -> int:
        """A count that is enough for the trace's worst minute with room to catch up."""
        settings = self.settings
        whole = len(self.arrivals) // 60 * 60
        minutes = self.arrivals[:whole].reshape(-1, 60).mean(axis=1) if whole else self.arrivals.mean(keepdims=True)
        needed = ROOM * float(minutes.max(initial=0.0)) / settings.capacity_per_s
        enough = max(int(np.ceil(needed)) + FEW, settings.min_replicas, settings.initial)
        return min(enough, settings.max_replicas)

    @cached_property
    def work_replica_s(self) -> float:
        """Replica-seconds that all requests scored take."""
        return self.requests / self.settings.capacity_per_s

    def count_cost_s(self, tick: int) -> Floats:
        """What each count costs in a tick, (c,): its seconds that are scored; infinite where it is not allowed."""
        from_s, to_s = tick * self.settings.tick_s, min((tick + 1) * self.settings.tick_s, self.seconds)
        cost: Floats = self.counts.astype(np.float64) * float(max(to_s - max(from_s, self.settings.warmup_s), 0))
        if tick >= self.start_ticks:
            cost[self.counts < self._least] = np.inf
        return cost

    def start_cost_s(self, tick: int) -> float:
        """What one more replica in this tick than in the one before costs beyond the tick; infinite where none can be ready by then."""
        if tick < self.start_ticks:
            return float("inf")
        at_s = tick * self.settings.tick_s
        return float(min(max(at_s - self.settings.warmup_s, 0), self.start_ticks * self.settings.tick_s))

    def stop_cost_s(self, tick: int) -> float:
        """What one replica fewer in this tick costs: its draining."""
        at_s = tick * self.settings.tick_s
        until_s = min(at_s + self.settings.drain_s, self.seconds)
        return float(max(until_s - max(at_s, self.settings.warmup_s), 0))

    def opening_cost_s(self, held: int, *, free: bool) -> Floats:
        """What each count of the first tick costs, (c,), for a service that held `held` replicas until then. free: as if the warm-up had
        ended on the very count, which no schedule can better."""
        tick = self.first_tick
        up = np.maximum(self.counts - held, 0.0)
        down = np.maximum(held - self.counts, 0.0)
        cost = np.zeros(len(self.counts))
        if tick < self.start_ticks:
            cost[up > 0] = np.inf
        elif not free:
            cost += up * self.start_cost_s(tick)
        if tick == 0 or not free:
            cost += down * self.stop_cost_s(tick)
        return cost
