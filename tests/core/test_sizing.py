"""The queueing rule: its closed form is the smallest solution, monotone, and its margin shrinks with size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.sizing import (
    dispersion_of_counts,
    needed_capacity_per_s,
    step_dispersion_scale_s,
    whole_replicas,
)

rates = st.floats(1e-6, 1e6)
waits = st.floats(1e-3, 1e4)
zs = st.floats(0, 6)
dispersions = st.floats(0, 100)


@given(rates, waits, zs, dispersions)
def test_it_is_the_smallest_capacity_that_meets_the_rule(rate: float, wait: float, z: float, dispersion: float) -> None:
    needed = z * z * dispersion * rate / (4 * wait)
    capacity = float(needed_capacity_per_s(rate, wait, z, dispersion))
    assert (capacity - rate) * capacity == pytest.approx(needed, rel=1e-6, abs=1e-9 * capacity * capacity)
    smaller = capacity * (1 - 1e-6)
    assert (smaller - rate) * smaller < needed or needed == 0 or needed < 1e-9 * rate * rate


@given(rates, st.floats(1, 2), waits, zs, dispersions)
def test_more_demand_burstiness_or_care_never_needs_less(rate: float, more: float, wait: float, z: float, phi: float) -> None:
    base = needed_capacity_per_s(rate, wait, z, phi)
    assert base >= rate * (1 - 1e-12)
    assert needed_capacity_per_s(rate * more, wait, z, phi) >= base
    assert needed_capacity_per_s(rate, wait, z * more, phi) >= base
    assert needed_capacity_per_s(rate, wait, z, phi * more) >= base
    assert needed_capacity_per_s(rate, wait * more, z, phi) <= base


def test_small_services_keep_relatively_more_room() -> None:
    room = needed_capacity_per_s(np.array([1.0, 10.0, 100.0]), 5.0, 2.0, 1.0) / np.array([1.0, 10.0, 100.0])
    assert room[0] > room[1] > room[2] > 1


def test_no_demand_needs_nothing_and_unknown_stays_unknown() -> None:
    got = needed_capacity_per_s(np.array([0.0, np.nan]), 5.0, 1.0, 1.0)
    assert got[0] == 0
    assert np.isnan(got[1])


@pytest.mark.parametrize(
    ("exact", "whole"), [(0.0, 0), (1e-12, 1), (21.000000000000004, 21), (21.0001, 22), (2.1 * 10, 21), (22.4 * 3 / 22.4, 3)]
)
def test_float_noise_above_a_whole_number_is_no_replica(exact: float, whole: int) -> None:
    assert whole_replicas(exact) == whole


@given(st.integers(0, 100_000), st.integers(1, 3000))
def test_whole_numbers_survive_a_division_and_a_multiplication(count: int, part: int) -> None:
    assert whole_replicas(count / part * part) == count
    assert whole_replicas(count * 0.1 / 0.1) == count


def test_poisson_counts_have_dispersion_one_also_on_a_trend() -> None:
    rng = np.random.default_rng(1)
    flat = rng.poisson(50.0, size=(4, 20_000)).astype(float)
    rising = rng.poisson(np.linspace(20.0, 200.0, 20_000)).astype(float)
    assert dispersion_of_counts(flat) == pytest.approx(np.ones(4), abs=0.05)
    assert dispersion_of_counts(rising) == pytest.approx(1.0, abs=0.05)
    assert dispersion_of_counts(5.0 * rng.poisson(10.0, 20_000).astype(np.float64)) == pytest.approx(5.0, abs=0.3)


def test_missing_counts_are_left_out_and_nothing_is_told_from_nothing() -> None:
    counts = np.array([[4.0, 6.0, np.nan, 4.0, 6.0], [np.nan] * 5, [0.0] * 5])
    got = dispersion_of_counts(counts)
    assert got[0] == pytest.approx(0.5 * 8 / 10)
    assert np.isnan(got[1:]).all()


@pytest.mark.parametrize(("window_s", "step_s"), [(15, 15), (60, 15), (15, 60)])
def test_dispersion_from_rates_does_not_depend_on_how_windows_overlap(window_s: int, step_s: int) -> None:
    per_second = np.random.default_rng(2).poisson(20.0, size=200_000).astype(float)
    totals = np.concatenate([[0.0], np.cumsum(per_second)])
    ends = np.arange(window_s, len(per_second), step_s)
    rate = (totals[ends] - totals[ends - window_s]) / window_s
    dispersion = step_dispersion_scale_s(window_s, step_s) * 0.5 * np.mean(np.diff(rate) ** 2) / rate.mean()
    assert dispersion == pytest.approx(1.0, abs=0.08)
