"""Objectives in the closed loop: what they ask for is kept by the replicas, on both plants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoscaler.core.capacity import throughput_per_s
from replay.plugins import policy_ref
from replay.run import run_replay
from replay.traces.series import CountSeries
from replay.verify import verify
from tests.replay.made import manifests, scenario, series

LOAD = 32.0
"""Requests/s: 20 full batches."""


def flat(minutes: int = 60) -> CountSeries:
    return series(np.full(minutes, LOAD * 60.0))


def settled(plant: str, **objective: str) -> float:
    """The replicas of the last half hour, on average."""
    setting = scenario(plant=plant, scale__mode="Factor", replicas__initial="30", warmup="10m")
    result = run_replay(manifests(**objective), setting, flat(), policy=policy_ref("reactive:hold_s=0"))
    assert result.score["blind_scale_downs"] == 0
    return float(result.ledger.column("ready")[120:].mean())


@pytest.mark.parametrize("plant", ["fluid", "requests"])
def test_a_limit_on_the_inter_token_latency_is_kept(plant: str) -> None:
    free = settled(plant)
    # A full batch takes 100 ms a token in the fluid (20 s for 200); a request of the other plant is 260 of them.
    target = 0.08 if plant == "fluid" else 0.08 / 1.3
    kept = settled(plant, objectives__0__signal="itl_s", objectives__0__target=f"{1000 * target:.3f}ms")
    share = float(throughput_per_s(12.8, 1.0, 32.0, 64.0))
    assert kept == pytest.approx(free / share, rel=0.05)
    # The mean batch is what the load needs on these replicas: within the limit, and not far below it (headroom and queueing margin).
    need = LOAD / kept / 1.6 * 64 / 3
    assert 9.0 < need / (1 - need / 64) <= 12.8


@pytest.mark.parametrize("plant", ["fluid", "requests"])
def test_a_limit_on_the_cache_is_learnt_from_what_a_request_holds(plant: str) -> None:
    free = settled(plant)
    kept = settled(plant, objectives__0__signal="kv_cache_utilization", objectives__0__target="60%")
    by_slots = free / float(throughput_per_s(19.2, 1.0, 32.0, 64.0))
    if plant == "fluid":  # a full batch fills the cache
        assert kept == pytest.approx(by_slots, rel=0.05)
    else:  # long requests stay longer, so that one that runs holds more than the mean request, for which the cache was laid out
        assert by_slots < kept < 1.15 * by_slots


def test_its_records_run_again_bit_by_bit(tmp_path: Path) -> None:
    beside = {
        "objectives__0__signal": "itl_s",
        "objectives__0__target": "60ms",
        "objective__signal": "latency_s",
        "objective__target": "90s",
    }
    setting = scenario(plant="requests", scale__mode="Factor", replicas__initial="30", length="20m")
    file = tmp_path / "records.jsonl"
    run_replay(manifests(**beside), setting, flat(), records=file)
    assert "the most demanding objective, itl_s ≤ 0.06 s, allows" in file.read_text(encoding="utf-8")
    verdict = verify([file])
    assert (verdict.ticks, verdict.differences) == (80, [])


def test_an_objective_that_asks_for_less_than_the_promise_changes_nothing() -> None:
    assert settled("fluid", objectives__0__signal="itl_s", objectives__0__target="200ms") == settled("fluid")
