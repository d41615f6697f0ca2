"""A service of two roles in a replay: one traffic for both, a score for each, records that run again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import orjson
import pytest

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import PolicyRef, Ratio, Role
from autoscaler.manifests import load_manifests
from autoscaler.record import encode
from autoscaler.spec import Manifest
from replay.clairvoyant import alike_rows
from replay.plugins import installed, policy_ref
from replay.run import Result, demand_of, run_replay
from replay.verify import record_files, verify
from replay.world import services
from tests.replay.made import STANDARD, manifests, scenario, wavy
from tests.replay.test_verify import Rotated
from tests.ticks import MadeCluster, MadeMetrics, a_spec

PREFILL, DECODE = "default/chat-prefill", "default/chat-decode"


def two_roles(**overrides: str) -> list[Manifest]:
    return load_manifests([STANDARD / "roles.yaml"], {path.replace("__", "."): text for path, text in overrides.items()})


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    run_replay(two_roles(), scenario(), wavy(120), policy=policy_ref("reactive"), records=path)
    return path


def test_the_same_requests_pass_through_both() -> None:
    """The role that needs the most replicas needs 40 at the peak: decode, with a quarter of prefill's capacity."""
    specs = services(two_roles())
    demand = demand_of(specs, scenario(noise="false"), wavy())
    np.testing.assert_array_equal(demand[0], demand[1])
    assert np.quantile(demand[1].reshape(-1, 60).mean(axis=1), 0.999) == pytest.approx(40 * 1.6)


def test_services_without_roles_are_scaled_each_by_its_own_capacity() -> None:
    both = services([*two_roles(), *manifests()])
    demand = demand_of(both, scenario(), wavy())
    alone = demand_of(services(manifests()), scenario(), wavy())
    np.testing.assert_array_equal(demand[2], alone[0])


def test_each_role_has_a_score_of_its_own() -> None:
    result: Result = run_replay(two_roles(), scenario(warmup="20m"), wavy(), policy=policy_ref("reactive"))
    own = result.score["services"]
    assert own.keys() == {PREFILL, DECODE}
    assert own[PREFILL]["requests"] == own[DECODE]["requests"]
    assert own[PREFILL]["scale_factor"] == own[DECODE]["scale_factor"] == result.score["scale_factor"]
    assert 0.25 * 0.9 < own[PREFILL]["replica_hours"] / own[DECODE]["replica_hours"] < 1


def test_the_band_holds_at_every_decision_and_is_named_where_it_works(records: Path) -> None:
    raised = 0
    for line in records.read_bytes().splitlines()[1:]:
        tick = orjson.loads(line)
        prefill, decode = tick["desired"]
        assert 0.25 <= prefill / decode <= 1
        raised += any(limit["name"] == "Roles" for limits in tick["limits"] for limit in limits)
        known = tick["recommended"] != [None, None]
        assert known == ("the bottleneck of service 'chat' is" in tick["roles"]["words"].get("0", ""))
    assert raised > 0


def test_recorded_roles_come_out_the_same_and_a_changed_one_is_found(records: Path, tmp_path: Path) -> None:
    verdict = verify([records])
    assert (verdict.differences, verdict.ticks) == ([], 480)
    lines = records.read_bytes().splitlines(keepends=True)
    tick = orjson.loads(lines[100])
    tick["roles"]["bottleneck"] = [-1, -1]
    lines[100] = encode(tick)
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(b"".join(lines))
    assert [difference.field for difference in verify([changed]).differences] == ["roles", "roles"]


async def test_a_hold_is_reproduced_also_from_a_file_that_begins_within_it(tmp_path: Path) -> None:
    """decode's object is gone from the 20th tick on and its replicas run on; the second file begins at the 30th, the hold ends after the 40th."""
    ratio = (Ratio(to="decode", min=0.25),)
    policies = (PolicyRef(name="reactive"),)
    pair = [
        a_spec("prefill", role=Role(service="chat", name="prefill", ratios=ratio), policies=policies, max_replicas=50),
        a_spec("decode", role=Role(service="chat", name="decode"), policies=policies, max_replicas=50, min_replicas=20),
    ]
    clock, cluster, writer = ManualClock(10_000.0), MadeCluster(pair), Rotated(tmp_path, 30)
    metrics = MadeMetrics(
        {"demand": lambda _at_s, _row: 1.0, "queue": lambda _at_s, _row: 0.0, "running": lambda _at_s, _row: 1.0}
    )
    controller = Controller(clock=clock, metrics=metrics, cluster=cluster, policies=installed(["reactive"]))
    writer.controller = controller
    seen = []
    for count in range(60):
        if count == 20:
            cluster.specs, cluster.current, cluster.revision = tuple(pair[:1]), cluster.current[:1], 2
            cluster.starting = cluster.starting[:1]
        clock.advance_to(clock.now_s() + 15)
        tick = await controller.tick()
        if count == 20:
            with (tmp_path / "records-0000.jsonl").open("ab") as file:
                file.write(writer.fleet(tick, "continues"))
        await writer.report(tick)
        seen.append(int(tick.decisions.desired[0]))
    assert seen[19:40] == [5] * 21
    assert seen[40:] == [1] * 20
    first, second, *_ = record_files(tmp_path)
    for files, ticks in (([first, second], 59), ([second], 30)):
        verdict = await asyncio.to_thread(verify, files)
        assert (verdict.differences, verdict.ticks) == ([], ticks)


def test_without_the_role_step_the_records_would_differ(records: Path, tmp_path: Path) -> None:
    """The ratio is part of what is verified: with another one the same ticks come out otherwise."""
    lines = records.read_bytes().splitlines(keepends=True)
    fleet = orjson.loads(lines[0])
    fleet["services"][0]["role"]["ratios"][0]["min"] = 0.75
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(encode(fleet) + b"".join(lines[1:]))
    assert verify([changed]).differences


def test_both_roles_on_the_plant_that_passes_requests_on() -> None:
    pair = f"[{{prefill: {PREFILL}, decode: {DECODE}}}]"
    setting = scenario(plant="requests", requests__twoPools=pair, length="30m", warmup="10m", scale__replicas="6")
    own = run_replay(two_roles(), setting, wavy(30), policy=policy_ref("reactive")).score["services"]
    assert own[PREFILL]["requests"] > 0
    assert own[DECODE]["ttft_s"]["p50"] >= own[PREFILL]["ttft_s"]["p50"]


def test_roles_that_are_scaled_alike_are_still_questions_of_their_own() -> None:
    assert alike_rows(two_roles(), scenario()) == [[0], [1]]
