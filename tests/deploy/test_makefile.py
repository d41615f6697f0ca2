"""What each make target installs: the demo only what the programs need, and nothing twice, in whatever order they are called."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the Makefile looks at, with an empty virtual environment."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "deploy/locked_requirements.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    return tmp_path


def made(clone: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs make as a person does, not as the make that may have started these tests: that would be told of directories, too."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=clone, env=env, capture_output=True, text=True, timeout=60, check=check)


def asked(clone: Path, target: str, *settings: str) -> list[str]:
    """What `make TARGET` asks the lock for, "" where it installs nothing; afterwards it is as if that had been installed."""
    done = made(clone, "-n", target, *settings)
    lines = [shlex.split(line.removeprefix("@"), comments=False) for line in done.stdout.splitlines()]
    for words in lines:
        if words[:1] == ["touch"]:
            for name in words[1:]:
                (clone / name).touch()
    return [" ".join(words[2 : words.index(">")]) for words in lines if "deploy/locked_requirements.py" in words]


def test_the_demo_installs_what_the_programs_need_and_the_tests_the_rest(clone: Path) -> None:
    assert asked(clone, "demo") == [". hatchling editables"]
    assert asked(clone, "demo") == []
    assert asked(clone, "test") == [". hatchling editables dev"]
    assert asked(clone, "lint") == asked(clone, "demo") == asked(clone, "venv") == []


def test_the_commands_get_what_each_of_them_needs(clone: Path) -> None:
    assert asked(clone, "demo") == [". hatchling editables"]
    assert asked(clone, "venv") == [". hatchling editables tune"]
    assert asked(clone, "venv") == asked(clone, "venv", "EXTRAS=tune") == asked(clone, "demo") == []
    assert asked(clone, "venv", "EXTRAS=tune fast parquet") == [
        ". hatchling editables tune fast",
        ". hatchling editables tune parquet",
    ]
    assert asked(clone, "venv", "EXTRAS=parquet") == asked(clone, "venv") == []


def test_extras_at_once_are_enough_for_the_commands_and_the_demo(clone: Path) -> None:
    assert asked(clone, "venv", "EXTRAS=fast") == [". hatchling editables tune fast"]
    assert asked(clone, "venv") == asked(clone, "demo") == []


def test_an_extra_that_is_none_is_told_and_nothing_is_made(clone: Path) -> None:
    shutil.rmtree(clone / ".venv")
    done = made(clone, "venv", "EXTRAS=fast banana", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert f"there is no extra banana; there are {' '.join(known)}. Nothing was installed" in done.stderr
    assert not (clone / ".venv").exists()


def test_after_the_tests_the_demo_starts_at_once(clone: Path) -> None:
    assert asked(clone, "test") == [". hatchling editables dev"]
    assert asked(clone, "demo") == asked(clone, "venv") == asked(clone, "realparts") == []
    assert asked(clone, "bench") == [". hatchling editables dev fast"]
    assert asked(clone, "test") == asked(clone, "demo") == asked(clone, "bench") == []
    assert asked(clone, "venv", "EXTRAS=fast") == []
