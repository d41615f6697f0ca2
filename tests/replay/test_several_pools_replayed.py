"""A service on two pools, replayed: records, score and optimum are those worked out by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.manifests import load_manifests
from replay.cli import main
from replay.optimum.nodes import pool_shares
from replay.optimum.pools import node_optimum
from replay.optimum.solve import optimum
from replay.plant.fluid import FluidPlant
from replay.run import demand_of
from replay.scenario import load_scenario
from replay.tune.batch import Batch, Setting, Traffic, scores_of
from replay.tune.parts import Stretch
from replay.world import World, build_world, node_pools, plant_pools, services
from tests.replay.made import STANDARD, series, write

START_S = 1704067200.0
SCENARIO = """
scale: {mode: Factor, factor: 1}
noise: false
replicas: {initial: 8, start: 60s, drain: 30s}
nodes: {start: 120s, spare: 60s, owner: OWNER}
"""


def made(folder: Path, owner: str = "Rule", policy: str = "") -> list[str]:
    """Arguments of a replay of ten minutes with 32 requests/s: what 8 replicas do, which fill the only node of h100."""
    wishes = write(folder / "chat.csv", "at_s,replicas\n0,8\n60,12\n390,6\n")
    policy = policy or f"{{name: schedule, params: {{file: {wishes}}}}}"
    text = (STANDARD / "several-pools.yaml").read_text("utf-8")
    manifest = write(folder / "manifest.yaml", text.replace("{name: target, params: {signal: concurrency, target: 10}}", policy))
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


@settings(max_examples=25)
@given(
    loads=st.lists(st.sampled_from([0.0, 4.0, 16.0, 40.0]), min_size=10, max_size=10),
    wishes=st.lists(st.integers(1, 16), min_size=10, max_size=10),
)
def test_no_mixture_of_the_pools_goes_below_the_bounds(tmp_path_factory: Any, loads: list[float], wishes: list[int]) -> None:
    """Whatever is asked for minute by minute, on nodes by the rule: a promise of as much as that kept costs no less than the bounds say."""
    folder = tmp_path_factory.mktemp("world")
    made(folder)
    manifests = load_manifests([folder / "manifest.yaml"])
    scenario = load_scenario(folder / "scenario.yaml", {})
    specs, pools = services(manifests), node_pools(manifests)
    demand = np.repeat(loads, 60)[None, :]
    world = build_world(specs, pools, scenario, demand)
    plant = world.plant
    for minute, replicas in enumerate(wishes):
        plant.advance_to(60 * minute)
        plant.life.set_replicas(0, replicas, plant.now_s)
    plant.advance_to(plant.end_s)
    kept = plant.verdicts()[0].attained_ratio - 1e-6
    promised = replace(specs[0], objective=replace(specs[0].objective, promised_ratio=kept))
    places, pools_of = plant_pools([promised], pools, 8)
    (share,) = pool_shares([promised], places, pools_of, initial=8, node_s=120)
    best = optimum(promised, pools, scenario, demand[0], share)
    nodes = node_optimum([best])
    assert nodes is not None
    assert best.lower_bound_replica_hours <= float(plant.replica_s()[0]) / 3600 + 1e-9
    assert nodes.bound_slot_hours <= float(plant.node_s() @ [pool.slots for pool in plant.life.pools]) / 3600 + 1e-9


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
