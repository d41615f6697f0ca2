"""Every trace format, in the order in which they are tried. A new one is one file in this folder and one line here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from autoscaler.errors import UsageError
from replay.traces import (
    azure,
    burstgpt,
    counts,
    mooncake,
    openmetrics,
    plain_requests,
    prometheus_json,
    servegen,
    servegen_rates,
    signal_rows,
)
from replay.traces.blocks import RequestBlock, counted_blocks, request_log
from replay.traces.error import TraceError
from replay.traces.files import open_text, trace_name
from replay.traces.format import Format
from replay.traces.picks import Picks
from replay.traces.requests import RequestLog
from replay.traces.series import CountSeries
from replay.traces.signal_series import SignalSeries, demand_series

FORMATS: Final[tuple[Format, ...]] = (
    counts.FORMAT,
    plain_requests.FORMAT,
    azure.FORMAT,
    mooncake.FORMAT,
    burstgpt.FORMAT,
    servegen.FORMAT,
    servegen_rates.FORMAT,
    signal_rows.CSV_FORMAT,
    signal_rows.JSONL_FORMAT,
    prometheus_json.FORMAT,
    openmetrics.FORMAT,
)
NO_PICKS: Final = Picks()
_LONGEST_FIRST_LINE: Final = 1 << 16


def format_of(path: Path) -> Format:
    """The format of a file, by its first line. Raises UsageError, OutsideError, TraceError."""
    with open_text(path) as file:
        header = file.readline(_LONGEST_FIRST_LINE).strip()
    for form in FORMATS:
        if form.matches(path, header):
            return form
    if not header and path.suffix != ".parquet":
        raise TraceError(path, 1, "the first line is empty, so nobody can tell the format")
    known = "".join(f"\n  {form.name}: {form.summary}" for form in FORMATS)
    shown = header if len(header) <= 60 else header[:57] + "…"
    raise TraceError(path, 1, f"no known format (is: {shown!r}); known, by the first line, are{known}")


def read_trace(path: Path, picks: Picks = NO_PICKS) -> CountSeries:
    """The requests of a file of any known format as counts; of a request log by the second, whatever its size.

    Raises UsageError (also where a trace of signals holds no demand), OutsideError, TraceError."""
    form = format_of(path)
    if form.counts is not None:
        return form.counts(path)
    if form.requests is not None:
        return counted_blocks(form.requests(path), path, trace_name(path))
    assert form.signals is not None
    return demand_series(form.signals(path, picks))


def read_requests(path: Path) -> RequestLog:
    """The single requests of a file, with their tokens. Raises UsageError (a trace without single requests), OutsideError, TraceError."""
    return request_log(request_blocks(path), trace_name(path))


def request_blocks(path: Path) -> Iterator[RequestBlock]:
    """The same block by block, in the file's order."""
    form = format_of(path)
    if form.requests is None:
        logs = ", ".join(one.name for one in FORMATS if one.requests is not None)
        raise UsageError(f"{path}: is of the format {form.name}, which holds no single requests; formats that do: {logs}")
    return form.requests(path)


def read_singly(path: Path) -> RequestLog | CountSeries | SignalSeries:
    """What a plant that plays single requests wants: them, where the file holds them, else as read_any."""
    return read_requests(path) if format_of(path).requests is not None else read_any(path)


def read_any(path: Path, picks: Picks = NO_PICKS) -> CountSeries | SignalSeries:
    """What there is to replay: signals where the file holds signals without a demand, else counts."""
    form = format_of(path)
    if form.signals is not None:
        series = form.signals(path, picks)
        return demand_series(series) if "demand" in series.signals else series
    return read_trace(path, picks)
