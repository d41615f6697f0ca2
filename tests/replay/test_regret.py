"""Regret on records whose answer is known: those of a replay, where the live controller's world is the plant itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from replay.cli import main
from replay.regret.recorded import read_recorded
from replay.verify import record_files
from tests.browser import browser
from tests.replay.made import STANDARD, write

DAY = f"{STANDARD / 'traces' / 'day.csv.gz'}:length=10h"
MANIFEST = str(STANDARD / "manifest.yaml")


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("days")
    assert replay("run", "-t", DAY, "-p", "reactive", "-o", str(folder)).exit_code == 0
    return folder


def scores(*arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    result = replay("regret", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return {(score["loop"], score["policy"]): score for score in orjson.loads(result.stdout)["scores"]}


def test_over_the_plant_it_finds_what_a_replay_of_the_traffic_finds(days: Path) -> None:
    candidates = ("target:signal=concurrency", "fixed:replicas=30")
    found = scores(str(days), "-f", MANIFEST, *(word for name in candidates for word in ("-p", name)))
    live = orjson.loads((days / "score.json").read_bytes())
    assert found["closed", "what ran"]["replica_hours"] == pytest.approx(live["replica_hours"], rel=1e-3)
    for name in candidates:
        alone = orjson.loads(replay("run", "-t", DAY, "-p", name, "--json").stdout)
        score = found["closed", name]
        assert score["replica_hours"] == pytest.approx(alone["replica_hours"], rel=0.003)
        assert score["attained_ratio"] == pytest.approx(alone["attained_ratio"], abs=0.002)
        assert score["regret_replica_hours"] == pytest.approx(live["replica_hours"] - score["replica_hours"], abs=0.5)


def test_a_learnt_capacity_is_what_the_plant_has(tmp_path: Path) -> None:
    """The manifest says 1.6 requests/s, the replicas did 1.0: with 1.6 the counts that ran would look like a waste."""
    learnt = ("--set", "capacity.mode=Learnt")
    slower = ("--set", "scenario.replicas.throughput=[{factor: 0.625}]")
    assert replay("run", "-t", DAY, "-p", "reactive", "-o", str(tmp_path), *learnt, *slower).exit_code == 0
    recorded = read_recorded(record_files(tmp_path / "records.jsonl"), ["default/standard"])
    assert recorded.learnt_per_s[0] == pytest.approx(1.0, rel=0.03)
    found = scores(str(tmp_path / "records.jsonl"), "-f", MANIFEST, "-p", "reactive", *learnt)
    live = orjson.loads((tmp_path / "score.json").read_bytes())
    again = found["closed", "reactive"]
    assert again["replica_hours"] == pytest.approx(live["replica_hours"], rel=0.03)
    assert again["attained_ratio"] == pytest.approx(live["attained_ratio"], abs=0.003)


def test_beside_the_controller_the_same_policy_decides_the_same(days: Path) -> None:
    found = scores(str(days), "-f", MANIFEST, "-p", "reactive")
    ran, again = found["open", "what ran"], found["open", "reactive"]
    assert again["attained_ratio"] is None
    assert again["actions"] == ran["actions"]
    # What is asked for is there one tick later: no more than that is between the two.
    assert again["replica_hours"] == pytest.approx(ran["replica_hours"], rel=1e-3)
    assert again["blind_ratio"] < 0.01


def test_a_new_leader_s_first_tick_is_no_time(tmp_path: Path, days: Path) -> None:
    """A controller that becomes the leader ticks at once, whenever its last tick was: two ticks in one interval are one interval."""
    doubled = b""
    for line in (days / "records.jsonl").read_bytes().splitlines(keepends=True):
        doubled += line
        record = orjson.loads(line)
        if record["kind"] == "tick" and record["tick"] in (100, 200):
            doubled += orjson.dumps({**record, "at_s": record["at_s"] + 0.024}) + b"\n"
    (tmp_path / "records.jsonl").write_bytes(doubled)
    found = scores(str(tmp_path), "-f", MANIFEST, "-p", "fixed")
    once = scores(str(days), "-f", MANIFEST, "-p", "fixed")
    for key in (("open", "what ran"), ("open", "fixed"), ("closed", "what ran")):
        for name in ("ticks", "evaluated_s", "replica_hours", "actions"):
            assert found[key][name] == once[key][name], (key, name)


def test_a_signal_that_was_not_recorded_is_said(tmp_path: Path, days: Path) -> None:
    result = replay("regret", str(days), "-f", MANIFEST, "-p", "target:signal=ttft_s,target=1")
    assert "needs ttft_s, which the records don't hold: open loop it could not tell in 100% of its ticks" in result.stdout


def test_records_without_demand_are_looked_at_open_loop_only(tmp_path: Path) -> None:
    replay("run", "-t", DAY, "-p", "fixed:replicas=30", "-o", str(tmp_path))
    result = replay("regret", str(tmp_path), "-f", MANIFEST, "-p", "fixed:replicas=20", "--json")
    document = orjson.loads(result.stdout)
    assert {score["loop"] for score in document["scores"]} == {"open"}
    assert any("Not simulated: default/standard; the records hold no demand" in note for note in document["notes"])
    fixed = document["scores"][1]
    assert fixed["replica_hours"] == pytest.approx(200)
    assert fixed["regret_replica_hours"] == pytest.approx(100, abs=0.2)


def test_gaps_of_the_recording_are_bridged_and_said(tmp_path: Path, days: Path) -> None:
    lines = (days / "records.jsonl").read_bytes().splitlines(keepends=True)
    kept = write(tmp_path / "records.jsonl", b"".join(lines[:500] + lines[740:]).decode())
    recorded = read_recorded(record_files(kept), ["default/standard"])
    assert (recorded.ticks, recorded.missing) == (2400, 240)
    result = replay("regret", str(kept), "-f", MANIFEST, "-p", "fixed:replicas=30")
    assert "240 ticks (10.0%) were not recorded" in result.stdout
    whole = scores(str(days), "-f", MANIFEST, "-p", "fixed:replicas=30")["closed", "fixed:replicas=30"]
    assert scores(str(kept), "-f", MANIFEST, "-p", "fixed:replicas=30")["closed", "fixed:replicas=30"][
        "requests"
    ] == pytest.approx(whole["requests"], rel=0.02)


def test_a_line_that_was_being_written_is_left_out_and_said(tmp_path: Path, days: Path) -> None:
    lines = (days / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:200])
    result = replay("regret", str(tmp_path), "-f", MANIFEST, "-p", "fixed")
    assert result.exit_code == 0, result.output
    assert "The last line of 1 file was cut off in the middle and is left out." in result.stdout


@pytest.mark.parametrize("pools", ["nodePool: gpus", "nodePools: [{name: gpus}, {name: dearer}]"])
def test_prices_give_money(tmp_path: Path, pools: str) -> None:
    pool = (
        "---\napiVersion: inference-autoscaler.io/v1alpha1\nkind: AcceleratorPool\nmetadata: {name: gpus}\n"
        "spec: {maxNodes: 20, acceleratorsPerNode: 8, costPerHour: 16}\n"
    )
    text = (STANDARD / "manifest.yaml").read_text().replace("spec:\n", f"spec:\n  {pools}\n", 1)
    dearer = pool.replace("gpus", "dearer").replace("costPerHour: 16", "costPerHour: 40")
    manifest = str(write(tmp_path / "m.yaml", text + pool + dearer))
    replay("run", "-f", manifest, "-t", DAY, "-p", "reactive", "-o", str(tmp_path / "days"))
    found = scores(str(tmp_path / "days"), "-f", manifest, "-p", "fixed:replicas=30")
    assert found["closed", "fixed:replicas=30"]["cost"] == pytest.approx(16 * found["closed", "fixed:replicas=30"]["node_hours"])
    assert found["open", "fixed:replicas=30"]["cost"] == pytest.approx(2 * 300)  # full nodes: 2 a replica-hour
    table = replay("regret", str(tmp_path / "days"), "-f", manifest, "-p", "fixed:replicas=30").stdout
    assert "cost" in table.splitlines()[1]


def test_processes_change_nothing_and_the_page_is_the_comparison_s(tmp_path: Path, days: Path) -> None:
    pages = []
    for jobs in ("1", "2"):
        page = tmp_path / f"{jobs}.html"
        result = replay("regret", str(days), "-f", MANIFEST, "-p", "fixed:replicas=12", "--jobs", jobs, "-o", str(page))
        assert result.exit_code == 0, result.output
        pages.append(page.read_bytes())
    assert pages[0] == pages[1]
    assert str(tmp_path).encode() not in pages[0]


async def test_the_page_in_a_browser(tmp_path: Path, days: Path) -> None:
    file = tmp_path / "regret.html"
    replay("regret", str(days), "-f", MANIFEST, "-p", "fixed:replicas=12", "-p", "target:signal=concurrency", "-o", str(file))
    async with browser() as page:
        for width in (1280, 400):
            await page.open(file.as_uri(), width=width)
            await page.until("document.querySelectorAll('#plots canvas').length === 6")
            assert page.complaints == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            assert "not told" in await page.evaluate("document.getElementById('scores').textContent")
            assert await page.evaluate("document.querySelectorAll('.worst').length") == 3  # only what was simulated
            await page.picture(tmp_path / f"{width}.png")


def test_what_is_wrong_is_said(tmp_path: Path, days: Path) -> None:
    other = write(tmp_path / "m.yaml", (STANDARD / "manifest.yaml").read_text().replace("name: standard", "name: other"))
    for arguments, code, words in (
        ([str(days), "-f", str(other)], 2, "the records hold nothing of default/other"),
        ([str(tmp_path / "none"), "-f", MANIFEST], 2, "no such file"),
        ([str(days)], 2, "Missing option '-f'"),
        ([str(days), "-f", MANIFEST, "-p", "nothing"], 2, "is not installed"),
        ([str(write(tmp_path / "x.jsonl", "{}\n")), "-f", MANIFEST], 1, "schema 1 is expected"),
        ([str(write(tmp_path / "y.jsonl", '{"schema":1,"kind":"fleet"}\n')), "-f", MANIFEST], 1, "y.jsonl:1: is no record"),
    ):
        result = replay("regret", *arguments)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert words in result.stderr
