"""explain: from the records that a real controller wrote, and from a running server's API."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from autoscaler.adapters.telemetry.records import RecordWriter
from autoscaler.dashboard.board import Board
from autoscaler.dashboard.server import make_app, serve
from autoscaler.errors import UsageError
from autoscaler.record_files import files, latest
from tests.cli.running import autoscaler
from tests.ticks import a_controller, a_spec

START_S = 1_769_839_200.0  # 2026-01-31T06:00:00Z


async def record(directory: Path, ticks: int = 6, **settings: int) -> None:
    """Ticks of a controller whose demand rises from 50 in flight; the second service appears in the middle."""
    controller, cluster, _, clock = a_controller([a_spec(max_replicas=7)], lambda at_s, _row: 50 + (at_s - START_S))
    clock.advance_to(START_S)
    writer = RecordWriter(
        directory,
        seed=0,
        budget=controller.budget,
        shadow=controller.shadow,
        wanted=lambda: controller.engine.wanted,
        state=controller.engine.save,
        max_waiting=100,
        **settings,
    )
    for _ in range(ticks):
        await writer.report(await controller.tick())
        clock.advance_to(clock.now_s() + 15)
    await writer.close()
    assert len(cluster.writes) >= 1


async def test_the_latest_decision_in_words(tmp_path: Path) -> None:
    await record(tmp_path)
    ran = await autoscaler("explain", "team/llama", "--records", str(tmp_path))
    assert ran.code == 0, ran.err
    for words in (
        "team/llama → Deployment/llama, mode Active",
        "2026-01-31T06:01:15Z, leading",
        "concurrency",
        "125 requests",
        "current 7, ready 7, starting 0",
        "125 in flight ÷ 10",
        "13 → 7",
        "desired",
        "planned",
        "the target has 7 already",
    ):
        assert words in ran.out, ran.out


@pytest.mark.parametrize("at", ["1769839216", "2026-01-31T06:00:16Z", "2026-01-31T07:00:29.9+01:00", "2026-01-31T06:00:15"])
async def test_an_earlier_decision(tmp_path: Path, at: str) -> None:
    await record(tmp_path)
    ran = await autoscaler("explain", "team/llama", "--records", str(tmp_path), "--at", at, "--json")
    document = json.loads(ran.out)
    assert (document["at_s"], document["key"]) == (START_S + 15, "team/llama")
    assert document["signals"][0]["value"] == 65
    assert [step["step"] for step in document["steps"]] == ["policy", "write"]


async def test_rotated_files(tmp_path: Path) -> None:
    await record(tmp_path, ticks=40, max_bytes=4000)
    assert len(files(tmp_path)) > 3
    for number in (0, 1, 17, 39):
        found = latest(tmp_path, START_S + 15 * number + 7)
        assert found.tick["at_s"] == START_S + 15 * number
        assert found.row("team/llama") == 0


async def test_a_line_that_is_still_being_written(tmp_path: Path) -> None:
    await record(tmp_path, ticks=3)
    file = files(tmp_path)[-1]
    file.write_bytes(file.read_bytes()[:-20])
    assert latest(file).tick["at_s"] == START_S + 15


async def test_what_is_not_there(tmp_path: Path) -> None:
    await record(tmp_path)
    place = str(tmp_path)
    ran = await autoscaler("explain", "team/other", "--records", place)
    assert (ran.code, ran.err) == (2, "team/other is not in the records at 2026-01-31T06:01:15Z; there are team/llama\n")
    ran = await autoscaler("explain", "team/llama", "--records", place, "--at", "2025-01-01T00:00:00Z")
    assert ran.code == 2
    assert "the first one is at 2026-01-31T06:00:00Z" in ran.err
    for arguments, words in (
        (("llama", "--records", place), "NAMESPACE/NAME"),
        (("team/llama", "--records", place, "--at", "noon"), "RFC 3339"),
        (("team/llama", "--records", str(tmp_path / "absent")), "no such folder or file"),
        (("team/llama", "--records", place, "--url", "http://x"), "only one of them"),
        (("team/llama", "--url", "file:///etc/passwd"), "http://HOST:PORT"),
    ):
        ran = await autoscaler("explain", *arguments)
        assert ran.code == 2
        assert words in ran.err
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no records\*\.jsonl in it"):
        latest(tmp_path / "empty")


async def test_a_broken_record_is_said(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text('{"kind":"fleet","at_s":1.0\n{"kind":"tick","at_s":1.0\n')
    ran = await autoscaler("explain", "a/b", "--records", str(tmp_path))
    assert ran.code == 3
    assert "a record is not JSON" in ran.err


async def test_from_a_running_controller() -> None:
    controller, _, _, clock = a_controller([a_spec(), a_spec("other")], lambda _at_s, row: 50.0 if row == 0 else math.nan)
    clock.advance_to(START_S)
    board = Board()
    async with serve(make_app(board), "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}"
        ran = await autoscaler("explain", "team/llama", "--url", url)
        assert (ran.code, "no tick yet" in ran.err) == (3, True)
        for _ in range(3):
            await board.report(await controller.tick())
            clock.advance_to(clock.now_s() + 15)
        ran = await autoscaler("explain", "team/llama", "--url", f"{url}/", "--at", "2026-01-31T06:00:20Z", "--json")
        assert json.loads(ran.out)["at_s"] == START_S + 15
        ran = await autoscaler("explain", "team/other", "--url", url)
        assert ran.code == 0, ran.err
        assert "unknown" in ran.out
        ran = await autoscaler("explain", "team/third", "--url", url)
        assert (ran.code, ran.err) == (2, f"team/third is not known to {url}; there are team/llama, team/other\n")


async def test_nobody_answers() -> None:
    ran = await autoscaler("explain", "team/llama", "--url", "http://127.0.0.1:1")
    assert ran.code == 3
    assert "is the controller running" in ran.err
