from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from autoscaler.errors import UsageError
from replay.plugins import policy_ref
from replay.run import Result, run_replay
from tests.conftest import ROOT
from tests.replay.made import manifests, scenario, series, wavy

FIELDS = {
    *("schema", "trace", "policy", "promised_ratio", "attained_ratio", "requests", "evaluated_s", "warmup_s", "wait_s"),
    *("replica_hours", "accelerator_hours", "node_hours", "node_slot_hours", "actions", "actions_per_h", "blind_scale_downs"),
    *("optimum", "cost_ratio", "forecast", "ticks", "wall_s"),
}
TARGET = "target:signal=concurrency,target=22.4"


def replay(policy: str | None = TARGET, manifest: dict[str, str] | None = None, **setting: str) -> Result:
    return run_replay(manifests(**(manifest or {})), scenario(**setting), wavy(), policy=policy_ref(policy) if policy else None)


def test_the_score_has_every_field_that_others_read() -> None:
    score = replay(warmup="1h").score
    assert score.keys() >= FIELDS
    assert set(score["wait_s"]) == {"p50", "p95", "p99"}
    assert score["services"].keys() == {"default/standard"}
    assert (score["evaluated_s"], score["warmup_s"], score["ticks"]) == (3 * 3600.0, 3600.0, 960)
    assert 0 <= score["attained_ratio"] <= 1
    assert score["node_slot_hours"] == pytest.approx(8 * score["node_hours"])
    assert score["replica_hours"] <= score["node_slot_hours"]
    assert score["optimum"] is score["cost_ratio"] is score["forecast"] is None


def test_fixed_costs_what_it_says() -> None:
    score = replay("fixed:replicas=30", warmup="1h").score
    assert score["replica_hours"] == pytest.approx(90.0)
    assert score["node_hours"] == pytest.approx(12.0)
    assert (score["actions"], score["policy"]) == (0, "fixed:replicas=30")


def test_a_manifest_is_replayed_whatever_its_mode_and_with_its_own_policy() -> None:
    own = {"mode": "Shadow", "policies": "[{name: fixed, params: {replicas: 12}}]"}
    score = replay(None, own, warmup="1h").score
    assert score["replica_hours"] == pytest.approx(36.0)
    assert score["policy"] == "fixed:replicas=12"


def test_the_promise_is_the_manifest_s() -> None:
    strict = replay(manifest={"objective__target": "1s", "objective__promised": "99.9%"}).score
    loose = replay(manifest={"objective__target": "60s"}).score
    assert (strict["promised_ratio"], loose["promised_ratio"]) == (0.999, 0.995)
    assert strict["attained_ratio"] < loose["attained_ratio"]
    assert strict["wait_s"] == loose["wait_s"]
    latency = replay(manifest={"objective__signal": "latency_s", "objective__target": "80s"}).score
    assert latency["attained_ratio"] == loose["attained_ratio"]  # 60 s of waiting and 20 s of service at the full batch


def test_blindness_never_scales_down_and_a_written_fallback_does() -> None:
    faults = "[{kind: MetricsOutage, at: 50m, lasts: 1h}]"
    assert replay(faults=faults).score["blind_scale_downs"] == 0
    exactly = {"fallback": "{after: 5m, action: Exactly, replicas: 2}"}
    assert replay(manifest=exactly, faults=faults).score["blind_scale_downs"] == 1


def test_schedule_and_records_are_a_row_a_decision(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    result = run_replay(manifests(), scenario(), wavy(60), policy=policy_ref(TARGET), records=records)
    result.write_schedules(tmp_path)
    with (tmp_path / "schedule.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["at_s", "desired", "ready", "starting", "draining", "nodes"]
    assert [float(row["at_s"]) for row in rows] == [15.0 * tick for tick in range(240)]
    lines = [orjson.loads(line) for line in records.read_bytes().splitlines()]
    assert [line["kind"] for line in lines] == ["fleet"] + ["tick"] * 240
    assert lines[0]["start"] == "cold"
    for row, line in zip(rows, lines[1:], strict=True):
        assert [int(row[name]) for name in ("ready", "starting", "draining")] == [
            line[name][0] for name in ("ready", "starting", "draining")
        ]
        assert int(row["desired"]) == line["planned"][0]
    for place in (0, 100, 239):
        assert orjson.loads(records.read_bytes()[result.offsets[place] :].splitlines()[0])["tick"] == place + 1


def test_a_run_s_own_schedule_replays_it(tmp_path: Path) -> None:
    first = run_replay(manifests(), scenario(), wavy(120), policy=policy_ref(TARGET))
    first.write_schedules(tmp_path)
    again = run_replay(manifests(), scenario(), wavy(120), policy=policy_ref(f"schedule:file={tmp_path / 'schedule.csv'}"))
    for name in ("replica_hours", "node_hours", "attained_ratio"):
        assert again.score[name] == first.score[name]


def test_services_together(tmp_path: Path) -> None:
    from autoscaler.manifests import load_manifests

    def text(name: str, pool: str, requests: float) -> str:
        return (
            "apiVersion: inference-autoscaler.io/v1alpha1\nkind: InferenceAutoscaler\n"
            f"metadata: {{name: {name}}}\nspec:\n  scaleTargetRef: {{kind: Deployment, name: {name}}}\n  maxReplicas: 100\n"
            f"  capacity: {{requestsPerSecond: {requests}}}\n  nodePool: {pool}\n  acceleratorsPerReplica: 2\n"
            "  policies: [{name: target, params: {signal: concurrency}}]\n---\n"
        )

    pool = (
        "apiVersion: inference-autoscaler.io/v1alpha1\nkind: AcceleratorPool\nmetadata: {name: big}\n"
        "spec: {maxNodes: 100, acceleratorsPerNode: 4, costPerHour: 10}\n"
    )
    loaded = load_manifests([text("a", "big", 1.6) + text("b", "big", 0.8) + pool])
    result = run_replay(loaded, scenario(warmup="1h"), wavy())
    score, own = result.score, result.score["services"]
    assert own.keys() == {"default/a", "default/b"}
    assert score["replica_hours"] == pytest.approx(sum(one["replica_hours"] for one in own.values()))
    assert score["accelerator_hours"] == pytest.approx(2 * score["replica_hours"])
    assert score["node_hours"] == pytest.approx(sum(one["node_hours"] for one in own.values()))
    assert score["cost"] == pytest.approx(10 * score["node_hours"])
    assert score["node_slot_hours"] == pytest.approx(4 * score["node_hours"])
    assert score["idle_accelerator_hours"] == pytest.approx(sum(one["idle_accelerator_hours"] for one in own.values()))
    assert (
        min(o["attained_ratio"] for o in own.values())
        <= score["attained_ratio"]
        <= max(o["attained_ratio"] for o in own.values())
    )
    result.write_schedules(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"schedule.csv", "schedule-default-a.csv", "schedule-default-b.csv"}
    by_plan = run_replay(loaded, scenario(warmup="1h", nodes__owner="Plan"), wavy())
    assert by_plan.score["node_hours"] < score["node_hours"]  # a plan gives up spare nodes at once


def test_idle_accelerators_and_what_spot_nodes_cost() -> None:
    """Ten replicas that never move hold ten of the sixteen slots; of two nodes one may be spot, at a third of the price."""
    from autoscaler.manifests import load_manifests

    text = (
        "apiVersion: inference-autoscaler.io/v1alpha1\nkind: InferenceAutoscaler\nmetadata: {name: a}\n"
        "spec: {scaleTargetRef: {kind: Deployment, name: a}, maxReplicas: 100, capacity: {requestsPerSecond: 1.6}, nodePool: big}\n---\n"
        "apiVersion: inference-autoscaler.io/v1alpha1\nkind: AcceleratorPool\nmetadata: {name: big}\n"
        "spec: {maxNodes: 100, acceleratorsPerNode: 8, costPerHour: 30, spot: {share: 50%, costPerHour: 10}}\n"
    )
    score = run_replay(load_manifests([text]), scenario(warmup="1h"), wavy(), policy=policy_ref("fixed:replicas=10")).score
    hours = score["evaluated_s"] / 3600
    assert score["node_hours"] == pytest.approx(2 * hours)
    assert score["idle_accelerator_hours"] == pytest.approx(6 * hours)
    assert score["cost"] == pytest.approx(40 * hours)


def test_a_policy_that_can_t_be_used_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="not installed"):
        policy_ref("fixd:replicas=3")
    with pytest.raises(UsageError, match="-p schedule: file: policy 'schedule' needs it; CSV with the columns at_s"):
        policy_ref("schedule")
    with pytest.raises(UsageError, match="write NAME:KEY=VALUE"):
        policy_ref("fixed:30")
    with pytest.raises(UsageError, match="replicas: 'x' is not a number"):
        replay(None, {"policies": "[{name: fixed, params: {replicas: x}}]"})


def test_memory_and_length_of_a_run_follow_the_trace() -> None:
    short = run_replay(manifests(), scenario(length="30m"), wavy(), policy=policy_ref(TARGET))
    assert short.score["ticks"] == 120
    odd = run_replay(manifests(), scenario(), series(np.full(100, 20.0), 1.0), policy=policy_ref(TARGET))
    assert (odd.score["ticks"], odd.score["evaluated_s"]) == (7, 100.0)


_PROGRAM = """
import sys
from pathlib import Path
from tests.replay.made import manifests, scenario, wavy
from replay.plugins import policy_ref
from replay.run import run_replay
from replay.report.page import report
import orjson
out = Path(sys.argv[1])
faults = "[{kind: FailedStarts, at: 0s, lasts: 4h, share: 0.3}, {kind: MetricsOutage, at: 1h, lasts: 5m}]"
result = run_replay(manifests(), scenario(smoothing="5m", faults=faults), wavy(), policy=policy_ref("reactive"), records=out / "records.jsonl")
result.write_schedules(out)
score = {k: v for k, v in result.score.items() if k not in ("wall_s", "services")}
(out / "score.json").write_bytes(orjson.dumps(score))
(out / "report.html").write_text(report(result, out / "records.jsonl"))
"""


def test_other_processes_give_the_same_bytes(tmp_path: Path) -> None:
    digests: list[dict[str, Any]] = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(folder)], cwd=ROOT, check=True, timeout=120, env={"PYTHONHASHSEED": str(number)}
        )
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert digests[0] == digests[1]
    assert digests[0].keys() == {"records.jsonl", "schedule.csv", "score.json", "report.html"}
