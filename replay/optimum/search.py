"""The search for the cheapest schedule that keeps the promise, and for the bound that none goes below.

The price of a late request (``prices``) leaves plans that are late a little more and a little less often than allowed. Between two such
prices lies the moment at which a plan goes over from the one to the other; it is looked for twice, wide and narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.model import Floats, Ints
from replay.optimum.backward import Backward, Prices
from replay.optimum.forward import Outcome, Plan, forward, late_of
from replay.optimum.prices import HIGHEST, LOWEST, PARTS, REACH, Priced, Progress, grid, least, priced
from replay.optimum.problem import Problem

_SWITCHES: Final = 8
_NARROW: Final = 16
_TRIES: Final = 4
_HIGHER: Final = 1.3
_FINER: Final = 2.0
"""The plan's grid beside the one that finds the price, and the bound's beside the plan's."""
_USUAL_SIZE: Final = 100_000
_PLANNED: Final = 4
"""Prices that plans are made of."""
_NEARLY: Final = 0.97


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """ready (ticks from the first,): the cheapest schedule found that keeps the promise, or the one that is late least where none does.

    replica_s: its cost by the programme's books. bound_replica_s: no schedule that is late for as few (where the promise can be kept: for
    as few as it allows) costs less. late: requests. bound_prices: those that the bound was found at.
    """

    ready: Ints
    replica_s: float
    bound_replica_s: float
    late: float
    bound_prices: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Best:
    """A plan that was run. number: among its outcome's."""

    outcome: Outcome
    number: int

    @property
    def late(self) -> float:
        return float(self.outcome.late[self.number])

    @property
    def price_s(self) -> float:
        """What it costs, and what it would cost to serve those whom it leaves."""
        return float(self.outcome.replica_s[self.number] + self.outcome.left_s[self.number])


def search(problem: Problem, allowed_late: float, held: int, progress: Progress | None = None) -> Found:
    """allowed_late: requests that may be late. held: replicas of the warm-up. progress: told the share that is done."""
    tell = progress or (lambda _share: None)
    most = most_ready(problem, held)
    fewest = late_of(problem, most)
    # Where the promise can't be kept, what keeps as much of it as can be.
    allowed_late = max(allowed_late, fewest * (1.0 + 1e-9))
    found = priced(problem, allowed_late, lambda share: tell(0.3 * share))
    plan = _planned(problem, found, allowed_late, held, lambda share: tell(0.3 + 0.5 * share))
    least_s = bound_s(problem, found.bound, allowed_late, lambda share: tell(0.8 + 0.2 * share))
    outcome, number = plan.outcome, plan.number
    ready, replica_s, late = outcome.ready[number], float(outcome.replica_s[number]), plan.late
    if late > allowed_late:
        # The grid's prices miss what only every replica there is can do.
        ready, replica_s, late = most, _cost_s(problem, most, held), fewest
    return Found(ready=ready, replica_s=replica_s, bound_replica_s=least_s, late=late, bound_prices=found.bound)


def most_ready(problem: Problem, held: int) -> Ints:
    """The schedule that is late for the fewest, (ticks from the first,): every replica there is, from when it can be ready."""
    ready = np.full(problem.ticks - problem.first_tick, problem.counts[-1], dtype=np.int64)
    ready[: max(problem.start_ticks - problem.first_tick, 0)] = held
    return ready


def _cost_s(problem: Problem, ready: Ints, held: int) -> float:
    """What a schedule costs by the programme's books. ready: some of problem.counts."""
    total, before = 0.0, held
    for place, count in enumerate(ready.tolist()):
        tick = problem.first_tick + place
        here = int(np.searchsorted(problem.counts, count))
        if place == 0:
            total += float(problem.opening_cost_s(held, free=False)[here])
        elif count > before:
            total += (count - before) * problem.start_cost_s(tick)
        else:
            total += (before - count) * problem.stop_cost_s(tick)
        total += float(problem.count_cost_s(tick)[here])
        before = count
    return total


def _planned(problem: Problem, found: Priced, allowed_late: float, held: int, progress: Progress) -> _Best:
    """The best plan; one that is late more often than allowed only where no price was high enough."""
    unit = 1.0 / problem.settings.capacity_per_s
    low, best, high, reach = found.low, found.best, found.high, REACH
    kept: _Best | None = None
    for _ in range(_TRIES):
        on = grid(problem, _finer(problem) * _FINER * PARTS, reach)
        # A price's plan is late a little more often than its values say; a clearly higher one makes up for it.
        tried = np.array([min(low, best / _HIGHER), best, high, max(high, best) * _HIGHER])
        passed = Backward(
            problem,
            on,
            Prices(per_late_s=tried, interpolated=np.ones(_PLANNED), left=np.ones(_PLANNED)),
            progress=lambda share: progress(0.4 * share),
        )
        plans = _plans(problem)
        outcome = forward(passed, plans, held, lambda share: progress(0.4 + 0.3 * share))
        kept = _better(kept, outcome, allowed_late)
        if kept.late > allowed_late and best < HIGHEST * unit:
            low, best, high = high, high * 2.0, high * 8.0
            if outcome.queue[kept.number] > on.cell(problem) * on.nodes:
                # Beyond the grid values promise too much.
                reach *= 2.0
        elif outcome.late[0] < _NEARLY * allowed_late and LOWEST * unit < tried[0] and kept.outcome is outcome:
            low, best, high = tried[0] / _HIGHER**2, tried[0] / _HIGHER, tried[0]
        else:
            break
    assert kept is not None
    if kept.outcome is outcome and kept.late < _NEARLY * allowed_late:
        narrow = _narrow(problem, plans, kept.number)
        if narrow:
            kept = _better(kept, forward(passed, narrow, held, lambda share: progress(0.7 + 0.3 * share)), allowed_late)
    progress(1.0)
    return kept


def _plans(problem: Problem) -> list[Plan]:
    alone = [Plan(first=price, then=price, switch_tick=problem.first_tick) for price in range(_PLANNED)]
    # The lower price may be late for nearly everyone: a short while of it is looked at as closely as a long one.
    spans = np.ceil(np.geomspace(5e-4, 0.95, _SWITCHES) * (problem.ticks - problem.first_tick)).astype(np.int64)
    early = sorted({problem.first_tick + span for span in spans.tolist()})
    late = sorted({problem.ticks - span for span in spans.tolist()})
    pairs = range(_PLANNED - 1)
    # A crowd may be late in one piece, which one of the two orders is left with and the other is not.
    rising = [Plan(first=price, then=price + 1, switch_tick=tick) for price in pairs for tick in early]
    falling = [Plan(first=price + 1, then=price, switch_tick=tick) for price in pairs for tick in late]
    return alone + rising + falling


def _narrow(problem: Problem, plans: Sequence[Plan], number: int) -> list[Plan]:
    """Plans that stay at the lower price for a little longer than the plan `number`, but not as long as the next one."""
    plan = plans[number]
    found: list[Plan] = []
    low, high = min(plan.first, plan.then), max(plan.first, plan.then)
    if low == high:
        low -= 1
    if low < 0:
        return []
    if plan.first <= plan.then:
        at = plan.switch_tick
        ticks = [one.switch_tick for one in plans if (one.first, one.then) == (low, high) and one.switch_tick > at]
        found += _between(low, high, at, min(ticks, default=problem.ticks))
    if plan.first >= plan.then:
        at = plan.switch_tick if plan.first > plan.then else problem.ticks
        ticks = [one.switch_tick for one in plans if (one.first, one.then) == (high, low) and one.switch_tick < at]
        found += _between(high, low, at, max(ticks, default=problem.first_tick))
    return found


def _between(first: int, then: int, tick: int, other: int) -> list[Plan]:
    """Switches from just beside `tick` to `other`."""
    ticks = np.linspace(tick, other, _NARROW + 1)[1:]
    return [Plan(first=first, then=then, switch_tick=at) for at in sorted({round(at) for at in ticks.tolist()})]


def _better(known: _Best | None, outcome: Outcome, allowed_late: float) -> _Best:
    """The cheapest that keeps the promise; where none does, the one with the fewest late requests."""
    keeps, prices_s = outcome.late <= allowed_late, outcome.replica_s + outcome.left_s
    order = np.lexsort((outcome.late, prices_s, ~keeps)) if keeps.any() else np.lexsort((prices_s, outcome.late))
    fresh = _Best(outcome=outcome, number=int(order[0]))
    if known is None:
        return fresh
    if known.late <= allowed_late:
        return fresh if keeps.any() and fresh.price_s < known.price_s else known
    return fresh if keeps.any() or fresh.late < known.late else known


def bound_s(problem: Problem, prices: Floats, allowed_late: float, progress: Progress | None = None) -> float:
    """What no schedule with so few late requests costs less than: backlogs rounded down, those who are left cost nothing."""
    n = len(prices)
    below = Prices(per_late_s=prices, interpolated=np.zeros(n), left=np.zeros(n))
    on = grid(problem, _finer(problem) * _FINER**2 * PARTS, REACH)
    passed = Backward(problem, on, below, progress=progress)
    return max(float(np.max(least(passed) - prices * allowed_late)), 0.0)


def _finer(problem: Problem) -> float:
    """How much finer the grid may be where the problem is small."""
    size = (problem.ticks - problem.first_tick) * len(problem.counts)
    return float(np.clip(_USUAL_SIZE / max(size, 1), 1.0, 4.0))
