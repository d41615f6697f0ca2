"""One pool: what is asked of its backend in a tick, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from autoscaler.adapters.nodepools.backend import Backend, PoolState, Wish
from autoscaler.adapters.nodepools.order import CoolDown, Limits, Order, order, together
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from autoscaler.backoff import Backoff
from autoscaler.core.allocation.nodes import spot_nodes, zone_nodes
from autoscaler.core.model import PoolSpec
from autoscaler.ports import Clock, PoolTold

log = logging.getLogger(__name__)

CALL_S: Final = 10.0
"""What one question or order may take; a tick does not wait so long for it (see ``pools``)."""
SHORT: Final = (PoolReason.NoCapacity, PoolReason.QuotaExceeded)
"""Reasons with which a system has none to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What the plan says of the pool. taken: as in ``Wish``. passing: of the nodes, those that stand in for ones about to go: with these they
    go at once, without the cool-down."""

    pool: PoolSpec
    nodes: int
    taken: int | None
    limits: Limits
    passing: int = 0


class Pool:
    """may_write: asked right before each order, whether this process (still) leads. paused: the direction that is paused now, "" none."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        *,
        take_ownership: bool,
        cool_down_s: float,
        clock: Clock,
        backoff: Backoff,
        may_write: Callable[[], bool],
        paused: Callable[[], str],
    ) -> None:
        self.name = name
        self.state: PoolState | None = None
        self.problem: PoolProblem | None = None
        self._backend = backend
        self._take_ownership = take_ownership
        self._clock = clock
        self._cool_down = CoolDown(cool_down_s)
        self._backoff = backoff
        self._not_before_s = float("-inf")
        self._may_write = may_write
        self._paused = paused
        self._order: Order | None = None

    @property
    def waits(self) -> bool:
        """Whether it was throttled, and is not asked for a while."""
        return self._clock.monotonic_s() < self._not_before_s

    @property
    def heard(self) -> bool:
        """Whether anything is known of it."""
        return self.state is not None or self.problem is not None

    async def step(self, planned: Planned) -> None:
        """Looks, and orders where that is needed. Never raises for a fault outside."""
        try:
            await self._step(planned)
        except PoolProblem as problem:
            self._met(problem)
        else:
            self._backoff.progress()
            self._met(None)

    async def _step(self, planned: Planned) -> None:
        state = self.state = await _within(self._backend.get(CALL_S))
        lately = self._cool_down.take(self._clock.monotonic_s(), max(planned.nodes - planned.passing, 0), state.target)
        if state.owner and not self._take_ownership:
            raise PoolProblem(PoolReason.OwnedElsewhere, f"{state.owner}; nothing is written, unless takeOwnership is true")
        wanted = self._order = order(planned.nodes, lately, planned.limits, state, self._paused())
        if not self._may_write():
            return
        wish = Wish(
            nodes=wanted.nodes,
            reason=together([f"the plan needs {planned.nodes} nodes", wanted.why]),
            taken=planned.taken,
            per_node=planned.pool.accelerators_per_node,
            # Of the number that is ordered, which may be another one than the plan's.
            zones=zone_nodes(planned.pool, wanted.nodes),
            spot=spot_nodes(planned.pool, wanted.nodes) if planned.pool.spot_ratio > 0 else None,
        )
        after = await _within(self._backend.set_target(wish, state, CALL_S))
        if after is state:
            return
        self.state = after
        if after.target != state.target:  # room is moved with every replica that comes or goes: nothing to say
            log.info(
                "pool %s: %s → %d nodes asked for (%s)",
                self.name,
                state.target,
                wanted.nodes,
                wish.reason,
                extra={"object": self.name},
            )

    def _met(self, problem: PoolProblem | None) -> None:
        if problem is not None and problem.reason == PoolReason.Throttled:
            pause_s = self._backoff.next_s(problem.retry_after_s)
            self._not_before_s = self._clock.monotonic_s() + pause_s
            problem = PoolProblem(problem.reason, f"{problem.words}; asked again in {pause_s:.0f} s")
        before = None if self.problem is None else self.problem.words
        if problem is not None and problem.words != before:
            log.warning("pool %s: %s: %s", self.name, problem.reason, problem.words, extra={"object": self.name})
        elif problem is None and before is not None:
            log.info("pool %s: that is over", self.name, extra={"object": self.name})
        self.problem = problem

    def told(self, planned: Planned) -> PoolTold:
        """For the pool's status."""
        state = self.state or PoolState()
        ok, reason, message = self._words(planned, state)
        return PoolTold(
            asked=state.target,
            ready=state.ready,
            owner=state.owner,
            ok=ok,
            reason=str(reason),
            message=message,
            short=self._short(state),
        )

    def _short(self, state: PoolState) -> str:
        if self.problem is not None:
            return f"{self.problem.reason}: {self.problem.words}" if self.problem.reason in SHORT else ""
        return f"{state.reason}: {state.problem}" if state.problem and state.reason in SHORT else ""

    def _words(self, planned: Planned, state: PoolState) -> tuple[bool, PoolReason, str]:
        if self.problem is not None:
            return False, self.problem.reason, self.problem.words
        limited = self._order.why if self._order is not None else ""
        counts = f"the plan needs {planned.nodes} nodes, asked for {state.target}, ready {state.ready}"
        counts = counts.replace("None", "not known")
        if state.problem:
            reason = state.reason or PoolReason.Failed
            return reason == PoolReason.Scaling, reason, together([state.problem, counts, limited])
        if state.changing or self._on_their_way(state):
            return True, PoolReason.Scaling, together([counts, state.changing, limited])
        return True, PoolReason.Limited if limited else PoolReason.Reconciled, together([counts, limited])

    def _on_their_way(self, state: PoolState) -> bool:
        if state.target is None or state.ready is None:
            return False
        # A lower bound, or room, says nothing of what its owner has beyond it.
        beyond = self._backend.sets == "Nodes" and state.ready > state.target
        return state.ready < state.target or beyond


async def _within(asking: Awaitable[PoolState]) -> PoolState:
    """Also where a backend's requests, one after another, take longer than each may."""
    try:
        async with asyncio.timeout(CALL_S):
            return await asking
    except TimeoutError:
        raise PoolProblem(PoolReason.Unreachable, f"no answer within {CALL_S:g} s") from None
