"""What a trace format is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from replay.traces.blocks import RequestBlock
from replay.traces.picks import Picks
from replay.traces.series import CountSeries
from replay.traces.signal_series import SignalSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """matches(path, first line): whether a file is of this format.

    One of the three readers is there, by what a file of the format holds; each raises TraceError with the line, the value and what is
    allowed, and reads as a stream. counts: requests by bin. requests: single requests, block by block in the file's order. signals(path,
    picks): several signals over time. write_…(trace, file): the same back, where the format is written too.
    """

    name: str
    summary: str
    matches: Callable[[Path, str], bool]
    counts: Callable[[Path], CountSeries] | None = None
    requests: Callable[[Path], Iterator[RequestBlock]] | None = None
    signals: Callable[[Path, Picks], SignalSeries] | None = None
    write_counts: Callable[[CountSeries, IO[str]], None] | None = None
    write_requests: Callable[[Iterator[RequestBlock], IO[str]], None] | None = None
    write_signals: Callable[[SignalSeries, IO[str]], None] | None = None
    endings: tuple[str, ...] = ()
    """Of names that ``replay convert`` writes in this format unless told otherwise."""
