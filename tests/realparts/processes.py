"""Programs that a test starts: own log file, awaited readiness, faults on demand, nothing left running."""

from __future__ import annotations

import asyncio
import atexit
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType

_LAUNCH = pathlib.Path(__file__).with_name("launch.py")
_PROBE_EVERY_S = 0.05  # readiness has no event to wait for: a program tells it by answering
_TERMINATE_WITHIN_S = 15.0

_started: list[Process] = []


class ProcessError(Exception):
    """A program ended when it should run, or did not become ready; the message holds the end of its log."""


class Process:
    """One program in the test bed.

    It dies with the test run whatever happens to that: an orderly end stops it, an abrupt one (SIGTERM, SIGKILL)
    makes the kernel kill it. It stays in the process group of the test run, so that Ctrl-C reaches it too.
    Start it from the main thread: the kernel ties a program's life to the thread that started it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        directory: pathlib.Path,
        ready: Callable[[], Awaitable[bool]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = [os.fspath(word) for word in command]
        self.directory = directory
        self.log_path = directory / f"{name}.log"
        self._ready = ready
        self._environment = dict(environment or {})
        self._running: subprocess.Popen[bytes] | None = None
        self._should_run = False

    async def __aenter__(self) -> Process:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def running(self) -> bool:
        """Whether it lives; a frozen one does."""
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; an error if it does not run."""
        if self._running is None or self._running.poll() is not None:
            raise ProcessError(f"{self.name} is not running")
        return self._running.pid

    @property
    def crashed(self) -> bool:
        """Whether it ended though nobody told it to."""
        return self._should_run and not self.running

    async def start(self, *, ready_within_s: float = 60.0) -> None:
        """Start it and return when it is ready."""
        await self.launch()
        try:
            await self.wait_ready(within_s=ready_within_s)
        except BaseException:
            self._kill_now()
            raise

    async def launch(self) -> None:
        """Start it without waiting for readiness, so that several can get ready at the same time."""
        if self.running:
            raise ProcessError(f"{self.name} is running already")
        self.directory.mkdir(parents=True, exist_ok=True)
        # No proxy, kubeconfig or telemetry settings of the person who runs the tests.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.directory), **self._environment}
        done, launching = os.pipe()
        launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(launching)]
        try:
            with self.log_path.open("ab") as log:
                self._running = subprocess.Popen(
                    [*launcher, *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=self.directory,
                    pass_fds=[launching],
                )
        finally:
            os.close(launching)
        self._should_run = True
        _started.append(self)
        try:
            with open(done, "rb") as end:
                await asyncio.to_thread(end.read)  # returns when the launcher has become the program
        except BaseException:
            self._kill_now()
            raise

    async def wait_ready(self, *, within_s: float = 60.0) -> None:
        """Return when it answers its readiness probe; an error with the end of its log when it ends or takes too long."""
        if self._ready is None:
            return
        try:
            async with asyncio.timeout(within_s):
                while not await self._ready():
                    if not self.running:
                        raise ProcessError(self._with_log("ended before it was ready"))
                    await asyncio.sleep(_PROBE_EVERY_S)
        except TimeoutError:
            raise ProcessError(self._with_log(f"was not ready within {within_s:g} s")) from None
        # Another program may have answered on the port.
        if not self.running:
            raise ProcessError(self._with_log("ended"))

    async def wait(self, *, within_s: float = 60.0) -> int:
        """Its exit code, awaited; negative = the signal that ended it."""
        if self._running is None:
            raise ProcessError(f"{self.name} was never started")
        try:
            return await asyncio.to_thread(self._running.wait, within_s)
        except subprocess.TimeoutExpired:
            raise ProcessError(self._with_log(f"did not end within {within_s:g} s")) from None

    async def stop(self) -> None:
        """End it in an orderly way, by force if it does not follow. Fine if it does not run."""
        self._should_run = False
        if not self.running:
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a frozen program can't end
        try:
            await self.wait(within_s=_TERMINATE_WITHIN_S)
        except ProcessError:
            await self.kill()

    async def kill(self) -> None:
        """End it as a crash of its machine would: SIGKILL, nothing is flushed or released."""
        self._should_run = False
        self._signal(signal.SIGKILL)
        await self.wait()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and its port, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was, unaware of the time that passed."""
        self._signal(signal.SIGCONT)

    async def restart(self, *, ready_within_s: float = 60.0) -> None:
        """Stop it, if it runs, and start it with the same command; the log goes on in the same file."""
        await self.stop()
        await self.start(ready_within_s=ready_within_s)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that it wrote."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 400 * lines))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        # send_signal looks first whether the program has ended: an id that was given anew is never hit.
        if self._running is not None:
            self._running.send_signal(number)

    def _with_log(self, what: str) -> str:
        code = self._running.poll() if self._running else None
        ended = "" if code is None else f" (exit code {code})"
        return f"{self.name} {what}{ended}; the end of {self.log_path}:\n{self.log_tail()}"

    def _kill_now(self) -> None:
        """Where nothing can be awaited: after a cancellation, at the very end of the run."""
        self._should_run = False
        if self.running and self._running:
            self._running.kill()
            self._running.wait()


async def revive(processes: Iterable[Process]) -> None:
    """Let everything run again that a test has stopped or frozen and a failure has left so."""
    for process in processes:
        if process.running:
            process.thaw()
        else:
            await process.start()


def crashes(processes: Iterable[Process]) -> list[str]:
    """What ended by itself, without a test's doing; with the end of its log."""
    return [f"{process.name} ended by itself:\n{process.log_tail()}" for process in processes if process.crashed]


@atexit.register
def _kill_all() -> None:
    for process in _started:
        process._kill_now()
