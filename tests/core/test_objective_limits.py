"""Objectives while they run: anchors are measured, limits reach policies, words say which objective binds, and a restart keeps it all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoscaler.core.capacity import throughput_per_s
from autoscaler.core.engine import Engine
from autoscaler.core.model import Capacity, Objective, PolicyRef, ScalingSpec
from tests.core.test_engine import INTERVAL_S, POLICIES, Loop
from tests.ticks import a_spec

K, D = 32.0, 64.0
HALF_FULL = (PolicyRef(name="target", params={"signal": "concurrency"}),)
BY_DEMAND = (PolicyRef(name="target", params={"signal": "demand", "target": 0.0}),)


def kept(signal: str, target: float) -> Objective:
    return Objective(signal=signal, target=target, promised_ratio=0.995)


def service(*further: Objective, policies: tuple[PolicyRef, ...] = BY_DEMAND, **changes: Any) -> ScalingSpec:
    return a_spec(policies=policies, objectives=further, **changes)


def limits(loop: Loop) -> tuple[Any, ...]:
    """Slots, requests/s and wait of row 0, as policies see them."""
    per_s, slots, _, wait_s, _, _ = loop.engine.table.replica
    return float(slots[0]), float(per_s[0]), float(wait_s[0])


@pytest.mark.parametrize(("policies", "load"), [(BY_DEMAND, {"demand": 20.0}), (HALF_FULL, {"concurrency": 400.0})])
def test_every_policy_that_sizes_by_capacity_honours_the_limit(policies: tuple[PolicyRef, ...], load: dict[str, float]) -> None:
    free, limited = Loop([service(policies=policies)]), Loop([service(kept("running", 12.8), policies=policies)])
    (before,), (after,) = free.desired(**load), limited.desired(**load)
    share = 12.8 / 32 if policies is HALF_FULL else 0.5  # a batch of 12.8 gives half of the throughput
    assert after == pytest.approx(before / share, abs=2)


def test_an_itl_is_measured_on_what_runs_and_then_limits() -> None:
    loop = Loop([service(kept("itl_s", 0.08))])
    assert loop.engine.wanted == {}
    first = loop.tick(demand=8.0, running=160.0)
    assert set(loop.engine.wanted) >= {"itl_s", "running", "demand"}
    assert limits(loop) == (32.0, 1.6, 5.0)
    assert first.warnings(0) == ("itl_s ≤ 0.08 s: itl_s was not measured yet, so it sets no limit",)
    # 16 run at each of 10: a token of 83.3 ms in a batch of 16 takes 66.7 ms alone.
    second = loop.tick(demand=8.0, running=16.0 * loop.current[0], itl_s=1.25 / 15)
    slots, per_s, wait_s = limits(loop)
    assert (slots, per_s, wait_s) == (pytest.approx(12.8), pytest.approx(0.8), 5.0)
    assert second.warnings(0) == ()
    assert second.objective(0) == (
        "the most demanding objective, itl_s ≤ 0.08 s, allows 12.8 of 32 requests at a time, 0.8/s a replica instead of 1.6/s"
    )
    assert second.reason(0).endswith(second.objective(0))


def test_a_start_value_counts_until_something_is_seen() -> None:
    spec = service(kept("itl_s", 0.08), capacity=Capacity(per_s=1.6, slots=32, slots_slowdown=64.0, itl_s=0.096))
    loop = Loop([spec])
    loop.tick(demand=8.0, running=160.0)
    assert limits(loop)[0] == pytest.approx(16.0)  # 96 ms at 32 are 64 ms alone, and 80 ms at 16
    loop.tick(demand=8.0, running=16.0 * loop.current[0], itl_s=1.25 / 15)
    assert limits(loop)[0] == pytest.approx(12.8)


def test_samples_that_tell_nothing_teach_nothing() -> None:
    loop = Loop([service(kept("ttft_s", 1.0))])
    for now in ({"running": 0.0}, {"running": float("nan")}, {"running": 160.0, "queue": 100.0}, {"running": 160.0}):
        loop.tick(demand=8.0, ttft_s=0.9, **now)
        assert limits(loop)[0] == 32.0
    loop.tick(demand=8.0, ttft_s=0.9, running=8.0 * loop.current[0], queue=0.0)
    assert limits(loop)[0] == pytest.approx(float(np.maximum(64 * (0.75 / 0.8 - 1), 5.8182)), rel=1e-4)


def test_the_most_demanding_of_several_is_named() -> None:
    loop = Loop([service(kept("running", 20.0), kept("utilization", 0.5), kept("kv_cache_utilization", 0.9))])
    decided = loop.tick(demand=8.0)
    assert decided.objective(0).startswith("the most demanding objective, utilization ≤ 50%, allows 12.8 of 32")
    waits = Loop([service(kept("latency_s", 22.0))]).tick(demand=8.0)
    assert "latency_s ≤ 22 s, allows 15.2 of 32" in waits.objective(0)
    shorter = Loop([service(kept("latency_s", 300.0))]).tick(demand=8.0)
    assert shorter.objective(0) == "the most demanding objective, queue_wait_s ≤ 5 s, leaves 5 s to wait"
    assert Loop([service()]).tick(demand=8.0).objective(0) == ""


def test_a_promise_on_a_latency_leaves_the_rest_to_the_queue() -> None:
    loop = Loop([service(objective=kept("latency_s", 30.0))])
    loop.tick(demand=8.0)
    assert limits(loop) == (32.0, 1.6, pytest.approx(10.0))
    nowhere = Loop([service(objective=kept("utilization", 0.7))])
    words = nowhere.tick(demand=8.0).objective(0)
    assert words == "the objective utilization ≤ 70% allows 19.5 of 32 requests at a time, 1.12/s a replica instead of 1.6/s"
    assert limits(nowhere)[2] == 5.0


def test_without_a_known_capacity_the_batch_is_limited_all_the_same() -> None:
    spec = service(kept("running", 8.0), capacity=Capacity(per_s=float("nan"), slots=32, slots_slowdown=64.0), policies=HALF_FULL)
    loop = Loop([spec])
    assert loop.desired(concurrency=56.0) == [10]  # 70 % of 8
    assert "allows 8 of 32 requests at a time" in loop.tick(concurrency=56.0).objective(0)


@pytest.mark.parametrize("true_slowdown", [32.0, 48.0, 64.0, 200.0])
def test_the_limit_settles_where_the_target_is_met_though_the_model_is_off(true_slowdown: float) -> None:
    """The measured token time is the plant's, with another slowdown than the manifest's; the replicas follow the limit."""
    alone, batch = 0.08 / (1 + 12 / true_slowdown), 24.0
    loop = Loop([service(kept("itl_s", 0.08))])
    seen = []
    for _ in range(800):
        loop.tick(demand=8.0, running=batch * loop.current[0], itl_s=alone * (1 + batch / true_slowdown))
        # The load spreads over as many replicas as the limit asks for; the batch follows within a minute.
        batch += (limits(loop)[0] - batch) * INTERVAL_S / 60
        seen.append(limits(loop)[0])
    assert seen[-1] == pytest.approx(12.0, abs=0.3)
    late = np.array(seen[400:])
    assert np.ptp(late) < 0.5  # it neither swings nor drifts


def test_noise_of_a_tail_quantile_moves_the_limit_little() -> None:
    loop, rng = Loop([service(kept("itl_s", 0.08))]), np.random.default_rng(1)
    seen = []
    for _ in range(400):
        noisy = 1.2 / 15 * rng.lognormal(0, 0.3)
        loop.tick(demand=8.0, running=12.8 * loop.current[0], itl_s=noisy)
        seen.append(limits(loop)[1])
    late = np.array(seen[100:])
    assert late.std() / late.mean() < 0.15


def test_what_was_measured_moves_with_its_service_and_survives_a_restart() -> None:
    one, other = service(kept("itl_s", 0.08)), service(name="other")
    loop = Loop([one])
    loop.tick(demand=8.0, running=160.0, itl_s=1.25 / 15)
    assert limits(loop)[0] == pytest.approx(12.8)
    loop.take([other, replace(one, objectives=(kept("itl_s", 0.1), kept("running", 30.0)))], [10, 10])
    loop.tick(demand=8.0)
    assert loop.engine.table.slots.tolist() == pytest.approx([32.0, 30.0])
    again = Engine(POLICIES, INTERVAL_S)
    again.prepare(loop.fleet(), loop.at_s)
    again.load(json.loads(json.dumps(loop.engine.save())))
    assert again.table.slots.tolist() == loop.engine.table.slots.tolist()
    # Under the same name with another target it is another service.
    loop.take([other, replace(one, target="Deployment/new")], [10, 10])
    loop.tick(demand=8.0)
    assert loop.engine.table.slots.tolist() == [32.0, 32.0]


def test_a_capacity_that_changes_is_limited_as_the_old_one_was() -> None:
    loop = Loop([service(kept("running", 12.8)), service(name="free")])
    loop.tick(demand=8.0)
    loop.engine.table.full_capacity_per_s = np.array([3.2, 3.2])
    loop.tick(demand=8.0)
    assert loop.engine.table.capacity_per_s.tolist() == pytest.approx([1.6, 3.2])


def test_a_row_is_the_same_alone_and_among_many() -> None:
    specs = [
        service(kept("itl_s", 0.08), name="a"),
        service(name="b"),
        service(kept("kv_cache_utilization", 0.5), kept("running", 30.0), name="c"),
        service(objective=kept("ttft_s", 1.0), name="d"),
    ]
    now = {"demand": 8.0, "running": 120.0, "queue": 0.0, "itl_s": 0.09, "kv_cache_utilization": 0.6, "ttft_s": 0.7}
    many = Loop(specs)
    many.follows = False
    many.tick(**now)
    many.tick(**now)
    for row, spec in enumerate(specs):
        alone = Loop([spec])
        alone.follows = False
        alone.tick(**now)
        alone.tick(**now)
        assert limits(alone)[0] == float(many.engine.table.slots[row])
        assert float(throughput_per_s(limits(alone)[0], 1.6, K, D)) == pytest.approx(float(many.engine.table.capacity_per_s[row]))
