from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.capacity import batch_at
from autoscaler.core.model import Floats
from replay.plant.kernel import FluidState, Kernel, compiled, fluid_state, scalar, vector
from tests.replay.made import noise, specs


def state(n: int, seed: int) -> FluidState:
    made = fluid_state(specs(n), np.floor(noise(seed, n) * 6))
    made.queue = np.floor(noise(seed + 1, n) * 3) * noise(seed + 2, n) * 40
    made.running = noise(seed + 3, n) * 32 * made.ready
    made.slots = np.floor(1 + noise(seed + 4, n) * 40)
    made.worth = made.slots / (1 + made.slots / made.slowdown)
    return made


def run(kernel: Kernel, start: FluidState, arrivals: Floats) -> tuple[FluidState, Floats]:
    after = deepcopy(start)
    queues = np.zeros_like(arrivals)
    half = arrivals.shape[1] // 2
    # In two parts, as a plant does where something happens within a tick.
    for part in (slice(0, half), slice(half, None)):
        if arrivals[:, part].size:
            kernel(after, arrivals[:, part], queues[:, part])
    return after, queues


@given(n=st.integers(1, 12), seconds=st.integers(1, 40), seed=st.integers(0, 10_000), load=st.floats(0, 12))
def test_the_forms_give_the_same_bits(n: int, seconds: int, seed: int, load: float) -> None:
    start = state(n, seed)
    arrivals = np.repeat(noise(seed + 9, n, -(-seconds // 5)), 5, axis=1)[:, :seconds] * load
    reference, queues = run(scalar, start, arrivals)
    others = [vector] + ([fast] if (fast := compiled()) is not None else [])
    for kernel in others:
        other, other_queues = run(kernel, start, arrivals)
        assert other_queues.tobytes() == queues.tobytes()
        for name in ("queue", "running", "arrived", "used"):
            assert getattr(other, name).tobytes() == getattr(reference, name).tobytes(), name


@given(seed=st.integers(0, 10_000), load=st.floats(0, 12))
def test_nothing_is_lost_and_nobody_serves_more_than_it_can(seed: int, load: float) -> None:
    start = state(3, seed)
    arrivals = noise(seed + 5, 3, 60) * load
    after, queues = run(scalar, start, arrivals)
    before = np.concatenate([start.queue[:, None], queues[:, :-1]], axis=1)
    served = before + arrivals - queues
    capacity = (start.capacity_per_s * start.ready)[:, None]
    assert (served <= capacity + 1e-9).all()
    assert (served >= -1e-9).all()
    # It works as fast as it can while somebody waits.
    assert (np.abs(served - capacity)[queues > 0] < 1e-9).all()
    assert (queues >= 0).all()
    assert (after.running <= start.slots * start.ready + 1e-9).all()
    np.testing.assert_allclose(start.queue + arrivals.sum(axis=1), after.queue + served.sum(axis=1), rtol=1e-9, atol=1e-9)


def test_the_batch_is_the_core_s_and_running_follows_with_its_lag() -> None:
    start = fluid_state(specs(1), np.array([10.0]))
    demand = 0.7 * 16.0
    queues = np.zeros((1, 400))
    scalar(start, np.full((1, 400), demand), queues)
    goal = 10 * float(batch_at(0.7, 32.0, 64.0))
    assert start.running[0] == pytest.approx(goal, rel=1e-6)
    assert start.used[0] == pytest.approx(400 * 0.7)
    slow = fluid_state(specs(1), np.array([10.0]))
    scalar(slow, np.full((1, 20), demand), np.zeros((1, 20)))
    assert slow.running[0] == pytest.approx(goal * (1 - 0.95**20))
