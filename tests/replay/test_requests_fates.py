"""How requests fared, counted: quantiles of few and of very many, the same with and without numba."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.plant.requests import spread
from replay.plant.requests.fates import Fates, Promise
from replay.plant.requests.spread import Spread

durations = st.lists(st.floats(-1e-9, 1e12) | st.sampled_from([0.0, -0.0, 1.0, 2.0**-20, 2.0**31]), min_size=1, max_size=50)


@given(durations)
def test_buckets_are_the_same_with_and_without_numba(values: list[float]) -> None:
    array = np.array(values)
    by_loop, by_numpy = np.zeros((2, spread._BUCKETS), dtype=np.int64)
    spread._count(array.view(np.int64).tolist(), by_loop)
    found = np.bincount(spread._bucket(array) - spread._FIRST)
    by_numpy[: len(found)] += found
    assert by_loop.tolist() == by_numpy.tolist()
    if (count := spread.compiled()) is not None:
        compiled = np.zeros_like(by_loop)
        count(array.view(np.int64), compiled)
        assert compiled.tolist() == by_numpy.tolist()


def test_very_many_are_known_to_a_two_thousandth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "EXACT", 1000)
    values = np.random.Generator(np.random.PCG64(3)).lognormal(1.0, 1.5, 20_000)
    many, halves = Spread(), (Spread(), Spread())
    for part in np.split(values, 40):
        many.add(part)
    for half, part in zip(halves, (values[:900], values[900:]), strict=True):
        half.add(part)
    for quantile in (0.01, 0.5, 0.95, 0.99, 0.999, 1.0):
        exact = float(np.sort(values)[int(np.ceil(quantile * len(values))) - 1])
        assert exact <= many.quantile_s(quantile) <= exact * (1 + 2**-10)
        assert halves[0].plus(halves[1]).quantile_s(quantile) == many.quantile_s(quantile)
        assert halves[1].plus(halves[0]).quantile_s(quantile) == many.quantile_s(quantile)


def test_fates_by_hand() -> None:
    fates = Fates(Promise(judged=2, allowed_s=30.0), scored_from_s=100, tick_s=15, ticks=20)
    born = np.array([90.0, 100.0, 110.0, 120.0])
    waits, firsts, ends = np.array([9.0, 0.0, 2.5, 0.0]), np.array([10.0, 1.0, 3.0, 1.0]), np.array([90.0, 30.0, 30.5, 10.0])
    fates.add(born, waits, firsts, ends)
    running = np.array([140.0]), np.array([1.0]), np.array([5.0]), np.array([31.0])
    tally = fates.with_unfinished(*running)
    assert (tally.requests, tally.attained_ratio) == (4.0, 0.5)
    assert (tally.wait_quantile_s(1.0), tally.wait_quantile_s(0.5)) == (2.5, 0.0)
    assert tally.further()["latency_s"] == {"p50": 30.0, "p95": 31.0, "p99": 31.0}
    assert fates.counts_with(*running[:2]).tolist() == [2.0, 1.0, 0.0, 1.0]
    # By the tick of their arrival, the warm-up included.
    assert fates.longest_by_tick[[6, 7, 8]].tolist() == [90, 31, 10]
    assert fates.late_by_tick.nonzero()[0].tolist() == [6, 7]
