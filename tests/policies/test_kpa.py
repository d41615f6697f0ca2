"""kpa against vectors worked by hand from Knative's published rules: pkg/autoscaler/scaling/autoscaler.go (Scale) and
pkg/autoscaler/aggregation/bucketing.go (WindowAverage); numbers that its own tests have too (autoscaler_test.go) say which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import ParamValue
from autoscaler.core.policy import complete_params
from policies.kpa import POLICY
from tests.policies.observations import IDLE, NAN, Services

RATES_OF_TEN: dict[str, ParamValue] = {"target": 10, "max_scale_up_rate": 10, "max_scale_down_rate": 10}
"""newTestAutoscaler's setting: panic at 200 %, 60 s."""
SHORT: dict[str, ParamValue] = {**RATES_OF_TEN, "stable_window_s": 6, "panic_window": 1 / 3, "panic_threshold": 10}
"""Stable: three samples of the 2 s loop. Panic: the last one, and never in the cases here."""


def knative(params: dict[str, ParamValue], **more: Any) -> Services:
    return Services(POLICY, [params], interval_s=2.0, **more)


def counts(services: Services, concurrency: Sequence[Any], ready: int = 1) -> list[float]:
    return [services.see(concurrency=level, ready=ready, current=ready, min_replicas=0).replicas.item() for level in concurrency]


@pytest.mark.parametrize(
    ("params", "concurrency", "ready", "wanted"),
    [
        ({}, 0.0, 1, 0),  # AutoscalerNoDataAtZeroNoAutoscale
        ({}, 50.0, 1, 5),  # AutoscalerStableModeNoChange: ceil(50 ÷ 10)
        ({}, 50.0, 5, 5),  # …AlreadyScaled
        ({}, 51.0, 5, 6),
        ({}, 1000.0, 1, 10),  # TestAutoscalerRateLimitScaleUp: 100 are needed, ten times what is ready
        ({}, 1000.0, 10, 100),
        ({}, 1000.0, 0, 10),  # …UseOnePodAsMinimumIfEndpointsNotFound
        ({}, 1.0, 100, 10),  # TestAutoscalerRateLimitScaleDown: a tenth of what is ready at least
        ({}, 1.0, 10, 1),
        ({"target": 1, "max_scale_up_rate": 1.1}, 3.0, 2, 3),  # …IncreaseWithSmallScaleUpRate: ceil(2.2)
        ({"max_scale_down_rate": 1.1}, 1.0, 100, 90),  # …DecreaseWithSmallScaleDownRate: floor(100 ÷ 1.1)
        ({"activation_scale": 2}, 0.0, 1, 0),  # TestAutoscalerActivationScale
        ({"activation_scale": 2}, 1.0, 1, 2),
    ],
)
def test_a_decision(params: dict[str, ParamValue], concurrency: float, ready: int, wanted: int) -> None:
    services = knative({**RATES_OF_TEN, **params})
    counts(services, [concurrency / 10])  # met at one pod, so not in panic; of that sample nothing is left a minute later
    services.at_s += 60.0
    assert counts(services, [concurrency], ready) == [wanted]


def test_without_a_target_it_is_seventy_percent_of_what_a_replica_holds() -> None:
    services = Services(POLICY, [{}, {"signal": "demand"}], interval_s=2.0)
    answer = services.see(concurrency=22.4 * 13, demand=1.12 * 13)
    assert answer.replicas.tolist() == [13, 13]
    assert (
        answer.why(0) == "concurrency 291.2 in 60 s and 291.2 in 6 s at 22.4 a replica: 13, in panic since 0 s: no fewer than 13"
    )


def test_a_surge_brings_panic_and_panic_never_goes_down() -> None:
    services = knative({"target": 10})
    calm = counts(services, [100.0] * 40, ready=10)
    assert calm == [10] * 40
    # The short window holds three samples: 400, 700 and 1000 in it; 40 ÷ 10 ready is more than twice. In the long one it is 130 only.
    assert counts(services, [1000.0] * 3, ready=10) == [40, 70, 100]
    # Over after 6 s; the short window is at 667 and 334 (still above twice what is ready) and then at 1. From the last of
    # those two on a whole minute must pass: 31 more decisions.
    assert counts(services, [1.0] * 32, ready=10) == [100] * 32
    # Then the long window holds 1; half of what is ready stays at least.
    assert counts(services, [1.0] * 2, ready=10) == [5, 5]


def test_a_surge_that_goes_on_prolongs_the_panic_and_raises_it() -> None:
    services = knative({"target": 1})
    counts(services, [10.0] * 40, ready=10)
    # TestAutoscalerExtendPanicWindow's way: 25 at 10 ready, half a minute later 80 at 40 ready, half a minute later it is calm.
    # (The first one is no panic yet: 15 in the short window, and 10.5 in the long one.)
    assert counts(services, [25.0] * 3, ready=10) == [11, 20, 25]
    assert counts(services, [25.0] * 12, ready=40) == [25] * 12
    assert counts(services, [80.0] * 3, ready=40) == [44, 62, 80]
    assert counts(services, [30.0] * 30, ready=80) == [80] * 30
    # In panic since the moment of 80 = 2 × 40; a minute and one decision later: ceil(30) and half of 80.
    assert counts(services, [30.0] * 2, ready=80) == [40, 40]


def test_the_larger_of_both_windows_counts_in_panic() -> None:
    services = knative({"target": 1})
    # AutoscalerPanicStableLargerThanPanic's way: met with five pods it is in panic; 27 samples of 60 and 3 of 30 are 57 in the long window.
    assert counts(services, [60.0] * 27, ready=50)[-1] == 60
    assert counts(services, [30.0] * 3, ready=50) == [60] * 3
    fresh = knative({"target": 1})
    assert counts(fresh, [20.0] * 27, ready=20)[-1] == 20
    assert counts(fresh, [30.0] * 3, ready=20) == [24, 27, 30]


def test_it_begins_in_panic_where_more_than_one_pod_runs() -> None:
    # TestStartInPanicMode: a restart knows no past. Two pods stay for a minute, then half of them; one pod has nothing to lose.
    assert counts(knative(RATES_OF_TEN), [0.0] * 32, ready=2) == [2] * 31 + [0]
    assert counts(knative({"target": 10}), [0.0] * 32, ready=2) == [2] * 31 + [1]
    assert counts(knative(RATES_OF_TEN), [0.0], ready=1) == [0]


def test_a_window_that_is_not_full_is_the_mean_of_what_is_there() -> None:
    services = knative(SHORT)
    assert counts(services, [40.0, 10.0, 10.0, 10.0]) == [4, 3, 2, 1]  # 40, 25, 20, 10


def test_a_gap_counts_as_nothing_and_silence_shortens_the_window() -> None:
    services = knative({**SHORT, "stable_window_s": 12, "panic_window": 1 / 6})
    assert counts(services, [60.0] * 6)[-1] == 6
    # Silence: the window ends where the samples do: 5, 4 … 1 of 60.
    assert counts(services, [NAN] * 5) == [6] * 5
    assert np.isnan(counts(services, [NAN] * 2)).all()
    # After a whole window without any it begins anew.
    assert counts(services, [60.0, 60.0]) == [6, 6]
    # Between two samples a missing one is a 0: 60, 60, 0, 0, 60 are 36 in the mean.
    assert counts(services, [NAN, NAN, 60.0]) == [6, 6, 4]


def test_a_scale_down_is_delayed_by_the_highest_of_the_time() -> None:
    services = knative({**SHORT, "scale_down_delay_s": 300})
    # TestAutoscalerScaleDownDelay: 4 pods at 2 s are kept until 300 s, and not at 302 s. (There both windows drop to 0 at once; here the
    # long one still holds 20 and 13.3 for two decisions, so 2 pods are next.)
    assert counts(services, [40.0]) == [4]
    assert counts(services, [0.0] * 149) == [4] * 149
    assert counts(services, [0.0] * 3) == [2, 2, 0]


def test_with_nothing_to_do_it_goes_to_zero_and_comes_back() -> None:
    services = knative(RATES_OF_TEN)
    assert counts(services, [5.0, *[IDLE] * 29])[-1] == 1
    assert counts(services, [IDLE]) == [0]
    assert counts(services, [25.0], ready=0) == [1]  # ceil(25 ÷ 30 ÷ 10); the short window wants 1 as well
    assert counts(services, [25.0, 25.0], ready=0) == [2, 3]


def test_what_was_never_known_gives_no_count() -> None:
    services = knative({})
    answer = services.see(concurrency=NAN)
    assert np.isnan(answer.replicas).all()
    assert answer.why(0) == "concurrency was unknown for 60 s: no count"


def test_at_a_controller_s_interval_the_windows_hold_what_is_seen() -> None:
    services = Services(POLICY, [{"target": 10, "panic_threshold": 10}], interval_s=15.0)
    levels = [10.0, 20.0, 30.0, 40.0, 50.0]
    assert counts(services, levels, ready=1) == [1, 2, 2, 3, 4]  # 10, 15, 20, 25 of four samples, 35 of the last four


def test_rows_with_other_windows_are_what_they_are_alone() -> None:
    rows: list[dict[str, ParamValue]] = [
        {},
        {"stable_window_s": 6, "panic_window": 0.5},
        {"scale_down_delay_s": 40, "activation_scale": 4},
        {"signal": "demand", "stable_window_s": 20, "panic_threshold": 1.2},
    ]
    rng = np.random.Generator(np.random.PCG64(7))
    together = Services(POLICY, rows, interval_s=2.0)
    alone = [Services(POLICY, [row], interval_s=2.0) for row in rows]
    for _ in range(150):
        seen = np.where(rng.random((2, 4)) < 0.15, NAN, rng.gamma(1.0, 200.0, (2, 4)))
        ready = rng.integers(0, 15, 4)
        answer = together.see(concurrency=seen[0], demand=seen[1], ready=ready)
        for row, one in enumerate(alone):
            single = one.see(concurrency=seen[0][row], demand=seen[1][row], ready=ready[row : row + 1])
            np.testing.assert_equal(single.replicas, answer.replicas[row : row + 1])


def test_a_panic_window_without_a_sample_is_refused() -> None:
    assert "panic_window: 0.6 s" in "; ".join(complete_params(POLICY, {"stable_window_s": 60, "panic_window": 0.01})[1])
