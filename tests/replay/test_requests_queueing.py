"""The request-level plant against queueing theory: with exponential work and no slowdown it is M/M/c, whose waits Erlang C gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from replay.plant.requests.kernel import compiled
from tests.replay.requests_made import outcome, station

SEEDS = 10


def erlang_c(servers: int, offered: float) -> float:
    """The probability that an arrival has to wait (Erlang, 1917), by the stable recursion over Erlang B."""
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1.0 - offered / servers * (1.0 - blocked))


def waits(replicas: int, slots: int, load: float, count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Waits of one run. The drawn means are set to what they should be: of the error that a short run has, their chance is by far the most."""
    rng = np.random.Generator(np.random.PCG64([seed, 99]))
    servers = replicas * slots
    gaps, work = rng.exponential(1.0, (2, count))
    came = np.cumsum(gaps / (gaps.mean() * load * servers))
    made = station(replicas, np.ones(slots + 1), came, np.zeros(count), work / work.mean(), fast=True)
    made.run(0.0, 1e12)
    # From an empty system: the first tenth isn't steady yet.
    waited: np.ndarray[tuple[int], np.dtype[np.float64]] = (outcome(made)[0] - came)[count // 10 :]
    return waited


@pytest.mark.parametrize(
    ("replicas", "slots", "load", "count"),
    [(1, 1, 0.5, 300_000), (1, 1, 0.8, 1_000_000), (4, 1, 0.7, 800_000), (2, 4, 0.85, 1_200_000), (20, 1, 0.9, 1_500_000)],
)
def test_mean_waits_are_those_of_erlang_c(replicas: int, slots: int, load: float, count: int) -> None:
    if compiled() is None:
        pytest.skip("numba isn't installed, and millions of requests take minutes without it")
    servers = replicas * slots
    must_wait = erlang_c(servers, load * servers)
    mean_s = must_wait / (servers * (1.0 - load))
    found = [waits(replicas, slots, load, count, seed) for seed in range(SEEDS)]
    assert np.mean([some.mean() for some in found]) == pytest.approx(mean_s, rel=0.01)
    assert np.mean([(some > 0).mean() for some in found]) == pytest.approx(must_wait, rel=0.01)
    # Whoever waits, waits an exponential time.
    beyond = np.mean([(some > mean_s).mean() for some in found])
    assert beyond == pytest.approx(must_wait * math.exp(-servers * (1 - load) * mean_s), rel=0.01)


def test_the_slowdown_of_a_batch_is_that_of_the_model() -> None:
    """With exponential work the number of requests in the system is a birth-death chain: b of them end at the rate b ÷ t(b)."""
    slots, slowdown, offered = 6, 3.0, 1.1
    times = 1.0 + np.arange(slots + 1) / slowdown
    count = 400_000 if compiled() is not None else 20_000
    tolerance = 0.01 if compiled() is not None else 0.06
    weights = [1.0]
    for number in range(1, slots + 1):
        weights.append(weights[-1] * offered / (number / times[number]))
    ratio = offered / (slots / times[slots])
    tail = weights[-1] * ratio / (1.0 - ratio)
    total = sum(weights) + tail
    must_wait = (weights[-1] + tail) / total
    found = []
    for seed in range(SEEDS):
        rng = np.random.Generator(np.random.PCG64([seed, 5]))
        came = np.cumsum(rng.exponential(1.0 / offered, count))
        made = station(1, times, came, np.zeros(count), rng.exponential(1.0, count), fast=True)
        made.run(0.0, 1e12)
        found.append((outcome(made)[0] - came > 0)[count // 10 :].mean())
    assert np.mean(found) == pytest.approx(must_wait, rel=tolerance)
