"""What policies remember: their own counts for a while, and how bursty the demand is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.dispersion import Dispersion
from autoscaler.core.hold import Hold

maybe = st.one_of(st.integers(0, 50).map(float), st.just(float("nan")))
ticks = st.lists(st.tuples(maybe, maybe, maybe), min_size=1, max_size=12)
SPANS = np.array([60.0, 0.0, 30.0])


@given(ticks)
def test_a_hold_is_the_highest_of_its_span(counts: list[tuple[float, float, float]]) -> None:
    hold = Hold(SPANS)
    for now, column in enumerate(counts):
        hold.push(now * 15.0, np.array(column), 15.0)
        got = hold.highest(now * 15.0, np.array(column))
        for row, span_s in enumerate(SPANS):
            past = [one[row] for tick, one in enumerate(counts[: now + 1]) if (now - tick) * 15.0 < span_s or tick == now]
            expected = np.nan if np.isnan(column[row]) else np.nanmax(past)
            np.testing.assert_equal(got[row], expected)


@given(ticks, st.lists(st.integers(-1, 2), min_size=1, max_size=4), st.sampled_from([15.0, 30.0]))
def test_a_hold_moves_with_its_rows_and_survives_a_restart(
    counts: list[tuple[float, float, float]], order: list[int], interval_s: float
) -> None:
    hold, spans = Hold(SPANS), np.append(SPANS, 0.0)[order]
    for now, column in enumerate(counts):
        hold.push(now * interval_s, np.array(column), interval_s)
    at_s = len(counts) * interval_s
    zero = np.zeros(3)
    before = hold.highest(at_s, zero)
    restored = Hold(SPANS)
    restored.load(json.loads(json.dumps(hold.save())))
    assert restored.highest(at_s, zero).tolist() == before.tolist()
    hold.rearrange(np.array(order), spans)
    assert hold.highest(at_s, np.zeros(len(order))).tolist() == np.append(before, 0.0)[order].tolist()


def test_a_longer_span_keeps_what_is_there() -> None:
    hold = Hold(np.array([30.0]))
    hold.push(0.0, np.array([9.0]), 15.0)
    hold.rearrange(np.array([0]), np.array([120.0]))
    assert hold.highest(60.0, np.array([1.0])).tolist() == [9]


def test_a_steady_stream_is_poisson_and_batches_are_not() -> None:
    rng, dispersion = np.random.default_rng(8), Dispersion(2)
    for tick in range(2000):
        rates = np.array([rng.poisson(300) / 15, 10 * rng.poisson(30) / 15])
        dispersion.learn(rates, 15.0 * tick, 15.0)
    assert dispersion.value == pytest.approx([1.0, 10.0], rel=0.4)


def test_a_new_level_is_no_burstiness() -> None:
    dispersion = Dispersion(1)
    rng = np.random.default_rng(9)
    for tick in range(480):
        dispersion.learn(np.array([rng.poisson(150 if tick < 240 else 1500) / 15]), 15.0 * tick, 15.0)
    assert dispersion.value[0] < 2


@given(st.lists(st.tuples(*[st.one_of(st.floats(0, 1e6), st.just(float("nan")))] * 2), max_size=20))
def test_it_is_finite_at_least_one_and_each_row_is_alone(rates: list[tuple[float, float]]) -> None:
    both, alone, restored = Dispersion(2), Dispersion(1), Dispersion(2)
    for tick, column in enumerate(rates):
        both.learn(np.array(column), 15.0 * tick, 15.0)
        alone.learn(np.array(column[1:]), 15.0 * tick, 15.0)
        assert np.isfinite(both.value).all()
        assert (both.value >= 1).all()
        assert both.value[1] == alone.value[0]
    restored.load(json.loads(json.dumps(both.save())))
    np.testing.assert_array_equal(restored.value, both.value)
    both.rearrange(np.array([1, -1]))
    assert both.value.tolist() == [alone.value[0], 1.0]
