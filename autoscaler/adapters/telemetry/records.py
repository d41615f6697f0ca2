"""TickRecords in rotated files. A full or broken disk costs records, never decisions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

from autoscaler.adapters.telemetry.record_files import RecordFiles
from autoscaler.core.allocation import ChangeBudget
from autoscaler.ports import Tick
from autoscaler.record import Start, encode, encode_in_pieces, fleet_record, tick_record

log = logging.getLogger(__name__)

STATE_EVERY_S: Final = 600.0
"""A large state is written at most so often."""
SMALL_STATE_BYTES: Final = 2**20
"""A state that is no larger is written whenever it helps."""


class RecordWriter:
    """A reporter that appends every tick to ``DIR/records-<time>.jsonl`` and starts a new file once `max_bytes` of ticks are in it; the
    oldest go when there are more than `max_files`, or more than `max_directory_bytes` in all.

    state: ``Engine.save``; what it gives must be a snapshot (it is encoded in another thread while the ticks go on). It opens each file
    (as it stood after the last tick of the file before), so that every file can be verified alone. A tick before which something came in
    that is not in the records (`Tick.unrecorded`; the very first one of a process) can't be verified, nor can those after it until a state
    is written: at once, or, where it is large (of thousands of services that learn weeks, 75 MB), `STATE_EVERY_S` after the last one.
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
        max_directory_bytes: int = 2560 * 2**20,
        max_waiting: int = 16,
        small_state_bytes: int = SMALL_STATE_BYTES,
    ) -> None:
        self._directory = directory
        self._seed = seed
        self._budget = budget
        self._shadow = shadow
        self._wanted = wanted
        self._state = state
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._small_state_bytes = small_state_bytes
        self._files = RecordFiles(directory, max_files=max_files, max_bytes=max_directory_bytes)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")
        self._waiting = 0
        """Ticks and states that are not written yet."""
        self._bytes = 0
        """Of the ticks in the file being written; the states count only in the directory."""
        self._state_bytes = 0
        """How large the last state was; set by the writer's thread."""
        self._state_at_s = float("-inf")
        self._unknown = True
        """How the engine stands is not in the records."""
        self._revision = -1
        self._interrupted = True
        """No file is being continued: none yet, or the last lines did not reach it."""
        self._failing = False
        self.dropped = 0
        """Ticks that are in no file."""

    async def report(self, tick: Tick) -> None:
        """Queues the tick for writing and returns at once."""
        if self._waiting >= self._max_waiting:
            self.dropped += 1
            self._interrupted = True
            return
        at_s = tick.decisions.at_s
        new_file, self._interrupted = self._interrupted, False
        lines = encode(tick_record(tick))
        if new_file or tick.unrecorded:
            self._unknown = True
            lines = encode(self._fleet(tick, "unknown")) + lines
        elif tick.fleet.revision != self._revision:
            lines = encode(self._fleet(tick, "continues")) + lines
        self._bytes = len(lines) if new_file else self._bytes + len(lines)
        self._queue(self._write_tick, lines, at_s, new_file)
        full = self._bytes >= self._max_bytes
        if (full or self._unknown) and self._state_due(at_s):
            self._state_at_s, self._unknown = at_s, False
            self._bytes = 0 if full else self._bytes
            self._queue(self._write_state, self._fleet(tick, "state"), at_s, full)

    def _state_due(self, at_s: float) -> bool:
        # Either way: the clock may have been set.
        return self._state_bytes <= self._small_state_bytes or abs(at_s - self._state_at_s) >= STATE_EVERY_S

    def _fleet(self, tick: Tick, start: Start) -> dict[str, Any]:
        self._revision = tick.fleet.revision
        return fleet_record(
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

    def _queue(self, write: Callable[..., None], *arguments: Any) -> None:
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, write, *arguments)
        future.add_done_callback(partial(self._done, write == self._write_tick))

    def _done(self, is_tick: bool, future: asyncio.Future[None]) -> None:
        self._waiting -= 1
        error = future.exception()
        if error is None:
            self._failing = False
            return
        self.dropped += is_tick
        self._interrupted = True
        if not self._failing:
            self._failing = True
            log.warning(
                "records can't be written to %s (%s); decisions go on, records are dropped until it works", self._directory, error
            )

    def _write_tick(self, lines: bytes, at_s: float, new_file: bool) -> None:
        self._append([lines], at_s, new_file)

    def _write_state(self, record: Mapping[str, Any], at_s: float, new_file: bool) -> None:
        pieces = list(encode_in_pieces(record))
        self._state_bytes = sum(map(len, pieces))
        self._append(pieces, at_s, new_file)

    def _append(self, lines: Sequence[bytes], at_s: float, new_file: bool) -> None:
        if new_file:
            self._files.start(at_s)
        self._files.append(lines, at_s)

    async def close(self) -> None:
        """Writes what waits and closes the file."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown, True)
        self._files.close()
