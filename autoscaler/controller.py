"""The control loop: observe → read → decide → allocate → act → report, once an interval.

The same code runs in the cluster, in ``replay`` and in ``autoscaler demo``; only the ports differ. It is level-triggered: no tick
depends on an earlier one having succeeded, so adapters never retry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autoscaler import tick_budget
from autoscaler.clock import ClockSteps
from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.engine import Engine
from autoscaler.core.model import Fleet, Outcome, Plan
from autoscaler.core.policy import PolicyType
from autoscaler.core.shortages import PoolAsked, Shortages
from autoscaler.core.value import maker
from autoscaler.learning import Learner
from autoscaler.ports import Clock, Cluster, MetricSource, NodePools, Reporter, Tick
from autoscaler.waiting import first_of

log = logging.getLogger(__name__)
_tick = maker(Tick)


class Controller:
    """Runs ticks over its ports.

    may_act: asked right before acting, whether this process leads. A standby runs the same ticks and learns the same, but writes nothing.
    shadow: nothing is ever scaled, whatever the manifests' modes say. seed: for policies that draw numbers.
    budget: the most replicas added and removed in one tick, over all objects. waits_for_past: for clocks that stand still meanwhile; a
    controller in a cluster decides on what it sees until it knows the past.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: MetricSource,
        cluster: Cluster,
        policies: Mapping[str, PolicyType],
        reporters: Sequence[Reporter] = (),
        node_pools: NodePools | None = None,
        interval_s: float = 15.0,
        may_act: Callable[[], bool] = lambda: True,
        shadow: bool = False,
        seed: int = 0,
        budget: ChangeBudget | None = None,
        waits_for_past: bool = False,
    ) -> None:
        self.engine = Engine(policies, interval_s, seed)
        self.interval_s = interval_s
        self._clock = clock
        self._metrics = metrics
        self._cluster = cluster
        self._node_pools = node_pools
        self._reporters = reporters
        self._may_act = may_act
        self.shadow = shadow
        self.budget = budget or ChangeBudget()
        self.past = Learner(
            self.engine, metrics, clock, wait_s=None if waits_for_past else tick_budget.PAST * interval_s, seed=seed
        )
        self._shortages = Shortages()
        self._planned: Mapping[str, int] = {}
        """Nodes by pool of the last plan."""
        self._steps = ClockSteps(clock)
        self._number = 0
        self.wake = asyncio.Event()
        """Set it for a tick at once, such as on becoming the leader; it is cleared by that tick."""
        self.last_tick_s = clock.monotonic_s()
        """When the last whole tick ended, by the monotonic clock; one that failed does not count."""
        self.ticked = asyncio.Event()
        """Set once a first tick has ended."""
        self.reporter_failures = 0

    async def tick(self) -> Tick:
        """One whole pass. Faults outside become unknown signals, refused writes and words in the tick, never exceptions."""
        stopwatch = Stopwatch(self._clock)
        at_s, set_by_s = self._steps.look()
        faults: tuple[str, ...] = ()
        if set_by_s:
            log.warning("the clock was set by %+.1f s; windows and holds go on as if it had not been", set_by_s)
            faults = self.engine.shift(set_by_s)
            self._shortages.shift(set_by_s)
            await self.past.drop_round()  # its moments are of the clock before

        fleet = await self._cluster.observe(at_s)
        recompiled = self.engine.prepare(fleet, at_s)
        learnt = await self.past.step(fleet, at_s)
        stopwatch.lap("observe")

        readings = await self._metrics.read(fleet, self.engine.wanted, at_s, tick_budget.READ * self.interval_s)
        stopwatch.lap("read")

        decisions = self.engine.decide(fleet, readings)
        asked = self._asked() if self._may_act() else None
        bounds = fleet.bounds or self._shortages.look(fleet, asked, self._planned, at_s)
        plan = allocate(
            self.engine.table,
            fleet,
            decisions,
            self.budget,
            shadow=self.shadow,
            needs=self.engine.node_needs,
            bounds=bounds,
        )
        self._planned = plan.nodes
        stopwatch.lap("decide")

        leading = self._may_act()
        outcome = await self._act(fleet, plan) if leading else nothing_written(fleet)
        stopwatch.lap("act")

        self._number += 1
        tick = _tick(
            number=self._number,
            fleet=fleet,
            readings=readings,
            decisions=decisions,
            plan=plan,
            outcome=outcome,
            leading=leading,
            interval_s=self.interval_s,
            timings_s=stopwatch.laps_s,
            problems=(*faults, *self.past.faults, *self.engine.problems()),
            unlearnt=self.past.unlearnt(),
            unrecorded=learnt or set_by_s != 0.0 or (recompiled and self.engine.resettled),
            memory=self.engine.memory,
        )
        await self._report(tick)
        self.last_tick_s = self._clock.monotonic_s()
        self.ticked.set()
        return tick

    async def run(self, stop: asyncio.Event) -> None:
        """Ticks on the interval's grid, and whenever `wake` is set, until `stop` is. A tick that takes too long skips the missed ones; one
        that fails by a fault of ours is logged, and the next one comes as if nothing had been."""
        try:
            while not stop.is_set():
                self.wake.clear()
                try:
                    await self.tick()
                except Exception:  # a fault of ours; level-triggered, so the next tick mends what it can
                    log.exception("a tick failed; the next one follows as usual")
                next_s = (self._clock.now_s() // self.interval_s + 1) * self.interval_s
                await first_of(self._clock.sleep_until(next_s), stop.wait(), self.wake.wait())
        finally:
            await self.past.close()

    async def _act(self, fleet: Fleet, plan: Plan) -> Outcome:
        if self._node_pools is not None and plan.nodes:
            await self._node_pools.act(fleet.pools, plan, tick_budget.NODES * self.interval_s)
        return await self._cluster.act(fleet, plan, tick_budget.ACT * self.interval_s)

    def _asked(self) -> Mapping[str, PoolAsked]:
        """What the pools' systems said at the last tick."""
        told = {} if self._node_pools is None else self._node_pools.told()
        return {name: PoolAsked(asked=one.asked, short=one.short) for name, one in told.items()}

    async def _report(self, tick: Tick) -> None:
        for reporter in self._reporters:
            try:
                await reporter.report(tick)
            except Exception:
                # A page or a full disk must not touch decisions.
                self.reporter_failures += 1
                log.exception("reporting failed in %s", type(reporter).__name__)


class Stopwatch:
    """How long each step of a tick took."""

    __slots__ = ("_last_s", "_now_s", "laps_s")

    def __init__(self, clock: Clock) -> None:
        self._now_s = clock.monotonic_s
        self._last_s = self._now_s()
        self.laps_s: dict[str, float] = {}

    def lap(self, name: str) -> None:
        last_s = self._last_s
        self._last_s = now_s = self._now_s()
        self.laps_s[name] = now_s - last_s


def nothing_written(fleet: Fleet) -> Outcome:
    return Outcome(written=np.zeros(len(fleet), dtype=np.int8))
