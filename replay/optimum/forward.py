"""The forward run: several plans at once through the exact queue, each tick's count chosen by the values of the backward pass.

A plan follows the values of one price until a tick, and those of the next higher price from there on. One price alone keeps some promises
exactly and jumps over others; between two neighbours the switch's moment sets how many requests are late, at what the two cost on
average, which is what the bound says too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Floats, Ints
from replay.optimum.backward import FORBIDDEN_S, Backward
from replay.optimum.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """first, then: places of prices in the backward pass; `then` rules from switch_tick on."""

    first: int
    then: int
    switch_tick: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """ready (k, ticks from the first): replicas that serve in each tick. replica_s (k,): their cost. late (k,): requests. queue (k,): the
    longest at a tick's end, requests. left_s (k,): replica-seconds to serve what still waits at the trace's end."""

    ready: Ints
    replica_s: Floats
    late: Floats
    queue: Floats
    left_s: Floats


def forward(passed: Backward, plans: Sequence[Plan], held: int, progress: Callable[[float], None] | None = None) -> Outcome:
    """Runs the plans. held: replicas of the warm-up. progress: told the share that is done."""
    problem, grid = passed.problem, passed.grid
    cell, tick_s, last = grid.cell(problem), problem.settings.tick_s, grid.nodes - 1
    counts = problem.counts.astype(np.float64)
    flows = problem.settings.capacity_per_s * counts
    first = np.array([plan.first for plan in plans])
    then = np.array([plan.then for plan in plans])
    switch = np.array([plan.switch_tick for plan in plans])
    n = len(plans)
    ready = np.zeros((n, problem.ticks - problem.first_tick), dtype=np.int64)
    replica_s, late, queue, longest = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    chosen = np.zeros(n, dtype=np.int64)
    steps = np.arange(1, tick_s + 1)[:, None]
    everyone = np.arange(n)
    between = counts[:, None] - counts[None, :]  # from the column's count to the row's
    for number, from_tick in enumerate(passed.edges):
        values = passed.block(number)
        for place in range(len(values)):
            tick = from_tick + place
            origin = passed.origins[tick]
            at = np.minimum(np.where(queue < origin, queue / origin, 1.0 + (queue - origin) / cell), last)
            node = np.minimum(at.astype(np.int64), last - 1)
            part = at - node
            price = np.where(tick < switch, first, then)
            here = values[place]
            worth = (1.0 - part) * here[:, node, price] + part * here[:, node + 1, price]
            if tick == problem.first_tick:
                moved = np.repeat(np.minimum(problem.opening_cost_s(held, free=False), FORBIDDEN_S)[:, None], n, axis=1)
            else:
                change = between[:, chosen]
                moved = np.maximum(change, 0.0) * min(problem.start_cost_s(tick), FORBIDDEN_S)
                moved -= np.minimum(change, 0.0) * problem.stop_cost_s(tick)
            chosen = np.argmin(worth + moved, axis=0)
            replica_s += moved[chosen, everyone] + problem.count_cost_s(tick)[chosen]
            ready[:, tick - problem.first_tick] = problem.counts[chosen]
            seconds = slice(tick * tick_s, (tick + 1) * tick_s)
            served = np.cumsum(problem.arrivals[seconds])[:, None] - flows[chosen] * steps
            queues = served + np.maximum(queue, -np.minimum.accumulate(served, axis=0))
            late += np.clip(queues - problem.recent[seconds, None], 0.0, problem.due[seconds, None]).sum(axis=0)
            queue = queues[-1]
            np.maximum(longest, queue, out=longest)
        if progress is not None:
            progress((number + 1) / len(passed.edges))
    return Outcome(ready=ready, replica_s=replica_s, late=late, queue=longest, left_s=queue / problem.settings.capacity_per_s)


def late_of(problem: Problem, ready: Ints) -> float:
    """Requests that are late with these replicas. ready (ticks from the first,)."""
    tick_s, capacity_per_s = problem.settings.tick_s, problem.settings.capacity_per_s
    late = queue = 0.0
    steps = np.arange(1, tick_s + 1)
    for place, count in enumerate(ready.tolist()):
        first_s = (problem.first_tick + place) * tick_s
        seconds = slice(first_s, first_s + tick_s)
        served = np.cumsum(problem.arrivals[seconds]) - capacity_per_s * count * steps
        queues = served + np.maximum(queue, -np.minimum.accumulate(served))
        queue = float(queues[-1])
        if queue > 0.0 or queues.max() > 0.0:
            late += float(np.clip(queues - problem.recent[seconds], 0.0, problem.due[seconds]).sum())
    return late
