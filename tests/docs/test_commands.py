"""Every command of the README and of docs/ runs as it is printed: in order, in a folder that looks like a clone.

Commands with a placeholder (`NAMESPACE/NAME`) can't run; their flags must exist. kubectl's are run on the real API server.
"""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import PAGES, inline_code, shell_lines
from tests.realparts.control_plane import ControlPlane

OURS = ("autoscaler ", "replay ")
# These want something that a test of a page has not: what must be there, and where it is tested instead.
ELSEWHERE = {
    "autoscaler explain models/llama --url": "a controller in a cluster: tests/cli/test_explain.py",
    "autoscaler run": "a cluster: tests/e2e",
    "replay record": "a Prometheus: tests/docs/test_worked_example.py, tests/replay/test_record.py",
    "build/week": "what was recorded there: tests/docs/test_worked_example.py",
    "half-full": "the reader's own policy: tests/policies/test_docs.py",
    "deploy/examples/some-namespaces": "takes rights away that other tests use: tests/e2e/test_i_namespaces.py",
    "docker": "a container engine: tests/deploy/test_image.py",
    "kubectl -n inference-autoscaler rollout": "nodes that run pods",
    "kubectl -n inference-autoscaler port-forward": "nodes that run pods",
    "deploy/examples/external-metrics": "a server behind the APIService: tests/e2e/test_l_external_metrics.py",
    "hpa-desired-replicas.yaml": "the same",
    "apiservice v1beta1": "the same",
    "/apis/external.metrics.k8s.io": "the same",
}


def is_elsewhere(command: str) -> bool:
    return any(word in command for word in ELSEWHERE)


def is_pattern(command: str) -> bool:
    """Whether it holds a placeholder, or only names a command (`replay run`)."""
    return len(command.split()) == 2 or bool(re.search(r"\b[A-Z]{2,}\b(?!=')|…", command))


def commands_of(page: Path) -> list[str]:
    """Blocks first, then what the text mentions; `.venv/bin/` is where the README's reader finds ours."""
    found = shell_lines(page) + [code for code in inline_code(page) if " " in code]
    return [command.replace(".venv/bin/", "") for command in found]


def ours_of(page: Path) -> list[str]:
    return [command for command in commands_of(page) if command.startswith(OURS)]


def ran(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", *shlex.split(command)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=150, check=False)


@functools.cache
def help_of(command: str) -> str:
    return ran(f"{command} --help", ROOT).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_commands_run_as_printed(page: Path, tmp_path: Path) -> None:
    for name in ("replay", "deploy", "docs", "tests"):  # the clone; what a command writes lies beside them
        (tmp_path / name).symlink_to(ROOT / name)
    for command in ours_of(page):
        if is_pattern(command) or is_elsewhere(command):
            continue
        done = ran(command.rstrip("&").strip(), tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_can_t_run_has_flags_that_exist(page: Path) -> None:
    for command in ours_of(page):
        words = command.split()
        if not re.fullmatch(r"[a-z-]+", words[1]):
            continue  # `autoscaler --help`
        text = help_of(f"{words[0]} {words[1]}")
        assert text, command
        for flag in re.findall(r"(?<=\s)--?[a-z][a-z-]*", command):
            assert re.search(rf"(?<![\w-]){flag}\b", text), f"{command}: there is no {flag}"


def test_the_pages_hold_commands() -> None:
    """Or the tests above would be of nothing."""
    runnable = [command for page in PAGES for command in ours_of(page) if not is_pattern(command) and not is_elsewhere(command)]
    assert len(runnable) >= 6
    assert any(command.startswith("autoscaler validate") for command in runnable)
    assert any(command.startswith("replay verify") for command in runnable)


def test_make_has_the_targets() -> None:
    found = {command for page in PAGES for command in shell_lines(page) + inline_code(page) if command.startswith("make ")}
    assert len(found) > 5
    for command in found:
        words = shlex.split(command.partition(">")[0])
        done = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.mark.realparts
async def test_kubectl_does_what_the_readme_says(control_plane: ControlPlane) -> None:
    """From `apply -k` to the switch, in the README's order."""
    commands = [
        command for command in commands_of(ROOT / "README.md") if command.startswith("kubectl") and not is_elsewhere(command)
    ]
    assert len(commands) >= 5
    await control_plane.create_namespace("models")
    try:
        for command in commands:
            words = [str(ROOT / word) if word.startswith("deploy/") else word for word in shlex.split(command)[1:]]
            done = await control_plane.kubectl(*words)
            assert done.code == 0, f"{command}\n{done.err}"
        listed = await control_plane.kubectl("get", "ia", "--all-namespaces")
        assert "llama" in listed.out
        switch = await control_plane.api.get("/api/v1/namespaces/inference-autoscaler/configmaps/inference-autoscaler")
        assert switch["data"] == {"pause": "Both"}
    finally:
        switched_off = ("-n", "inference-autoscaler", "patch", "configmap", "inference-autoscaler", "--type", "merge")
        await control_plane.kubectl(*switched_off, "-p", '{"data":{"pause":null}}')
        await control_plane.kubectl("delete", "ia", "--all", "-n", "models")
        await control_plane.delete_namespace("models")
