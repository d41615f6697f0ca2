"""From one format to another. Single requests can become counts and rates, never the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from autoscaler.core.model import Floats
from autoscaler.errors import UsageError
from replay.traces.blocks import Counting, RequestBlock, counted_blocks
from replay.traces.files import plain_name, trace_name, write_text
from replay.traces.format import Format
from replay.traces.moments import Clock
from replay.traces.picks import Picks
from replay.traces.registry import FORMATS, NO_PICKS, format_of
from replay.traces.request_csv import Layout, read_requests
from replay.traces.series import CountSeries
from replay.traces.signal_series import SignalSeries, demand_series

_BY_ENDING: Final = {
    ".csv": ("requests", "counts", "signals"),
    ".parquet": ("requests", "counts", "signals"),
    ".jsonl": ("mooncake", "signals-jsonl", "signals-jsonl"),
    ".json": ("prometheus", "prometheus", "prometheus"),
    ".om": ("openmetrics", "openmetrics", "openmetrics"),
    ".prom": ("openmetrics", "openmetrics", "openmetrics"),
    ".txt": ("openmetrics", "openmetrics", "openmetrics"),
}
"""What is written where no format is asked for: by the ending, for single requests, counts and signals."""


def convert(
    source: Path,
    target: Path,
    *,
    to: str | None = None,
    bin_s: float | None = None,
    picks: Picks = NO_PICKS,
    layout: Layout | None = None,
) -> str:
    """Writes `target`, whole or not at all, and says in which format.

    to: its name. bin_s: counts and rates of single requests over so many seconds (1 where left out; with it a CSV is of counts). layout: of
    a CSV of requests whose columns are called otherwise. Raises UsageError, OutsideError, TraceError.
    """
    form = None if layout is not None else format_of(source)
    if form is None or form.requests is not None:
        blocks = read_requests(source, layout) if form is None and layout is not None else _requests(form, source)
        written = _target(target, to, 0 if bin_s is None else 1)
        _write_requests(blocks, source, target, written, bin_s or 1.0)
        return written.name
    if bin_s is not None:
        raise UsageError(f"--bin: is of single requests, and {source} is of the format {form.name}")
    if form.counts is not None:
        written = _target(target, to, 1)
        _write(form.counts(source), target, written)
        return written.name
    assert form.signals is not None
    series = form.signals(source, picks)
    written = _target(target, to, 2)
    _write(series if written.write_signals is not None else demand_series(series), target, written)
    return written.name


def _requests(form: Format | None, source: Path) -> Iterator[RequestBlock]:
    assert form is not None
    assert form.requests is not None
    return form.requests(source)


def _target(target: Path, to: str | None, kind: int) -> Format:
    """The format to be written."""
    written = {form.name: form for form in FORMATS if form.write_counts or form.write_requests or form.write_signals}
    if to is None:
        ending = Path(plain_name(target)).suffix
        if ending not in _BY_ENDING:
            raise UsageError(f"{target}: the ending says no format; {', '.join(_BY_ENDING)} do, or --to FORMAT")
        to = _BY_ENDING[ending][kind]
    if to not in written:
        raise UsageError(f"--to {to}: is no format that is written; allowed are {', '.join(written)}")
    return written[to]


def _write_requests(blocks: Iterator[RequestBlock], source: Path, target: Path, form: Format, bin_s: float) -> None:
    if form.write_requests is not None:
        with write_text(target) as file:
            form.write_requests(blocks, file)
    elif form.write_counts is not None:
        _write(counted_blocks(blocks, source, trace_name(source), bin_s), target, form)
    else:
        _write(rates(blocks, source, bin_s), target, form)


def _write(series: CountSeries | SignalSeries, target: Path, form: Format) -> None:
    if isinstance(series, CountSeries) and form.write_counts is not None:
        with write_text(target) as file:
            form.write_counts(series, file)
    elif form.write_signals is not None:
        with write_text(target) as file:
            form.write_signals(series if isinstance(series, SignalSeries) else as_signals(series), file)
    else:
        raise UsageError(f"--to {form.name}: holds single requests, which counts don't tell any more")


def as_signals(series: CountSeries) -> SignalSeries:
    """Counts as a demand that is read at the end of each bin."""
    return SignalSeries(
        name=series.name, start_s=series.start_s + series.bin_s, step_s=series.bin_s, signals={"demand": series.rates_per_s}
    )


def rates(blocks: Iterator[RequestBlock], source: Path, bin_s: float) -> SignalSeries:
    """Demand and tokens per second of a log, read at the end of each bin."""
    requests, prompt, output = Counting(source, bin_s), Counting(source, bin_s), Counting(source, bin_s)
    for block in blocks:
        requests.add(block)
        prompt.add(block, block.prompt_tokens)
        output.add(block, block.output_tokens)
    counts = {name: one.series("") for name, one in (("demand", requests), ("prompt_tokens", prompt), ("output_tokens", output))}
    signals: dict[str, Floats] = {name: one.rates_per_s for name, one in counts.items()}
    return replace(as_signals(counts["demand"]), name=trace_name(source), signals=signals)


def layout_of(texts: list[str]) -> Layout:
    """From ``arrival_s=ts,prompt_tokens=in,output_tokens=out``. Raises UsageError."""
    words = "--columns: write arrival_s=NAME,prompt_tokens=NAME,output_tokens=NAME (arrival_ms: milliseconds; arrival: a date and time)"
    found = dict(part.partition("=")[::2] for text in texts for part in text.split(","))
    clocks: dict[str, Clock] = {"arrival_s": "seconds", "arrival_ms": "milliseconds", "arrival": "calendar"}
    times = [key for key in clocks if key in found]
    if len(times) != 1 or found.keys() - {*clocks, "prompt_tokens", "output_tokens"} or not all(found.values()):
        raise UsageError(words)
    if not {"prompt_tokens", "output_tokens"} <= found.keys():
        raise UsageError(words)
    return Layout(
        time=found[times[0]],
        clock=clocks[times[0]],
        prompt=found["prompt_tokens"],
        output=found["output_tokens"],
        header=(),
        absolute=True,
    )
