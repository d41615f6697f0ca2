"""wva against vectors worked by hand from WVA's published rule (docs saturation-scaling-config; internal/saturation/analyzer_test.go and
saturation_v2/analyzer.go where named). Its replicas are given one by one; a mean of equal ones is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import ParamValue
from autoscaler.core.policy import complete_params
from policies.wva import POLICY
from replay.plugins import policy_ref
from replay.run import run_replay
from tests.policies.observations import IDLE, NAN, Services
from tests.replay.made import manifests, scenario, wavy

FREE: dict[str, ParamValue] = {
    "scale_up": "100 Pods/15s",
    "scale_down_window_s": 0,
    "scale_up_tolerance": 0,
    "scale_down_tolerance": 0,
}
"""An HPA that follows its number exactly, so that what is seen is WVA's."""
NOW: dict[str, ParamValue] = {**FREE, "window_s": 0}


def count(params: dict[str, ParamValue], kv: Any, queue: Any, ready: int, starting: int = 0) -> float:
    services = Services(POLICY, [params])
    found: float = services.see(
        kv_cache_utilization=kv, queue=queue, ready=ready, starting=starting, current=ready + starting
    ).replicas.item()
    return found


@pytest.mark.parametrize(
    ("kv", "each_waits", "ready", "wanted"),
    [
        (0.685, 1, 2, 2),  # the page's example: 65 and 72 %: 0.115 spare, not under 0.1
        (0.705, 1, 2, 3),  # 65 and 76 %: 0.095
        (0.70, 1, 2, 2),  # exactly the trigger: not under it
        (0.755, 2, 2, 3),  # TestAnalyzeModelSaturation_ScaleUp: low KV
        (0.50, 3, 2, 3),  # low queue: 2 spare, 3 are asked for
        (0.50, 1, 2, 2),  # healthy; with one less the other one would be full
        (0.25, 1, 3, 2),  # …_ScaleDownSafety: 0.375 and 1.5 on two leave room
        (0.725, 2, 2, 3),
        (0.10, 0, 1, 1),  # a single one stays
        (0.85, 2, 3, 4),  # …_AllSaturated, by its cache
        (0.50, 6, 3, 4),  # by its queue
    ],
)
def test_v1_by_spare_room(kv: float, each_waits: float, ready: int, wanted: int) -> None:
    assert count({**NOW, "analyzer": "V1"}, kv, each_waits * ready, ready) == wanted


def test_v1_decides_nothing_while_replicas_are_on_their_way() -> None:
    # CalculateSaturationTargets: metrics (2) ≠ current (3).
    assert count({**NOW, "analyzer": "V1"}, 0.9, 40, 2, starting=1) == 3
    assert count({**NOW, "analyzer": "V1"}, 0.1, 0, 4, starting=1) == 5


@pytest.mark.parametrize(
    ("kv", "queue", "ready", "starting", "wanted"),
    [
        (0.68, 0, 10, 0, 10),  # 6.8 ÷ 0.85 is the supply of 8; 6.8 ÷ 0.7 more than it
        (0.75, 0, 10, 0, 12),  # 8.82 − 8 is 1.03 replicas of 0.8
        (0.75, 0, 10, 2, 12),  # anticipated supply counts those on their way
        (0.40, 0, 10, 0, 8),  # 8 − 4 ÷ 0.7 are 2.86 replicas: two go
        (0.60, 40, 10, 0, 11),  # 40 ÷ 32 caches more: 7.25 ÷ 0.85 − 8 is 0.66
        (0.60, 60, 10, 0, 16),  # six wait at each: all that it can do is 0.6. 7.875 ÷ 0.85 − 6 is 5.4 of 0.6
        (0.85, 0, 10, 0, 13),  # 8.5 ÷ 0.85 − 8 is 2.5
        (0.0, 0, 3, 0, 1),  # the last one stays
    ],
)
def test_v2_by_demand_and_supply(kv: float, queue: float, ready: int, starting: int, wanted: int) -> None:
    assert count(NOW, kv, queue, ready, starting) == wanted


def test_v2_remembers_what_a_replica_could_do_at_most() -> None:
    services = Services(POLICY, [NOW])

    def see(kv: float, queue: float) -> float:
        found: float = services.see(kv_cache_utilization=kv, queue=queue).replicas.item()
        return found

    assert see(0.6, 60) == 16
    assert see(0.6, 0) == 12  # 6 ÷ 0.85 − 10 × 0.6 is 1.76 of 0.6
    see(0.4, 60)
    assert see(0.5, 0) == 12  # 0.5 in the mean: 5 ÷ 0.85 − 5 is 1.76 of 0.5
    for _ in range(10):
        see(0.9, 60)
    assert see(0.68, 0) == 10  # ten times full at 0.9: the cache's threshold is the limit again


def test_the_share_of_a_request_may_be_given() -> None:
    assert count({**NOW, "request_share": 0.1}, 0.60, 40, 10) == 15  # 10 ÷ 0.85 − 8 is 4.7 of 0.8


def test_its_queries_take_the_highest_of_a_minute() -> None:
    services = Services(POLICY, [FREE])
    levels = [0.75, 0.1, 0.1, 0.1, 0.1]
    found = [services.see(kv_cache_utilization=level, queue=0).replicas.item() for level in levels]
    assert found == [12, 12, 12, 12, 2]  # 8 − 1 ÷ 0.7 are 8.2 replicas


def test_unknown_idle_and_nobody_ready() -> None:
    assert np.isnan(count({}, NAN, 0, 3))
    assert np.isnan(count({}, 0.5, NAN, 3))
    assert count(FREE, IDLE, IDLE, 3) == 1
    assert count(FREE, 0.5, 100, 0, starting=4) == 4


def test_an_hpa_follows_its_number() -> None:
    # One more than ten lies within the HPA's tolerance: from ten replicas on V1's steps are not followed. One more than nine is.
    assert count({"analyzer": "V1", "window_s": 0}, 0.9, 0, 10) == 10
    assert count({"analyzer": "V1", "window_s": 0}, 0.9, 0, 9) == 10
    assert count({"analyzer": "V1", "window_s": 0, "scale_up_tolerance": 0}, 0.9, 0, 10) == 11
    # Down only after 300 s; up at most by four or twofold in 15 s.
    services = Services(POLICY, [{"window_s": 0}])
    found = [services.see(kv_cache_utilization=0.1, queue=0).replicas.item() for _ in range(21)]
    assert found == [*[10] * 20, 2]
    assert services.policy.recommend(services.observation).why(0) == (
        "KV cache 10% full, 0 waiting for 10 ready, 1 caches' worth at 0.8 a replica: 2"
    )
    assert count({"window_s": 0}, 1.0, 600, 4) == 8


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"kv_spare_trigger": 0.9}, "kv_spare_trigger: 0.9 is more than kv_cache_threshold"),
        ({"queue_spare_trigger": 6}, "queue_spare_trigger: 6.0 is more than"),
        ({"scale_down_boundary": 0.85}, "not less than scale_up_threshold"),
        ({"scale_up": "fast"}, "no scaling policy"),
        ({"analyzer": "V3"}, "'V3' is not allowed"),
    ],
)
def test_faults_are_told(params: dict[str, ParamValue], words: str) -> None:
    assert words in "; ".join(complete_params(POLICY, params)[1])


@pytest.mark.parametrize("analyzer", ["V1", "V2"])
def test_in_a_replay_it_follows_the_demand(analyzer: str) -> None:
    policy = policy_ref(f"wva:analyzer={analyzer},scale_up_tolerance=0,scale_down_tolerance=0")
    result = run_replay(manifests(), scenario(warmup="20m"), wavy(), policy=policy)
    desired = result.ledger.column("desired")
    assert desired.max() > 2 * desired.min() > 0
    assert result.score["blind_scale_downs"] == 0
