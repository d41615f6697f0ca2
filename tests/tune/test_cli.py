"""``replay tune`` as people call it."""

from __future__ import annotations

import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from autoscaler.cli import main as autoscaler
from replay.cli import main
from tests.conftest import ROOT
from tests.replay.made import write
from tests.tune.made import SETTINGS, trace


def arguments(traffic: Path, output: Path, *more: str) -> list[str]:
    settings = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    return ["tune", "-t", str(traffic), *settings, "--jobs", "1", "-o", str(output), *more]


def replay(*given: str) -> Result:
    return CliRunner().invoke(main, given)


def test_a_tuned_manifest_is_valid_and_says_where_it_comes_from(tmp_path: Path) -> None:
    output = tmp_path / "made" / "tuned.yaml"
    result = replay(*arguments(trace(tmp_path), output, "--trials", "16"))
    assert result.exit_code == 0, result.output
    for words in ("What nobody beats in training", "★", "held out, waves", "untuned", "saved", f"written: {output}"):
        assert words in result.stdout
    assert CliRunner().invoke(autoscaler, ["validate", str(output)]).exit_code == 0
    head = output.read_text("utf-8").splitlines()
    assert head[0].startswith("# Tuned by replay tune")
    assert any("trace waves (sha256 " in line and "held out to 5.0 h" in line for line in head)
    assert "#   --set maxReplicas=20 (not written below)" in head
    assert [path.name for path in output.parent.iterdir()] == ["tuned.yaml"], "the study goes when all is done"


def test_few_counts_that_become_many_are_warned_of(tmp_path: Path) -> None:
    few = write(tmp_path / "few.csv", "offset_s,requests\n" + "".join(f"{15 * k},{k % 3}\n" for k in range(160)))
    tried = replay("tune", "-t", str(few), "-p", "target", "--trials", "2", "--jobs", "1", "-o", str(tmp_path / "tuned.yaml"))
    assert tried.exit_code == 0, tried.output
    assert tried.stderr.count("WARNING: few: its counts are multiplied by ") == 1


def test_json_is_one_document_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    traffic = trace(tmp_path)
    made = [replay(*arguments(traffic, tmp_path / "tuned.yaml", "--trials", "8", "--json")) for _ in range(2)]
    assert made[0].stdout == made[1].stdout
    one = orjson.loads(made[0].stdout)["services"]["default/standard"]
    assert (one["trials"], one["cost_unit"]) == (8, "replica_hours")
    assert set(one["params"]) == {f"reactive.{name}" for name in ("z", "headroom", "floor", "window_s", "drain_s", "hold_s")}
    for part in ("training", "held_out"):
        assert [score["trace"] for score in one[part]["tuned"]] == ["waves"]
        assert one[part]["untuned"][0]["policy"] == "reactive"
    assert one["held_out"]["tuned"][0]["warmup_s"] == one["parts"][0]["held_out_s"][0]
    # What is written is what was measured: `replay run` of the tuned manifest over all says the same of the held-out part.
    settings = {**SETTINGS, "scenario.warmup": f"{one['parts'][0]['held_out_s'][0]}s"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    run = replay("run", "-f", str(tmp_path / "tuned.yaml"), "-t", str(traffic), *words, "--json")
    score = orjson.loads(run.stdout)
    for field in ("attained_ratio", "replica_hours", "actions"):
        assert score[field] == one["held_out"]["tuned"][0][field]


def test_another_policy_and_ranges(tmp_path: Path) -> None:
    given = (
        "-p",
        "target:signal=demand",
        "--range",
        "target.target=1.0..1.5",
        "--keep",
        "target.tolerance",
        "--trials",
        "6",
        "--json",
    )
    result = replay(*arguments(trace(tmp_path), tmp_path / "tuned.yaml", *given))
    one = orjson.loads(result.stdout)["services"]["default/standard"]
    assert list(one["params"]) == ["target.target"]
    assert 1.0 <= one["params"]["target.target"] <= 1.5
    assert one["policies"][0]["params"]["signal"] == "demand"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--range", "reactive.z=3"), "write POLICY.PARAM=LOW..HIGH"),
        (("--range", "reactive.zz=1..3"), "no policy here has a parameter 'reactive.zz'"),
        (("--held-out", "120%"), "--held-out: '120%' is not a share"),
        (("--margin", "100%"), "--margin: 100% leaves nothing"),
        (("--scheduler", "tcp://127.0.0.1:1"), "no Dask scheduler answers"),
    ],
)
def test_wrong_usage_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], words: str) -> None:
    monkeypatch.setattr("replay.tune.cluster._ANSWERS_WITHIN_S", 1)
    result = replay(*arguments(trace(tmp_path), tmp_path / "tuned.yaml", "--trials", "2", *more))
    assert result.exit_code == (3 if "Dask" in words else 2)
    assert words in result.stderr
    assert not [*tmp_path.glob("tuned.yaml*")]  # nor a study of nothing


@pytest.mark.parametrize(
    ("package", "more", "words"), [("optuna", (), "`tune`"), ("distributed", ("--scheduler", "tcp://x:1"), "`distributed`")]
)
def test_a_missing_extra_is_named(tmp_path: Path, package: str, more: tuple[str, ...], words: str) -> None:
    """In an interpreter that can't import it, as where the extra isn't installed."""
    given = arguments(trace(tmp_path), tmp_path / "tuned.yaml", "--trials", "2", *more)
    program = f"import sys; sys.modules[{package!r}] = None; from replay.cli import main; main({given!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert not [*tmp_path.glob("tuned.yaml*")]
    assert f"the extra {words}: make venv" in done.stderr  # what helps in a clone is said, too


def test_ctrl_c_keeps_what_was_paid_for(tmp_path: Path) -> None:
    given = arguments(trace(tmp_path, hours=10.0), tmp_path / "tuned.yaml", "--trials", "32")
    uninterrupted = subprocess.run(
        [sys.executable, "-m", "replay", *given], cwd=ROOT, capture_output=True, timeout=120, check=True
    )
    wanted = (tmp_path / "tuned.yaml").read_bytes()
    (tmp_path / "tuned.yaml").unlink()
    study = tmp_path / "tuned.yaml.study"
    process = subprocess.Popen(
        [sys.executable, "-m", "replay", *given], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until_s = time.monotonic() + 60
    while _kept(study) < 2 and time.monotonic() < until_s and process.poll() is None:
        time.sleep(0.01)  # the file is the only thing to be seen from outside
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, out + err
    assert "candidates are kept in" in err
    assert "the same command goes on from there" in err
    kept = _kept(study)
    assert kept >= 2
    again = subprocess.run([sys.executable, "-m", "replay", *given], cwd=ROOT, capture_output=True, timeout=120, check=True)
    assert again.stdout == uninterrupted.stdout
    assert (tmp_path / "tuned.yaml").read_bytes() == wanted
    assert not study.exists()


def _kept(path: Path) -> int:
    if not path.exists():
        return 0
    file = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (count,) = file.execute("SELECT count(*) FROM batches").fetchone()
        return int(count)
    except sqlite3.OperationalError:
        return 0  # it is being made
    finally:
        file.close()


def test_the_help_ends_with_an_example_that_works(tmp_path: Path) -> None:
    text = replay("tune", "--help").stdout
    example = text[text.index("Example:") :].splitlines()[1].strip()
    words = shlex.split(example)
    assert words[:2] == ["replay", "tune"]
    words[words.index("--trials") + 1] = "2"  # but for the time it takes; tests/docs runs docs/tuning.md's whole
    words[words.index("-o") + 1] = str(tmp_path / "tuned.yaml")
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
