"""reactive: the queueing rule with the measured burstiness, and what it does when something is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import ParamValue
from autoscaler.core.sizing import needed_capacity_per_s, whole_replicas
from policies.reactive import POLICY, Reactive
from tests.policies.observations import IDLE, NAN, Services

PLAIN: dict[str, ParamValue] = {"z": 0.0, "headroom": 0.0, "hold_s": 0.0}
"""No margins and no hold: replicas are rate ÷ capacity, easy to work by hand."""
BY_RUNNING: dict[str, ParamValue] = {**PLAIN, "basis": "running"}


def after(params: dict[str, ParamValue], ticks: int = 5, **now: Any) -> tuple[float, str]:
    services = Services(POLICY, [params])
    for _ in range(ticks):
        answer = services.see(**now)
    return float(answer.replicas[0]), answer.why(0)


def test_demand_and_backlog_worked_by_hand() -> None:
    count, words = after(PLAIN, demand=14.1, queue=40.0, running=100.0)
    assert count == 10
    assert words == "demand 14.1/s needs capacity 14.1/s at 1.6/s a replica: 9; backlog 40 requests in 30 s adds 1"


def test_batches_fuller_than_an_objective_allows_are_read_for_what_they_are() -> None:
    limited: dict[str, Any] = {"slots": 12.8, "full_slots": 32.0, "capacity_per_s": 0.8}
    # 32 run at each of 10: they serve 16/s, for which 20 replicas are needed at 0.8/s each.
    assert after(BY_RUNNING, running=320.0, queue=0.0, **limited)[0] == 20
    assert after(BY_RUNNING, running=128.0, queue=0.0, **limited)[0] == 10


def test_the_margin_is_the_queueing_rules() -> None:
    rate = 12.3 * 1.1
    capacity = needed_capacity_per_s(rate, 5.0, 2.0, 1.0)
    count, words = after({}, demand=12.3, queue=0.0)
    assert count == whole_replicas(capacity / 1.6)
    assert words == f"demand {rate:.3g}/s needs capacity {capacity:.3g}/s at 1.6/s a replica: {count:.0f}"


def test_the_demand_is_the_windows_mean_but_at_least_the_floors_share_of_the_latest() -> None:
    services = Services(POLICY, [PLAIN, {**PLAIN, "floor": 0.0}, {**PLAIN, "window_s": 15.0}])
    for _ in range(8):
        services.see(demand=16.0, queue=0.0)
    answer = services.see(demand=48.0, queue=0.0)
    # Means of a minute: 24. Floor: 0.95 × 48 = 45.6.
    assert answer.replicas.tolist() == [29, 15, 30]


def test_bursty_traffic_gets_more_room_than_smooth_traffic_of_the_same_rate() -> None:
    services = Services(POLICY, [{"hold_s": 0.0}] * 2)
    rng = np.random.default_rng(5)
    for _ in range(200):
        smooth, bursty = rng.poisson(20.0 * 15) / 15, 12 * rng.poisson(20.0 * 15 / 12) / 15
        services.see(demand=[smooth, bursty], queue=0.0)
    assert isinstance(services.policy, Reactive)
    assert services.policy._dispersion.value == pytest.approx([1.0, 12.0], rel=0.5)
    answer = services.see(demand=[20.0, 20.0], queue=0.0)
    assert answer.replicas[1] > answer.replicas[0]


def test_burstiness_is_measured_rightly_from_overlapping_windows() -> None:
    counts = np.random.default_rng(6).poisson(20.0 * 15, size=600)
    minute = np.convolve(counts, np.ones(4), mode="valid") / 60
    services = Services(POLICY, [{"sample_s": 60.0}])
    for rate in minute:
        services.see(demand=float(rate * 8), queue=0.0)  # eight requests at a time
    assert isinstance(services.policy, Reactive)
    assert services.policy._dispersion.value == pytest.approx([8.0], rel=0.3)


def test_the_signal_tells_over_how_long_its_values_are_means() -> None:
    counts = np.random.default_rng(6).poisson(20.0 * 15, size=600)
    minute = np.convolve(counts, np.ones(4), mode="valid") / 60
    told, nobody_knows, said_by_hand = Services(POLICY, [{}]), Services(POLICY, [{}]), Services(POLICY, [{"sample_s": 60.0}])
    told.spans_s["demand"] = np.array([60.0])
    nobody_knows.spans_s["demand"] = np.array([NAN])
    said_by_hand.spans_s["demand"] = np.array([15.0])
    for rate in minute:
        for services in (told, nobody_knows, said_by_hand):
            services.see(demand=float(rate * 8), queue=0.0)  # eight requests at a time
    measured = [services.policy._dispersion.value[0] for services in (told, said_by_hand)]  # type: ignore[attr-defined]
    assert measured == pytest.approx([8.0, 8.0], rel=0.3)
    assert nobody_knows.policy._dispersion.value[0] < 4  # type: ignore[attr-defined]


def test_values_that_reach_back_by_themselves_are_not_averaged_again() -> None:
    services = Services(POLICY, [{**PLAIN, "window_s": 60.0, "floor": 0.0}] * 3)
    services.spans_s["demand"] = np.array([60.0, 15.0, NAN])
    for rate in (8.0, 8.0, 8.0, 16.0):
        answer = services.see(demand=rate, queue=0.0)
    assert answer.replicas.tolist() == [10, 7, 7], "16/s at 1.6/s, or the mean of four"


def test_a_gap_in_the_minute_is_left_out_of_its_mean() -> None:
    services = Services(POLICY, [PLAIN] * 2)
    for now in ([16.0, 16.0], [NAN, 16.0], [16.0, 16.0], [16.0, 16.0]):
        answer = services.see(demand=now, queue=0.0)
    assert answer.replicas.tolist() == [10, 10]


def test_the_first_tick_uses_what_there_is() -> None:
    assert after(PLAIN, ticks=1, demand=16.0, queue=0.0)[0] == 10


def test_without_demand_the_rate_is_read_off_the_batches() -> None:
    # 10 ready with a batch of 32 give 16/s; half the throughput is a batch of 12.8.
    assert after(PLAIN, demand=NAN, queue=0.0, running=320.0)[0] == 10
    count, words = after(PLAIN, demand=NAN, queue=0.0, running=128.0)
    assert count == 5
    assert words.startswith("the load of what runs, taken as demand, 8/s needs capacity 8/s")
    assert after(BY_RUNNING, queue=30.0, running=320.0)[0] == 11
    assert after(BY_RUNNING, demand=1.0, queue=0.0, running=320.0)[0] == 10, "asked to go by what runs"


def test_a_queue_says_that_unseen_replicas_are_full() -> None:
    assert after(PLAIN, demand=NAN, queue=96.0)[0] == 12
    assert np.isnan(after(PLAIN, demand=NAN, queue=0.0)[0])


def test_without_capacity_the_slots_must_hold_what_is_in_flight() -> None:
    count, words = after({}, demand=10.0, queue=24.0, running=200.0, capacity_per_s=NAN)
    assert count == 10
    assert words == "a replica's capacity is unknown, so the requests in flight take 70% of its 32 slots: 10"
    assert after({}, demand=10.0, queue=24.0, concurrency=224.0, capacity_per_s=NAN)[0] == 10
    count, words = after({}, demand=10.0, queue=24.0, capacity_per_s=NAN)
    assert np.isnan(count)
    assert words == "neither requests in flight nor a replica's capacity is known: no count"


def test_an_unknown_backlog_is_said_and_the_demand_counts() -> None:
    count, words = after(PLAIN, demand=16.0, queue=NAN)
    assert count == 10
    assert words.endswith("; the backlog is unknown")


def test_unknown_demand_is_not_zero_and_idle_is() -> None:
    count, words = after(PLAIN, demand=NAN, queue=NAN, running=NAN)
    assert np.isnan(count)
    assert words == "neither demand nor what runs is known: no count"
    assert after(PLAIN, demand=IDLE, queue=IDLE, running=IDLE)[0] == 0
    assert np.isnan(after(PLAIN)[0]), "no signals at all"


def test_from_zero_a_backlog_alone_brings_replicas() -> None:
    assert after(PLAIN, demand=0.2, queue=3.0, running=0.0, ready=0, current=0)[0] == 1
    assert after(BY_RUNNING, queue=3.0, running=0.0, ready=0, current=0)[0] == 1


def test_a_count_stays_until_nothing_has_asked_for_it_for_the_hold() -> None:
    quick: dict[str, ParamValue] = {**PLAIN, "window_s": 15.0}
    services = Services(POLICY, [{**quick, "hold_s": 45.0}, quick, {**quick, "hold_s": 30.0}])
    answers = [services.see(demand=demand, queue=0.0) for demand in (16.0, 32.0, NAN, 8.0, 8.0, 8.0)]
    got = [answer.replicas.tolist() for answer in answers]
    np.testing.assert_array_equal(got, [[10, 10, 10], [20, 20, 20], [NAN] * 3, [20, 5, 5], [5, 5, 5], [5, 5, 5]])
    words = "demand 8/s needs capacity 8/s at 1.6/s a replica: 5; 20 were needed within the last 45 s and stay"
    assert answers[3].why(0) == words


def test_the_latest_unknown_is_not_filled_from_the_minute_before() -> None:
    services = Services(POLICY, [PLAIN])
    for _ in range(4):
        services.see(demand=16.0, queue=0.0)
    assert np.isnan(services.see(demand=NAN, queue=0.0).replicas[0])


rates = st.floats(0, 1e4)


@given(st.lists(st.tuples(rates, rates), min_size=1, max_size=1), st.floats(0, 1e5), st.floats(0, 1e5))
def test_more_demand_or_backlog_never_needs_fewer(levels: list[tuple[float, float]], one: float, other: float) -> None:
    low, high = sorted(levels[0])
    short, long = sorted((one, other))
    services = Services(POLICY, [{}] * 3)
    for _ in range(6):  # steady, so that the burstiness is the same
        answer = services.see(demand=[low, high, high], queue=[short, short, long])
    assert answer.replicas[0] <= answer.replicas[1] <= answer.replicas[2]


maybe = st.one_of(st.floats(0, 1e3), st.just(NAN))


@given(st.lists(st.tuples(*[st.tuples(maybe, maybe, maybe)] * 3), min_size=1, max_size=7))
def test_a_service_gets_the_same_among_others_as_alone(ticks: list[tuple[tuple[float, float, float], ...]]) -> None:
    params: list[dict[str, ParamValue]] = [
        {},
        {"window_s": 30.0, "basis": "running"},
        {"z": 0.5, "sample_s": 60.0, "wait_s": 1.0},
    ]
    together = Services(POLICY, params)
    alone = [Services(POLICY, [own]) for own in params]
    for now in ticks:
        demand, queue, running = (list(column) for column in zip(*now, strict=True))
        answer = together.see(demand=demand, queue=queue, running=running)
        for row, service in enumerate(alone):
            own = service.see(demand=demand[row], queue=queue[row], running=running[row])
            np.testing.assert_array_equal(own.replicas[0], answer.replicas[row])
            assert own.why(0) == answer.why(row)
