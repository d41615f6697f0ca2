"""Formats ``signals`` and ``signals-jsonl``: several signals over time, a line a moment.

CSV with the column ``time_s`` and columns that are called as signals are (``demand,queue,gpu_utilization,…``, each in its unit), or a JSON
object a line with the same keys. Times rise by one step; a jump over several steps, an empty cell, NaN or null is a gap in the
recording, not zero. Other columns are passed over. ``replay record`` writes these.
"""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np

from autoscaler.core.signals import SIGNALS
from replay.traces.counts import grid_places, short_number
from replay.traces.error import TraceError
from replay.traces.files import open_text, trace_name
from replay.traces.format import Format
from replay.traces.picks import Picks
from replay.traces.ratios import most, too_much
from replay.traces.signal_series import SignalSeries

TIME: Final = "time_s"
_GAPS: Final = ("", "nan", "null", "none")


def _is_csv(header: str) -> bool:
    names = [name.strip() for name in header.split(",")]
    return TIME in names and any(name in SIGNALS for name in names)


def _is_jsonl(header: str) -> bool:
    keys = re.findall(r'"(\w+)"\s*:', header) if header.startswith("{") else []
    return TIME in keys and any(key in SIGNALS for key in keys)


class _Rows:
    """Collects lines as columns of doubles, eight bytes a value."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self._path = path
        self._times_s = array("d")
        self._columns = {name: array("d") for name in names}

    def add(self, line: int, cells: Mapping[str, Any]) -> None:
        """Raises TraceError."""
        for name in cells:
            if name in SIGNALS and name not in self._columns:
                self._columns[name] = array("d", [math.nan] * len(self._times_s))
        self._times_s.append(self._number(line, TIME, cells.get(TIME), may_lack=False))
        for name, column in self._columns.items():
            column.append(self._number(line, name, cells.get(name), may_lack=True))

    def series(self, header_lines: int) -> SignalSeries:
        """Raises TraceError."""
        path = self._path
        if len(self._times_s) < 2:
            raise TraceError(
                path, len(self._times_s) + header_lines, "at least two moments are needed: without them their step is not known"
            )
        times_s = np.array(self._times_s)
        step_s, places = grid_places(path, times_s, header_lines, TIME)
        signals = {}
        for name, column in self._columns.items():
            signals[name] = np.full(int(places[-1]) + 1, np.nan)
            signals[name][places] = np.array(column)
        return SignalSeries(name=trace_name(path), start_s=float(times_s[0]), step_s=step_s, signals=signals)

    def _number(self, line: int, name: str, given: object, *, may_lack: bool) -> float:
        if may_lack and (given is None or (isinstance(given, str) and given.strip().lower() in _GAPS)):
            return math.nan
        try:
            value = float(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else math.inf
        except ValueError:
            value = math.inf
        if not math.isfinite(value):
            if may_lack and value != value:
                return math.nan
            allowed = "a number, 0 or more, or nothing" if may_lack else "a number of seconds"
            raise TraceError(self._path, line, f"{name}: {allowed} is expected (is: {given!r})")
        if value < 0 and may_lack:
            raise TraceError(self._path, line, f"{name}: 0 or more is allowed (is: {value:g})")
        if value > most(name):
            raise TraceError(self._path, line, too_much(name, value))
        return value


def read_csv(path: Path, picks: Picks) -> SignalSeries:
    """Raises TraceError."""
    with open_text(path) as file:
        header = [name.strip() for name in file.readline().split(",")]
        rows = _Rows(path, [name for name in header if name in SIGNALS])
        wanted = [(place, name) for place, name in enumerate(header) if name == TIME or name in SIGNALS]
        last = max(place for place, _ in wanted)
        for line, cells in enumerate(csv.reader(file), 2):
            if not cells or not "".join(cells).strip():
                continue
            if len(cells) <= last:
                raise TraceError(path, line, f"has {len(cells)} values, but the first line names more columns")
            rows.add(line, {name: cells[place] for place, name in wanted})
    return rows.series(header_lines=1)


def read_jsonl(path: Path, picks: Picks) -> SignalSeries:
    """Raises TraceError."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    rows = _Rows(path, [])
    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            if text.isspace():
                continue
            try:
                cells = decoder.decode(text)
            except msgspec.DecodeError as fault:
                raise TraceError(path, line, f"a JSON object is expected: {fault} (is: {text.strip()[:60]!r})") from None
            rows.add(line, {name: value for name, value in cells.items() if name == TIME or name in SIGNALS})
    return rows.series(header_lines=0)


def write_csv(series: SignalSeries, file: IO[str]) -> None:
    """Gaps are empty cells."""
    file.write(",".join([TIME, *series.signals]) + "\n")
    file.writelines(csv_line(at_s, values) for at_s, values in _moments(series))


def csv_line(at_s: float, values: Iterable[float]) -> str:
    return ",".join([short_number(at_s), *("" if value != value else short_number(value) for value in values)]) + "\n"


def write_jsonl(series: SignalSeries, file: IO[str]) -> None:
    """Gaps are null."""
    names = list(series.signals)
    for at_s, values in _moments(series):
        cells = "".join(
            f', "{name}": {"null" if value != value else short_number(value)}' for name, value in zip(names, values, strict=True)
        )
        file.write(f'{{"{TIME}": {short_number(at_s)}{cells}}}\n')


def _moments(series: SignalSeries) -> Iterator[tuple[float, list[float]]]:
    columns = list(series.signals.values())
    for place in range(len(series)):
        yield series.start_s + series.step_s * place, [float(column[place]) for column in columns]


CSV_FORMAT = Format(
    name="signals",
    summary="CSV time_s,demand,queue,…: several signals over time",
    matches=lambda _path, header: _is_csv(header),
    signals=read_csv,
    write_signals=write_csv,
)
JSONL_FORMAT = Format(
    name="signals-jsonl",
    summary='JSONL {"time_s": …, "demand": …, "queue": …}: the same as JSON',
    matches=lambda _path, header: _is_jsonl(header),
    signals=read_jsonl,
    write_signals=write_jsonl,
)
