"""``replay convert`` and what ``replay inspect`` says of each kind of trace."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from replay.cli import main
from replay.traces.registry import format_of, read_any, read_requests, read_trace
from replay.traces.signal_series import SignalSeries
from tests.conftest import ROOT
from tests.replay.made import write
from tests.replay.test_request_traces import SAMPLES
from tests.replay.test_signal_traces import CSV

DAY = ROOT / "replay" / "standard" / "traces" / "day.csv.gz"


def replay(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def convert(*arguments: str | Path) -> None:
    result = replay("convert", *arguments)
    assert (result.exit_code, result.stdout) == (0, ""), result.output


@pytest.mark.parametrize("target", ["t.json.gz", "t.om", "t.jsonl.zst", "t.csv"])
def test_counts_there_and_back(tmp_path: Path, target: str) -> None:
    convert(DAY, "-o", tmp_path / target)
    convert(tmp_path / target, "-o", tmp_path / "back.csv", "--to", "counts")
    before, after = read_trace(DAY), read_trace(tmp_path / "back.csv")
    np.testing.assert_allclose(after.counts, before.counts, rtol=1e-12)
    assert (after.start_s, after.bin_s) == (before.start_s, before.bin_s)


@pytest.mark.parametrize("source", SAMPLES)
@pytest.mark.parametrize("to", SAMPLES)
def test_every_request_layout_becomes_every_other(tmp_path: Path, source: str, to: str) -> None:
    path = write(tmp_path / "in", SAMPLES[source])
    convert(path, "-o", tmp_path / "out.gz", "--to", to)
    assert format_of(tmp_path / "out.gz").name == to
    found = read_requests(tmp_path / "out.gz")
    np.testing.assert_allclose(found.times_s, [0.25, 0.5, 2.0], atol=1e-6)
    assert (found.prompt_tokens.tolist(), found.output_tokens.tolist()) == ([100, 200, 300], [10, 20, 30])


def test_single_requests_become_counts_and_rates(tmp_path: Path) -> None:
    path = write(tmp_path / "in", SAMPLES["mooncake"])
    convert(path, "-o", tmp_path / "out.csv", "--bin", "500ms")
    assert read_trace(tmp_path / "out.csv").counts.tolist() == [1, 1, 0, 0, 1]
    convert(path, "-o", tmp_path / "rates.csv", "--to", "signals")
    found = read_any(tmp_path / "rates.csv")
    assert found.counts.tolist() == [2, 0, 1]  # type: ignore[union-attr]
    convert(path, "-o", tmp_path / "rates.json")
    portrait = orjson.loads(replay("inspect", tmp_path / "rates.json", "--json").stdout)
    assert portrait["signals"]["prompt_tokens"]["mean"] == pytest.approx(200)
    assert portrait["requests"] == 3


def test_columns_of_another_name(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", "when,in,out,user\n1500,7,8,me\n2250,9,10,you\n")
    convert(path, "-o", tmp_path / "out.csv", "--columns", "arrival_ms=when,prompt_tokens=in,output_tokens=out")
    assert (tmp_path / "out.csv").read_text() == "arrival_s,prompt_tokens,output_tokens\n1.5,7,8\n2.25,9,10\n"
    wrong = replay("convert", path, "-o", tmp_path / "x.csv", "--columns", "arrival_s=then,prompt_tokens=in,output_tokens=out")
    assert (wrong.exit_code, "own.csv:1: column 'then' is missing (there are when, in, out, user)" in wrong.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none.csv", "-o", "x.csv"], 2, "none.csv: no such file"),
        ([DAY, "-o", "x.dat"], 2, "the ending says no format"),
        ([DAY, "-o", "x.csv", "--to", "excel"], 2, "--to excel: is no format that is written; allowed are counts, requests"),
        ([DAY, "-o", "x.csv", "--to", "azure"], 2, "--to azure: holds single requests, which counts don't tell any more"),
        ([DAY, "-o", "x.csv", "--bin", "15s"], 2, "--bin: is of single requests"),
        ([DAY, "-o", "x.csv", "--bin", "soon"], 2, "--bin soon:"),
        ([DAY, "-o", "x.csv", "--metric", "a=b"], 2, "'b' is no signal"),
        ([DAY, "-o", "x.csv", "--columns", "time=a"], 2, "write arrival_s=NAME"),
        ([DAY, "-o", "/proc/none/x.csv"], 3, "/proc/none"),
    ],
)
def test_what_can_t_be_converted_is_said_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str | Path], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = replay("convert", *arguments)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_fault_in_the_middle_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", SAMPLES["requests"] + "x,1,1\n")
    out = write(tmp_path / "out.csv", "before")
    assert replay("convert", path, "-o", out).exit_code == 1
    assert out.read_text() == "before"
    assert {one.name for one in tmp_path.iterdir()} == {"in.csv", "out.csv"}


def test_inspect_tells_of_tokens_and_signals(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", SAMPLES["azure"])
    found = orjson.loads(replay("inspect", log, "--json").stdout)
    assert (found["format"], found["requests"], found["tokens"]["prompt"]["mean"]) == ("azure", 3.0, 200.0)
    assert found["tokens"]["output"] == {"mean": 20.0, "p50": 20, "p90": 30, "p99": 30, "max": 30, "sum": 60}
    assert "prompt tokens mean 200, p50 200" in replay("inspect", log).stdout
    path = write(tmp_path / "signals.csv", CSV)
    found = orjson.loads(replay("inspect", path, "--json").stdout)
    assert found["signals"]["queue"]["known_ratio"] == 0.4
    assert found["signals"]["queue"]["gaps"] == [{"from_s": 1700000015.0, "to_s": 1700000060.0}]
    assert "requests" not in found
    shown = replay("inspect", path).stdout
    assert "gpu_utilization" in shown
    assert "queue:\n" in shown
    assert isinstance(read_any(path), SignalSeries)


def test_parquet_without_pyarrow_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pyarrow", "pyarrow.parquet", "pyarrow.lib", "pyarrow.csv"):
        monkeypatch.setitem(sys.modules, module, None)  # as import leaves it where a package is missing
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    for arguments in (("inspect", tmp_path / "t.parquet"), ("convert", DAY, "-o", tmp_path / "x.parquet")):
        result = replay(*arguments)
        assert (result.exit_code, "needs pyarrow, the extra `parquet`: make venv EXTRAS=parquet" in result.stderr) == (2, True)


@pytest.mark.parametrize("name", ["requests", "azure", "burstgpt"])
def test_parquet_there_and_back(tmp_path: Path, name: str) -> None:
    convert(write(tmp_path / "in", SAMPLES[name]), "-o", tmp_path / "t.parquet", "--to", name)
    assert format_of(tmp_path / "t.parquet").name == name
    found = read_requests(tmp_path / "t.parquet")
    np.testing.assert_allclose(found.times_s, [0.25, 0.5, 2.0], atol=1e-6)
    assert found.prompt_tokens.tolist() == [100, 200, 300]
