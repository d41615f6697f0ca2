"""What objectives allow a replica: vectors worked by hand from the batch model, and the model's own laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.capacity import service_s, throughput_per_s, utilization_at
from autoscaler.core.model import Capacity, Objective
from autoscaler.core.objectives import (
    TIMED,
    alone_s,
    batch_allowed,
    batch_within,
    given_anchor,
    least_batch,
    time_in_batch_s,
    wait_allowed_s,
    warnings_of,
)

K, D = 32.0, 64.0
CAPACITY = Capacity(per_s=1.6, slots=32, slots_slowdown=64.0)
slots_of = st.integers(1, 512).map(float)
slowdowns = st.floats(1, 1e6)
times = st.floats(1e-4, 1e3)


@pytest.mark.parametrize(
    ("signal", "target", "anchor", "batch"),
    [
        ("itl_s", 0.10, 1 / 15, 32.0),  # 100 ms is what a full batch takes: 66.7 ms × 1.5
        ("itl_s", 0.08, 1 / 15, 12.8),  # 64 × (80 ÷ 66.7 − 1)
        ("itl_s", 0.20, 1 / 15, 32.0),
        ("itl_s", 0.01, 1 / 15, 5.8182),  # not below a quarter of the throughput
        ("itl_s", 0.08, math.nan, 32.0),  # nothing is known: no limit
        ("ttft_s", 1.0, 0.6, 16.0),  # a quarter is for the queue: 64 × (0.75 ÷ 0.6 − 1)
        ("latency_s", 20.0, 40 / 3, 8.0),  # 64 × (15 ÷ 13.33 − 1)
        ("latency_s", 30.0, 40 / 3, 32.0),
        ("utilization", 0.75, math.nan, 21.333),  # 16 ÷ (1 − 16 ÷ 64)
        ("gpu_utilization", 0.75, math.nan, 21.333),
        ("gpu_memory_utilization", 0.5, math.nan, 32.0),
        ("kv_cache_utilization", 0.6, 1 / 32, 19.2),
        ("kv_cache_utilization", 0.6, 0.05, 12.0),
        ("running", 12.0, math.nan, 12.0),
        ("running", 50.0, math.nan, 32.0),
        ("queue_wait_s", 5.0, math.nan, 32.0),
    ],
)
def test_the_batch_that_an_objective_allows(signal: str, target: float, anchor: float, batch: float) -> None:
    assert float(batch_allowed(signal, target, anchor, K, D)) == pytest.approx(batch, rel=1e-4)


@pytest.mark.parametrize(
    ("signal", "target", "anchor", "batch", "wait_s"),
    [
        ("queue_wait_s", 5.0, math.nan, 32.0, 5.0),
        ("latency_s", 30.0, 40 / 3, 32.0, 10.0),  # 20 s are the service's
        ("latency_s", 20.0, 40 / 3, 8.0, 5.0),
        ("latency_s", 12.0, 40 / 3, 5.8182, 3.0),  # can't be kept: a quarter is provided for all the same
        ("ttft_s", 1.0, math.nan, 32.0, 1.0),
        ("itl_s", 0.1, 1 / 15, 32.0, math.inf),
        ("running", 12.0, math.nan, 12.0, math.inf),
    ],
)
def test_the_wait_that_an_objective_leaves(signal: str, target: float, anchor: float, batch: float, wait_s: float) -> None:
    assert float(wait_allowed_s(signal, target, anchor, batch, D)) == pytest.approx(wait_s, rel=1e-4)


def test_start_values_are_of_the_full_batch() -> None:
    capacity = Capacity(per_s=1.6, slots=32, slots_slowdown=64.0, itl_s=0.1, prefill_s=0.9)
    assert given_anchor(capacity, "itl_s") == pytest.approx(1 / 15)
    assert given_anchor(capacity, "ttft_s") == pytest.approx(0.6)
    assert given_anchor(capacity, "latency_s") == pytest.approx(float(service_s(0.0, 1.6, K, D)))
    assert math.isnan(given_anchor(CAPACITY, "itl_s"))
    assert math.isnan(given_anchor(Capacity(per_s=math.nan, slots=32, slots_slowdown=64.0), "latency_s"))


@given(st.sampled_from(sorted(TIMED)), times, st.floats(1, 10), times, slots_of, slowdowns)
def test_a_looser_target_never_allows_less_and_the_batch_keeps_it(
    signal: str, target: float, looser: float, anchor: float, slots: float, slowdown: float
) -> None:
    batch = float(batch_allowed(signal, target, anchor, slots, slowdown))
    assert float(least_batch(slots, slowdown)) * (1 - 1e-9) <= batch <= slots
    assert float(batch_allowed(signal, target * looser, anchor, slots, slowdown)) >= batch * (1 - 1e-9)
    wait_s = float(wait_allowed_s(signal, target, anchor, batch, slowdown))
    assert wait_s > 0
    if batch > float(least_batch(slots, slowdown)) * (1 + 1e-9):  # so it can be kept
        took = float(time_in_batch_s(batch, anchor, slowdown))
        assert took + (0 if math.isinf(wait_s) else wait_s) <= target * (1 + 1e-6)


@given(times, st.floats(0, 512), slowdowns)
def test_anchor_and_batch_are_inverses(seen_s: float, batch: float, slowdown: float) -> None:
    anchor = float(alone_s(seen_s, batch, slowdown))
    assert float(time_in_batch_s(batch, anchor, slowdown)) == pytest.approx(seen_s)
    assert float(batch_within(seen_s, anchor, slowdown)) == pytest.approx(batch, abs=1e-6 * slowdown)


@given(slots_of, slowdowns, st.floats(0.01, 1), st.floats(0, 1))
def test_a_replica_with_fewer_slots_is_the_same_replica(slots: float, slowdown: float, share: float, part: float) -> None:
    """Handing policies (batch, throughput) in the place of (slots, capacity) changes nothing below the limit."""
    limit = share * slots
    own = float(throughput_per_s(limit, 1.6, slots, slowdown))
    batch = part * limit
    assert float(throughput_per_s(batch, own, limit, slowdown)) == pytest.approx(
        float(throughput_per_s(batch, 1.6, slots, slowdown))
    )
    assert float(utilization_at(limit, limit, slowdown)) == pytest.approx(1.0)


def warned(signal: str, target: float, capacity: Capacity = CAPACITY) -> str:
    return "; ".join(words for _, words in warnings_of([Objective(signal=signal, target=target, promised_ratio=0.99)], capacity))


def test_signals_that_cannot_tell_load_are_warned_of() -> None:
    assert "near 100 % at one request already" in warned("gpu_utilization", 0.7)
    assert "It sets no limit" in warned("gpu_memory_utilization", 0.7)
    assert warned("utilization", 0.7) == warned("itl_s", 0.001) == ""  # of an ITL nothing is known yet


def test_a_target_that_no_replica_can_keep_is_warned_of() -> None:
    assert "latency_s ≤ 12 s can't be kept by more replicas: in a batch of 5.82 it takes 14.5 s already" in warned(
        "latency_s", 12.0
    )
    assert warned("latency_s", 20.0) == ""
    assert "itl_s ≤ 0.06 s can't be kept" in warned("itl_s", 0.06, Capacity(per_s=1.6, slots=32, slots_slowdown=64.0, itl_s=0.1))


def test_arrays_are_rows() -> None:
    targets, anchors = np.array([0.08, 0.1, 0.08]), np.array([1 / 15, 1 / 15, math.nan])
    assert batch_allowed("itl_s", targets, anchors, np.full(3, K), np.full(3, D)).tolist() == pytest.approx([12.8, 32.0, 32.0])
