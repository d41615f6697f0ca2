"""deploy/locked_requirements.py: the part of the lock that is asked for, whole, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

from tests.conftest import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def locked(*words: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "deploy" / "locked_requirements.py"
    return subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=60, check=False)


def names(*words: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", locked(*words).stdout, re.M))


def test_it_has_what_is_asked_for_and_what_that_needs() -> None:
    assert {"aiohttp", "yarl", "multidict"} <= names(".")  # multidict: needed by what aiohttp needs
    assert names(".") & {"pytest", "uvloop", "numba"} == set()
    assert names("hatchling") & {"aiohttp", "numpy"} == set()
    assert {"hatchling", "pathspec"} <= names("hatchling")
    assert names(".", "fast") - names(".") == names("fast") - names(".") >= {"numba", "llvmlite", "uvloop"}


def test_all_extras_together_are_the_whole_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert names(".", *EXTRAS) == set(re.findall(r"^([a-z0-9-]+)==", lock, re.M))
    assert "://" not in lock


def test_every_entry_has_its_hashes() -> None:
    entries = re.split(r"\n(?=\S)", locked(".", "dev").stdout.strip())
    assert len(entries) > 40
    assert all("--hash=sha256:" in entry for entry in entries)


def test_what_the_lock_has_not_is_named() -> None:
    done = locked(".", "no-such-package")
    assert done.returncode != 0
    assert "no-such-package" in done.stderr
