"""TickRecords in rotated files. A full or broken disk costs records, never decisions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from autoscaler.core.allocation import ChangeBudget
from autoscaler.ports import Tick
from autoscaler.record import Start, encode, fleet_record, tick_record

log = logging.getLogger(__name__)


class RecordWriter:
    """A reporter that appends every tick to ``DIR/records-<time>.jsonl`` and starts a new file at `max_bytes`; the oldest go when there
    are more than `max_files`.

    state: ``Engine.save``. It opens each file (as it stood after the last tick of the file before), so that every file can be verified
    alone. A tick before which something came in that is not in the records (`Tick.unrecorded`; the very first one of a process) stands
    before a state, and can't be verified itself.
    Writing happens in a thread of its own: a slow disk delays records, and at most `max_waiting` ticks wait for it; more are dropped and
    counted, and a new file is begun once there is room again.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        budget: ChangeBudget,
        shadow: bool,
        wanted: Callable[[], Mapping[str, Any]],
        state: Callable[[], Mapping[str, Any]],
        max_bytes: int = 64 * 2**20,
        max_files: int = 32,
        max_waiting: int = 16,
    ) -> None:
        self._directory = directory
        self._seed = seed
        self._budget = budget
        self._shadow = shadow
        self._wanted = wanted
        self._state = state
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._max_waiting = max_waiting
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")
        self._waiting = 0
        self._file: BinaryIO | None = None
        self._bytes = max_bytes
        self._revision = -1
        self._interrupted = True
        """No file is being continued: none yet, or the last lines did not reach it."""
        self._failing = False
        self.dropped = 0

    async def report(self, tick: Tick) -> None:
        """Queues the tick for writing and returns at once."""
        if self._waiting >= self._max_waiting:
            self.dropped += 1
            self._interrupted = True
            return
        if self._interrupted or tick.unrecorded:
            new_file, self._interrupted = self._interrupted, False
            lines = self._fleet_line(tick, "unknown") + encode(tick_record(tick)) + self._fleet_line(tick, "state")
            self._queue(lines, tick.decisions.at_s, new_file=new_file)
            return
        lines = encode(tick_record(tick))
        if tick.fleet.revision != self._revision:
            lines = self._fleet_line(tick, "continues") + lines
        self._queue(lines, tick.decisions.at_s, new_file=False)
        if self._bytes >= self._max_bytes:
            self._queue(self._fleet_line(tick, "state"), tick.decisions.at_s, new_file=True)

    def _fleet_line(self, tick: Tick, start: Start) -> bytes:
        self._revision = tick.fleet.revision
        return encode(
            fleet_record(
                tick.fleet,
                at_s=tick.decisions.at_s,
                interval_s=tick.interval_s,
                seed=self._seed,
                wanted=self._wanted(),
                budget=self._budget,
                shadow=self._shadow,
                start=start,
                state=self._state() if start == "state" else None,
            )
        )

    def _queue(self, lines: bytes, at_s: float, *, new_file: bool) -> None:
        self._bytes = len(lines) if new_file else self._bytes + len(lines)
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._write, lines, at_s, new_file)
        future.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[None]) -> None:
        self._waiting -= 1
        error = future.exception()
        if error is None:
            self._failing = False
            return
        self.dropped += 1
        self._interrupted = True
        if not self._failing:
            self._failing = True
            log.warning(
                "records can't be written to %s (%s); decisions go on, records are dropped until it works", self._directory, error
            )

    def _write(self, lines: bytes, at_s: float, new_file: bool) -> None:
        if new_file or self._file is None:
            self._start_file(at_s)
        assert self._file is not None
        self._file.write(lines)
        self._file.flush()

    def _start_file(self, at_s: float) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._directory.mkdir(parents=True, exist_ok=True)
        stamp = datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._file = (self._directory / f"records-{stamp}.jsonl").open("ab")
        for old in sorted(self._directory.glob("records-*.jsonl"))[: -self._max_files]:
            old.unlink(missing_ok=True)

    async def close(self) -> None:
        """Writes what waits and closes the file."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown, True)
        if self._file is not None:
            self._file.close()
