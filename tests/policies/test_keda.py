"""keda against vectors worked by hand from KEDA's rules: keda-docs 2.17 (ScaledObject specification, Prometheus, Cron), and
pkg/scaling/executor/scale_scaledobjects.go, pkg/fallback/fallback.go where the pages are silent (named beside the vector)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import ParamValue
from autoscaler.core.policy import complete_params
from policies.hpa import POLICY as HPA
from policies.keda import POLICY
from replay.plugins import policy_ref
from replay.run import run_replay
from tests.policies.observations import IDLE, NAN, Services
from tests.replay.made import manifests, scenario, series, wavy

AT_ONCE: dict[str, ParamValue] = {"threshold": 10, "behavior": True, "scale_down_window_s": 0, "scale_up": "100 Pods/15s"}
"""An HPA without windows and rates, so that what is seen is KEDA's."""
TO_ZERO: dict[str, ParamValue] = {**AT_ONCE, "min_replica_count": 0, "cooldown_period_s": 60}
FALLBACK: dict[str, ParamValue] = {**AT_ONCE, "unknown": "error", "fallback_replicas": 6}


def counts(params: dict[str, ParamValue], levels: Sequence[Any], current: int, ready: int | None = None) -> list[float]:
    """The counts for one level a tick of 15 s, while the target stays as it is."""
    services = Services(POLICY, [params])
    return answers(services, levels, current, ready)


def answers(services: Services, levels: Sequence[Any], current: int, ready: int | None = None) -> list[float]:
    ready = current if ready is None else ready
    return [services.see(concurrency=level, current=current, ready=ready, min_replicas=0).replicas.item() for level in levels]


# ---------------------------------------------------------------- from one replica on: the HPA


def test_from_one_replica_on_it_is_the_hpa() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    keda, hpa = Services(POLICY, [{"threshold": 10}] * 3), Services(HPA, [{"target": 10, "behavior": False}] * 3)
    current = np.array([10, 3, 25])
    for _ in range(200):
        seen: dict[str, Any] = {"concurrency": rng.gamma(2.0, 60.0, 3), "current": current, "ready": current}
        answer, wanted = keda.see(**seen).replicas, hpa.see(**seen).replicas
        np.testing.assert_equal(answer, wanted)
        current = answer.astype(np.int64)


def test_without_a_behavior_of_its_own_its_hpa_has_none() -> None:
    # Doubles or goes to 4 at most, and keeps the highest of 300 s.
    assert counts({"threshold": 10, "min_replica_count": 1}, [900.0], 1) == [4]
    assert counts({"threshold": 10, "min_replica_count": 1}, [100.0, *[10.0] * 20, 10.0], 10) == [*[10] * 20, 1, 1]


def test_a_value_scales_what_is_ready() -> None:
    params: dict[str, ParamValue] = {**AT_ONCE, "metric_type": "Value", "threshold": 100}
    assert counts(params, [150.0], current=10, ready=6) == [9]


def test_both_activation_and_threshold_decide_for_themselves() -> None:
    # keda-docs, Activating and scaling thresholds: with threshold 10 and activationThreshold 50, at 40 the trigger is not active, and
    # the HPA would still want 4.
    params: dict[str, ParamValue] = {**TO_ZERO, "activation_threshold": 50}
    assert counts(params, [40.0], current=0) == [0]
    assert counts(params, [51.0], current=0) == [1]
    assert counts(params, [40.0], current=6) == [4]


# ---------------------------------------------------------------- no data


def test_an_empty_result_is_zero_unless_it_is_an_error() -> None:
    assert counts({**AT_ONCE, "min_replica_count": 2}, [80.0, NAN], current=8) == [8, 2]
    kept = counts({**AT_ONCE, "min_replica_count": 2, "ignore_null_values": False}, [80.0, NAN], current=8)
    assert kept == pytest.approx([8, NAN], nan_ok=True)
    failing = counts({**AT_ONCE, "min_replica_count": 2, "unknown": "error"}, [80.0, NAN], current=8)
    assert failing == pytest.approx([8, NAN], nan_ok=True)


def test_what_was_never_known_gives_no_count() -> None:
    assert np.isnan(counts(AT_ONCE, [NAN] * 4, current=8)).all()
    assert np.isnan(counts(TO_ZERO, [NAN] * 40, current=8)).all()


@pytest.mark.parametrize(
    ("behavior", "current", "wanted"),
    [
        ("static", 10, 6),
        ("static", 3, 6),
        ("currentReplicas", 10, 10),
        ("currentReplicasIfHigher", 10, 10),
        ("currentReplicasIfHigher", 3, 6),
        ("currentReplicasIfLower", 10, 6),
        ("currentReplicasIfLower", 3, 3),
    ],
)
def test_the_fallback_acts_after_more_failures_than_its_threshold(behavior: str, current: int, wanted: int) -> None:
    params: dict[str, ParamValue] = {**FALLBACK, "fallback_behavior": behavior}
    # "Once that value passes the failureThreshold": three failures are not enough, the fourth is.
    found = counts(params, [10.0 * current, NAN, NAN, NAN, NAN, NAN], current)
    assert found == pytest.approx([current, NAN, NAN, NAN, wanted, wanted], nan_ok=True)


def test_the_fallback_s_figure_goes_through_the_hpa_and_ends_with_the_failures() -> None:
    services = Services(POLICY, [{**FALLBACK, "fallback_failure_threshold": 0}])
    answers(services, [100.0], 10)
    # 6 × 10 on 6 pods is met; on 10 pods it is 0.6; on 6 of which 1 is still to come too.
    assert answers(services, [NAN], 10) == [6]
    assert services.policy.recommend(services.observation).why(0) == (
        "prometheus: concurrency fails, the fallback's 6 replicas in its place: 6"
    )
    assert answers(services, [80.0], 6) == [8]
    # With the usual target too (22.4): 6 × 22.4 are 6 replicas, and not 7 for float noise.
    usual: dict[str, ParamValue] = {**FALLBACK, "threshold": 0, "fallback_failure_threshold": 0}
    assert counts(usual, [100.0, NAN], 10)[-1] == 6


def test_failures_are_counted_where_the_hpa_asks_and_a_success_forgets_them() -> None:
    services = Services(POLICY, [{**FALLBACK, "fallback_failure_threshold": 2}])
    answers(services, [100.0], 10)
    assert np.isnan(answers(services, [NAN, NAN], 10)).all()
    assert answers(services, [100.0], 10) == [10]
    assert np.isnan(answers(services, [NAN, NAN], 10)).all()
    # At zero there is no HPA that asks (it is disabled there).
    assert answers(services, [NAN] * 5, 0) == [0] * 5
    assert answers(services, [NAN], 10) == [6]


# ---------------------------------------------------------------- to and from zero


def test_it_wakes_at_a_poll_to_one_or_its_minimum() -> None:
    # Ticks of 15 s, polls at 0, 30, 60 s …
    assert counts(TO_ZERO, [0.0, 5.0, 5.0, 5.0], current=0) == [0, 0, 1, 0]
    assert counts({**TO_ZERO, "polling_interval_s": 15}, [0.0, 5.0, 5.0], current=0) == [0, 1, 1]
    assert counts({**AT_ONCE, "min_replica_count": 3, "idle_replica_count": 0}, [5.0], current=0) == [3]


def test_it_goes_to_zero_once_the_cooldown_is_over() -> None:
    # Last active at the poll of 0 s; the HPA's own minimum is 1. The polls of 30 s and of 60 s (not more than 60) are too early.
    found = counts(TO_ZERO, [20.0, *[IDLE] * 7], current=2)
    assert found == [2, 1, 1, 1, 1, 1, 0, 1]
    # Activity in between begins it anew: the poll of 30 s sees some; 90 s is too early then, 120 s not.
    assert counts(TO_ZERO, [20.0, 0.0, 20.0, *[0.0] * 6], current=2)[4:] == [1, 1, 1, 1, 0]


def test_idle_replicas() -> None:
    params: dict[str, ParamValue] = {**TO_ZERO, "min_replica_count": 3, "idle_replica_count": 0}
    assert counts(params, [80.0, *[0.0] * 6], current=8) == [8, *[3] * 5, 0]
    # idleReplicaCount "must be less than minReplicaCount": it isn't, so there is none.
    assert counts({**params, "min_replica_count": 0, "cooldown_period_s": 0}, [0.0, 0.0, 0.0], current=1)[-1] == 0


def test_what_was_never_active_sleeps_after_the_initial_cooldown() -> None:
    # LastActiveTime nil: "ignore the cooldown period" (scaleToZeroOrIdle). Polls at 0 (not later than the start), 30 s.
    assert counts(TO_ZERO, [0.0, 0.0, 0.0], current=1) == [1, 1, 0]
    params: dict[str, ParamValue] = {**TO_ZERO, "initial_cooldown_period_s": 50}
    assert counts(params, [0.0] * 5, current=1) == [1, 1, 1, 1, 0]


def test_errors_do_not_send_it_to_sleep() -> None:
    # RequestScale: neither without a fallback, nor with one of some replicas. (A fallback to 0 lets it sleep.)
    awake = [20.0, *[NAN] * 12]
    error: dict[str, ParamValue] = {**TO_ZERO, "unknown": "error"}
    assert 0 not in counts(error, awake, current=2)
    assert 0 not in counts({**error, "fallback_replicas": 2, "fallback_failure_threshold": 100}, awake, current=2)
    assert 0 in counts({**error, "fallback_replicas": 0, "fallback_failure_threshold": 100}, awake, current=2)
    # The empty result that counts as zero does: what people have seen at an outage.
    assert 0 in counts(TO_ZERO, awake, current=2)


def test_below_its_minimum_it_is_raised_to_it() -> None:
    params: dict[str, ParamValue] = {**AT_ONCE, "min_replica_count": 5}
    assert counts(params, [0.0], current=2) == [5]
    # At zero only the operator can: the HPA is disabled there.
    assert counts(params, [0.0], current=0) == [5]
    assert counts(params, [0.0, 0.0], current=0) == [5, 0]  # between two polls


# ---------------------------------------------------------------- cron


def test_a_cron_trigger_is_a_metric_of_its_own() -> None:
    # 15:06:40 UTC is the first tick; between 15:08 and 15:10 ten replicas, then one again.
    params: dict[str, ParamValue] = {**AT_ONCE, "triggers": "cron", "start": "8 15 * * *", "end": "10 15 * * *"}
    params |= {"desired_replicas": 10, "min_replica_count": 1}
    ticks = [1] * 6 + [10] * 8 + [1] * 2  # at 0 … 75 s, 90 … 195 s, from 210 s on
    assert counts(params, [NAN] * 16, current=3) == ticks
    # Through the HPA's tolerance: eleven are near enough to ten.
    assert counts({**params, "start": "0 15 * * *"}, [NAN], current=11) == [11]


def test_a_cron_trigger_wakes_and_lets_sleep_after_the_cooldown() -> None:
    params: dict[str, ParamValue] = {**TO_ZERO, "triggers": "cron", "start": "8 15 * * *", "end": "9 15 * * *"}
    # Polls at 0, 30 … s; the window is 80 to 140 s.
    assert counts(params, [NAN] * 8, current=0) == [0] * 6 + [1, 0]
    # Active at the polls of 90 and 120 s; a minute after the last one the poll of 210 s is the first that may.
    assert counts({**params, "desired_replicas": 4}, [NAN] * 15, current=4)[6:] == [4, 4, 4, 4, 1, 1, 1, 1, 0]


def test_the_highest_trigger_counts_and_with_one_in_error_nothing_shrinks() -> None:
    params: dict[str, ParamValue] = {**AT_ONCE, "triggers": "prometheus+cron", "unknown": "error", "desired_replicas": 10}
    params |= {"start": "0 15 * * *", "end": "10 15 * * *", "min_replica_count": 1}
    assert counts(params, [150.0, 50.0], current=12) == [15, 10]
    assert counts(params, [50.0, NAN], current=5) == [10, 10]
    assert counts(params, [50.0, NAN], current=12) == pytest.approx([10, NAN], nan_ok=True)


# ---------------------------------------------------------------- rows, faults, replays


def test_rows_with_other_parameters_are_what_they_are_alone() -> None:
    rows: list[dict[str, ParamValue]] = [
        {},
        {**TO_ZERO, "signal": "queue"},
        {**FALLBACK, "fallback_failure_threshold": 1},
        {"triggers": "prometheus+cron", "start": "8 15 * * *", "end": "20 15 * * *", "desired_replicas": 9},
        {"triggers": "cron", "start": "8 15 * * *", "end": "20 15 * * *", "desired_replicas": 9, "min_replica_count": 0},
    ]
    rng = np.random.Generator(np.random.PCG64(5))
    together, alone = Services(POLICY, rows), [Services(POLICY, [row]) for row in rows]
    current = np.full(5, 4)
    for _ in range(200):
        levels = np.where(rng.random((2, 5)) < 0.3, NAN, rng.gamma(0.4, 200.0, (2, 5)) * (rng.random((2, 5)) < 0.4))
        answer = together.see(concurrency=levels[0], queue=levels[1], current=current, ready=current, min_replicas=0)
        for row, one in enumerate(alone):
            place = slice(row, row + 1)
            count = one.see(
                concurrency=levels[0][place],
                queue=levels[1][place],
                current=current[place],
                ready=current[place],
                min_replicas=0,
            )
            np.testing.assert_equal(count.replicas, answer.replicas[place])
        current = np.where(np.isnan(answer.replicas), current, answer.replicas).astype(np.int64)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"signal": "ttft_s", "metric_type": "Value"}, "threshold: signal 'ttft_s'"),
        ({"signal": "utilization"}, "metric_type: 'utilization' is a mean per replica already"),
        ({"metric_type": "Value"}, "threshold: a Value has no usual one"),
        ({"metric_type": "Value", "threshold": 5, "fallback_replicas": 2}, "AverageValue only"),
        ({"triggers": "cron", "start": "0 25 * * *"}, "start: '25' as hour"),
        ({"triggers": "cron", "start": "0 8 * * *", "end": "0 8 * * *"}, "must differ"),
        ({"triggers": "cron", "timezone": "Europe/Nowhere"}, "no IANA time zone"),
        ({"idle_replica_count": 1}, "-1 to 0"),
        ({"scale_up": "fast"}, "no scaling policy"),
    ],
)
def test_faults_are_told(params: dict[str, ParamValue], words: str) -> None:
    assert words in "; ".join(complete_params(POLICY, params)[1])


def test_in_a_replay_it_costs_what_its_hpa_costs() -> None:
    scores = [
        run_replay(manifests(), scenario(), wavy(60), policy=policy_ref(text)).score for text in ("hpa:behavior=false", "keda")
    ]
    assert scores[0]["replica_hours"] == scores[1]["replica_hours"]
    assert scores[0]["actions"] == scores[1]["actions"] > 0


def test_in_a_replay_it_sleeps_and_wakes() -> None:
    silence = series([60.0] * 10 + [0.0] * 30 + [60.0] * 20)
    # The fluid plant's running requests die away and never quite reach 0.
    policy = policy_ref("keda:cooldown_period_s=120,activation_threshold=0.5")
    result = run_replay(manifests(minReplicas="0", idle__after="0s"), scenario(scale__mode="Factor"), silence, policy=policy)
    desired = result.ledger.column("desired")
    minutes = desired[::4]
    assert minutes[10] > 0
    assert (minutes[20:40] == 0).all()
    assert minutes[-1] > 0
