"""The scenario tests that ship all pass, and a test that should fail does, with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from replay.cli import main
from replay.scenario_tests.drive import run_test
from replay.scenario_tests.judge import judge, moment
from replay.scenario_tests.load import load_tests
from replay.scenario_tests.notation import parse_range, parse_series
from tests.conftest import ROOT
from tests.replay.made import STANDARD, write

SHIPPED = sorted((STANDARD / "tests").glob("*.yaml"))
KEPT = """\
tests:
  - name: follows
    spec: {policies: [{name: target, params: {signal: concurrency, target: 10}}]}
    series: {concurrency: 100x4 50x4}
    expect:
      - {at: 1m, replicas: 10}
      - {from: 1m15s, to: 2m15s, replicas: 5}
"""


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["test", *arguments])


def test_twenty_ship_at_least() -> None:
    assert len(SHIPPED) >= 20


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_what_ships_passes(file: Path) -> None:
    assert file.read_text().startswith("# ")  # living documentation: each says what it shows
    for test in load_tests(file):
        assert [str(failure) for failure in judge(test, run_test(test))] == []


def test_failures_have_line_moment_and_the_decision_s_words(tmp_path: Path) -> None:
    file = write(tmp_path / "t.yaml", KEPT.replace("replicas: 5", "replicas: 6..") + "    score: {actions: 0}\n")
    result = replay(str(file))
    assert result.exit_code == 1
    assert result.stdout == f"{file}: 1 of 1 FAILED\n"
    lines = result.stderr.splitlines()
    assert lines[0] == f"{file}:7: follows: at 1m15s replicas is 5, expected at least 6"
    assert lines[1].strip() == "target: concurrency 50 at 10 a replica: 5"
    assert lines[2] == f"{file}:8: follows: in the score actions is 1, expected 0"
    document = orjson.loads(replay(str(file), "--json").stdout)
    assert (document["passed"], document["failed"], document["faults"]) == (0, 1, [])
    assert [(f["line"], f["at_s"], f["field"]) for f in document["tests"][0]["failures"]] == [
        (7, 75.0, "replicas"),
        (8, None, "actions"),
    ]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("{at: 1m, replicas: 11}", "replicas is 10, expected 11"),
        ("{at: 1m, ready: ..9}", "ready is 10, expected at most 9"),
        ("{at: 1m, nodes: 3..4}", "nodes is 2, expected 3 to 4"),
        ("{at: 1m, blind: true}", "blind is false, expected true"),
        ("{at: 2m30s, partial: true, recommended: 3}", "recommended is not known, expected 3"),
        ("{from: 0s, to: 2m, limits: [Bounds]}", "limits is none, expected Bounds"),
        ("{from: 0s, to: 2m, reason: because}", "reason is another, expected …because…"),
    ],
)
def test_each_kind_of_expectation_can_fail(tmp_path: Path, expected: str, words: str) -> None:
    file = write(tmp_path / "t.yaml", KEPT + f"      - {expected}\n")
    result = replay(str(file))
    assert result.exit_code == 1
    assert f"{file}:8: follows: at " in result.stderr
    assert words in result.stderr


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("50x4", "50y4"), 4, "'50y4' is no value"),
        (("concurrency: 100", "concurrencies: 100"), 4, "did you mean 'concurrency'?"),
        (("name: target", "name: targets"), 3, "did you mean 'target'?"),
        (("target: 10", "target: ten"), 3, "'ten' is not a number"),
        (("replicas: 5", "replica: 5"), 7, "did you mean 'replicas'?"),
        (("replicas: 5", "replicas: some"), 7, "a number or a range such as 10..12"),
        (("replicas: 5", "replicas: 6..5"), 7, "the range ends before it begins"),
        (("from: 1m15s, ", ""), 7, "`at`, or `from` and `to`, is needed"),
        (("to: 2m15s", "to: 1m"), 7, "lies before `from`"),
        (("at: 1m", "at: 60"), 6, "a duration such as 90s"),
        (("replicas: 10", "blind: maybe"), 6, "true or false is expected"),
        (("replicas: 10", "limits: Bounds"), 6, "a list of names is expected"),
        ((", replicas: 10", ""), 6, "expects nothing"),
        (("replicas: 10", "service: other/one, replicas: 1"), 6, "no such service"),
        (("    series", "    scenario: {replicas: {initial: -1}}\n    series"), 4, "initial"),
        (("    series", "    scenario: {interval: 0s}\n    series"), 4, "more than 0s is allowed"),
        (("    series", "    traffic: 1x3 _\n    series"), 4, "can't be unknown"),
        (("    series", "    events: [{at: 1m, service: a/b, replicas: 1}]\n    series"), 4, "no such service"),
        (("tests:", "manifest: none.yaml\ntests:"), 1, "can't be read"),
        (("tests:", "test:"), 1, "did you mean 'tests'?"),
        (("tests:\n", "tests: [\n"), 2, "not YAML"),
    ],
)
def test_a_file_s_faults_have_their_line(tmp_path: Path, change: tuple[str, str], line: int, words: str) -> None:
    assert change[0] in KEPT
    file = write(tmp_path / "t.yaml", KEPT.replace(*change, 1))
    result = replay(str(file), "--json")
    assert result.exit_code == 1
    assert f"{file}:{line}: " in result.stderr
    assert words in result.stderr
    assert orjson.loads(result.stdout)["faults"][0]["line"] == line


def test_own_manifests_with_several_services(tmp_path: Path) -> None:
    text = (STANDARD / "manifest.yaml").read_text()
    write(tmp_path / "m.yaml", text + "---\n" + text.replace("name: standard", "name: second"))
    file = write(
        tmp_path / "t.yaml",
        "manifest: m.yaml\n"
        + KEPT.replace("{concurrency: 100x4 50x4}", "{concurrency: 100x4 50x4, default/second concurrency: 70x8}")
        .replace("{at: 1m, ", "{at: 1m, service: default/standard, ")
        .replace("{from: 1m15s, to: 2m15s, replicas: 5}", "{from: 0s, to: 2m, service: default/second, replicas: 7}"),
    )
    assert replay(str(file)).stdout == f"{file}: 1 passed\n"
    unclear = write(tmp_path / "u.yaml", "manifest: m.yaml\n" + KEPT)
    assert "which service? There are default/standard, default/second" in replay(str(unclear)).stderr


def test_a_folder_that_holds_none_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none.yaml"):
        result = replay(str(place))
        assert (result.exit_code, result.stdout) == (2, "")


def test_the_notation_is_promtool_s() -> None:
    assert parse_series("3 3x2 3+2x4 9-2x3 -1.5").values.tolist() == [3, 3, 3, 3, 3, 5, 7, 9, 11, 9, 7, 5, 3, -1.5]
    unknown = parse_series("1 _ _x1 idle idlex1 2")
    assert unknown.states.tolist() == [0, 2, 2, 2, 1, 1, 1, 0]
    assert np.isnan(unknown.values[1:7]).all()
    for wrong in ("", "3x", "3+x4", "x4", "_+1x3", "nan", "1x99999999", "idel"):
        with pytest.raises(ValueError, match=r"value|steps"):
            parse_series(wrong)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ranges(low: float, high: float, value: float) -> None:
    low, high = sorted((low, high))
    assert (value in parse_range(f"{low!r}..{high!r}")) == (low <= value <= high)
    assert (value in parse_range(f"{low!r}..")) == (low <= value)
    assert (value in parse_range(f"..{high!r}")) == (value <= high)
    assert value in parse_range(value)


def test_moments_read_as_durations() -> None:
    assert [moment(at) for at in (0, 75, 3600, 3725)] == ["0s", "1m15s", "1h", "1h2m5s"]


def test_the_shipped_ones_run_as_the_help_says() -> None:
    result = replay(str(ROOT / "replay" / "standard" / "tests"))
    assert result.exit_code == 0
    assert result.stdout.count(" passed") == len(SHIPPED)
