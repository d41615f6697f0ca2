"""Every trace format, in the order in which they are tried. A new one is one file in this folder and one line here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from replay.traces import counts
from replay.traces.files import TraceError, open_text
from replay.traces.format import Format
from replay.traces.series import CountSeries

FORMATS: Final[tuple[Format, ...]] = (counts.FORMAT,)


def read_trace(path: Path) -> CountSeries:
    """The requests of a file of any known format. Raises UsageError, OutsideError, TraceError."""
    with open_text(path) as file:
        header = file.readline(65536).strip()
    for form in FORMATS:
        if form.matches(path, header):
            return form.read(path)
    known = "; ".join(f"{form.name} ({form.summary})" for form in FORMATS)
    shown = header if len(header) <= 60 else header[:57] + "…"
    raise TraceError(path, 1, f"no known format; there are {known} (is: {shown!r})")
