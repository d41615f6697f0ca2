"""Records: what is written, when files turn over, and that a broken disk costs records only."""

from __future__ import annotations

import asyncio
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from autoscaler.adapters.telemetry.record_files import RecordFiles
from autoscaler.adapters.telemetry.records import RecordWriter
from autoscaler.controller import Controller
from autoscaler.record import encode, encode_in_pieces
from replay.verify import verify
from tests.ticks import PER_REPLICA, a_controller, a_spec


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


def lines_of(path: Path) -> list[dict[str, Any]]:
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


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system takes no more than so many bytes into a file, and says so in the middle of a write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_file_ends_within_a_line_and_a_full_disk_pushes_out_no_older_one(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path, max_files=3, max_bytes=10**6)
    for at_s in (1.0, 2.0):
        files.start(at_s)
        files.append([b"a" * 600], at_s)
    before = sorted(tmp_path.iterdir())
    with files_up_to(1000):
        with pytest.raises(OSError, match="too large"):
            files.append([b"b" * 300, b"c" * 300], 2.5)
        for at_s in range(3, 9):
            files.start(at_s)
            with pytest.raises(OSError, match="too large"):
                files.append([b"d" * 1200], at_s)
    assert sorted(tmp_path.iterdir()) == before
    assert [path.read_bytes() for path in before] == [b"a" * 600] * 2
    files.append([b"e" * 1200], 9.0)
    files.close()
    assert [path.stat().st_size for path in sorted(tmp_path.iterdir())] == [600, 600, 1200]


def test_the_directory_never_holds_more_than_its_bytes(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path, max_files=100, max_bytes=1000)
    for at_s in range(20):
        files.start(at_s)
        for _ in range(2):
            files.append([b"a" * 150], at_s)
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(OSError, match="more than 1000 bytes"):
        files.append([b"a" * 701], 20.0)
    files.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


async def test_a_state_does_not_turn_files_over_and_a_large_one_is_rare(tmp_path: Path) -> None:
    controller, _, _, clock = a_controller([a_spec()], lambda at_s, _row: 50 + 20 * math.sin(at_s / 100))
    writer = writer_for(controller, tmp_path, max_waiting=1000, max_bytes=3_000, small_state_bytes=-1)
    for number in range(1, 161):
        tick = await controller.tick()
        await writer.report(replace(tick, unrecorded=tick.unrecorded or number % 20 == 7))
        clock.advance_to(clock.now_s() + 15)
    await writer.close()
    paths = sorted(tmp_path.glob("records-*.jsonl"))
    lines = [line for path in paths for line in lines_of(path)]
    states_s = [line["at_s"] for line in lines if line["kind"] == "fleet" and line["start"] == "state"]
    assert np.diff(states_s).tolist() == [600.0, 600.0, 600.0], "40 minutes, and something came in every five of them"
    assert [lines_of(path)[0]["start"] for path in paths] == ["unknown", "state", "state", "state"]
    assert [line["tick"] for line in lines if line["kind"] == "tick"] == list(range(1, 161))
    verdict = await asyncio.to_thread(verify, paths, policies={"per-replica": PER_REPLICA})
    # Four times the five ticks from a state until the next that stands on what is unrecorded.
    assert verdict.differences == []
    assert verdict.ticks == 4 * 5
    assert verdict.skipped == 160 - verdict.ticks


def test_a_record_in_pieces_has_the_same_bytes() -> None:
    record = {
        "empty": {},
        "none": None,
        "deep": {"list": [1.5, None, "a\n"] * 1000, "short": [[1, 2], {"b": True}], "text": "ü" * 5000},
        "arrays": {"strided": np.arange(10.0)[::2], "long": list(np.arange(3000.0).reshape(1500, 2))},
    }
    assert b"".join(encode_in_pieces(record)) == encode(record)
