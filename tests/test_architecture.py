"""Who imports whom, and what must stay light: checked where it can't be forgotten."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_import_contracts_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.exists():
        pytest.skip("lint-imports is not installed (the dev extra)")
    result = run(str(tool))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("heavy", ["kubernetes_asyncio", "aiohttp", "pandas", "scipy.stats", "rich", "prometheus_api_client"])
def test_replay_and_policies_load_nothing_heavy(heavy: str) -> None:
    result = run(sys.executable, "-c", f"import replay, policies, sys; sys.exit('{heavy}' in sys.modules)")
    assert result.returncode == 0, f"importing replay and policies loads {heavy}"


def committed() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = run("git", "ls-files", "-z").stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_committed_file_names_a_package_host_or_a_path_of_a_machine() -> None:
    hosts = re.compile(r"pypi\." r"org|python" r"hosted\.org|registry\.npm" r"js|proxy\.golang\." r"org|deb\.debian\." r"org")
    paths = re.compile(r"(?:^|[^a-zA-Z0-9_.-])/(?:work|root)/")
    found = []
    for path in committed():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), 1)
            if hosts.search(line) or paths.search(line)
        ]
    assert not found, "\n".join(found)
