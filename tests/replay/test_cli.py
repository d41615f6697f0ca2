from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from replay.cli import main
from tests.conftest import ROOT

SURGE = str(ROOT / "replay" / "standard" / "traces" / "surge.csv")


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_run_writes_everything_and_json_is_one_document(tmp_path: Path) -> None:
    result = replay(
        "run", "-t", SURGE, "-p", "fixed:replicas=30", "--set", "objective.promised=99.9%", "-o", str(tmp_path), "--json"
    )
    assert result.exit_code == 0, result.output
    score = orjson.loads(result.stdout)
    assert (score["trace"], score["policy"], score["promised_ratio"]) == ("surge", "fixed:replicas=30", 0.999)
    assert orjson.loads((tmp_path / "score.json").read_bytes()) == score
    assert {path.name for path in tmp_path.iterdir()} == {"score.json", "schedule.csv", "records.jsonl", "report.html"}
    assert replay("verify", str(tmp_path)).exit_code == 0
    verdict = orjson.loads(replay("verify", str(tmp_path / "records.jsonl"), "--json").stdout)
    assert (verdict["same"], verdict["ticks"]) == (True, 480)


def test_run_for_people() -> None:
    result = replay("run", "-t", f"{SURGE}:length=30m,warmup=5m")
    assert result.exit_code == 0, result.output
    assert "promised   99.50%" in result.stdout
    assert "0.4 h" in result.stdout


def test_verify_of_changed_records_is_exit_1(tmp_path: Path) -> None:
    replay("run", "-t", SURGE, "-p", "fixed:replicas=12", "-o", str(tmp_path))
    path = tmp_path / "records.jsonl"
    path.write_text(path.read_text().replace('"desired":[12]', '"desired":[13]', 1))
    result = replay("verify", str(path))
    assert result.exit_code == 1
    assert "desired was 13, is now 12" in result.stdout


def test_inspect() -> None:
    found = orjson.loads(replay("inspect", SURGE, "--json").stdout)
    assert (found["bin_s"], found["span_s"], found["gaps"]) == (15.0, 7200.0, [])
    assert found["rate_per_s"]["max"] == pytest.approx(45, rel=0.1)
    assert "burstiness" in replay("inspect", SURGE).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run"], 2, "Missing option '-t'"),
        (["run", "-t", "none.csv"], 2, "none.csv: no such file"),
        (["run", "-t", SURGE, "-p", "nothing"], 2, "policy 'nothing' is not installed"),
        (["run", "-t", SURGE, "-p", "fixed:replicas=lots"], 2, "'lots' is not a number"),
        (["run", "-t", SURGE, "-f", "none.yaml"], 2, "none.yaml: no such file"),
        (["run", "-t", SURGE, "-s", "none.yaml"], 2, "none.yaml: no such file"),
        (["run", "-t", SURGE, "--set", "scenario.warmupp=2d"], 2, "did you mean 'warmup'"),
        (["run", "-t", SURGE, "--set", "scenario.warmup=2x"], 2, "warmup: a duration"),
        (["run", "-t", SURGE, "--set", "scenario.warmup=2d"], 2, "leaves nothing to score"),
        (
            [
                "run",
                "-t",
                SURGE,
                "--set",
                "scenario.plant=requests",
                "--set",
                "scenario.requests.twoPools=[{prefill: a/b, decode: c/d}]",
            ],
            2,
            "service 'a/b' is not there",
        ),
        (["run", "-t", SURGE, "--set", "scenario.plant=flow"], 2, "requests"),
        (
            ["run", "-t", SURGE, "--set", "scenario.length=banana"],
            2,
            "--set scenario.length=banana: Scenario: length: a duration",
        ),
        (["run", "-t", f"{SURGE}:smoothing=xx"], 2, "surge.csv:smoothing=xx: "),
        (["run", "-t", SURGE, "-s", str(ROOT / "LICENSE")], 2, "LICENSE:"),
        (["compare", "-t", SURGE, "--gate", "/dev/null"], 2, "a list of {policy, trace, field, min, max} is expected"),
        (["compare", "-t", SURGE, "--gate", str(ROOT / "LICENSE")], 2, "LICENSE:"),
        (["optimum", "-t", SURGE, "--promised", "200%"], 2, "--promised 200%: "),
        (["optimum", "-t", SURGE, "--promised", "foo"], 2, "replay: --promised foo: "),
        (["tune", "-t", SURGE, "--held-out", "200%", "-o", "none.yaml"], 2, "--held-out: "),
        (["run", "-t", SURGE, "--set", "minReplicas=500"], 1, "minReplicas"),
        (["run", "-t", str(ROOT / "pyproject.toml")], 1, "no known format"),
        (["run", "-t", str(ROOT / "replay")], 2, "replay: a folder; name a file in it"),
        (
            ["run", "-t", SURGE, "--set", "warmup=5m"],
            2,
            "--set warmup: a field of the scenario, not of the manifest; write scenario.warmup",
        ),
        (["run", "-t", SURGE, "--set", "scenario.foo=1"], 2, "--set scenario.foo: unknown field 'foo'"),
        (["run", "-t", SURGE, "--set", "objective.foo=1"], 2, "--set objective.foo: unknown field 'foo'"),
        (["run", "-t", f"{SURGE}:foo=1"], 2, "surge.csv:foo: unknown field 'foo'"),
        (["comparee"], 2, "there is no command 'comparee'; did you mean 'compare'?"),
        (["verify", "none"], 2, "none: no such file"),
        (["inspect", "none"], 2, "none: no such file"),
        (["nothing"], 2, "there is no command"),
    ],
)
def test_what_is_wrong_is_said_on_stderr_with_its_exit_code(arguments: list[str], code: int, words: str) -> None:
    result = replay(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr


def test_a_file_that_can_t_be_written_is_exit_3(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = replay("run", "-t", SURGE, "-o", str(tmp_path / "file" / "below"))
    assert result.exit_code == 3


@pytest.mark.parametrize("command", ["replay inspect replay/standard/traces/surge.csv --json", "autoscaler policies"])
def test_a_full_disk_behind_stdout_is_a_sentence_and_exit_3(command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", *command.split()],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 3
    assert "system: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["", "run", "compare", "optimum", "tune", "test", "regret", "verify", "inspect", "convert"])
def test_the_example_of_each_help_works_in_a_clone(command: str) -> None:
    text = replay(*([command] if command else []), "--help").output
    (example,) = text.partition("Example:")[2].strip().splitlines()  # the help ends with it
    assert example.startswith("replay ")
    for part in example.split(" && "):
        words = shlex.split(part)
        done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert not re.search(r"\x1b\[", done.stdout + done.stderr)


@pytest.mark.parametrize("command", [["run", "-t"], ["verify"], ["inspect"]])
def test_a_pipe_is_refused_since_it_can_t_be_read_twice(tmp_path: Path, command: list[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = replay(*command, str(pipe))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "pipe: a pipe can't be read twice" in result.stderr


def test_no_request_is_no_promise_kept(tmp_path: Path) -> None:
    trace = tmp_path / "quiet.csv"
    trace.write_text("offset_s,requests\n" + "".join(f"{60 * minute},0\n" for minute in range(8)))
    result = replay("run", "-t", str(trace), "-p", "reactive", "-o", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "99.50%, but no request came: there was nothing to keep" in result.stdout
    assert "100" not in result.stdout
    result = replay("compare", "-t", str(trace), "-p", "reactive")
    assert "no requests" in result.stdout
    assert "kept" not in result.stdout


def test_counts_multiplied_as_they_are_are_warned_of_and_the_factor_is_kept() -> None:
    chat = ROOT / "replay" / "standard" / "traces" / "chat.csv.gz"
    found = CliRunner().invoke(main, ["run", "-t", f"{chat}:length=5m", "-p", "fixed"])
    assert found.stderr.startswith("WARNING: chat: its counts are multiplied by 51.92")
    assert "  scale      recorded rates × 51.92\n" in found.stdout
    several = CliRunner().invoke(
        main, ["compare", "-t", f"{chat}:length=5m", "-p", "fixed", "-p", "reactive", "--jobs", "1", "--json"]
    )
    assert several.stderr.count("its counts are multiplied by 51.92") == 1
    assert [score["scale_factor"] for score in orjson.loads(several.stdout)["scores"]] == [pytest.approx(51.917149)] * 2
    optimum = CliRunner().invoke(main, ["optimum", "-t", f"{chat}:length=5m", "--set", "maxReplicas=60", "--json"])
    assert optimum.stderr.count("WARNING: chat: its counts are multiplied by 51.92") == 1
    as_recorded = CliRunner().invoke(main, ["run", "-t", f"{chat}:length=5m,scale.mode=Factor", "-p", "fixed", "--json"])
    assert (as_recorded.stderr, orjson.loads(as_recorded.stdout)["scale_factor"]) == ("", 1.0)
