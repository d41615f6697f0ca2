"""The CI job of docs/worked-example.md: its lines run as printed, but for the download of packages."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "worked-example.md"
STANDARD = ROOT / "replay" / "standard"
WHO = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")


def script() -> list[str]:
    (block,) = [text.split("```")[0] for text in PAGE.read_text("utf-8").split("```yaml\n")[1:] if "script:" in text]
    ((_, job),) = yaml.safe_load(block).items()
    lines: list[str] = job["script"]
    return lines


@pytest.mark.parametrize(("most_hours", "code"), [(4000, 0), (1, 1)])
def test_the_job_ends_with_the_gate_s_verdict(tmp_path: Path, most_hours: int, code: int) -> None:
    project, job = tmp_path / "project", tmp_path / "job"
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "deploy/locked_requirements.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    for words in (("init", "-q"), ("add", "."), (*WHO, "commit", "-qm", "all")):
        subprocess.run(["git", *words], cwd=project, check=True, timeout=60)
    (job / "autoscaling").mkdir(parents=True)
    shutil.copy(STANDARD / "manifest.yaml", job / "autoscaling" / "week-tuned.yaml")
    with gzip.open(job / "autoscaling" / "week.csv.gz", "wb") as packed:
        packed.write((STANDARD / "traces" / "surge.csv").read_bytes())
    (job / "autoscaling" / "week-gate.yaml").write_text(f"- {{policy: '*', field: replica_hours, max: {most_hours}}}\n")
    clone, make, compare = script()
    outside = {**os.environ, "AUTOSCALER_REPOSITORY": str(project)}
    subprocess.run(clone, shell=True, cwd=job, env=outside, check=True, timeout=60)
    # What make would do is told, not done: it downloads. Its outcome is the program of this environment.
    told = subprocess.run(
        make, shell=True, cwd=job, env={**outside, "MAKEFLAGS": "n"}, check=True, timeout=60, capture_output=True, text=True
    )
    assert "pip install" in told.stdout
    program = job / "autoscaler" / ".venv" / "bin" / "replay"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m replay "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        compare,
        shell=True,
        cwd=job,
        env={**outside, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("week-gate.yaml:1" in done.stderr) == (code == 1)
