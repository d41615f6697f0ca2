"""The price of a late request at which the promise is just kept.

For any price λ, ``least(λ) = min over schedules of cost + λ × late`` gives a bound: a schedule with at most L late requests costs at least
least(λ) − λL. That is concave in λ; its peak is the best bound, and the plans of the prices next to it keep the promise at the least cost.
The search begins with longer ticks and wide steps, which tell the price well enough and cost little.

Two peaks are looked for. A schedule that stops serving before the trace ends saves the work of all whom it leaves, and with a low promise
that is the cheapest of all. The bound has to know that. The plan's price is the one where what is left still has to be served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from autoscaler.core.model import Floats
from replay.optimum.backward import Backward, Prices
from replay.optimum.problem import Problem
from replay.optimum.tables import Grid

LOWEST, HIGHEST = 0.02, 2e5
"""Prices looked at, in units of the work of one request. Below the lowest nobody would be served; beyond the highest none is late."""
PARTS: Final = 4.0
REACH: Final = 3.0
_COARSE: Final = 4
_TRIES: Final = 4
_NEAR: Final = 1.9
_LEAVING_PAYS: Final = 2.0
"""In units of the work of one request: at higher prices nobody is left unserved, since serving costs less than that."""
_AROUND: Final = (0.98, 1.06)
_MOST_NODES: Final = 2000

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """Replica-seconds a late request: the plan's price between its neighbours, and those of the bound."""

    low: float
    best: float
    high: float
    bound: Floats


def priced(problem: Problem, allowed_late: float, progress: Progress) -> Priced:
    """allowed_late: requests that may be late."""
    unit = 1.0 / problem.settings.capacity_per_s
    coarse = _with_longer_ticks(problem)
    rough, near = grid(coarse, PARTS, REACH), grid(problem, PARTS, REACH)
    low, high = LOWEST * unit, HIGHEST * unit
    for points, share in ((12, 0.25), (8, 0.4)):
        low, best, high = _around(coarse, rough, np.geomspace(low, high, points), allowed_late, left=1.0)
        progress(share)
    prices = np.geomspace(max(best / _NEAR, LOWEST * unit), best * _NEAR, 6)
    for _ in range(_TRIES):
        low, best, high = _around(problem, near, prices, allowed_late, left=1.0)
        if prices[0] < best < prices[-1] or best >= HIGHEST * unit or best <= LOWEST * unit:
            break
        prices = prices * (prices[-1] / prices[0]) ** (0.8 if best == prices[-1] else -0.8)
    progress(0.85)
    peak = best
    if best < _LEAVING_PAYS * unit:
        wide = np.geomspace(max(low, 0.8 * unit), 1.2 * _LEAVING_PAYS * unit, 9)
        _, peak, _ = _around(coarse, rough, wide, allowed_late, left=0.0)
    progress(1.0)
    return Priced(low=low, best=best, high=high, bound=peak * np.array(_AROUND))


def least(passed: Backward) -> Floats:
    """The value of the whole, by price: from an empty queue, as if the warm-up had ended on the very count."""
    problem = passed.problem
    opening = problem.opening_cost_s(problem.settings.initial, free=True)
    found: Floats = np.min(passed.opening[:, 0, :] + np.where(np.isfinite(opening), opening, 1e18)[:, None], axis=0)
    return found


def grid(problem: Problem, parts: float, reach: float) -> Grid:
    """parts: cells of what arrives within the allowed wait. reach: the largest backlog, in peak arrivals within the allowed wait."""
    settings = problem.settings
    work = settings.capacity_per_s * settings.tick_s
    wait_s = max(settings.allowed_s, 2)
    usual = wait_s * problem.requests / max(problem.seconds - settings.warmup_s, 1)
    cells = int(np.clip(np.ceil(work * parts / usual), 1, 64)) if usual > 0 else 1
    most = reach * wait_s * settings.capacity_per_s * float(problem.counts[-1])
    return Grid(cells=cells, nodes=int(np.clip(np.ceil(most / work * cells), 24, _MOST_NODES)))


def _around(problem: Problem, on: Grid, prices: Floats, allowed_late: float, *, left: float) -> tuple[float, float, float]:
    """The price with the highest bound and its neighbours."""
    n = len(prices)
    passed = Backward(problem, on, Prices(per_late_s=prices, interpolated=np.ones(n), left=np.full(n, left)))
    best = int(np.argmax(least(passed) - prices * allowed_late))
    return float(prices[max(best - 1, 0)]), float(prices[best]), float(prices[min(best + 1, n - 1)])


def _with_longer_ticks(problem: Problem) -> Problem:
    settings = problem.settings
    if problem.ticks - problem.first_tick < 1000:
        return problem
    return Problem(problem.arrivals[: problem.seconds], replace(settings, tick_s=settings.tick_s * _COARSE), problem.most)
