"""Several services on one pool with priorities and a quota, replayed: the joint plan decides, and the books are those worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from replay.cli import main
from tests.replay.made import STANDARD, write

# What each asks for, from the scenario's second on. chat's replicas take 2 GPUs, search's 1; the pool has 2 nodes of 8, search may have 6.
WISHES = {"chat": "0,2\n300,9\n480,2\n", "search": "0,2\n60,9\n"}
SCENARIO = """
scale: {mode: Factor, factor: 1}
noise: false
replicas: {initial: 2, start: 60s, drain: 30s}
nodes: {start: 120s, owner: OWNER}
"""


def made(folder: Path, owner: str) -> list[str]:
    """Arguments of a replay of ten minutes, in which each service has traffic for five replicas (so that none is held back as too much)."""
    text = (STANDARD / "shared-pool.yaml").read_text("utf-8")
    first, *services = text.split("---\n")
    for place, (name, wishes) in enumerate(WISHES.items()):
        file = write(folder / f"{name}.csv", f"at_s,replicas\n{wishes}")
        policy = f"policies: [{{name: schedule, params: {{file: {file}}}}}]"
        services[place] = services[place].replace("policies: [{name: target, params: {signal: concurrency, target: 10}}]", policy)
    manifest = write(folder / "manifest.yaml", "---\n".join([first, *services]))
    setting = write(folder / "scenario.yaml", SCENARIO.replace("OWNER", owner))
    trace = write(folder / "steady.csv", "offset_s,requests\n" + "".join(f"{at_s},480\n" for at_s in range(0, 600, 60)))
    return ["-f", str(manifest), "-s", str(setting), "-t", str(trace)]


def run(folder: Path, owner: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["run", *made(folder, owner), "-o", str(folder / "out"), "--json"])
    assert result.exit_code == 0, result.output
    score: dict[str, Any] = orjson.loads(result.stdout)
    return score


@pytest.mark.parametrize("owner", ["Rule", "Plan"])
def test_its_books_are_those_worked_out_by_hand(tmp_path: Path, owner: str) -> None:
    score = run(tmp_path, owner)
    chat, search = score["services"]["team-a/chat"], score["services"]["team-b/search"]
    # One node from the start. A schedule knows what comes, so the second is asked for at once, as room for what search wants at 60 s.
    assert score["node_hours"] == pytest.approx(20 / 60, abs=1e-6)
    assert score["cost"] == pytest.approx(30 * 20 / 60)
    # chat: 2 for 300 s, 7 for 180 s, 2 for 120 s, and 5 that drain for 30 s.
    assert chat["replica_hours"] == pytest.approx((2 * 300 + 7 * 180 + 2 * 120 + 5 * 30) / 3600, abs=1e-6)
    # search: 2 for 60 s, 6 for 240 s, 2 for 180 s and 4 that drain for 30 s, then 6 for 120 s.
    assert search["replica_hours"] == pytest.approx((2 * 60 + 6 * 240 + 2 * 180 + 4 * 30 + 6 * 120) / 3600, abs=1e-6)
    # GPUs that replicas are on, in minutes: chat 4 × 5, 10 × ½ (three start at once), 14 × 3 (two when search's have drained), 4 × 1½;
    # search 2, 4 (two of its four have a GPU), 6 × 3 (with the second node, at 120 s), 6 × ½, 2 × 3, 6 × 1½ (when chat's have drained).
    used_min = (20 + 5 + 42 + 6) + (2 + 4 + 18 + 3 + 6 + 9)
    assert score["idle_accelerator_hours"] == pytest.approx((20 * 8 - used_min) / 60, abs=1e-6)
    assert (chat["actions"], search["actions"]) == (2, 3)


def test_what_was_cut_from_whom_is_in_score_words_and_reports(tmp_path: Path) -> None:
    score = run(tmp_path, "Rule")
    chat, search = (score["services"][key]["cuts"] for key in ("team-a/chat", "team-b/search"))
    full = "pool h100 has at most 2 nodes of 8 nvidia.com/gpu, shared by priority and then fairly"
    assert chat == {
        "NodePoolFull": {
            "replica_hours": 2 * 3 / 60,  # 9 wished, 7 have a place, from 5 to 8 minutes
            "hours": 3 / 60,
            "most": 2,
            "made_room": 0,
            "why": f"{full}: 7 of 9 replicas have a place",
        }
    }
    # Before and after it is the quota that leaves 6 of 9, for 4 and 2 minutes; in between chat's priority leaves it 2.
    assert search == {
        "NamespaceQuota": {
            "replica_hours": 3 * 6 / 60,
            "hours": 6 / 60,
            "most": 3,
            "made_room": 0,
            "why": "namespace team-b may have 6 nvidia.com/gpu of pool h100: 6 of 9 replicas have a place",
        },
        "NodePoolFull": {
            "replica_hours": 7 * 3 / 60,
            "hours": 3 / 60,
            "most": 7,
            "made_room": 4,
            "why": f"{full}; namespace team-b may have 6 nvidia.com/gpu of pool h100: 2 of 9 replicas have a place; "
            "4 of those that are there make room for others",
        },
    }
    assert score["cuts"]["NodePoolFull"]["replica_hours"] == pytest.approx(27 / 60)
    assert score["cuts"]["NodePoolFull"]["why"].startswith("team-b/search: ")
    line = "team-b/search: NodePoolFull took 0.35 replica hours in 0.05 h, 7 at most; 4 that ran made room"
    report = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert line in report
    said = CliRunner().invoke(main, ["run", *made(tmp_path, "Rule")])
    assert f"cut        {line}" in said.stdout
    page = tmp_path / "compare.html"
    compared = CliRunner().invoke(main, ["compare", *made(tmp_path, "Rule"), "--jobs", "1", "-o", str(page)])
    assert compared.exit_code == 0, compared.output
    assert line in page.read_text("utf-8")


def test_where_all_have_a_place_nothing_was_cut(tmp_path: Path) -> None:
    arguments = [*made(tmp_path, "Rule"), "--set", "scenario.length=60s", "-o", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 0, result.output
    score = orjson.loads(result.stdout)
    assert score["cuts"] == {}
    assert '"cuts":[]' in (tmp_path / "out" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("owner", ["Rule", "Plan"])
def test_its_records_come_out_the_same_again_and_a_changed_plan_is_found(tmp_path: Path, owner: str) -> None:
    run(tmp_path, owner)
    records = tmp_path / "out" / "records.jsonl"
    again = CliRunner().invoke(main, ["verify", str(records), "--json"])
    assert again.exit_code == 0, again.output
    told = orjson.loads(again.stdout)
    assert (told["ticks"], told["differences"]) == (40, [])
    # One replica more for search than it had a place: verify knows the whole plan, not only each service's own decision.
    lines = records.read_bytes().splitlines(keepends=True)
    tick = orjson.loads(lines[21 + 1])
    assert tick["planned"] == [7, 2]
    tick["planned"][1] = 3
    lines[22] = orjson.dumps(tick) + b"\n"
    records.write_bytes(b"".join(lines))
    changed = CliRunner().invoke(main, ["verify", str(records), "--json"])
    assert changed.exit_code == 1
    (difference,) = orjson.loads(changed.stdout)["differences"]
    assert (difference["service"], difference["field"], difference["recorded"], difference["again"]) == (
        "team-b/search",
        "planned",
        3,
        2,
    )
