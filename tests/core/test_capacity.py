"""Batch, throughput and utilization: inverse of each other, with the standard scenario's numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.capacity import batch_at, effective_slots, service_s, slots_needed, throughput_per_s, utilization_at

ratios = st.floats(0, 1)
slots = st.floats(1, 1e5)
slowdowns = st.floats(0.1, 1e6)


def test_the_standard_replica() -> None:
    assert effective_slots(32, 64) == pytest.approx(64 / 3)
    assert batch_at(1.0, 32, 64) == pytest.approx(32)
    assert batch_at(0.7, 32, 64) == pytest.approx(0.7 * 64 / 3 / (1 - 0.7 / 3))
    assert throughput_per_s(32, 1.6, 32, 64) == pytest.approx(1.6)
    assert service_s(32, 1.6, 32, 64) == pytest.approx(20.0)
    assert service_s(0, 1.6, 32, 64) == pytest.approx(20.0 / 1.5)
    assert slots_needed(224.0, 32, 0.7) == pytest.approx(10.0)


@given(ratios, slots, slowdowns)
def test_batch_and_utilization_are_inverse(ratio: float, count: float, slowdown: float) -> None:
    batch = batch_at(ratio, count, slowdown)
    assert 0 <= batch <= count
    assert utilization_at(batch, count, slowdown) == pytest.approx(ratio, rel=1e-5, abs=1e-12)


@given(ratios, ratios, slots, slowdowns)
def test_a_fuller_batch_gives_more_but_each_request_takes_longer(one: float, other: float, count: float, slowdown: float) -> None:
    low, high = sorted((one * count, other * count))
    assert utilization_at(low, count, slowdown) <= utilization_at(high, count, slowdown) * (1 + 1e-12)
    assert service_s(low, 1.0, count, slowdown) <= service_s(high, 1.0, count, slowdown)
    assert utilization_at(low, count, slowdown) >= low / count * (1 - 1e-12)


@given(st.floats(1e-6, 1), slots, slowdowns)
def test_littles_law_holds(share: float, count: float, slowdown: float) -> None:
    batch = share * count
    in_service = throughput_per_s(batch, 3.0, count, slowdown) * service_s(batch, 3.0, count, slowdown)
    assert in_service == pytest.approx(batch, rel=1e-9)


def test_overload_is_a_full_batch_and_unknown_stays_unknown() -> None:
    assert batch_at(np.array([1.0, 3.0]), 32, 64) == pytest.approx([32, 32])
    assert utilization_at(40.0, 32, 64) == pytest.approx(1.0)
    assert np.isnan(batch_at(np.nan, 32, 64))
    assert np.isnan(utilization_at(np.nan, 32, 64))


def test_without_slowdown_throughput_is_the_share_of_slots() -> None:
    assert utilization_at(8.0, 32.0, np.inf) == pytest.approx(0.25)
    assert batch_at(0.25, 32.0, np.inf) == pytest.approx(8.0)
