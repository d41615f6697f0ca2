"""The backward dynamic programme: what the rest of the trace costs at best, from every count and backlog, for several prices at once.

A price is what a late request costs, in replica-seconds. Values are of two kinds: *rounded down*, where a backlog between two nodes is
taken for the lower one, so that no schedule costs less (the bound); and *interpolated*, nearer to the truth (the plan).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from autoscaler.core.model import Floats
from replay.optimum.kernels import WORTH_IT, Kernels, compiled
from replay.optimum.problem import Problem
from replay.optimum.tables import Grid, Tables, origins, tables

FORBIDDEN_S: Final = 1e15
"""Replica-seconds of what must not be: far beyond any trace, and finite, so that interpolation stays a number."""
_BLOCK_BYTES: Final = 1 << 25
_KEPT_BYTES: Final = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """per_late_s (p,): replica-seconds a late request. interpolated (p,): 1.0, or 0.0 where backlogs are rounded down. left (p,): 1.0 where
    the work of what still waits at the trace's end costs what serving it takes, 0.0 where it costs nothing.

    A schedule that stops serving before the end saves the work of those it leaves. A bound must know that; a plan must not live on it.
    """

    per_late_s: Floats
    interpolated: Floats
    left: Floats

    def __len__(self) -> int:
        return len(self.per_late_s)


class Backward:
    """The pass for a problem, a grid and prices. Values are kept at the edges of blocks of ticks (on long traces, of groups of blocks)
    only; ``block`` works out a block's again. So memory grows with the trace's length by its root at most.

    opening (c, nodes, p): the rest's value as the first tick begins, that tick's count chosen.
    """

    def __init__(
        self,
        problem: Problem,
        grid: Grid,
        prices: Prices,
        kernels: Kernels | Literal["numpy", "best"] = "best",
        *,
        progress: Callable[[float], None] | None = None,
        kept_bytes: int = _KEPT_BYTES,
    ) -> None:
        """progress: told the share that is done. kept_bytes: what values at edges may take."""
        size = (problem.ticks - problem.first_tick) * len(problem.counts) * grid.nodes * len(prices)
        if isinstance(kernels, str):
            self._kernels = compiled() if kernels == "best" and size >= WORTH_IT else None
        else:
            self._kernels = kernels
        self.problem = problem
        self.grid = grid
        self.prices = prices
        self.origins = origins(problem, grid)
        bytes_a_tick = 8 * len(problem.counts) * (grid.nodes + 2) * (len(prices) + 4)
        self.block_ticks = int(np.clip(_BLOCK_BYTES // bytes_a_tick, 8, 512))
        self.edges = list(range(problem.first_tick, problem.ticks, self.block_ticks))
        shape = (len(problem.counts), grid.nodes, len(prices))
        edges = len(self.edges)
        few = -(-edges * 8 * int(np.prod(shape)) // kept_bytes)
        self._group = int(np.clip(few, 1, int(np.ceil(np.sqrt(edges)))))
        # Values after block i; those of one group of blocks, and those after the last block of each group.
        self._after: dict[int, Floats] = {}
        self._after_group: dict[int, Floats] = {}
        values: Floats = np.empty(shape)
        values[...] = self._at_the_end()
        for number in reversed(range(edges)):
            if number % self._group == self._group - 1 or number == edges - 1:
                self._after_group[number // self._group] = values
            values = self._run(self._tables(number), values, None)
            if progress is not None:
                progress(1.0 - number / edges)
        self.opening: Floats = values

    def _at_the_end(self) -> Floats:
        """The value of each backlog after the last tick, (nodes, p)."""
        backlogs = self.origins[-1] + self.grid.cell(self.problem) * (np.arange(self.grid.nodes) - 1.0)
        backlogs[0] = 0.0
        worth: Floats = np.outer(backlogs / self.problem.settings.capacity_per_s, self.prices.left)
        return worth

    def block(self, number: int) -> Floats:
        """The values as each tick of a block begins, (ticks, c, nodes, p)."""
        if number not in self._after:
            self._work_out_group(number // self._group)
        found = self._tables(number)
        kept = np.empty((len(found), *self.opening.shape))
        self._run(found, self._after[number], kept)
        return kept

    def _work_out_group(self, group: int) -> None:
        first = group * self._group
        last = min(first + self._group, len(self.edges)) - 1
        self._after = {last: self._after_group[group]}
        for number in range(last, first, -1):
            self._after[number - 1] = self._run(self._tables(number), self._after[number], None)

    def _tables(self, number: int) -> Tables:
        from_tick, to_tick = self.edges[number], min(self.edges[number] + self.block_ticks, self.problem.ticks)
        return tables(self.problem, self.grid, self.origins, from_tick, to_tick, self._kernels)

    def _run(self, found: Tables, after: Floats, kept: Floats | None) -> Floats:
        """Values at the beginning of the block, from those after it."""
        counts, nodes, prices = after.shape
        # One more node holds what a queue that ran empty is worth.
        best = np.empty((counts, nodes + 1, prices))
        costs = np.stack([np.minimum(self.problem.count_cost_s(found.from_tick + i), FORBIDDEN_S) for i in range(len(found))])
        if self._kernels is not None:
            return self._run_compiled(self._kernels, found, after, kept, best, costs)
        values = after
        rows = (np.arange(counts, dtype=np.int32) * (nodes + 1))[:, None]
        for place in reversed(range(len(found))):
            self._choose(found.from_tick + place + 1, values, best[:, :nodes])
            low = np.take_along_axis(best, found.base[place][:, None, None], axis=1)[:, 0]
            above = np.take_along_axis(best, found.base[place][:, None, None] + 1, axis=1)[:, 0]
            part = found.part[place][:, None]
            best[:, nodes] = np.where(part > 0.0, low + (part * self.prices.interpolated) * (above - low), low)
            values = np.take(best.reshape(-1, prices), found.places(place, nodes) + rows, axis=0)
            values += found.late[place][:, :, None] * self.prices.per_late_s
            values += costs[place][:, None, None]
            if kept is not None:
                kept[place] = values
        return values

    def _run_compiled(
        self, kernels: Kernels, found: Tables, after: Floats, kept: Floats | None, best: Floats, costs: Floats
    ) -> Floats:
        problem, values = self.problem, after.copy()
        following = range(found.from_tick + 1, found.from_tick + len(found) + 1)
        kernels.run(
            values,
            np.empty((0, *values.shape)) if kept is None else kept,
            best,
            problem.counts.astype(np.float64),
            np.array([problem.stop_cost_s(tick) if tick < problem.ticks else -1.0 for tick in following]),
            np.array([problem.start_cost_s(tick) for tick in following]),
            FORBIDDEN_S,
            found.shift,
            found.base,
            found.part,
            found.late,
            costs,
            self.prices.per_late_s,
            self.prices.interpolated,
        )
        return values

    def _choose(self, tick: int, values: Floats, best: Floats) -> None:
        """Into best (c, nodes, p): the value of the count c before `tick`, when the tick's own count is chosen at its best."""
        if tick >= self.problem.ticks:
            best[...] = values
            return
        counts = self.problem.counts.astype(np.float64)[:, None, None]
        stop = counts * self.problem.stop_cost_s(tick)
        np.subtract(values, stop, out=best)
        _least_so_far(best)
        best += stop
        start_s = self.problem.start_cost_s(tick)
        if start_s < FORBIDDEN_S:
            start = counts * start_s
            up = values + start
            _least_so_far(up[::-1])
            up -= start
            np.minimum(best, up, out=best)


def _least_so_far(values: Floats) -> None:
    """minimum.accumulate over the first axis, in place: in twice as long steps each, which numpy does much faster."""
    step = 1
    while step < len(values):
        np.minimum(values[step:], values[:-step], out=values[step:])
        step *= 2
