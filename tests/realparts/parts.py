"""Find the programs of the real parts, and say what to do when one is missing."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.realparts import build


class MissingPartError(Exception):
    """CI must run everything: there, a missing real part is a failure, not a skip."""


def find(program: str) -> pathlib.Path | None:
    """Where the program lies (KUBEBUILDER_ASSETS first, then our own cache), or None."""
    return build.find(program)


def need(*programs: str) -> dict[str, pathlib.Path]:
    """The paths of these programs; where one is missing the test is skipped, or fails if CI=true."""
    found = {program: path for program in programs if (path := find(program))}
    missing = [program for program in programs if program not in found]
    if missing:
        message = f"needs {', '.join(missing)}: make realparts"
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            raise MissingPartError(message)
        pytest.skip(message)
    return found
