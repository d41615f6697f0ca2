"""target: what an HPA's AverageValue and Utilization targets would ask for, worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import ParamValue
from autoscaler.core.policy import complete_params
from policies.target import POLICY
from tests.policies.observations import IDLE, NAN, Services

some = st.floats(0, 1e6)


def test_work_is_divided_by_the_target() -> None:
    answer = Services(POLICY, [{"signal": "concurrency", "target": 10}]).see(concurrency=101.0)
    assert answer.replicas.tolist() == [11]
    assert answer.why(0) == "concurrency 101 at 10 a replica: 11"


def test_a_mean_per_replica_scales_what_is_ready() -> None:
    answer = Services(POLICY, [{"signal": "utilization", "target": 0.7}]).see(utilization=0.84, ready=5)
    assert answer.replicas.tolist() == [6]
    assert answer.why(0) == "utilization 0.84 on 5 ready at 0.7 a replica: 6"


def test_defaults_are_seventy_percent_of_what_a_replica_holds() -> None:
    services = Services(POLICY, [{}, {"signal": "demand"}, {"signal": "kv_cache_utilization"}, {"target": 11.2}])
    answer = services.see(concurrency=224.0, demand=11.2, kv_cache_utilization=0.7, ready=4)
    assert answer.replicas.tolist() == [10, 10, 4, 20]
    assert answer.why(1) == "demand 11.2 at 1.12 a replica: 10"
    assert answer.why(3) == "concurrency 224 at 11.2 a replica: 20"


def test_a_default_that_needs_an_unknown_capacity_cannot_tell() -> None:
    answer = Services(POLICY, [{"signal": "demand"}]).see(demand=5.0, capacity_per_s=NAN)
    assert np.isnan(answer.replicas[0])
    assert "neither target nor capacity is known" in answer.why(0)


def test_unknown_idle_and_zero_are_three_things() -> None:
    answer = Services(POLICY, [{}] * 3).see(concurrency=[NAN, IDLE, 0.0])
    assert np.isnan(answer.replicas[0])
    assert answer.replicas[1:].tolist() == [0, 0]
    assert answer.why(0) == "concurrency is unknown: no count from it"


def test_a_mean_over_no_replicas_tells_nothing_unless_idle() -> None:
    answer = Services(POLICY, [{"signal": "utilization"}] * 2).see(utilization=[0.4, IDLE], ready=0)
    assert np.isnan(answer.replicas[0])
    assert answer.replicas[1] == 0
    assert "nothing is ready" in answer.why(0)


def test_within_the_tolerance_the_current_count_stays() -> None:
    services = Services(POLICY, [{"target": 10, "tolerance": 0.1}] * 3)
    answer = services.see(concurrency=[109.0, 91.0, 111.0], current=10)
    assert answer.replicas.tolist() == [10, 10, 12]
    assert answer.why(0) == "concurrency 109 at 10 a replica: 11; within the tolerance of 10%, so 10 stay"


def test_float_noise_costs_no_replica() -> None:
    assert Services(POLICY, [{"target": 0.1}]).see(concurrency=0.1 * 3).replicas.tolist() == [3]


def test_a_latency_has_no_usual_target() -> None:
    assert "must be given" in complete_params(POLICY, {"signal": "ttft_s"})[1][0]
    assert complete_params(POLICY, {"signal": "ttft_s", "target": 2})[1] == []


def named(signal: str, value: Any) -> dict[str, Any]:
    return {signal: value}


@given(some, some, st.sampled_from(["concurrency", "demand", "utilization"]), st.floats(0.01, 1e3))
def test_more_demand_never_needs_fewer(one: float, other: float, signal: str, target: float) -> None:
    low, high = sorted((one, other))
    answer = Services(POLICY, [{"signal": signal, "target": target}] * 2).see(**named(signal, [low, high]))
    assert answer.replicas[0] <= answer.replicas[1]


def picked(now: dict[str, Any], row: int) -> dict[str, Any]:
    return {name: values[row] for name, values in now.items()}


@pytest.mark.parametrize("count", [2, 5])
def test_rows_of_different_signals_are_each_alone(count: int) -> None:
    params: list[dict[str, ParamValue]] = [
        {"signal": name, "target": t} for name, t in (("demand", 1.0), ("utilization", 0.5), ("queue", 3.0), ("demand", 0.0))
    ]
    params = (params * 2)[:count]
    rng = np.random.default_rng(3)
    now: dict[str, Any] = {name: rng.uniform(0, 9, count) for name in ("demand", "utilization", "queue")}
    together = Services(POLICY, params).see(**now).replicas
    for row, own in enumerate(params):
        alone = Services(POLICY, [own]).see(**picked(now, row)).replicas
        assert alone[0] == together[row]
