"""Same input, same bytes out: in any process, with any seed of Python's hashes, on any number of cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.conftest import ROOT

SURGE = f"{ROOT / 'replay' / 'standard' / 'traces' / 'surge.csv'}:smoothing=5m"
FAULTS = "scenario.faults=[{kind: FailedStarts, at: 10m, lasts: 2h, share: 0.5}]"


def made(folder: Path, hash_seed: str, cores: int) -> dict[str, bytes]:
    """Everything that a run and a comparison write, from a fresh process on so many cores. Smoothing draws noise; failed starts draw, too."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    threads = {name: str(cores) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
    common = ["-t", SURGE, "-p", "reactive", "--set", FAULTS]
    for words in (
        ["run", *common, "-o", str(folder)],
        ["compare", *common, "-p", "fixed:replicas=9", "-o", str(folder / "compare.html")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "replay", *words, "--json"],
            cwd=ROOT,
            env={**os.environ, **threads, "PYTHONHASHSEED": hash_seed},
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
            capture_output=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    score = orjson.loads(files.pop("score.json"))
    for one in (score, *score["services"].values()):
        del one["wall_s"]
    return {**files, "score": orjson.dumps(score)}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes can't be pinned to cores here")
def test_processes_hash_seeds_and_cores_change_no_byte(tmp_path: Path) -> None:
    found = []
    for number, (hash_seed, cores) in enumerate((("1", 1), ("2", 2))):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(made(folder, hash_seed, cores))
    assert set(found[0]) == {"records.jsonl", "schedule.csv", "report.html", "compare.html", "score"}
    for name, content in found[0].items():
        assert content == found[1][name], name
