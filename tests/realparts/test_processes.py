"""What is started is awaited, explains its failure, and never outlives the test run."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.realparts.processes import Process, ProcessError

# A program that starts another one as tests do, tells its process id, and hangs.
_TEST_RUN = """
import asyncio, pathlib, sys
from tests.realparts.processes import Process

async def main():
    child = Process("child", [sys.executable, "-c", "import signal; signal.pause()"], directory=pathlib.Path(sys.argv[1]))
    await child.start()
    if sys.argv[2] == "frozen":
        child.freeze()
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def python(code: str) -> list[str]:
    """A program in Python that starts quickly."""
    return [sys.executable, "-I", "-S", "-c", code]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only an orderly end stops what was started")
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("child", ["running", "frozen"])
async def test_nothing_outlives_the_test_run(tmp_path: Path, ended_by: signal.Signals, child: str) -> None:
    """However the test run ends, what it started ends too."""
    command = [sys.executable, "-c", _TEST_RUN, str(tmp_path), child]
    run = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."})
    assert run.stdout
    child_pid = int(await run.stdout.readline())
    ended = os.pidfd_open(child_pid)
    try:
        run.send_signal(ended_by)
        await run.wait()
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(ended, gone.set)  # readable when the process has ended
        async with asyncio.timeout(5):
            await gone.wait()
    finally:
        asyncio.get_running_loop().remove_reader(ended)
        os.close(ended)


async def test_a_program_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    """The error holds the exit code and the last words."""

    async def never() -> bool:
        return False

    program = Process("broken", python("print('no such flag'); raise SystemExit(3)"), directory=tmp_path, ready=never)
    with pytest.raises(ProcessError, match=r"ended before it was ready \(exit code 3\)[^$]*no such flag"):
        await program.start()


async def test_a_program_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    """A failed start leaves nothing running."""

    async def never() -> bool:
        return False

    program = Process("slow", python("import signal; signal.pause()"), directory=tmp_path, ready=never)
    with pytest.raises(ProcessError, match=r"not ready within 0\.2 s"):
        await program.start(ready_within_s=0.2)
    assert not program.running


async def test_kill_freeze_and_restart(tmp_path: Path) -> None:
    """The faults that stories use."""
    async with Process("steady", python("import signal; signal.pause()"), directory=tmp_path) as program:
        first = program.pid
        program.freeze()
        await program.restart()
        assert program.pid != first
        await program.kill()
        assert await program.wait() == -signal.SIGKILL
        assert not program.running
        with pytest.raises(ProcessError, match="not running"):
            _ = program.pid
        await program.start()
    assert not program.running
