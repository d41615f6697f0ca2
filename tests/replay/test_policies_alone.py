"""``-p NAME`` alone: every shipped policy decides with its defaults; the one that can't says what it needs."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from replay.cli import main
from tests.conftest import ROOT

DAY = ROOT / "replay" / "standard" / "traces" / "day.csv.gz"
SHIPPED = sorted(
    entry.name
    for entry in entry_points(group="inference_autoscaler.policies")
    if entry.dist is not None and entry.dist.name == "inference-autoscaler"
)
NEED_SOMETHING = {"schedule": "file"}
FLOORS = {"seasonal"}
"""Meant to stand beside another policy; after one hour of past it knows no floor, holds the count, and says why."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", "-t", str(DAY), "--set", "scenario.length=1h", *arguments])


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in NEED_SOMETHING])
def test_it_decides_with_its_defaults(name: str, tmp_path: Path) -> None:
    done = run("-p", name, "-o", str(tmp_path), "--json")
    assert done.exit_code == 0, done.stderr
    score = orjson.loads(done.stdout)
    assert score["policy"] == name
    assert score["evaluated_s"] == 3600
    assert score["replica_hours"] > 1
    records = [orjson.loads(line) for line in (tmp_path / "records.jsonl").read_bytes().splitlines()]
    ticks = [record for record in records if record["kind"] == "tick"]
    if name in FLOORS:
        assert ticks[-1]["recommended"] == [None]
        assert f"{name}: this time of the week has not been seen yet: no floor" in ticks[-1]["reasons"][0]
    else:
        # Its own count, not a hold for want of one: the signals that it needs by default are there.
        assert ticks[-1]["recommended"][0] > 0
        assert ticks[-1]["reasons"][0].startswith(f"{name}: ")


@pytest.mark.parametrize("name", NEED_SOMETHING)
def test_what_has_no_default_is_asked_for(name: str) -> None:
    done = run("-p", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"-p {name}: {NEED_SOMETHING[name]}: policy '{name}' needs it; CSV with the columns at_s" in done.stderr


def test_fixed_keeps_the_count_that_the_scenario_begins_with(tmp_path: Path) -> None:
    done = run("-p", "fixed", "--set", "scenario.replicas.initial=7", "-o", str(tmp_path), "--json")
    assert done.exit_code == 0, done.stderr
    score = orjson.loads(done.stdout)
    assert (score["replica_hours"], score["actions"]) == (7.0, 0)
    assert "the manifest gives no count: the 7 found stay" in (tmp_path / "records.jsonl").read_text()
