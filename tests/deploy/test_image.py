"""The image's recipe, tried step by step without a container engine: the same commands in the same order, in folders of the test's own.

What a container engine would add (the base image, layers, users) is not shown by this. It needs a package index; where none answers
the test is skipped, visibly.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
SOURCES = shutil.ignore_patterns("__pycache__")


class Builder:
    """Runs the instructions of the first stage. /src, /opt and /tmp of the image are folders below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("src", "opt", "tmp"):
            (root / name).mkdir()

    def instruction(self, word: str, rest: str) -> None:
        if word == "RUN":
            self.run(re.sub(r"(?<![\w.])/(src|opt|tmp)\b", rf"{self.root}/\1", rest))
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                self.copy(ROOT / source, target)
        else:
            assert word == "WORKDIR", f"the test doesn't know {word}"
            assert rest == "/src"

    def copy(self, source: Path, target: str) -> None:
        """As COPY does: a folder's contents, or a file into a folder that ends with / (or is there)."""
        place = self.root / "src" / target
        if source.is_dir():
            shutil.copytree(source, place, ignore=SOURCES, dirs_exist_ok=True)
        else:
            folder = place if target.endswith(("/", ".")) else place.parent
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder)

    def run(self, command: str) -> None:
        # The image's Python is the one that runs the tests, without its virtual environment.
        python = self.root / "bin"
        if not python.exists():
            python.mkdir()
            (python / "python").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        path = f"{python}{os.pathsep}{os.defpath}"
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=self.root / "src",
            env={**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        if done.returncode and "Retrying (Retry(" in done.stderr:  # pip's word for an index that does not answer
            pytest.skip("no package index answers")
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def instructions(stage: int) -> list[tuple[str, str]]:
    """(word, rest) of a stage, continuation lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M))
    stages = re.split(r"^FROM .*\n", text, flags=re.M)[1:]
    return [(word, rest) for word, _, rest in (line.strip().partition(" ") for line in stages[stage].splitlines()) if word]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where /src, /opt and /tmp of the first stage lie, all its steps done."""
    builder = Builder(tmp_path_factory.mktemp("image"))
    for word, rest in instructions(0):
        builder.instruction(word, rest)
    return builder.root


def test_the_commands_run_from_what_was_installed_alone(built: Path) -> None:
    environment = built / "opt" / "autoscaler"
    assert ("COPY", "--from=build /opt/autoscaler /opt/autoscaler") in instructions(1)
    for words in (["--help"], ["run", "--help"], ["policies", "--json"], ["demo", "--for", "10m", "--json", "--no-page"]):
        done = subprocess.run(
            [environment / "bin" / "autoscaler", *words],
            cwd="/",
            env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},  # no home, nothing to write to
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    assert "uvloop==" in listed
    assert "hatchling" not in listed
    done = subprocess.run([environment / "bin" / "python", "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_wheel_holds_the_whole_product(built: Path) -> None:
    (wheel,) = (built / "tmp" / "wheels").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for package in ("autoscaler", "policies", "replay"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*") if path.is_file()}
        assert {name for name in files if "__pycache__" not in name} <= held
        assert f"{package}/py.typed" in held
    assert {name.rpartition("/")[2] for name in held if "/licenses/" in name} == {"LICENSE", "uPlot.LICENSE"}
