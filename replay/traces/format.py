"""What a trace format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from replay.traces.series import CountSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """matches(path, first line): whether a file is of this format. read(path): its requests as a count series; raises TraceError."""

    name: str
    summary: str
    matches: Callable[[Path, str], bool]
    read: Callable[[Path], CountSeries]
