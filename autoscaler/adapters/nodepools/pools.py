"""The NodePools port over backends: every pool is looked at and sized beside the others, and a slow one keeps nobody waiting.

A tick waits for its share of the interval. What has not answered by then goes on beside the ticks, with its own deadline, and the pool is
not asked a second time meanwhile: no order is so given twice. What was asked for is read back from the systems, so a restart goes on where
the last process stood.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.adapters.nodepools.backend import Backend
from autoscaler.adapters.nodepools.order import Limits
from autoscaler.adapters.nodepools.pool import Planned, Pool
from autoscaler.adapters.nodepools.reasons import PoolReason
from autoscaler.backoff import Backoff
from autoscaler.core.model import Plan, PoolSpec
from autoscaler.ports import Clock, PoolTold
from autoscaler.spec import PoolBackend, duration_s

log = logging.getLogger(__name__)

THROTTLED_S: Final = 15.0
THROTTLED_MAX_S: Final = 600.0


@dataclass(slots=True)
class _Entry:
    """A pool with the configuration that it was made of. pool: None where nothing is changed (DryRun)."""

    made_of: PoolSpec
    pool: Pool | None
    planned: Planned
    task: asyncio.Task[None] | None = None


class BackendPools:
    """The NodePools port. make: a pool's backend, None where only the plan is shown. paused: the direction that is paused for the whole
    cluster, "" none."""

    def __init__(
        self,
        make: Callable[[PoolSpec, PoolBackend], Backend | None],
        *,
        clock: Clock,
        rng: np.random.Generator,
        may_write: Callable[[], bool] = lambda: True,
        paused: Callable[[], str] = lambda: "",
    ) -> None:
        self._make = make
        self._clock = clock
        self._rng = rng
        self._may_write = may_write
        self._paused = paused
        self._entries: dict[str, _Entry] = {}

    async def act(self, pools: Sequence[PoolSpec], plan: Plan, deadline_s: float) -> Mapping[str, str]:
        """What is wrong by pool, in words; a pool that has not answered within `deadline_s` is told of as well, and heard with a later tick."""
        for gone in self._entries.keys() - {pool.name for pool in pools}:
            self._drop(self._entries.pop(gone))
        tasks = []
        for spec in pools:
            if spec.name not in plan.nodes:
                continue
            entry = self._entry(spec, plan)
            if entry.pool is None or entry.pool.waits:
                continue
            if entry.task is None or entry.task.done():
                entry.task = asyncio.create_task(entry.pool.step(entry.planned), name=f"pool {spec.name}")
            tasks.append(entry.task)
        if tasks:
            await asyncio.wait(tasks, timeout=deadline_s)
        return self._errors()

    def told(self) -> Mapping[str, PoolTold]:
        """What is known of each pool, for its status; nothing of one that has not answered yet."""
        return {
            name: _dry(entry.planned) if entry.pool is None else entry.pool.told(entry.planned)
            for name, entry in self._entries.items()
            if entry.pool is None or entry.pool.heard
        }

    async def close(self) -> None:
        """Ends what goes on beside the ticks."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._entries.clear()

    def _entry(self, spec: PoolSpec, plan: Plan) -> _Entry:
        settings = spec.backend if isinstance(spec.backend, PoolBackend) else PoolBackend()
        planned = Planned(
            pool=spec,
            nodes=plan.nodes[spec.name],
            taken=plan.taken.get(spec.name) if plan.taken is not None else None,
            limits=Limits(min_nodes=spec.min_nodes, max_nodes=spec.max_nodes, max_step=settings.max_step),
            passing=0 if plan.bounds is None else plan.bounds.ordered_for_lost.get(spec.name, 0),
        )
        entry = self._entries.get(spec.name)
        if entry is None or (entry.made_of.backend, entry.made_of.uid) != (spec.backend, spec.uid):
            if entry is not None:
                self._drop(entry)
            entry = self._entries[spec.name] = _Entry(spec, self._pool(spec, settings), planned)
        elif entry.pool is None and entry.planned.nodes == planned.nodes:
            return entry
        entry.planned = planned
        if entry.pool is None:
            log.info("pool %s: the plan needs %d nodes (dry run: nothing is changed)", spec.name, planned.nodes)
        return entry

    def _pool(self, spec: PoolSpec, settings: PoolBackend) -> Pool | None:
        backend = self._make(spec, settings)
        if backend is None:
            return None
        return Pool(
            spec.name,
            backend,
            take_ownership=settings.take_ownership,
            cool_down_s=duration_s(settings.cool_down),
            clock=self._clock,
            backoff=Backoff(self._rng, THROTTLED_S, THROTTLED_MAX_S),
            may_write=self._may_write,
            paused=self._paused,
        )

    def _errors(self) -> dict[str, str]:
        errors = {}
        for name, entry in self._entries.items():
            if entry.task is not None and entry.task.done() and not entry.task.cancelled() and (fault := entry.task.exception()):
                # A fault of ours in one pool; the others and the next tick go on.
                log.error("pool %s: sizing failed", name, exc_info=fault, extra={"object": name})
                errors[name], entry.task = f"a fault of ours: {type(fault).__name__}", None
            elif entry.task is not None and not entry.task.done():
                errors[name] = "no answer yet; it is waited for beside the ticks"
            elif entry.pool is not None and entry.pool.problem is not None:
                errors[name] = f"{entry.pool.problem.reason}: {entry.pool.problem.words}"
        return errors

    @staticmethod
    def _drop(entry: _Entry) -> None:
        """The pool is gone or is another one now. What it has sent stays sent."""
        if entry.task is not None:
            entry.task.cancel()


def _dry(planned: Planned) -> PoolTold:
    words = f"the plan needs {planned.nodes} nodes; backend DryRun changes nothing"
    return PoolTold(asked=None, ready=None, owner="", ok=True, reason=str(PoolReason.DryRun), message=words)
