"""A recording under way: what was asked for, how much of it is there, and where it goes on after an interruption.

Beside the trace-to-be lie ``.part.csv`` (what is recorded, a line a moment, complete lines only count) and ``.part.json`` (what was asked
for). Both go when the trace is written.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from autoscaler.core.model import Floats
from autoscaler.errors import OutsideError, UsageError
from replay.traces.convert import convert
from replay.traces.signal_rows import TIME, csv_line

MOST_STEPS: Final = 50_000_000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be recorded. from_text, to_text: as they were given: a recording of ``-7d`` that goes on after an interruption is still the
    one that was begun, an hour later. start_s: whole seconds, a multiple of step_s."""

    service: str
    url: str
    from_text: str
    to_text: str
    step_s: int
    signals: tuple[str, ...]
    start_s: int
    length: int


def wanted(
    *, service: str, url: str, from_text: str, to_text: str, from_s: float, to_s: float, step_s: int, signals: Sequence[str]
) -> Wanted:
    """Moments at multiples of step_s, from the first one at or after from_s to the last one at or before to_s. Raises UsageError."""
    first, last = math.ceil(from_s / step_s), math.floor(to_s / step_s)
    if last - first < 1:
        raise UsageError(f"--from {from_text} --to {to_text}: holds fewer than two moments at a step of {step_s} s")
    if last - first > MOST_STEPS:
        raise UsageError(f"--from {from_text} --to {to_text}: is more than {MOST_STEPS} moments at a step of {step_s} s")
    return Wanted(
        service=service,
        url=url,
        from_text=from_text,
        to_text=to_text,
        step_s=step_s,
        signals=tuple(signals),
        start_s=first * step_s,
        length=last - first + 1,
    )


class Recording:
    """rows: moments that are recorded, of `length`. chunk_steps: moments that are asked for at a time."""

    def __init__(self, target: Path, asked: Wanted, chunk_s: float) -> None:
        """Takes up what an earlier call left. Raises UsageError where that was asked for otherwise, OutsideError."""
        self.target = target
        self._data = target.with_name(f"{target.name}.part.csv")
        self._plan = target.with_name(f"{target.name}.part.json")
        self.chunk_steps = max(1, int(chunk_s / asked.step_s))
        try:
            self.asked, self.resumed = self._take_up(asked)
            self.rows = self._complete_rows() if self.resumed else 0
        except OSError as fault:
            raise OutsideError(f"{fault.filename}: {fault.strerror}") from None

    @property
    def length(self) -> int:
        return self.asked.length

    def times_s(self, first: int, last: int) -> list[float]:
        """The moments first … last − 1, as far as they are wanted."""
        return [float(self.asked.start_s + self.asked.step_s * step) for step in range(first, min(last, self.length))]

    def append(self, values: Mapping[str, Floats]) -> None:
        """The next moments, safe on the disk when this returns."""
        columns = [values[signal] for signal in self.asked.signals]
        times_s = self.times_s(self.rows, self.rows + len(columns[0]))
        table = np.column_stack(columns).tolist()
        try:
            with self._data.open("a", encoding="utf-8", newline="") as file:
                file.write("".join(csv_line(at_s, row) for at_s, row in zip(times_s, table, strict=True)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as fault:
            raise OutsideError(f"{self._data}: {fault.strerror}") from None
        self.rows += len(times_s)

    def never_recorded(self) -> list[str]:
        """Signals without a single value."""
        with self._data.open(encoding="utf-8", newline="") as file:
            names = file.readline().strip().split(",")[1:]
            empty = set(range(len(names)))
            for line in file:
                if not empty:
                    break
                cells = line.rstrip("\n").split(",")[1:]
                empty = {place for place in empty if not cells[place]}
        return [names[place] for place in sorted(empty)]

    def finish(self) -> str:
        """Writes the trace in the format of its ending, and says which. Raises OutsideError, UsageError."""
        name = convert(self._data, self.target)
        self.drop()
        return name

    def drop_if_empty(self) -> None:
        """Leaves no files where no moment was recorded: there is nothing to go on from."""
        if self.rows == 0:
            self.drop()

    def drop(self) -> None:
        """Forgets what is recorded."""
        self._data.unlink(missing_ok=True)
        self._plan.unlink(missing_ok=True)

    def _take_up(self, asked: Wanted) -> tuple[Wanted, bool]:
        if self._plan.exists() and self._data.exists():
            before = msgspec.json.decode(self._plan.read_bytes(), type=Wanted)
            same = msgspec.structs.replace(asked, start_s=before.start_s, length=before.length)
            absolute = not any(text.startswith("-") or text == "now" for text in (asked.from_text, asked.to_text))
            if before != same or (absolute and before != asked):
                raise UsageError(
                    f"{self._plan}: a recording of something else was begun here ({before.service} from {before.from_text} to "
                    f"{before.to_text}, every {before.step_s} s); go on with that, or use --restart"
                )
            return before, True
        self._data.write_text(",".join([TIME, *asked.signals]) + "\n", encoding="utf-8")
        self._plan.write_bytes(msgspec.json.encode(asked))
        return asked, False

    def _complete_rows(self) -> int:
        """Counts the lines that are whole and cuts off a last one that is not."""
        rows, end = -1, 0  # the first line names the columns
        with self._data.open("rb+") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                rows += 1
            file.truncate(end)
        return max(rows, 0)


def discard(target: Path) -> None:
    """What --restart does: forgets a recording that was begun."""
    for ending in ("csv", "json"):
        target.with_name(f"{target.name}.part.{ending}").unlink(missing_ok=True)
