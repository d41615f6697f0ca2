"""The standard scenario's known answers: another simulator that follows the same words got these figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.plugins import policy_ref
from replay.run import run_replay
from replay.traces.demand import rates_per_s, scale_factor
from replay.traces.registry import read_trace
from tests.replay.made import manifests, scenario

SMOOTH = {"smoothing": "15m"}
FIXED_30: list[tuple[str, dict[str, str], float, float, float]] = [
    ("llm-large-week1", {}, 0.9936, 3600.0, 480.0),
    ("llm-small-week1", {}, 0.8095, 3600.0, 480.0),
    ("nasa-july-1to14", SMOOTH, 0.9507, 8640.0, 1152.0),
    ("worldcup-june-7to20", SMOOTH, 0.9233, 8640.0, 1152.0),
    ("taxi-4weeks", {}, 0.6270, 18720.0, 2496.0),
]
HPA_CONCURRENCY: list[tuple[str, dict[str, str], float, float, float, float]] = [
    ("llm-large-week1", {}, 0.9975, 2703.1, 405.8, 4.9),
    ("llm-small-week1", {}, 1.0000, 3645.3, 515.7, 2.7),
]
# The target policy with HPA's tolerance, windows and rates is HPA on an External metric, as long as all pods are there.
AS_HPA = {
    "behavior__scaleUp__policies": "[{type: Pods, value: 4, periodSeconds: 15}, {type: Percent, value: 100, periodSeconds: 15}]",
    "behavior__scaleDown__stabilizationWindowSeconds": "300",
    "behavior__scaleDown__policies": "[{type: Percent, value: 100, periodSeconds: 15}]",
}

pytestmark = pytest.mark.traces


@pytest.mark.parametrize(("name", "setting", "attained", "replica_h", "node_h"), FIXED_30)
def test_fixed_thirty(
    shared_traces: Path, name: str, setting: dict[str, str], attained: float, replica_h: float, node_h: float
) -> None:
    trace = read_trace(shared_traces / f"{name}.csv.gz")
    setting = {"warmup": "2d", "noise": "false", **setting}
    score = run_replay(manifests(), scenario(**setting), trace, policy=policy_ref("fixed:replicas=30")).score
    assert score["attained_ratio"] == pytest.approx(attained, abs=0.001)
    assert score["replica_hours"] == pytest.approx(replica_h, rel=0.01)
    assert score["node_hours"] == pytest.approx(node_h, rel=0.01)
    assert score["actions"] == 0


@pytest.mark.parametrize(("name", "setting", "attained", "replica_h", "node_h", "actions"), HPA_CONCURRENCY)
def test_concurrency_by_hpa_s_rules(
    shared_traces: Path, name: str, setting: dict[str, str], attained: float, replica_h: float, node_h: float, actions: float
) -> None:
    trace = read_trace(shared_traces / f"{name}.csv.gz")
    setting = {"warmup": "2d", "noise": "false", **setting}
    policy = policy_ref("target:signal=concurrency,target=22.4,tolerance=0.1")
    score = run_replay(manifests(**AS_HPA), scenario(**setting), trace, policy=policy).score
    assert score["attained_ratio"] == pytest.approx(attained, abs=0.001)
    assert score["replica_hours"] == pytest.approx(replica_h, rel=0.01)
    assert score["node_hours"] == pytest.approx(node_h, rel=0.01)
    assert score["actions_per_h"] == pytest.approx(actions, abs=0.1)


@pytest.mark.parametrize(
    ("name", "setting", "factor"),
    [
        ("llm-small-week1", {}, 0.7750),
        ("llm-large-week1", {}, 0.6216),
        ("nasa-july-1to14", SMOOTH, 14.9815),
        ("worldcup-june-7to20", SMOOTH, 0.0303),
        ("taxi-4weeks", {}, 4.2390),
    ],
)
def test_scale_factors(shared_traces: Path, name: str, setting: dict[str, str], factor: float) -> None:
    made = scenario(**setting)
    rates, _ = rates_per_s(read_trace(shared_traces / f"{name}.csv.gz"), made)
    assert scale_factor(rates, made, 1.6) == pytest.approx(factor, abs=5e-5)
