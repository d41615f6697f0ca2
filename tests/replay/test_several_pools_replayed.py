"""A service on two pools, replayed: records, score and optimum are those worked out by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from autoscaler.manifests import load_manifests
from replay.cli import main
from replay.plant.fluid import FluidPlant
from replay.run import demand_of
from replay.scenario import load_scenario
from replay.tune.batch import Batch, Setting, Traffic, scores_of
from replay.tune.parts import Stretch
from replay.world import World, build_world, node_pools, services
from tests.replay.made import series, write

START_S = 1704067200.0
# 8 replicas fill the only node of h100, for 32 requests/s; four more run on l40s, for 4.
MANIFEST = """
apiVersion: inference-autoscaler.io/v1alpha1
kind: AcceleratorPool
metadata: {name: h100}
spec: {maxNodes: 1, acceleratorsPerNode: 8, costPerHour: 30}
---
apiVersion: inference-autoscaler.io/v1alpha1
kind: AcceleratorPool
metadata: {name: l40s}
spec: {maxNodes: 2, acceleratorsPerNode: 4, costPerHour: 10}
---
apiVersion: inference-autoscaler.io/v1alpha1
kind: InferenceAutoscaler
metadata: {name: chat, namespace: team-a}
spec:
  scaleTargetRef: {kind: Deployment, name: chat}
  mode: Active
  nodePools:
    - {name: h100, requestsPerSecond: 4}
    - {name: l40s, requestsPerSecond: 1}
  minReplicas: 1
  maxReplicas: 20
  objective: {signal: queue_wait_s, target: 5s, promised: 99%}
  capacity: {requestsPerSecond: 4, concurrency: 32}
  leadTime: {replica: 60s, node: 120s}
  policies: [POLICY]
  behavior:
    scaleUp: {policies: []}
    scaleDown: {stabilizationWindowSeconds: 0, policies: []}
"""
SCENARIO = """
scale: {mode: Factor, factor: 1}
noise: false
replicas: {initial: 8, start: 60s, drain: 30s}
nodes: {start: 120s, spare: 60s, owner: OWNER}
"""


def made(folder: Path, owner: str = "Rule", policy: str = "") -> list[str]:
    """Arguments of a replay of ten minutes with 32 requests/s."""
    wishes = write(folder / "chat.csv", "at_s,replicas\n0,8\n60,12\n390,6\n")
    policy = policy or f"{{name: schedule, params: {{file: {wishes}}}}}"
    manifest = write(folder / "manifest.yaml", MANIFEST.replace("POLICY", policy))
    setting = write(folder / "scenario.yaml", SCENARIO.replace("OWNER", owner))
    trace = write(folder / "steady.csv", "offset_s,requests\n" + "".join(f"{at_s},1920\n" for at_s in range(0, 600, 60)))
    return ["-f", str(manifest), "-s", str(setting), "-t", str(trace)]


def a_world(folder: Path, owner: str = "Rule") -> World:
    made(folder, owner)
    manifests = load_manifests([folder / "manifest.yaml"])
    scenario = load_scenario(folder / "scenario.yaml", {})
    specs = services(manifests)
    return build_world(specs, node_pools(manifests), scenario, demand_of(specs, scenario, series([1920] * 10)))


def run(arguments: list[str]) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["run", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    score: dict[str, Any] = orjson.loads(result.stdout)
    return score


@pytest.mark.parametrize(("owner", "asked_s"), [("Rule", 0), ("Plan", 60)])
def test_records_tell_where_replicas_are_as_a_cluster_does(tmp_path: Path, owner: str, asked_s: int) -> None:
    run([*made(tmp_path, owner), "-o", str(tmp_path / "out")])
    _, *ticks = map(orjson.loads, (tmp_path / "out" / "records.jsonl").read_bytes().splitlines())
    told: list[tuple[float, Any, Any]] = []
    for tick in ticks:
        now = tick["placed"]["0"], tick["draining_on"]["0"]
        if not told or now != told[-1][1:]:
            told.append((tick["at_s"] - START_S, *now))
    # The rule knows at once what the schedule wants within a node's lead time, as headroom; the plan then orders nodes for it.
    came_s = asked_s + 120
    assert told == [
        (0, {"h100": 8, "l40s": 0}, {"h100": 0, "l40s": 0}),
        (came_s, {"h100": 8, "l40s": 4}, {"h100": 0, "l40s": 0}),
        (405, {"h100": 6, "l40s": 0}, {"h100": 2, "l40s": 4}),
        (420, {"h100": 6, "l40s": 0}, {"h100": 0, "l40s": 0}),
    ]
    again = CliRunner().invoke(main, ["verify", str(tmp_path / "out"), "--json"])
    assert again.exit_code == 0, again.output
    assert orjson.loads(again.stdout)["differences"] == []
    # Four on l40s that were gone: what is planned of nodes depends on it.
    records = tmp_path / "out" / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    ticks[28]["placed"]["0"]["l40s"] = 4
    lines[29] = orjson.dumps(ticks[28]) + b"\n"
    records.write_bytes(b"".join(lines))
    changed = orjson.loads(CliRunner().invoke(main, ["verify", str(records), "--json"]).stdout)
    assert [(one["field"], one["recorded"]["l40s"], one["again"]["l40s"]) for one in changed["differences"]] == [("nodes", 0, 1)]


def test_its_score_is_by_pool_what_was_worked_out_by_hand(tmp_path: Path) -> None:
    score = run([*made(tmp_path), "-o", str(tmp_path / "out")])
    # h100 for all ten minutes; l40s from second 0 until a minute after its last replica has drained, at 420 s.
    assert score["pools"] == {
        "h100": {
            "node_hours": pytest.approx(600 / 3600, abs=1e-6),
            "node_slot_hours": pytest.approx(8 / 6, abs=1e-6),
            "cost": 5.0,
        },
        "l40s": {
            "node_hours": pytest.approx(480 / 3600, abs=1e-6),
            "node_slot_hours": pytest.approx(4 * 480 / 3600, abs=1e-6),
            "cost": pytest.approx(10 * 480 / 3600, abs=1e-6),
        },
    }
    assert score["node_hours"] == pytest.approx(1080 / 3600, abs=1e-6)
    assert score["cost"] == pytest.approx(5 + 4800 / 3600, abs=1e-6)
    assert score["replica_hours"] == pytest.approx((8 * 60 + 12 * 330 + 6 * 210 + 6 * 30) / 3600, abs=1e-6)
    assert score["services"]["team-a/chat"]["pools"] == score["pools"]
    # On slots: 8 until 390 s, 6 until the end and 2 that drain; on l40s 4 from 120 s until 420 s.
    used_s = 8 * 390 + 6 * 210 + 2 * 30 + 4 * 300
    assert score["idle_accelerator_hours"] == pytest.approx((8 * 600 + 4 * 480 - used_s) / 3600, abs=1e-6)
    # 36 requests/s with l40s, 24 from 390 s on.
    assert score["attained_ratio"] == pytest.approx((390 + 21.5) / 600, abs=0.002)
    said = CliRunner().invoke(main, ["run", *made(tmp_path)]).stdout
    assert "    h100: 0.2 hours, cost 5.00\n    l40s: 0.1 hours, cost 1.33\n" in said
    assert "are reckoned to do" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_pool_s_replicas_do_what_the_manifest_says_of_the_pool(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    plant = world.plant
    assert isinstance(plant, FluidPlant)
    assert world.specs[0].capacity.per_s == 1.0  # what decisions reckon with
    assert plant.state.capacity_per_s.tolist() == [4.0]
    plant.advance_to(10)
    assert plant.queues() == [0.0]  # 32 requests/s
    plant.life.set_replicas(0, 12, 10)
    plant.advance_to(200)
    assert (plant.life.ready.tolist(), plant.state.capacity_per_s.tolist()) == ([12.0], [3.0])
    plant.life.set_replicas(0, 6, 200)
    plant.advance_to(210)
    assert plant.queues() == [pytest.approx(10 * (32 - 24))]


def test_the_fleet_s_node_strip_is_by_pool(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.plant.life.set_replicas(0, 12, 0)
    world.plant.advance_to(180)
    fleet = asyncio.run(world.cluster.observe(START_S + 180))
    strips = {pool: fleet.nodes_of(pool) for pool in ("h100", "l40s")}
    assert {pool: [[runs.ready for runs in node.runs] for node in one.pick(9)] for pool, one in strips.items() if one} == {
        "h100": [[8]],
        "l40s": [[4]],
    }


def test_the_optimum_has_all_on_the_pool_where_each_does_the_most_and_bounds_every_run(tmp_path: Path) -> None:
    arguments = [*made(tmp_path, policy="{name: reactive}"), "--set", "scenario.warmup=2m"]
    result = CliRunner().invoke(main, ["optimum", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    best = orjson.loads(result.stdout)
    (note,) = best["notes"]
    assert note.startswith(
        "team-a/chat may run on several pools: the optimum has all its replicas on h100, where each does the most"
    )
    # 32 requests/s of 4 each for eight minutes, of which 1 % may be late and the last few seconds' left.
    assert best["lower_bound_replica_hours"] == pytest.approx(8 * 480 / 3600, rel=0.03)
    assert best["lower_bound_node_slot_hours"] == pytest.approx(8 * 480 / 3600, rel=0.03)
    assert best["node_slot_hours"] == pytest.approx(8 * 480 / 3600, abs=1e-6)
    assert best["pool"] == "h100"
    for policy in ("fixed:replicas=8", "reactive", "fixed:replicas=16"):
        score = run([*arguments, "-p", policy])
        assert score["attained_ratio"] >= 0.99
        assert score["replica_hours"] >= best["lower_bound_replica_hours"]
        assert score["node_slot_hours"] >= best["lower_bound_node_slot_hours"]
    compared = CliRunner().invoke(main, ["compare", *arguments, "-p", "fixed:replicas=8", "--optimum", "--jobs", "1", "--json"])
    assert compared.exit_code == 0, compared.output
    (row,) = orjson.loads(compared.stdout)["scores"]
    assert row["node_bound_ratio"] == pytest.approx(1.0, rel=0.03)


def test_what_the_request_level_plant_cannot_play_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", *made(tmp_path), "--set", "scenario.plant=requests"])
    assert result.exit_code == 0, result.output
    assert "WARNING: team-a/chat: nodePools give requests/s by pool, which the plant `requests` can't play" in result.stderr


def test_each_candidate_has_pools_of_its_own(tmp_path: Path) -> None:
    made(tmp_path, policy="{name: fixed, params: {replicas: 12}}")
    manifests = load_manifests([tmp_path / "manifest.yaml"])
    scenario = load_scenario(tmp_path / "scenario.yaml", {})
    specs = services(manifests)
    traffic = Traffic(label="steady", trace=series([1920] * 10), scenario=scenario, capacity_per_s=1.0)
    setting = Setting(spec=specs[0], pools=node_pools(manifests), traffic=(traffic,))
    batch = Batch(trace=0, stretch=Stretch(from_s=0, until_s=600), candidates=(specs[0].policies, specs[0].policies))
    first, second = scores_of(setting, batch)
    assert first["node_hours"] == second["node_hours"] == pytest.approx(1200 / 3600, abs=1e-6)
    assert second["pools"].keys() == {"h100~1", "l40s~1"}
