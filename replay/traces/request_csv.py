"""Request logs as CSV: one reader and one writer for every layout of columns, block by block."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np

from replay.traces.blocks import MOST_TOKENS, RequestBlock
from replay.traces.error import TraceError
from replay.traces.files import open_text
from replay.traces.format import Format
from replay.traces.moments import ALLOWED, WRITERS, Clock, Nanos, nanosecond, nanoseconds
from replay.traces.requests import Tokens

_BLOCK_BYTES: Final = 1 << 22
_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """time, prompt, output: what the columns are called. clock: how times are written. header: the first line that we write; a column of it
    that is none of the three is filled from `others`. absolute: times are written on the recording's own clock, else from its start."""

    time: str
    clock: Clock
    prompt: str
    output: str
    header: tuple[str, ...]
    absolute: bool

    @property
    def columns(self) -> tuple[str, str, str]:
        return self.time, self.prompt, self.output

    def matches(self, header: str) -> bool:
        names = [name.strip() for name in header.split(",")]
        return all(column in names for column in self.columns)


def csv_format(name: str, summary: str, layout: Layout) -> Format:
    """The format of a layout."""
    return Format(
        name=name,
        summary=summary,
        matches=lambda _path, header: layout.matches(header),
        requests=lambda path: read_requests(path, layout),
        write_requests=lambda blocks, file: write_requests(blocks, file, layout),
    )


def read_requests(path: Path, layout: Layout) -> Iterator[RequestBlock]:
    """Blocks of a few megabytes of text. Raises TraceError."""
    with open_text(path) as file:
        header = [name.strip() for name in file.readline().split(",")]
        for column in layout.columns:
            if column not in header:
                raise TraceError(path, 1, f"column '{column}' is missing (there are {', '.join(header)})")
        at = [header.index(column) for column in layout.columns]
        origin_s: int | None = None
        line = 2
        while lines := file.readlines(_BLOCK_BYTES):
            nanos, prompt, output = _fast(lines, at, len(header), layout) or _careful(path, lines, line, at, layout)
            line += len(lines)
            if not len(nanos):
                continue
            if origin_s is None:
                origin_s = int(nanos[0]) // _NANO
            yield RequestBlock(
                origin_s=origin_s, times_s=(nanos - origin_s * _NANO) / _NANO, prompt_tokens=prompt, output_tokens=output
            )


def _fast(lines: Sequence[str], at: Sequence[int], width: int, layout: Layout) -> tuple[Nanos, Tokens, Tokens] | None:
    """A block of plain, good lines, or None: then the careful reader finds out what is wrong (or unusual)."""
    cells = ",".join(lines).split(",")
    if len(cells) != width * len(lines):
        return None
    columns = [cells[place::width] for place in at]
    # The last column of a line has its line end.
    columns = [
        [cell.rstrip("\r\n") for cell in column] if place == width - 1 else column
        for place, column in zip(at, columns, strict=True)
    ]
    nanos = nanoseconds(columns[0], layout.clock)
    if nanos is None:
        return None
    tokens = []
    for column in columns[1:]:
        try:
            values = np.array(column, dtype=np.float64)
        except ValueError:
            return None
        if not ((values >= 0) & (values <= MOST_TOKENS) & (values == np.floor(values))).all():
            return None
        tokens.append(values.astype(np.int32))
    return nanos, tokens[0], tokens[1]


def _careful(
    path: Path, lines: Sequence[str], first_line: int, at: Sequence[int], layout: Layout
) -> tuple[Nanos, Tokens, Tokens]:
    nanos: list[int] = []
    prompt: list[int] = []
    output: list[int] = []
    for number, cells in enumerate(csv.reader(lines), first_line):
        if not cells or not "".join(cells).strip():
            continue
        if len(cells) <= max(at):
            raise TraceError(path, number, f"has {len(cells)} values, but the first line names more columns")
        try:
            nanos.append(nanosecond(cells[at[0]], layout.clock))
        except ValueError:
            raise TraceError(
                path, number, f"{layout.time}: {ALLOWED[layout.clock]} is expected (is: {cells[at[0]].strip()!r})"
            ) from None
        prompt.append(token_count(path, number, layout.prompt, cells[at[1]]))
        output.append(token_count(path, number, layout.output, cells[at[2]]))
    return np.array(nanos, dtype=np.int64), np.array(prompt, dtype=np.int32), np.array(output, dtype=np.int32)


def token_count(path: Path, line: int, column: str, text: str) -> int:
    """Raises TraceError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 <= value <= MOST_TOKENS and value == int(value)):
        raise TraceError(path, line, f"{column}: a whole number of tokens, 0 or more, is expected (is: {text.strip()!r})")
    return int(value)


def write_requests(blocks: Iterator[RequestBlock], file: IO[str], layout: Layout) -> None:
    """Columns of the layout that say nothing of time and tokens: a number of the request, the sum of its tokens, or empty."""
    file.write(",".join(layout.header) + "\n")
    number = 0
    text_of = WRITERS[layout.clock]
    for nanos, prompt, output in nanos_of(blocks, absolute=layout.absolute):
        rows = []
        for at, into, out in zip(nanos.tolist(), prompt.tolist(), output.tolist(), strict=True):
            cells = {
                layout.time: text_of(at),
                layout.prompt: into,
                layout.output: out,
                "request_id": number,
                "Total tokens": into + out,
            }
            rows.append(",".join(str(cells.get(column, "")) for column in layout.header) + "\n")
            number += 1
        file.write("".join(rows))


def nanos_of(blocks: Iterator[RequestBlock], *, absolute: bool) -> Iterator[tuple[Nanos, Tokens, Tokens]]:
    """Times of blocks in whole nanoseconds: of the recording's own clock, or since the second of the first request. The first block's first
    request counts as the first one."""
    start_s: int | None = None
    for block in blocks:
        if start_s is None:
            start_s = 0 if absolute else block.origin_s + (int(np.floor(block.times_s[0])) if len(block) else 0)
        nanos = np.rint(block.times_s * _NANO).astype(np.int64) + (block.origin_s - start_s) * _NANO
        yield nanos, block.prompt_tokens, block.output_tokens
