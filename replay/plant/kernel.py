"""The fluid step, one second at a time, in three forms that give the same numbers bit by bit.

For each service and second, with `a` arrivals, R ready replicas of capacity c, K slots, and κ = K ÷ (1 + K ÷ D):

    queue += a;  served = min(queue, c × R);  queue −= served
    u = served ÷ (c × R);   b = min(uκ ÷ (1 − uκ ÷ D), K)           the batch, as autoscaler.core.capacity.batch_at
    running += (b × R − running) ÷ 20 s, at most K × R               a first-order lag

``scalar`` is plain Python, the fastest for a few services; ``vector`` is numpy, for many; ``compiled`` is numba (the extra ``fast``), for
very many or very long. Each does the same operations on the same doubles in the same order; nothing may be reordered or fused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.core.capacity import effective_slots
from autoscaler.core.constant import constant
from autoscaler.core.model import Floats, ScalingSpec
from autoscaler.core.rows import some

LAG_S: Final = 20.0
_LAG_S: Final = constant(LAG_S)
FEW_SERVICES: Final = 8
"""Up to here the plain Python loop is faster than numpy's calls."""


@dataclass(slots=True, kw_only=True)
class FluidState:
    """What flows, (n,) each. queue, running: requests. arrived, used: sums over the seconds since the last scrape, of arrivals and of u; both
    lie in `sums` (2, n).

    capacity_per_s, slots, slowdown, worth (κ): of one replica. ready: replicas that serve.
    """

    queue: Floats
    running: Floats
    sums: Floats
    arrived: Floats
    used: Floats
    ready: Floats
    capacity_per_s: Floats
    slots: Floats
    slowdown: Floats
    worth: Floats


def fluid_state(specs: tuple[ScalingSpec, ...], ready: Floats) -> FluidState:
    n = len(specs)
    slots = np.array([float(spec.capacity.slots) for spec in specs])
    slowdown = np.array([float(spec.capacity.slots_slowdown) for spec in specs])
    sums = np.zeros((2, n))
    return FluidState(
        queue=np.zeros(n),
        running=np.zeros(n),
        sums=sums,
        arrived=sums[0],
        used=sums[1],
        ready=ready,
        capacity_per_s=np.array([float(spec.capacity.per_s) for spec in specs]),
        slots=slots,
        slowdown=slowdown,
        worth=effective_slots(slots, slowdown),
    )


Kernel = Callable[[FluidState, Floats, Floats], None]
"""(state, arrivals (n, s), queues (n, s)): advances the state by s seconds and writes the queue after each second."""


def kernel_for(services: int, seconds: int) -> Kernel:
    """The fastest form for a run of that size. numba pays only where its start (about a second) does."""
    if services <= FEW_SERVICES:
        return scalar
    if services * seconds > 10_000_000 and (fast := compiled()) is not None:
        return fast
    return vector


def scalar(state: FluidState, arrivals: Floats, queues: Floats) -> None:
    """Plain Python, service by service. `queues` must be zero where it comes in: seconds without a queue are not written."""
    for row in range(len(state.queue)):
        _scalar_row(state, row, arrivals[row].tolist(), queues)


def _scalar_row(state: FluidState, row: int, arrivals: list[float], queues: Floats) -> None:
    queue, running = state.queue.item(row), state.running.item(row)
    arrived, used = state.arrived.item(row), state.used.item(row)
    ready = state.ready.item(row)
    capacity = state.capacity_per_s.item(row) * ready
    most = state.slots.item(row)
    slowdown, worth = state.slowdown.item(row), state.worth.item(row)
    held = most * ready
    divisor = capacity if capacity > 0.0 else 1.0  # without capacity nothing is served: a share of 0
    last = -1.0
    share = goal = 0.0
    if queue == 0.0 and max(arrivals) <= capacity:
        # Nothing waits in these seconds: what arrives is served at once.
        for a in arrivals:
            arrived += a
            if a != last:
                last = a
                share = a / divisor
                weight = share * worth
                batch = weight / (1.0 - weight / slowdown)
                goal = (batch if batch < most else most) * ready
            used += share
            running += (goal - running) / LAG_S
            if running > held:
                running = held
    else:
        after: list[float] = []
        for a in arrivals:
            arrived += a
            queue += a
            served = queue if queue < capacity else capacity
            queue -= served
            after.append(queue)
            if served != last:
                last = served
                share = served / divisor
                weight = share * worth
                batch = weight / (1.0 - weight / slowdown)
                goal = (batch if batch < most else most) * ready
            used += share
            running += (goal - running) / LAG_S
            if running > held:
                running = held
        queues[row] = after
        state.queue[row] = queue
    state.running[row] = running
    state.arrived[row] = arrived
    state.used[row] = used


def vector(state: FluidState, arrivals: Floats, queues: Floats) -> None:
    """numpy, all services at once; only what a second takes over from the one before goes second by second: the queue, then the lag.
    `queues` as for ``scalar``."""
    ready = state.ready
    capacity = state.capacity_per_s * ready
    came = np.ascontiguousarray(arrivals.T)  # (s, n): a second's values lie side by side
    served = came  # where nothing waits in these seconds
    if some(state.queue > 0.0) or some(came > capacity):
        served, queue, after = np.empty_like(came), state.queue, np.empty_like(came)
        for a, out, left in zip(came, served, after, strict=True):
            queue = queue + a
            np.minimum(queue, capacity, out=out)
            queue = np.subtract(queue, out, out=left)
        queues[:] = after.T
        state.queue[:] = queue
    share = served / np.where(capacity > 0.0, capacity, 1.0)
    weight = np.minimum(share, 1.0) * state.worth
    goals = np.minimum(weight / (1.0 - weight / state.slowdown), state.slots) * ready
    running, held = state.running, state.slots * ready
    for goal in goals:
        running += (goal - running) / _LAG_S
        np.minimum(running, held, out=running)
    # Both sums at once, and in the order of the seconds, as the other forms add them up.
    n = len(ready)
    sums = np.concatenate([state.arrived, state.used])
    for both in np.concatenate([came, share], axis=1):
        sums += both
    state.arrived[:], state.used[:] = sums[:n], sums[n:]


@functools.cache
def compiled() -> Kernel | None:
    """The numba form, or None where numba isn't installed. Made once a process; its machine code is cached on disk."""
    try:
        import numba
    except ImportError:
        return None
    run = numba.njit(cache=True, fastmath=False)(_loop)

    def advance(state: FluidState, arrivals: Floats, queues: Floats) -> None:
        run(
            arrivals,
            queues,
            state.queue,
            state.running,
            state.arrived,
            state.used,
            state.ready,
            state.capacity_per_s,
            state.slots,
            state.slowdown,
            state.worth,
        )

    return advance


def _loop(
    arrivals: Any,
    queues: Any,
    queue: Any,
    running: Any,
    arrived: Any,
    used: Any,
    ready: Any,
    capacity_per_s: Any,
    slots: Any,
    slowdown: Any,
    worth: Any,
) -> None:
    for row in range(arrivals.shape[0]):
        capacity = capacity_per_s[row] * ready[row]
        held = slots[row] * ready[row]
        for second in range(arrivals.shape[1]):
            a = arrivals[row, second]
            arrived[row] += a
            queue[row] += a
            served = min(queue[row], capacity)
            queue[row] -= served
            queues[row, second] = queue[row]
            share = served / capacity if capacity > 0.0 else 0.0
            weight = min(share, 1.0) * worth[row]
            goal = min(weight / (1.0 - weight / slowdown[row]), slots[row]) * ready[row]
            used[row] += share
            running[row] += (goal - running[row]) / 20.0
            running[row] = min(running[row], held)
