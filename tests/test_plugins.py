"""Installed policies are found; a broken plug-in is told and left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoscaler.plugins import installed, load_policies

GOOD = """
from autoscaler.core.policy import PolicyType, Stateless
POLICY = PolicyType(name="stranger", summary="a stranger's", parameters=(), make=lambda params, rng: Stateless(params))
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution of somebody else's, with one good plug-in and four broken ones."""
    (tmp_path / "stranger_policies.py").write_text(GOOD)
    (tmp_path / "stranger_crashes.py").write_text("raise RuntimeError('no licence')")
    info = tmp_path / "stranger_policies-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-policies\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[inference_autoscaler.policies]\n"
        "stranger = stranger_policies:POLICY\n"
        "crashes = stranger_crashes:POLICY\n"
        "absent = stranger_nowhere:POLICY\n"
        "other-name = stranger_policies:POLICY\n"
        "no-policy = stranger_policies:PolicyType\n"
        "fixed = stranger_policies:POLICY\n"
        "[inference_autoscaler.forecasters]\n"
        "crashes = stranger_crashes:FORECASTER\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger_policies", raising=False)
    return tmp_path


def test_ours_are_there() -> None:
    assert {"fixed", "schedule", "target", "reactive", "seasonal"} <= set(load_policies())
    assert installed().packages["fixed"] == "inference-autoscaler"


@pytest.mark.usefixtures("stranger")
def test_a_strangers_plugin_and_broken_ones() -> None:
    found = installed()
    assert found.policies["stranger"].summary == "a stranger's"
    assert found.packages["stranger"] == "stranger-policies"
    assert set(found.broken) == {"crashes", "absent", "other-name", "no-policy", "fixed of stranger-policies"}
    assert found.broken["fixed of stranger-policies"] == "the name 'fixed' is taken by inference-autoscaler"
    assert found.broken["crashes"] == "RuntimeError: no licence"
    assert "stranger_nowhere" in found.broken["absent"]
    assert "calls itself 'stranger'" in found.broken["other-name"]
    assert "no PolicyType" in found.broken["no-policy"]
    assert found.packages["fixed"] == "inference-autoscaler"


def test_the_command_lists_what_is_broken_and_the_rest(stranger: Path) -> None:
    def listed(*flags: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(stranger)}
        command = [sys.executable, "-m", "autoscaler", "policies", *flags]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)

    document = json.loads(listed("--json").stdout)
    assert document["broken_forecasters"] == {"crashes": "RuntimeError: no licence"}
    assert {one["name"] for one in document["forecasters"]} == {"levels", "peaks", "season", "trend"}
    assert document["broken"]["crashes"] == "RuntimeError: no licence"
    words = listed()
    assert "forecaster crashes: left out, its plug-in can't be loaded: RuntimeError: no licence" in words.stderr
    assert "as yesterday, as last week" in words.stdout
    assert "Forecasters" not in listed("fixed").stdout
