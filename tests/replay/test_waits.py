from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import Floats
from replay.plant.waits import Waits, attained_ratio, wait_quantile_s


def queue_of(arrivals: Floats, capacity: Floats) -> Floats:
    queues = np.zeros_like(arrivals)
    queue = 0.0
    for second, (came, most) in enumerate(zip(arrivals, capacity, strict=True)):
        queue += came
        queue -= min(queue, most)
        queues[second] = queue
    return queues


def one_by_one(arrivals: Floats, capacity: Floats, scored_from: int) -> dict[int, float]:
    """The definition: a queue of (second, amount), served from its head. What is left waits until the end."""
    line: deque[list[float]] = deque()
    waits: dict[int, float] = {}

    def note(born: float, wait: int, amount: float) -> None:
        if born >= scored_from:
            waits[wait] = waits.get(wait, 0.0) + amount

    for second, (came, most) in enumerate(zip(arrivals, capacity, strict=True)):
        line.append([second, came])
        left = most
        while line and left > 1e-12:
            part = min(line[0][1], left)
            note(line[0][0], second - int(line[0][0]), part)
            line[0][1] -= part
            left -= part
            if line[0][1] <= 1e-12:
                line.popleft()
    for born, amount in line:
        note(born, len(arrivals) - int(born), amount)
    return waits


@given(
    loads=st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.0, 3.7, 8.0]), min_size=1, max_size=80),
    rates=st.lists(st.sampled_from([0.0, 1.0, 1.6, 4.8]), min_size=1, max_size=8),
    block=st.integers(1, 30),
    scored_from=st.integers(0, 20),
)
def test_waits_are_those_of_a_line_served_from_its_head(
    loads: list[float], rates: list[float], block: int, scored_from: int
) -> None:
    arrivals = np.array(loads)
    capacity = np.resize(np.repeat(rates, 7), len(loads))
    queues = queue_of(arrivals, capacity)
    waits = Waits(scored_from_s=scored_from, allowed_s=2.0, tick_s=5, ticks=-(-len(loads) // 5))
    for start in range(0, len(loads), block):
        waits.add(start, arrivals[start : start + block], queues[start : start + block])
    found = waits.with_waiting(len(loads))
    expected = np.zeros(len(found))
    for wait, amount in one_by_one(arrivals, capacity, scored_from).items():
        if amount > 1e-9:
            expected[wait] += amount
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found.sum() == pytest.approx(arrivals[scored_from:].sum(), abs=1e-9)


def test_a_burst_is_served_in_order() -> None:
    arrivals = np.array([10.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    waits = Waits(scored_from_s=0, allowed_s=1.0, tick_s=1, ticks=6)
    waits.add(0, arrivals, queue_of(arrivals, np.full(6, 4.0)))
    # 4 at once, 4 after a second, 2 after two; the two of second 1 after one.
    assert waits.counts[:4].tolist() == [4.0, 6.0, 2.0, 0.0]
    assert waits.late_by_tick.tolist() == [2.0, 0, 0, 0, 0, 0]
    assert waits.longest_by_tick.tolist() == [2, 1, 0, 0, 0, 0]
    assert attained_ratio(waits.counts, 1.0) == pytest.approx(10 / 12)
    assert wait_quantile_s(waits.counts, 0.5) == 1.0
    assert wait_quantile_s(waits.counts, 1 / 3) == 0.0


def test_what_still_waits_at_the_end_is_judged_by_its_age() -> None:
    waits = Waits(scored_from_s=0, allowed_s=5.0, tick_s=1, ticks=8)
    arrivals = np.array([3.0] + [0.0] * 6 + [1.0])
    waits.add(0, arrivals, queue_of(arrivals, np.zeros(8)))
    assert waits.counts.sum() == 0
    assert waits.with_waiting(8)[[1, 8]].tolist() == [1.0, 3.0]
    assert attained_ratio(waits.with_waiting(8), 5.0) == 0.25
    # So are the plots', and looking changes nothing.
    for _ in range(2):
        late, longest = waits.by_tick(8)
        assert (late.tolist(), longest.tolist()) == ([3.0] + [0] * 7, [8] + [0] * 6 + [1])


def test_a_promise_to_nobody_is_kept() -> None:
    assert attained_ratio(np.zeros(4), 5.0) == 1.0
    assert wait_quantile_s(np.zeros(4), 0.99) == 0.0
