"""Format ``counts``: CSV with the columns ``offset_s,requests``; requests counted in the bin that begins at offset_s.

Offsets rise by one bin width; a jump by several widths is a gap in the recording, not zero requests. Other columns are passed over.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Floats
from replay.traces.error import TraceError
from replay.traces.files import open_text, trace_name
from replay.traces.format import Format
from replay.traces.series import CountSeries

COLUMNS: Final = ("offset_s", "requests")
_BLOCK_LINES: Final = 1 << 16
_MOST_BINS: Final = 50_000_000


def _matches(header: str) -> bool:
    names = [name.strip() for name in header.split(",")]
    return all(column in names for column in COLUMNS)


def read_counts(path: Path) -> CountSeries:
    """Raises TraceError with the line, the value and what is allowed."""
    with open_text(path) as file:
        offsets, counts = _read(path, file)
    if len(offsets) < 2:
        raise TraceError(path, len(offsets) + 1, "at least two bins are needed; with fewer, the bin width is not known")
    return on_grid(path, offsets, counts)


def _read(path: Path, file: IO[str]) -> tuple[Floats, Floats]:
    header = [name.strip() for name in file.readline().split(",")]
    for column in COLUMNS:
        if column not in header:
            raise TraceError(path, 1, f"column '{column}' is missing; the first line is {','.join(COLUMNS)}")
    at = header.index(COLUMNS[0]), header.index(COLUMNS[1])
    blocks: list[tuple[Floats, Floats]] = []
    line = 2
    while lines := list(islice(file, _BLOCK_LINES)):
        blocks.append(_fast(lines, at, len(header)) or _careful(path, lines, line, at))
        line += len(lines)
    if not blocks:
        raise TraceError(path, 2, "no bins below the first line")
    return np.concatenate([block[0] for block in blocks]), np.concatenate([block[1] for block in blocks])


def _fast(lines: Sequence[str], at: tuple[int, int], width: int) -> tuple[Floats, Floats] | None:
    """A block of plain, good lines, or None: then the careful reader finds out what is wrong (or unusual)."""
    cells = ",".join(lines).split(",")
    if len(cells) != width * len(lines):
        return None
    try:
        offsets = np.array(cells[at[0] :: width], dtype=np.float64)
        counts = np.array(cells[at[1] :: width], dtype=np.float64)
    except ValueError:
        return None
    if not (np.isfinite(offsets).all() and np.isfinite(counts).all() and (counts >= 0).all()):
        return None
    return offsets, counts


def _careful(path: Path, lines: Sequence[str], first_line: int, at: tuple[int, int]) -> tuple[Floats, Floats]:
    offsets: list[float] = []
    counts: list[float] = []
    for number, cells in enumerate(csv.reader(lines), first_line):
        if not cells or not "".join(cells).strip():
            continue
        if len(cells) <= max(at):
            raise TraceError(path, number, f"has {len(cells)} values, but the first line names more columns")
        offsets.append(number_of(path, number, COLUMNS[0], cells[at[0]]))
        count_text = cells[at[1]].strip()
        count = math.nan if count_text in ("", "NaN", "nan") else number_of(path, number, COLUMNS[1], count_text)
        if count < 0:
            raise TraceError(path, number, f"requests: 0 or more is allowed (is: {count_text})")
        counts.append(count)
    return np.array(offsets), np.array(counts)


def number_of(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TraceError(path, line, f"{column}: a finite number is expected (is: {text.strip()!r})")
    return value


def on_grid(path: Path, offsets: Floats, counts: Floats, header_lines: int = 1) -> CountSeries:
    """Bins at their place on an even grid, NaN where there are none. The lines named here count from the header, without empty ones.
    Raises TraceError."""
    bin_s, places = grid_places(path, offsets, header_lines)
    grid = np.full(int(places[-1]) + 1, np.nan)
    grid[places] = counts
    return CountSeries(name=trace_name(path), start_s=float(offsets[0]), bin_s=bin_s, counts=grid)


def grid_places(
    path: Path, offsets: Floats, header_lines: int = 1, column: str = COLUMNS[0]
) -> tuple[float, npt.NDArray[np.int64]]:
    """(width of the grid, places on it) of rising times; the width is the commonest step. Raises TraceError."""
    steps = np.diff(offsets)
    if (steps <= 0).any():
        place = int(np.flatnonzero(steps <= 0)[0])
        raise TraceError(
            path,
            place + 2 + header_lines,
            f"{column}: more than {offsets[place]:.12g} (the line above) is allowed (is: {offsets[place + 1]:.12g})",
        )
    values, times = np.unique(np.round(steps, 9), return_counts=True)
    bin_s = float(values[times.argmax()])
    places = (offsets - offsets[0]) / bin_s
    whole = np.rint(places)
    off = np.abs(places - whole) > 1e-6 * np.maximum(1.0, whole)
    if off.any():
        place = int(np.flatnonzero(off)[0])
        raise TraceError(
            path,
            place + 1 + header_lines,
            f"{column}: a multiple of the bin width {bin_s:g} s after {offsets[0]:.12g} is allowed (is: {offsets[place]:.12g})",
        )
    length = int(whole[-1]) + 1
    if length > _MOST_BINS:
        raise TraceError(path, len(offsets) + header_lines, f"{column}: {length} bins of {bin_s:g} s are more than {_MOST_BINS}")
    return bin_s, whole.astype(np.int64)


def write_counts(series: CountSeries, file: IO[str]) -> None:
    """Gaps are written as empty cells."""
    file.write(",".join(COLUMNS) + "\n")
    for at in range(0, len(series.counts), _BLOCK_LINES):
        counts = series.counts[at : at + _BLOCK_LINES].tolist()
        offsets = series.start_s + series.bin_s * np.arange(at, at + len(counts))
        file.write(
            "".join(
                f"{short_number(offset)},{'' if count != count else short_number(count)}\n"
                for offset, count in zip(offsets.tolist(), counts, strict=True)
            )
        )


def short_number(value: float) -> str:
    """Exact, without a needless fraction."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


FORMAT = Format(
    name="counts",
    summary="CSV offset_s,requests: requests counted in even bins",
    matches=lambda _path, header: _matches(header),
    counts=read_counts,
    write_counts=write_counts,
)
