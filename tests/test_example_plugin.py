"""docs/example-plugin is what a stranger copies: installed by pip beside us, it takes part everywhere without a file of ours touched."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.docs.pages import inline_code, links, shell_lines
from tests.docs.test_commands import OURS

EXAMPLE = ROOT / "docs" / "example-plugin"
SURGE = str(ROOT / "replay" / "standard" / "traces" / "surge.csv")
POLICIES = ("fading-peak", "spare-slots")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs `python ARGS` where the example is installed, in a copy of its folder that lies as in a clone."""
    pytest.importorskip("hatchling", reason="builds the example (the dev extra)")
    clone, installed = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("installed")
    shutil.copytree(EXAMPLE, clone / "docs" / EXAMPLE.name)
    (clone / "replay").symlink_to(ROOT / "replay")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)])}

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=clone / "docs" / EXAMPLE.name,
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    offline = ("--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index")
    run("-m", "pip", "install", "--quiet", *offline, "--target", str(installed), ".")
    shutil.rmtree(clone / "docs" / EXAMPLE.name / "example_policies")  # what runs is what was installed
    return run


@pytest.fixture(scope="module")
def listed(run: Run) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("-m", "autoscaler", "policies", "--json").stdout)
    return document


def test_it_is_listed_with_its_package(run: Run, listed: dict[str, Any]) -> None:
    theirs = [one for one in listed["policies"] if one["package"] == "example-policies"]
    assert tuple(one["name"] for one in theirs) == POLICIES
    assert [one["name"] for one in theirs[0]["parameters"]] == ["half_life_s", "drain_s"]
    assert [one for one in listed["forecasters"] if one["package"] == "example-policies"] == [
        {
            "name": "half-hour",
            "summary": "the highest effective demand of the last half hour",
            "package": "example-policies",
            "source": "",
            "experts": ["highest of half an hour"],
        }
    ]
    assert listed["broken"] == listed["broken_forecasters"] == {}
    words = run("-m", "autoscaler", "policies").stdout
    assert "fading-peak from example-policies  capacity for the highest demand lately" in words
    assert "half-hour from example-policies  the highest effective demand" in words


def test_its_own_test_passes(run: Run) -> None:
    words = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "tests").stdout
    assert "4 passed" in words


@pytest.mark.parametrize("policy", [*POLICIES, "fading-peak:half_life_s=600,drain_s=30", "predictive"])
def test_it_is_replayed(run: Run, policy: str, tmp_path: Path) -> None:
    """Tried as ours are, explained, and the same once more."""
    score = json.loads(run("-m", "replay", "run", "-t", SURGE, "-p", policy, "-o", str(tmp_path), "--json").stdout)
    assert score["policy"] == policy
    assert score["attained_ratio"] > 0.5
    assert score["replica_hours"] > 10
    verified = json.loads(run("-m", "replay", "verify", str(tmp_path / "records.jsonl"), "--json").stdout)
    assert verified["differences"] == []


def test_it_is_explained(run: Run, tmp_path: Path) -> None:
    run("-m", "replay", "run", "-t", SURGE, "-p", "fading-peak", "-o", str(tmp_path), "--json")
    words = run("-m", "autoscaler", "explain", "default/standard", "--records", str(tmp_path)).stdout
    assert "fading-peak" in words
    assert "/s at most lately and" in words


def test_it_is_compared_and_tuned(run: Run, tmp_path: Path) -> None:
    rivals = [word for policy in (*POLICIES, "hpa") for word in ("-p", policy)]
    report = tmp_path / "report.html"
    rows = json.loads(run("-m", "replay", "compare", "-t", SURGE, *rivals, "-o", str(report), "--json").stdout)["scores"]
    assert [row["policy"] for row in rows] == [*POLICIES, "hpa"]
    assert all(policy in report.read_text(encoding="utf-8") for policy in POLICIES)
    tuned = tmp_path / "tuned.yaml"
    run("-m", "replay", "tune", "-f", "manifest.yaml", "-t", SURGE, "--trials", "4", "--jobs", "1", "-o", str(tuned), "--json")
    words = tuned.read_text(encoding="utf-8")
    assert "half_life_s: " in words
    assert "half_life_s: 900\n" not in words, "it has been searched"


def test_a_manifest_may_name_it(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("-m", "autoscaler", "validate", "manifest.yaml", "--json").stdout)["valid"]
    (tmp_path / "wrong.yaml").write_text((EXAMPLE / "manifest.yaml").read_text().replace("half_life_s: 900", "half_life_s: 1"))
    fault = run("-m", "autoscaler", "validate", str(tmp_path / "wrong.yaml"), code=1)
    assert "60 to 86400 s" in fault.stdout + fault.stderr


def test_predictive_weighs_its_expert(run: Run) -> None:
    weighed = """
import json
import numpy as np
from policies.predictive import POLICY
from tests.policies.observations import Services

services = Services(POLICY, [{}])
for rate in np.random.default_rng(0).poisson(20.0 * 15, size=600) / 15:
    services.see(demand=rate, queue=0.0)
print(json.dumps(services.policy._outlook.weights(0)))
"""
    weights = json.loads(run("-c", weighed).stdout)
    assert weights["highest of half an hour"] != 0.0
    assert {"last minute", "as yesterday", "last peak"} <= set(weights)


def test_its_page_tells_the_truth(run: Run) -> None:
    page = EXAMPLE / "README.md"
    commands = shell_lines(page)
    assert commands[:2] == ["pip install .", "pytest"]
    ours = [command for command in commands if command.startswith(OURS)]
    assert len(ours) == len(commands) - 2
    for command in ours:
        run("-m", *shlex.split(command))
    for link in links(page):
        assert (EXAMPLE / link.partition("#")[0]).exists(), link
    for code in inline_code(page):
        if code.endswith((".py", ".toml", ".yaml")):
            assert (EXAMPLE / code).exists(), code


def test_without_it_nothing_of_it_is_left() -> None:
    document = json.loads(
        subprocess.run([sys.executable, "-m", "autoscaler", "policies", "--json"], capture_output=True, check=True).stdout
    )
    assert not [one for one in document["policies"] + document["forecasters"] if one["package"] == "example-policies"]
