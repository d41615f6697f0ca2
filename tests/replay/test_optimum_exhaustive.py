"""The dynamic programme against every schedule there is, in worlds so small that all can be tried."""

from __future__ import annotations

from collections import deque
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.model import Floats
from replay.optimum.backward import Backward, Prices
from replay.optimum.forward import Plan, forward, late_of
from replay.optimum.kernels import compiled
from replay.optimum.orders import held_in_warmup, ordered
from replay.optimum.problem import Problem, Settings
from replay.optimum.search import search
from replay.optimum.tables import Grid

TICK_S, TICKS, COUNTS = 3, 6, (1, 2, 3)

loads = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.7, 2.0, 4.0, 9.0]), min_size=TICK_S * TICKS - 1, max_size=TICK_S * TICKS)
worlds = st.builds(
    lambda arrivals, start_ticks, drain_s, warmup_s, allowed_s, initial: Problem(
        np.array(arrivals),
        Settings(
            capacity_per_s=1.0,
            min_replicas=COUNTS[0],
            max_replicas=COUNTS[-1],
            multiple=1,
            allowed_s=allowed_s,
            tick_s=TICK_S,
            start_s=start_ticks * TICK_S,
            drain_s=drain_s,
            warmup_s=warmup_s,
            initial=initial,
        ),
    ),
    loads,
    st.integers(0, 2),
    st.integers(0, 4),
    st.sampled_from([0, 0, 3, 4]),
    st.integers(0, 3),
    st.sampled_from(COUNTS),
)


def books(problem: Problem, orders: list[int]) -> tuple[float, float, float]:
    """Replica-seconds and late requests of counts ordered tick by tick, and the work (replica-seconds) of those who are left at the end, by
    the scenario's words: second by second, one by one."""
    own = problem.settings
    age = [own.start_s] * own.initial  # of each replica, the newest last
    leaving: list[int] = []  # when each is gone
    line: deque[list[float]] = deque()
    paid = late = 0.0
    for second in range(problem.seconds):
        if second % own.tick_s == 0:
            wanted = orders[second // own.tick_s]
            while len(age) > wanted:
                if age.pop() >= own.start_s:
                    leaving.append(second + own.drain_s)
            age += [0] * (wanted - len(age))
        leaving = [gone for gone in leaving if gone > second]
        if second >= own.warmup_s:
            paid += len(age) + len(leaving)
        line.append([second, float(problem.arrivals[second])])
        left = own.capacity_per_s * sum(one >= own.start_s for one in age)
        while line and left > 0.0:
            part = min(line[0][1], left)
            if line[0][0] >= own.warmup_s and second - line[0][0] > own.allowed_s:
                late += part
            line[0][1] -= part
            left -= part
            if line[0][1] <= 1e-12:
                line.popleft()
        age = [one + 1 for one in age]
    late += sum(part for born, part in line if born >= own.warmup_s and problem.seconds - born > own.allowed_s)
    return paid, late, sum(part for _, part in line) / own.capacity_per_s


def all_of_them(problem: Problem) -> list[tuple[float, float, float]]:
    """(cost, late, left) of every schedule of orders, the warm-up's included."""
    return [books(problem, list(orders)) for orders in product(COUNTS, repeat=problem.ticks)]


def opening(passed: Backward) -> Floats:
    """The value of the whole by price, from an empty queue."""
    problem = passed.problem
    cost = np.minimum(problem.opening_cost_s(problem.settings.initial, free=True), 1e15)
    least: Floats = (passed.opening[:, 0, :] + cost[:, None]).min(axis=0)
    return least


PRICES = (0.05, 0.3, 0.7, 1.0, 1.3, 2.5, 20.0, 500.0)


@settings(max_examples=8)
@given(problem=worlds)
def test_no_schedule_is_cheaper_than_the_bound_at_any_price_and_promise(problem: Problem) -> None:
    every = np.array(all_of_them(problem))
    n = len(PRICES)
    prices = np.array(PRICES * 4)
    rounded, left = np.repeat([1.0, 0.0, 1.0, 0.0], n), np.repeat([0.0, 0.0, 1.0, 1.0], n)
    passed = Backward(problem, Grid(cells=30, nodes=900), Prices(per_late_s=prices, interpolated=rounded, left=left))
    least = np.min(every[:, :1] + every[:, 1:2] * prices + every[:, 2:] * left, axis=0)
    near, below = opening(passed)[rounded == 1.0], opening(passed)[rounded == 0.0]
    assert (below <= least[rounded == 0.0] + 1e-6).all()
    # A warm-up may have to leave a backlog, and the value knows none; nor that the last tick may be cut off before it served all.
    exact = problem.first_tick == 0 and problem.seconds % TICK_S == 0
    for place in (PRICES.index(2.5), n + PRICES.index(1.0)):
        assert near[place] <= least[rounded == 1.0][place] + 0.35
        assert near[place] >= least[rounded == 1.0][place] - 0.35 or not exact
    for allowed in np.array([0.0, 0.01, 0.1, 0.3, 0.6]) * problem.requests + 1e-9:
        keeping = every[every[:, 1] <= allowed, 0]
        if len(keeping):
            assert np.max(below[:n] - prices[:n] * allowed) <= keeping.min() + 1e-6


@settings(max_examples=12)
@given(problem=worlds, price=st.sampled_from([0.3, 1.0, 2.5, 20.0]))
def test_a_price_s_plan_is_among_the_best_and_counts_as_the_world_does(problem: Problem, price: float) -> None:
    prices = Prices(per_late_s=np.array([price]), interpolated=np.ones(1), left=np.ones(1))
    passed = Backward(problem, Grid(cells=30, nodes=900), prices)
    held = held_in_warmup(problem)
    outcome = forward(passed, [Plan(first=0, then=0, switch_tick=0)], held)
    orders = ordered(problem, outcome.ready[0], held)
    paid, late, left = books(problem, orders.tolist())
    if problem.first_tick == 0:
        least = min(cost + price * tardy + rest for cost, tardy, rest in all_of_them(problem))
        assert (paid, late) == pytest.approx((outcome.replica_s[0], outcome.late[0]), abs=1e-6)
        assert late == pytest.approx(late_of(problem, outcome.ready[0]), abs=1e-6)
        if problem.seconds % TICK_S == 0:
            assert left == pytest.approx(outcome.left_s[0], abs=1e-6)
            assert least - 1e-6 <= paid + price * late + left <= least + 0.35


def reached_by_a_price(every: list[tuple[float, float, float]], allowed: float) -> float:
    """What the best schedule costs at twice the lowest price at which the best one keeps the promise, whom it leaves served."""
    table = np.array(every)

    def best(price: float) -> tuple[float, float]:
        cost, late, left = table[np.argmin(table[:, 0] + price * table[:, 1] + table[:, 2])].tolist()
        return cost + left, late

    kept = next(price for price in np.geomspace(0.01, 1e6, 2000) if best(price)[1] <= allowed)
    return best(2.0 * kept)[0]


@settings(max_examples=8)
@given(
    problem=worlds.filter(lambda one: one.first_tick == 0 and one.requests > 0),
    share=st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5]),
)
def test_the_search_finds_what_a_price_can_reach(problem: Problem, share: float) -> None:
    allowed = share * problem.requests + 1e-7
    every = all_of_them(problem)
    within = [cost for cost, late, _ in every if late <= allowed]
    found = search(problem, allowed, held_in_warmup(problem))
    if not within:
        fewest = min(late for _, late, _ in every)
        assert found.late > allowed
        assert found.late == pytest.approx(fewest, abs=1e-6)
        # What can't be kept is bounded for what can, and not beyond all measure.
        assert found.bound_replica_s <= min(cost for cost, late, _ in every if late <= fewest + 1e-6) + 1e-6
        assert found.bound_replica_s <= found.replica_s
        return
    assert found.late <= allowed
    assert found.bound_replica_s <= min(within) + 1e-6
    assert min(within) - 1e-6 <= found.replica_s <= reached_by_a_price(every, allowed) + 1e-6


@settings(max_examples=8)
@given(problem=worlds)
def test_numba_gives_the_very_numbers_of_numpy(problem: Problem) -> None:
    kernels = compiled()
    if kernels is None:
        pytest.skip("numba is not installed (the extra 'fast')")
    prices = Prices(per_late_s=np.array([0.7, 3.0]), interpolated=np.array([1.0, 0.0]), left=np.zeros(2))
    by_numpy = Backward(problem, Grid(cells=7, nodes=40), prices, "numpy")
    by_numba = Backward(problem, Grid(cells=7, nodes=40), prices, kernels)
    assert np.array_equal(by_numpy.opening, by_numba.opening)
    assert np.array_equal(by_numpy.block(0), by_numba.block(0))
