"""What a tick does to every (count, backlog): where the backlog ends, and how many requests are found to be late.

Late is judged when it happens: of the requests that came ``w`` seconds ago (w: the longest wait allowed) those that are still queued after
this second are late, and in a first-come-first-served queue that number follows from the queue alone:

    late(t) = clip(queue(t) − arrivals of the last w seconds, 0, arrivals of second t − w)

So a tick's late requests depend on its count and on the backlog that it begins with, and on nothing after it. With a constant count c of
capacity μ, the backlog after t seconds is max(q₀ + S_t, R_t), S_t = arrivals − μct and R_t = the backlog that an empty queue would have got.

Backlogs lie on a grid: node 0 is the empty queue, node j ≥ 1 holds ``origin + (j − 1) × cell``. A tick serves ``μ × tick`` requests with each
replica, and the cell is a whole part of that: as long as the queue does not run empty, a count moves the backlog by whole cells, and the
tick's arrivals move all nodes alike, which the next tick's origin takes up. Nothing is rounded there; only a queue that ran empty
within the tick ends between two nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Floats
from replay.optimum.kernels import Kernels
from replay.optimum.problem import Problem

Places = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """cells: of a replica-tick's work. nodes: backlogs looked at; what is beyond the last is taken for the last."""

    cells: int
    nodes: int

    def cell(self, problem: Problem) -> float:
        """Requests between two nodes."""
        return problem.settings.capacity_per_s * problem.settings.tick_s / self.cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Ticks from_tick … from_tick + b − 1. origins (b,): node 1's backlog as each tick begins.

    late (b, c, nodes): requests found late in the tick. shift (b, c): by how many nodes a backlog moves that outlasts the tick. base (b, c):
    the node at which a queue ends that ran empty within the tick, or rather by the share `part` (b, c; 0 … 1) of the way to the next node
    above it.
    """

    from_tick: int
    origins: Floats
    late: Floats
    shift: Places
    base: Places
    part: Floats

    def __len__(self) -> int:
        return len(self.origins)

    def places(self, place: int, nodes: int) -> Places:
        """Where each backlog of the block's tick `place` ends, (c, nodes): a node, or `nodes` where the queue ran empty."""
        moved = self.shift[place][:, None] + np.arange(nodes, dtype=np.int32)
        outlasts = moved > self.base[place][:, None]
        outlasts[:, 0] = False
        return np.where(outlasts, np.minimum(moved, np.int32(nodes - 1)), np.int32(nodes))


def origins(problem: Problem, grid: Grid) -> Floats:
    """Node 1's backlog (0 … cell] at each tick and after the last, (ticks + 1,)."""
    cell = grid.cell(problem)
    arrived = problem.arrivals.reshape(problem.ticks, -1).sum(axis=1)
    total = np.concatenate([[0.0], np.cumsum(arrived)])
    left: Floats = np.mod(total, cell)
    # Whole cells differ by rounding only: an origin next to zero would be the empty queue twice.
    left[left < cell * 1e-9] = cell
    return left


def tables(
    problem: Problem, grid: Grid, all_origins: Floats, from_tick: int, to_tick: int, kernels: Kernels | None = None
) -> Tables:
    """The tables of ticks from_tick … to_tick − 1."""
    settings, cell = problem.settings, grid.cell(problem)
    tick_s = settings.tick_s
    seconds = slice(from_tick * tick_s, to_tick * tick_s)
    shape = (to_tick - from_tick, tick_s)
    came = problem.arrivals[seconds].reshape(shape)
    due, recent = problem.due[seconds].reshape(shape), problem.recent[seconds].reshape(shape)
    origin = all_origins[from_tick:to_tick, None]
    flows = settings.capacity_per_s * problem.counts.astype(np.float64)
    # S and R after each second, (b, s, c).
    moved = np.cumsum(came, axis=1)[:, :, None] - flows * np.arange(1, tick_s + 1)[:, None]
    gathered = np.zeros_like(moved)
    queue = np.zeros((shape[0], len(flows)))
    for second in range(tick_s):
        queue = np.maximum(queue + came[:, second, None] - flows, 0.0)
        gathered[:, second] = queue
    always = np.clip(gathered - recent[:, :, None], 0.0, due[:, :, None]).sum(axis=1)
    late = np.empty((shape[0], len(flows), grid.nodes))
    (_late if kernels is None else kernels.late)(due, recent, moved, gathered, origin[:, 0], cell, always, late)
    shift, base, part = _next(problem, grid, all_origins, came.sum(axis=1), queue, from_tick, to_tick)
    return Tables(from_tick=from_tick, origins=all_origins[from_tick:to_tick], late=late, shift=shift, base=base, part=part)


def _late(
    due: Floats, recent: Floats, moved: Floats, gathered: Floats, origin: Floats, cell: float, always: Floats, risen: Floats
) -> None:
    """Each second's late requests rise with the backlog from `low` on until all its due ones are late, at `high`: a sum of ramps, which two
    running sums over their corners give for all nodes at once. Into risen (b, c, nodes)."""
    ticks, counts, nodes = risen.shape
    low = np.maximum(recent[:, :, None] - moved, gathered - moved)
    high = recent[:, :, None] - moved + due[:, :, None]
    width = nodes + 2
    bends = np.zeros(ticks * counts * width)
    begin = origin[:, None, None]
    wanted = (high > low) & (low < begin + cell * (nodes - 1))
    if wanted.any():
        rows = np.broadcast_to((np.arange(ticks)[:, None, None] * counts + np.arange(counts)) * width, wanted.shape)[wanted]
        begin = np.broadcast_to(begin, wanted.shape)[wanted]
        for corners, sign in ((low, 1.0), (high, -1.0)):
            at = (corners[wanted] - begin) / cell + 1.0
            # The way to node 1 is measured from the corner, so it is right although node 1 is nearer to node 0 than a cell.
            first = np.clip(np.ceil(at), 1, nodes).astype(np.int64)
            ahead = first - at
            bends += np.bincount(rows + first, weights=sign * ahead, minlength=len(bends))
            bends += np.bincount(rows + first + 1, weights=sign * (1.0 - ahead), minlength=len(bends))
    slopes = bends.reshape(ticks, counts, width)[:, :, :nodes]
    np.cumsum(np.cumsum(slopes, axis=2), axis=2, out=risen)
    risen *= cell
    risen += always[:, :, None]


def _next(
    problem: Problem, grid: Grid, all_origins: Floats, arrived: Floats, emptied: Floats, from_tick: int, to_tick: int
) -> tuple[Places, Places, Floats]:
    cell, last = grid.cell(problem), grid.nodes - 1
    origin, then = all_origins[from_tick:to_tick], all_origins[from_tick + 1 : to_tick + 1]
    shift = np.rint((origin + arrived - then) / cell).astype(np.int32)
    over = emptied - then[:, None]
    above = np.floor(over / cell)
    base = np.where(over < 0.0, 0.0, above + 1.0)
    part = np.where(over < 0.0, emptied / then[:, None], over / cell - above)
    part[base >= last] = 0.0
    base = np.minimum(base, last).astype(np.int32)
    moved = shift[:, None] - (grid.cells * problem.counts).astype(np.int32)
    return moved, base, part
