"""The search for the price at which late requests are worth just so much that the promise is kept, and for the bound.

For any price λ, ``least(λ) = min over schedules of cost + λ × late`` gives a bound: a schedule with at most L late requests costs at least
least(λ) − λL. That is concave in λ; its peak is the best bound, and the plans of the prices next to it keep the promise at the least cost.
The search begins with longer ticks and wide steps, which tell the price well enough and cost little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from autoscaler.core.model import Floats, Ints
from replay.optimum.backward import Backward, Prices
from replay.optimum.forward import Outcome, Plan, forward
from replay.optimum.problem import Problem
from replay.optimum.tables import Grid

LOWEST, HIGHEST = 0.02, 2e5
"""Prices looked at, in units of the work of one request. Below the lowest nobody would be served; beyond the highest none is late."""
_COARSE: Final = 4
_SWITCHES: Final = 40
_TRIES: Final = 4
_HIGHER: Final = 1.3
_PARTS: Final = 4.0
_REACH: Final = 12.0
_USUAL_SIZE: Final = 100_000
_PLANNED: Final = 4
"""Prices that plans are made of."""

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """ready (ticks from the first,): the cheapest schedule found that keeps the promise, or the one that is late least where none does.

    replica_s: its cost by the programme's books. bound_replica_s: no schedule costs less. late: requests.
    """

    ready: Ints
    replica_s: float
    bound_replica_s: float
    late: float


def search(problem: Problem, allowed_late: float, held: int, progress: Progress | None = None) -> Found:
    """allowed_late: requests that may be late. held: replicas of the warm-up. progress: told the share that is done."""
    tell = progress or (lambda _share: None)
    unit = 1.0 / problem.settings.capacity_per_s
    finer = _finer(problem)
    coarse = _with_longer_ticks(problem)
    rough = _grid(coarse, _PARTS, _REACH / 2)
    low, high = LOWEST * unit, HIGHEST * unit
    for points in (12, 8):
        low, _, high = _around(_bounds(coarse, rough, np.geomspace(low, high, points), allowed_late))
    tell(0.15)
    near = _grid(problem, _PARTS, _REACH / 2)
    middle = float(np.sqrt(low * high))
    prices = np.geomspace(max(middle / 2.2, LOWEST * unit), middle * 2.2, 7)
    for _ in range(_TRIES):
        low, best, high = _around(_bounds(problem, near, prices, allowed_late))
        if prices[0] < best < prices[-1] or best >= HIGHEST * unit or best <= LOWEST * unit:
            break
        prices = prices * (prices[-1] / prices[0]) ** (0.8 if best == prices[-1] else -0.8)
    tell(0.3)
    low, best, high = _around(_bounds(problem, near, np.geomspace(low, high, 6), allowed_late))
    tell(0.45)
    # Rounded down on a finer grid: no schedule costs less.
    below = Prices(per_late_s=np.array([best]), interpolated=np.zeros(1))
    bound = _least(Backward(problem, _grid(problem, 2 * finer * _PARTS, _REACH), below))[0] - best * allowed_late
    tell(0.6)
    plan = None
    for _ in range(_TRIES):
        # A price's plan is late a little more often than its values say; a clearly higher one makes up for it.
        tried = Prices(
            per_late_s=np.array([min(low, best / _HIGHER), best, high, max(high, best) * _HIGHER]), interpolated=np.ones(_PLANNED)
        )
        passed = Backward(problem, _grid(problem, finer * _PARTS, _REACH), tried)
        tell(0.8)
        plan = _better(plan, forward(passed, _plans(problem), held), allowed_late)
        if plan[2] <= allowed_late or best >= HIGHEST * unit:
            break
        low, best, high = high, high * 2.0, high * 8.0
    assert plan is not None
    ready, replica_s, late = plan
    return Found(ready=ready, replica_s=replica_s, bound_replica_s=max(float(bound), 0.0), late=late)


def _plans(problem: Problem) -> list[Plan]:
    alone = [Plan(first=price, then=price, switch_tick=0) for price in range(_PLANNED)]
    # The lower price may be late for nearly everyone: a short while of it is looked at as closely as a long one.
    spans = np.geomspace(5e-4, 0.95, _SWITCHES) * (problem.ticks - problem.first_tick)
    moments = sorted({problem.first_tick + int(np.ceil(span)) for span in spans.tolist()})
    return alone + [Plan(first=price, then=price + 1, switch_tick=tick) for price in range(_PLANNED - 1) for tick in moments]


def _better(known: tuple[Ints, float, float] | None, outcome: Outcome, allowed_late: float) -> tuple[Ints, float, float]:
    """The cheapest that keeps the promise; where none does, the one with the fewest late requests."""
    keeps = outcome.late <= allowed_late
    order = (
        np.lexsort((outcome.late, outcome.replica_s, ~keeps)) if keeps.any() else np.lexsort((outcome.replica_s, outcome.late))
    )
    place = int(order[0])
    fresh = (outcome.ready[place], float(outcome.replica_s[place]), float(outcome.late[place]))
    return fresh if known is None or keeps.any() or fresh[2] < known[2] else known


def _least(passed: Backward) -> Floats:
    """The value of the whole, by price: from an empty queue, as if the warm-up had ended on the very count."""
    problem = passed.problem
    opening = problem.opening_cost_s(problem.settings.initial, free=True)
    least: Floats = np.min(passed.opening[:, 0, :] + np.where(np.isfinite(opening), opening, 1e18)[:, None], axis=0)
    return least


def _bounds(problem: Problem, grid: Grid, prices: Floats, allowed_late: float) -> tuple[Floats, Floats]:
    passed = Backward(problem, grid, Prices(per_late_s=prices, interpolated=np.ones(len(prices))))
    return prices, _least(passed) - prices * allowed_late


def _around(priced: tuple[Floats, Floats]) -> tuple[float, float, float]:
    """The price with the highest bound and its neighbours."""
    prices, bounds = priced
    best = int(np.argmax(bounds))
    return float(prices[max(best - 1, 0)]), float(prices[best]), float(prices[min(best + 1, len(prices) - 1)])


def _with_longer_ticks(problem: Problem) -> Problem:
    settings = problem.settings
    if problem.ticks - problem.first_tick < 1000:
        return problem
    return Problem(problem.arrivals[: problem.seconds], replace(settings, tick_s=settings.tick_s * _COARSE), problem.most)


def _grid(problem: Problem, parts: float, reach: float) -> Grid:
    """parts: cells of what arrives within the allowed wait. reach: the largest backlog, in peak arrivals within the allowed wait.

    A low price lets backlogs grow until whole minutes of traffic wait; where they go beyond the grid, values promise too much.
    """
    settings = problem.settings
    work = settings.capacity_per_s * settings.tick_s
    wait_s = max(settings.allowed_s, 2)
    usual = wait_s * problem.requests / max(problem.seconds - settings.warmup_s, 1)
    cells = int(np.clip(np.ceil(work * parts / usual), 1, 64)) if usual > 0 else 1
    most = reach * wait_s * settings.capacity_per_s * float(problem.counts[-1])
    return Grid(cells=cells, nodes=int(np.clip(np.ceil(most / work * cells), 24, 2000)))


def _finer(problem: Problem) -> float:
    """How much finer the grid may be where the problem is small."""
    size = (problem.ticks - problem.first_tick) * len(problem.counts)
    return float(np.clip(_USUAL_SIZE / max(size, 1), 1.0, 4.0))
