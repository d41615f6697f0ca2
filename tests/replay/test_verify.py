from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from autoscaler.adapters.telemetry.records import RecordWriter
from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.allocation import ChangeBudget
from autoscaler.core.model import PoolSpec, Schedule
from autoscaler.core.short import Bound, Bounds, Short
from autoscaler.errors import UsageError
from autoscaler.manifests import load_manifests
from autoscaler.ports import Tick
from autoscaler.record import encode, fleet_record, tick_record
from replay.cli import main
from replay.plugins import installed, policy_ref
from replay.run import demand_of, run_replay
from replay.verify import RecordsError, record_files, verify
from replay.world import build_world
from tests.replay.made import manifests, scenario, specs, wavy
from tests.ticks import PER_REPLICA, a_controller, a_spec

FAULTS = (
    "[{kind: MetricsOutage, at: 30m, lasts: 20m}, {kind: ScrapeGap, at: 70m, lasts: 5m}, {kind: SlowStarts, at: 80m, lasts: 20m}]"
)
HPA = {
    "behavior__scaleDown__stabilizationWindowSeconds": "300",
    "behavior__scaleUp__policies": "[{type: Pods, value: 4, periodSeconds: 60}]",
    "fallback": "{after: 10m, action: AtLeast, replicas: 20}",
}
ALWAYS = Schedule(name="always", timezone="UTC", days=frozenset(range(7)), start_minute=0, end_minute=0)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    run_replay(manifests(**HPA), scenario(faults=FAULTS), wavy(120), policy=policy_ref("reactive"), records=path)
    return path


def changed(records: Path, folder: Path, line: int, change: dict[str, Any]) -> Path:
    lines = records.read_bytes().splitlines(keepends=True)
    lines[line] = encode({**orjson.loads(lines[line]), **change})
    path = folder / "changed.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def test_recorded_ticks_come_out_the_same(records: Path) -> None:
    verdict = verify([records])
    assert (verdict.differences, verdict.ticks, verdict.decisions, verdict.skipped) == ([], 480, 480, 0)


def test_ticks_of_a_full_pool_come_out_the_same(tmp_path: Path) -> None:
    pool = (
        "apiVersion: inference-autoscaler.io/v1alpha1\nkind: AcceleratorPool\nmetadata: {name: small}\n"
        "spec: {maxNodes: 2, quotas: [{namespace: default, accelerators: 14}], spot: {share: 50%}}\n"
    )
    path = tmp_path / "records.jsonl"
    run_replay(
        [*manifests(nodePool="small"), *load_manifests([pool])],
        scenario(),
        wavy(120),
        policy=policy_ref("reactive"),
        records=path,
    )
    ticks = [orjson.loads(line) for line in path.read_bytes().splitlines()[1:]]
    assert max(tick["planned"][0] for tick in ticks) == 14 < max(tick["desired"][0] for tick in ticks)
    assert {limit["name"] for tick in ticks for limit in tick["limits"][0]} >= {"NamespaceQuota"}
    verdict = verify([path])
    assert (verdict.differences, verdict.ticks) == ([], 480)


@pytest.mark.parametrize(
    ("field", "value"),
    [("desired", [99]), ("recommended", [1.0]), ("headroom", [2]), ("reasons", ["because"]), ("limits", [[]]), ("blind", [True])],
)
def test_a_changed_decision_is_found(records: Path, tmp_path: Path, field: str, value: Any) -> None:
    lines = [orjson.loads(line) for line in records.read_bytes().splitlines()]
    line = next(number for number, one in enumerate(lines) if one["kind"] == "tick" and number > 250 and one["limits"][0])
    (difference,) = verify([changed(records, tmp_path, line, {field: value})]).differences
    assert (difference.line, difference.field, difference.recorded, difference.key) == (
        line + 1,
        field,
        value[0],
        "default/standard",
    )
    assert "default/standard" in str(difference)


def test_a_changed_signal_is_found_too(records: Path, tmp_path: Path) -> None:
    # The decision that was recorded does not follow from what is said to have been seen.
    line = orjson.loads(records.read_bytes().splitlines()[400])
    line["signals"]["demand"]["values"] = [500.0]
    differences = verify([changed(records, tmp_path, 400, {"signals": line["signals"]})]).differences
    assert differences
    assert differences[0].line == 401


def test_broken_records_say_where(records: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(records.read_bytes()[:20_000] + b"\n")
    with pytest.raises(RecordsError, match=r"broken.jsonl:\d+: is not JSON"):
        verify([broken])
    for text, words in ((b'{"schema":9}\n', "schema 1 is expected"), (b"[]\n", "schema 1"), (b'{"schema":1}\n', "KeyError")):
        broken.write_bytes(text)
        with pytest.raises(RecordsError, match=words):
            verify([broken])
    with pytest.raises(UsageError, match="no such file"):
        record_files(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=r"holds no \*.jsonl"):
        record_files(empty)


def test_a_line_that_was_being_written_is_left_out_and_said(records: Path, tmp_path: Path) -> None:
    lines = records.read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:50]) + lines[50][:100])
    result = CliRunner().invoke(main, ["verify", str(tmp_path), "--json"])
    document = orjson.loads(result.stdout)
    assert (result.exit_code, document["same"], document["cut"], document["schema"]) == (0, True, 1, 1)
    assert document["ticks"] == sum(orjson.loads(line)["kind"] == "tick" for line in lines[:50])
    said = CliRunner().invoke(main, ["verify", str(tmp_path)]).stdout
    assert "the last line of 1 file was cut off in the middle and is left out" in said


@pytest.mark.parametrize("kinds", [("fleet",), ("tick",), ()])
def test_where_no_tick_is_run_again_nothing_is_verified(records: Path, tmp_path: Path, kinds: tuple[str, ...]) -> None:
    lines = [line for line in records.read_bytes().splitlines(keepends=True) if orjson.loads(line)["kind"] in kinds]
    (tmp_path / "some.jsonl").write_bytes(b"".join(lines))
    result = CliRunner().invoke(main, ["verify", str(tmp_path), "--json"])
    document = orjson.loads(result.stdout)
    assert (result.exit_code, document["same"], document["ticks"]) == (1, None, 0)
    said = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert (said.exit_code, said.stdout.startswith("nothing is verified: no tick could be run again")) == (1, True)


class Rotated:
    """Writes records as a live controller does: a first tick whose past is unknown, then state; a new file every `every` ticks."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.controller: Controller | None = None
        self.count = 0

    def fleet(self, tick: Tick, start: Any) -> bytes:
        assert self.controller is not None
        engine = self.controller.engine
        state = engine.save() if start == "state" else None
        return encode(
            fleet_record(
                tick.fleet,
                at_s=tick.decisions.at_s,
                interval_s=15.0,
                seed=0,
                wanted=engine.wanted,
                budget=self.controller.budget,
                shadow=self.controller.shadow,
                start=start,
                state=state,
            )
        )

    async def report(self, tick: Tick) -> None:
        with (self.folder / f"records-{self.count // self.every:04d}.jsonl").open("ab") as file:
            if self.count == 0:
                file.write(self.fleet(tick, "unknown"))
            file.write(encode(tick_record(tick)))
            if self.count == 0:
                file.write(self.fleet(tick, "state"))
        self.count += 1
        if self.count % self.every == 0:
            (self.folder / f"records-{self.count // self.every:04d}.jsonl").write_bytes(self.fleet(tick, "state"))


@pytest.mark.parametrize("policy", ["reactive", "target:signal=concurrency"])
async def test_a_folder_of_rotated_files_and_each_file_alone(tmp_path: Path, policy: str) -> None:
    setting = scenario(faults=FAULTS)
    ref = policy_ref(policy)
    fleet = tuple(replace(one, scale_down=replace(one.scale_down, stabilization_s=300.0)) for one in specs(3, ref))
    world = build_world(fleet, (), setting, demand_of(fleet, setting, wavy(60)))
    clock = ManualClock(world.start_s)
    writer = Rotated(tmp_path, 50)
    controller = Controller(
        clock=clock,
        metrics=world.metrics,
        cluster=world.cluster,
        policies=installed([ref.name]),
        reporters=[writer],
        budget=ChangeBudget(add=3),
    )
    writer.controller = controller
    for at_s in range(0, 3600, 15):
        world.plant.advance_to(at_s)
        clock.advance_to(world.start_s + at_s)
        await controller.tick()
    # verify runs a loop of its own
    files = record_files(tmp_path)
    assert len(files) == 5
    whole = await asyncio.to_thread(verify, files)
    assert (whole.differences, whole.ticks, whole.skipped, whole.decisions) == ([], 239, 1, 717)
    alone = await asyncio.to_thread(verify, files[2:3])
    assert (alone.differences, alone.ticks, alone.skipped) == ([], 50, 0)


async def live_records(folder: Path, *, budget: ChangeBudget, shadow: bool) -> None:
    """Records of half an hour of three services, by the writer of the live controller."""
    setting = scenario()
    fleet = specs(3, policy_ref("reactive"))
    world = build_world(fleet, (), setting, demand_of(fleet, setting, wavy(30)))
    clock = ManualClock(world.start_s)
    controller = Controller(
        clock=clock,
        metrics=world.metrics,
        cluster=world.cluster,
        policies=installed(["reactive"]),
        budget=budget,
        shadow=shadow,
    )
    writer = RecordWriter(
        folder,
        seed=0,
        budget=controller.budget,
        shadow=controller.shadow,
        wanted=lambda: controller.engine.wanted,
        state=controller.engine.save,
        max_waiting=1000,
    )
    for at_s in range(0, 1800, 15):
        world.plant.advance_to(at_s)
        clock.advance_to(world.start_s + at_s)
        await writer.report(await controller.tick())
    await writer.close()


@pytest.mark.parametrize("shadow", [False, True])
async def test_what_the_budget_cut_is_worked_out_again(tmp_path: Path, shadow: bool) -> None:
    await live_records(tmp_path, budget=ChangeBudget(add=1, remove=0), shadow=shadow)
    (path,) = record_files(tmp_path)
    verdict = await asyncio.to_thread(verify, [path])
    assert (verdict.differences, verdict.ticks, verdict.skipped) == ([], 119, 1)
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    cut = [
        number
        for number, one in enumerate(lines[2:], 2)
        if any(limit["name"] == "ChangeBudget" for limits in one.get("limits", ()) for limit in limits)
    ]
    assert bool(cut) != shadow, "nothing is written in shadow, so no budget is used up"
    for field, value in (("planned", [1, 2, 3]), ("act", [None, None, None])):
        line = cut[0] if cut else 50
        differences = (await asyncio.to_thread(verify, [changed(path, tmp_path, line, {field: value})])).differences
        assert {one.field for one in differences} == {field}


async def written(folder: Path, controller: Controller, clock: ManualClock) -> Path:
    """Records of twenty ticks, by the writer of the live controller."""
    writer = RecordWriter(
        folder,
        seed=0,
        budget=controller.budget,
        shadow=False,
        wanted=lambda: controller.engine.wanted,
        state=controller.engine.save,
    )
    for _ in range(20):
        clock.advance_to(clock.now_s() + 15.0)
        await writer.report(await controller.tick())
    await writer.close()
    (path,) = record_files(folder)
    return path


async def test_what_was_short_is_read_from_the_records(tmp_path: Path) -> None:
    """Nobody records what led to it: the bounds of the tick are what is worked with again."""
    gpus = PoolSpec(name="gpu", min_nodes=0, max_nodes=9, accelerators_per_node=8)
    spec = a_spec(pool="gpu", accelerators_per_replica=4)
    controller, cluster, _, clock = a_controller([spec], lambda _at_s, _row: 80.0)
    short = Short(since_s=0.0, until_s=9e9, pause_s=300.0, there=3, trying=0, resource="nvidia.com/gpu", said="nobody")
    bound = Bound(most=3, trying=0, words="pool gpu is short of nvidia.com/gpu", state=short)
    cluster.changes = {"pools": (gpus,), "bounds": Bounds(pools={"gpu": bound}, released={0: 1})}
    path = await written(tmp_path, controller, clock)
    last = orjson.loads(path.read_bytes().splitlines()[-1])
    assert (last["planned"], last["limits"][0][0]["name"]) == ([6], "ScaleUpStuck")
    verdict = await asyncio.to_thread(verify, [path], policies={"per-replica": PER_REPLICA})
    assert verdict.differences == []
    assert verdict.ticks > 10
    line = next(number for number, text in enumerate(path.read_bytes().splitlines()) if b'"short"' in text and number > 5)
    found = await asyncio.to_thread(verify, [changed(path, tmp_path, line, {"short": {}})], policies={"per-replica": PER_REPLICA})
    assert {one.field for one in found.differences} >= {"planned"}


async def test_records_that_begin_within_a_minute_know_the_calendar_too(tmp_path: Path) -> None:
    """With another measured lead time than at the minute's beginning, and a window that begins within it."""
    gpus = PoolSpec(name="gpu", min_nodes=0, max_nodes=9, accelerators_per_node=8)
    midnight_s = 20_254 * 86_400.0
    windows = (
        replace(ALWAYS, name="launch", from_s=midnight_s + 600.0 + 25.0, min_replicas=3),
        replace(ALWAYS, name="busy", start_minute=20, end_minute=21, min_replicas=9),
    )
    spec = a_spec(pool="gpu", schedules=windows)
    writer = Rotated(tmp_path, 3)
    controller, cluster, _, clock = a_controller([spec], lambda _at_s, _row: 10.0, reporters=[writer])
    writer.controller = controller
    for tick, at_s in enumerate(np.arange(midnight_s, midnight_s + 1500.0, 15.0).tolist()):
        cluster.changes = {"pools": (gpus,), "node_lead_time_s": np.array([120.0 + 60.0 * (tick % 4)])}
        clock.advance_to(at_s)
        await controller.tick()
    files = record_files(tmp_path)
    told = [one for file in files for one in map(orjson.loads, file.read_bytes().splitlines()) if one["kind"] == "tick"]
    assert {(one["desired"][0], one["headroom"][0]) for one in told} == {(1, 0), (1, 2), (3, 0), (3, 6), (9, 0)}
    for file in files:
        assert (await asyncio.to_thread(verify, [file], policies={"per-replica": PER_REPLICA})).differences == []


async def test_who_leaves_with_its_node_is_read_from_the_records(tmp_path: Path) -> None:
    gpus = PoolSpec(name="gpu", min_nodes=0, max_nodes=9, accelerators_per_node=8)
    controller, cluster, _, clock = a_controller([a_spec(pool="gpu")], lambda _at_s, _row: 80.0)
    cluster.changes = {"pools": (gpus,), "draining": np.array([8]), "draining_lost": {0: 8}}
    path = await written(tmp_path, controller, clock)
    verdict = await asyncio.to_thread(verify, [path], policies={"per-replica": PER_REPLICA})
    assert verdict.differences == []
    assert verdict.ticks > 10
    told = orjson.loads(path.read_bytes().splitlines()[-1])
    assert (told["nodes"], told["draining"], told["draining_lost"]) == ({"gpu": 1}, [8], {"0": 8})
    edited = changed(path, tmp_path, -1, {"draining_lost": {}})
    (found,) = (await asyncio.to_thread(verify, [edited], policies={"per-replica": PER_REPLICA})).differences
    assert (found.field, found.recorded, found.again) == ("nodes", {"gpu": 1}, {"gpu": 2})
