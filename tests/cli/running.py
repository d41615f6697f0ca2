"""Runs a command as people do: a process of its own, with stdout, stderr and an exit code."""

from __future__ import annotations

import asyncio
import sys
from typing import NamedTuple

from tests.conftest import ROOT


class Ran(NamedTuple):
    """What it ended with."""

    code: int
    out: str
    err: str


async def autoscaler(*arguments: str, stdin: str = "") -> Ran:
    """`autoscaler ARGUMENTS…` from the project's folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "autoscaler",
        *arguments,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())
