"""hpa, worked by hand from the HPA's own code; the real controller judges the same in tests/policies/rivals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import ParamValue
from autoscaler.core.policy import complete_params, stack_params
from policies.hpa import POLICY
from policies.hpa_counts import thousandths
from tests.policies.observations import IDLE, NAN, Services

FREE: dict[str, ParamValue] = {"scale_down_window_s": 0, "scale_up": "100 Pods/15s"}


def counts(params: dict[str, ParamValue], **now: Any) -> list[float]:
    now.setdefault("ready", now.get("current", 10))
    answer: list[float] = Services(POLICY, [params]).see(**now).replicas.tolist()
    return answer


def test_an_external_metric_is_divided_and_compared_with_what_there_is() -> None:
    assert counts({**FREE, "target": 10}, concurrency=111.0) == [12]
    assert counts({**FREE, "target": 10}, concurrency=110.0) == [10]  # 1.1 lies within the tolerance
    assert counts({**FREE, "target": 10}, concurrency=90.0) == [10]
    assert counts({**FREE, "target": 10}, concurrency=89.0) == [9]
    # Within the tolerance of status.replicas (6 ready and 4 starting), not of the ready ones.
    assert counts({**FREE, "target": 10}, concurrency=100.0, ready=6, starting=4) == [10]


def test_without_a_target_it_is_seventy_percent_of_what_a_replica_holds() -> None:
    answer = Services(POLICY, [{}, {"signal": "demand"}, {"signal": "utilization"}]).see(
        concurrency=22.4 * 13, demand=1.12 * 13, utilization=0.91
    )
    assert answer.replicas.tolist() == [13, 13, 13]
    assert answer.why(0) == "External metric concurrency 291.2 at 22.4 with 10 ready and 0 starting: 13"


def test_a_total_value_scales_what_is_ready() -> None:
    value: dict[str, ParamValue] = {**FREE, "metric": "ExternalValue", "target": 100}
    assert counts(value, concurrency=150.0, ready=6, starting=4) == [9]
    assert counts(value, concurrency=105.0, ready=6, starting=4) == [10]


@pytest.mark.parametrize(
    ("starting", "level", "wanted"),
    [
        # Up: 0.95 on 6 of 10 is 0.57 when the others count as 0: against the direction, so nothing changes.
        ("pending", 0.95, 10),
        ("missing", 0.95, 10),
        # Up by more: 1.4 on 6 of 10 is 0.84, 1.2 × the target: 12.
        ("pending", 1.4, 12),
        ("missing", 1.4, 12),
        # Down: pending pods count for nothing (0.5 × 6 of 0.7 = 5); missing ones as the target ((0.5 × 6 + 0.7 × 4) ÷ 10 = 0.58: 9).
        ("pending", 0.5, 5),
        ("missing", 0.5, 9),
    ],
)
def test_pods_on_their_way(starting: str, level: float, wanted: int) -> None:
    given: dict[str, ParamValue] = {**FREE, "signal": "utilization", "target": 0.7, "starting": starting}
    assert counts(given, utilization=level, ready=6, starting=4, current=10) == [wanted]


def test_a_resource_counts_whole_percents_and_missing_pods_as_all_that_they_asked_for() -> None:
    given: dict[str, ParamValue] = {**FREE, "metric": "Resource", "signal": "utilization", "target": 0.7, "starting": "missing"}
    # (50 × 6 + 100 × 4) ÷ 10 = 70 %: no change, where a Pods metric would go down to 9.
    assert counts(given, utilization=0.5, ready=6, starting=4, current=10) == [10]
    # 77.9 % is cut to 77: 1.1, within the tolerance.
    assert counts(given, utilization=0.779, current=10) == [10]
    assert counts(given, utilization=0.781, current=10) == [12]


def test_a_mean_over_no_pods_and_an_unknown_signal_give_no_count() -> None:
    assert np.isnan(counts({"signal": "utilization"}, utilization=IDLE, ready=0, starting=3, current=3)).all()
    answer = Services(POLICY, [{}]).see(concurrency=NAN)
    assert np.isnan(answer.replicas).all()
    assert answer.why(0) == "concurrency is unknown: the HPA computes no count"


def test_out_of_its_bounds_a_count_is_corrected_whatever_the_metric_says() -> None:
    assert counts({}, concurrency=NAN, current=130) == [120]
    assert counts({}, concurrency=0.0, current=2, min_replicas=5) == [5]
    assert counts({}, concurrency=500.0, current=0, ready=0) == [0]  # somebody's 0 switches it off
    assert counts({**FREE, "target": 10}, concurrency=45.0, current=0, ready=0, min_replicas=0) == [5]


def test_up_by_four_or_double_a_period_down_after_the_window() -> None:
    services = Services(POLICY, [{"target": 10}])
    assert services.see(concurrency=900.0).replicas == [20]
    assert services.see(concurrency=900.0, current=20, ready=20).replicas == [40]
    # The count at the first sight (10) and the wishes (90) stay for 300 s each.
    for _ in range(19):
        assert services.see(concurrency=10.0, current=40, ready=40).replicas == [40]
    assert services.see(concurrency=10.0, current=40, ready=40).replicas == [1]


def test_the_first_count_is_a_wish_for_a_window() -> None:
    services = Services(POLICY, [{"target": 10, "scale_up_window_s": 60}])
    answers = [services.see(concurrency=500.0 if tick else 40.0).replicas.item() for tick in range(10)]
    # Down window: 10 is held for 300 s. Up window: the lowest of a minute, the first wish of 4 among them.
    assert answers == [10] * 4 + [20] * 6


def test_without_a_behavior_it_doubles_and_takes_the_highest_of_five_minutes() -> None:
    services = Services(POLICY, [{"behavior": False, "target": 10}])
    assert services.see(concurrency=900.0, current=1, ready=1).replicas == [4]
    assert services.see(concurrency=10.0, current=4, ready=4).replicas == [8]  # the wish of 90 still holds
    assert services.see(concurrency=NAN, current=8, ready=8).replicas.tolist() == pytest.approx([NAN], nan_ok=True)


def test_only_changes_that_it_asked_for_count_against_its_rate() -> None:
    params: dict[str, ParamValue] = {"target": 10, "scale_up": "4 Pods/60s", "scale_down_window_s": 0, "scale_down": "1 Pods/60s"}
    own, foreign = Services(POLICY, [params]), Services(POLICY, [params])
    assert own.see(concurrency=200.0).replicas == [14]
    assert own.see(concurrency=200.0, current=14, ready=14).replicas == [14]
    foreign.see(concurrency=100.0)
    assert foreign.see(concurrency=200.0, current=14, ready=14).replicas == [18]
    for _ in range(3):
        own.see(concurrency=200.0, current=14, ready=14)
    assert own.see(concurrency=200.0, current=14, ready=14).replicas == [18]


def test_select_policies() -> None:
    two = "4 Pods/15s; 100 Percent/15s"
    assert counts({"target": 10, "scale_up": two, "scale_up_select": "Min"}, concurrency=900.0) == [14]
    assert counts({"target": 10, "scale_up_select": "Disabled"}, concurrency=900.0) == [10]
    down: dict[str, ParamValue] = {"target": 10, "scale_down_window_s": 0, "scale_down": "4 Pods/15s; 10 %/15s"}
    assert counts(down, concurrency=1.0) == [6]
    assert counts({**down, "scale_down_select": "Min"}, concurrency=1.0) == [9]


def test_a_new_service_does_not_shorten_the_windows_of_the_others() -> None:
    services = Services(POLICY, [{"target": 10}])
    services.see(concurrency=400.0)
    completed, _ = complete_params(POLICY, {"target": 10})
    for n in range(2, 15):
        services.policy.rearrange(np.array([*range(n - 1), -1]), stack_params(POLICY, [completed] * n))
        services.forget_signals(n)
        counts_now = [40] + [10] * (n - 1)
        answer = services.see(concurrency=100.0, current=counts_now, ready=counts_now).replicas
        assert answer.tolist() == counts_now


def test_thousandths_are_rounded_up_but_for_float_noise() -> None:
    assert thousandths(np.array([0.1 * 3, 67.2, 5.0000004, 1e6])).tolist() == [300, 67200, 5001, 1e9]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"scale_up": "4 Pods"}, "no scaling policy"),
        ({"scale_down": "0 Pods/15s"}, "above 0"),
        ({"scale_down": "1 Pods/2000s"}, "1 to 1800"),
        ({"signal": "ttft_s"}, "must be given"),
        ({"metric": "ExternalValue"}, "must be given"),
        ({"metric": "Pods"}, "External is the metric"),
        ({"metric": "Resource"}, "no ratio"),
        ({"metric": "External", "signal": "utilization"}, "mean per replica already"),
    ],
)
def test_faults_are_told(params: dict[str, ParamValue], words: str) -> None:
    assert words in "; ".join(complete_params(POLICY, params)[1])
