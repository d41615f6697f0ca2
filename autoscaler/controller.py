"""The control loop: observe → read → decide → allocate → act → report, once an interval.

The same code runs in the cluster, in ``replay`` and in ``autoscaler demo``; only the ports differ. It is level-triggered: no tick
depends on an earlier one having succeeded, so adapters never retry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.engine import Engine
from autoscaler.core.model import Fleet, Outcome, Plan
from autoscaler.core.policy import PolicyType
from autoscaler.core.value import maker
from autoscaler.ports import Clock, Cluster, MetricSource, NodePools, Reporter, Tick

log = logging.getLogger(__name__)
_tick = maker(Tick)

READ_SHARE = 0.5
ACT_SHARE = 0.35
"""Shares of the interval that reading and acting may take; what isn't done by then is unknown, or decided again at the next tick."""
BACKFILL_STEP_S = 300.0


class Controller:
    """Runs ticks over its ports.

    may_act: asked right before acting, whether this process leads. A standby runs the same ticks and learns the same, but writes nothing.
    shadow: nothing is ever scaled, whatever the manifests' modes say. seed: for policies that draw numbers.
    budget: the most replicas added and removed in one tick, over all objects.
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
        self._number = 0
        self._learnt = False
        self.wake = asyncio.Event()
        """Set it for a tick at once, such as on becoming the leader; it is cleared by that tick."""
        self.last_tick_s = clock.monotonic_s()
        """When the last whole tick ended, by the monotonic clock; one that failed does not count."""
        self.ticked = asyncio.Event()
        """Set once a first tick has ended: what is known of the past has been learnt."""
        self.reporter_failures = 0

    async def tick(self) -> Tick:
        """One whole pass. Faults outside become unknown signals, refused writes and words in the tick, never exceptions."""
        stopwatch = Stopwatch(self._clock)
        at_s = self._clock.now_s()

        fleet = await self._cluster.observe(at_s)
        self.engine.prepare(fleet, at_s)
        if not self._learnt and len(fleet):
            await self._learn_past(fleet, at_s)
        stopwatch.lap("observe")

        readings = await self._metrics.read(fleet, self.engine.wanted, at_s, READ_SHARE * self.interval_s)
        stopwatch.lap("read")

        decisions = self.engine.decide(fleet, readings)
        plan = allocate(self.engine.table, fleet, decisions, self.budget, shadow=self.shadow)
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
            problems=self.engine.problems(),
            memory=self.engine.memory,
        )
        await self._report(tick)
        self.last_tick_s = self._clock.monotonic_s()
        self.ticked.set()
        return tick

    async def run(self, stop: asyncio.Event) -> None:
        """Ticks on the interval's grid, and whenever `wake` is set, until `stop` is. A tick that takes too long skips the missed ones; one
        that fails by a fault of ours is logged, and the next one comes as if nothing had been."""
        while not stop.is_set():
            self.wake.clear()
            try:
                await self.tick()
            except Exception:
                log.exception("a tick failed; the next one follows as usual")
            next_s = (self._clock.now_s() // self.interval_s + 1) * self.interval_s
            await _sleep_or(self._clock, next_s, stop, self.wake)

    async def _act(self, fleet: Fleet, plan: Plan) -> Outcome:
        deadline_s = ACT_SHARE * self.interval_s
        if self._node_pools is not None and plan.nodes:
            await self._node_pools.act(fleet.pools, plan, deadline_s)
        return await self._cluster.act(fleet, plan, deadline_s)

    async def _learn_past(self, fleet: Fleet, at_s: float) -> None:
        """Shows the engine what Prometheus still knows, so that a restart decides as if it had been there all the time: coarse steps as far
        back as the policies want, then the controller's own steps."""
        self._learnt = True
        engine, step_s = self.engine, self.interval_s
        fine = [at_s - step_s * k for k in range(int(engine.lookback_s / step_s), 0, -1)]
        newest_coarse_s = (fine[0] if fine else at_s) - BACKFILL_STEP_S
        coarse_count = int((newest_coarse_s - (at_s - engine.backfill_s)) / BACKFILL_STEP_S)
        coarse = [newest_coarse_s - BACKFILL_STEP_S * k for k in range(coarse_count, -1, -1)] if coarse_count > 0 else []
        for times_s, step in ((coarse, BACKFILL_STEP_S), (fine, step_s)):
            if not times_s:
                continue
            began_s = self._clock.monotonic_s()
            past = await self._metrics.backfill(fleet, engine.wanted, times_s)
            for readings in past:
                engine.learn(fleet, readings, step)
            took_s = self._clock.monotonic_s() - began_s
            log.info("the past was read before the first tick: %d of %d moments in %.1f s", len(past), len(times_s), took_s)
            if past and step == step_s:
                engine.learnt_until(at_s)

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

    def __init__(self, clock: Clock) -> None:
        self._now_s = clock.monotonic_s
        self._last_s = self._now_s()
        self.laps_s: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now_s = self._now_s()
        self.laps_s[name] = now_s - self._last_s
        self._last_s = now_s


def nothing_written(fleet: Fleet) -> Outcome:
    return Outcome(written=np.zeros(len(fleet), dtype=np.int8))


async def _sleep_or(clock: Clock, at_s: float, *events: asyncio.Event) -> None:
    """Until `at_s`, or until one of the events is set."""
    waiting = [asyncio.ensure_future(clock.sleep_until(at_s)), *(asyncio.ensure_future(event.wait()) for event in events)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
