"""Records: what is written, when files turn over, and that a broken disk costs records only."""

from __future__ import annotations

import math
from pathlib import Path

import orjson

from autoscaler.adapters.telemetry.records import RecordWriter
from autoscaler.controller import Controller
from tests.ticks import a_controller, a_spec


def writer_for(controller: Controller, directory: Path, **settings: int) -> RecordWriter:
    return RecordWriter(
        directory,
        seed=0,
        budget=controller.budget,
        shadow=controller.shadow,
        wanted=lambda: controller.engine.wanted,
        state=controller.engine.save,
        **settings,
    )


async def write_ticks(directory: Path, ticks: int, **settings: int) -> RecordWriter:
    controller, _, _, clock = a_controller([a_spec()], lambda at_s, _row: 50 + 20 * math.sin(at_s / 100))
    writer = writer_for(controller, directory, **{"max_waiting": 1000, **settings})
    for _ in range(ticks):
        await writer.report(await controller.tick())
        clock.advance_to(clock.now_s() + 15)
    await writer.close()
    return writer


def lines_of(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def test_every_tick_is_there_once_and_in_order(tmp_path: Path) -> None:
    await write_ticks(tmp_path, 40)
    (path,) = tmp_path.glob("records-*.jsonl")
    ticks = [line["tick"] for line in lines_of(path) if line["kind"] == "tick"]
    assert ticks == list(range(1, 41))


async def test_every_file_opens_with_what_the_engine_knew(tmp_path: Path) -> None:
    await write_ticks(tmp_path, 60, max_bytes=8_000, max_files=100)
    paths = sorted(tmp_path.glob("records-*.jsonl"))
    assert len(paths) > 3
    starts = [lines_of(path)[0]["start"] for path in paths]
    assert starts == ["unknown"] + ["state"] * (len(paths) - 1)
    ticks = [line["tick"] for path in paths for line in lines_of(path) if line["kind"] == "tick"]
    assert ticks == list(range(1, 61))


async def test_the_oldest_files_go(tmp_path: Path) -> None:
    await write_ticks(tmp_path, 80, max_bytes=5_000, max_files=3)
    paths = sorted(tmp_path.glob("records-*.jsonl"))
    assert len(paths) == 3
    assert lines_of(paths[-1])[-1]["kind"] in ("tick", "fleet")


async def test_a_directory_that_cannot_be_written_costs_records_not_ticks(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    writer = await write_ticks(blocked / "below", 5)
    assert writer.dropped == 5
