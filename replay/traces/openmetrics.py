"""Format ``openmetrics``: samples with their times as text (``promtool tsdb dump-openmetrics``, or scrapes put one below the other).

OpenMetrics has seconds, Prometheus' older text format milliseconds; both are taken. Scrapes of several replicas never come at the same
instant, so a sample counts for the moment of an even grid that is nearest; its step is the commonest one of the first lines. What the
series stand for: ``picks``. Source: github.com/prometheus/OpenMetrics, specification 1.0.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import numpy as np

from autoscaler.core.signals import SIGNALS
from replay.traces.blocks import MOST_BINS
from replay.traces.counts import short_number
from replay.traces.error import TraceError
from replay.traces.files import open_text, trace_name
from replay.traces.format import Format
from replay.traces.picks import Chooser, Picks, is_counter
from replay.traces.ratios import EXPORT_IT_DIVIDED, most, too_much
from replay.traces.signal_series import SignalSeries

_SAMPLE: Final = re.compile(
    r'([a-zA-Z_:][\w:]*)(\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?[ \t]+(\S+)(?:[ \t]+([-+\d.eE]+))?[ \t]*(?:#.*)?'
)
_TYPE: Final = re.compile(r"#\s+TYPE\s+(\S+)\s+(\w+)")
_LINES_FOR_STEP: Final = 200_000
_OLDEST_MS: Final = 1e11
"""Larger numbers are milliseconds: in seconds they would lie beyond the year 5000."""


def _matches(header: str) -> bool:
    return bool(re.match(r"#\s+(TYPE|HELP|UNIT|EOF)\b", header)) or (
        _SAMPLE.fullmatch(header) is not None and "," not in header.partition("{")[0]
    )


def read_samples(path: Path, picks: Picks) -> SignalSeries:
    """Raises TraceError with the line, the value and what is allowed."""
    step_s = _step_s(path, picks)
    chooser = Chooser(picks)
    grid = _Grid(path, step_s)
    last: dict[str, tuple[int, float, float]] = {}
    for line, name, labels, value, at_s, counter in _samples(path):
        signal = _chosen(path, chooser, name, counter)
        if signal is None:
            continue
        place = grid.place(at_s)
        key = name + labels
        before = last.get(key)
        last[key] = (place, value, at_s)
        if before is not None and at_s <= before[2]:
            raise TraceError(
                path, line, f"time: more than {before[2]:.12g} (the series' sample before) is allowed (is: {at_s:.12g})"
            )
        if not counter:
            if value > most(signal):
                raise TraceError(path, line, f"{name}: {too_much(signal, value)}; {EXPORT_IT_DIVIDED}")
            if not (before is not None and before[0] == place):  # the first of two that fall together counts
                grid.add(signal, place, value)
        elif before is not None and place - before[0] <= 1:
            grown = value - before[1] if value >= before[1] else value
            grid.add(signal, place, grown / step_s)
        else:
            grid.add(signal, place, math.nan)
    _check(path, chooser)
    return grid.series()


def _samples(path: Path) -> Iterator[tuple[int, str, str, float, float, bool]]:
    """(line, name, labels as text, value, Unix seconds, whether it is a counter) of each sample."""
    kinds: dict[str, str] = {}
    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            if text.startswith("#"):
                kind = _TYPE.match(text)
                if kind is not None:
                    kinds[kind[1]] = kind[2]
                continue
            if text.isspace():
                continue
            found = _SAMPLE.fullmatch(text.rstrip("\r\n"))
            if found is None:
                if text.startswith("{"):
                    continue  # names in quotes: nothing that a signal or a counter of ours is called
                raise TraceError(path, line, f"NAME{{LABELS}} VALUE TIME is expected (is: {text.strip()[:60]!r})")
            name, labels, value_text, time_text = found.groups()
            if time_text is None:
                raise TraceError(
                    path,
                    line,
                    f"{name}: has no time; one scrape is one moment, a trace needs `promtool tsdb dump-openmetrics` or a range query",
                )
            try:
                value, at_s = float(value_text), float(time_text)
            except ValueError:
                raise TraceError(path, line, f"{name}: a number is expected (is: {value_text!r} at {time_text!r})") from None
            family = name.removesuffix("_total")
            kind_of = kinds.get(name) or kinds.get(family)
            counter = kind_of == "counter" if kind_of not in (None, "unknown", "untyped") else is_counter(name)
            yield line, name, labels or "", value, at_s / 1e3 if at_s > _OLDEST_MS else at_s, counter


def _step_s(path: Path, picks: Picks) -> float:
    """The commonest step between two samples of a series; whole seconds where it is that but for a scraper's jitter."""
    chooser = Chooser(picks)
    last: dict[str, float] = {}
    steps: Counter[float] = Counter()
    for number, (_line, name, labels, _value, at_s, counter) in enumerate(_samples(path)):
        if number >= _LINES_FOR_STEP:
            break
        if _chosen(path, chooser, name, counter) is None:
            continue
        key = name + labels
        if key in last and at_s > last[key]:
            step_s = at_s - last[key]
            whole_s = float(round(step_s))
            steps[whole_s if abs(step_s - whole_s) <= 0.05 * step_s else round(step_s, 3)] += 1
        last[key] = at_s
    _check(path, chooser)
    if not steps:
        raise TraceError(path, 0, "at least two samples of a series are needed: without them their step is not known")
    return steps.most_common(1)[0][0]


def _chosen(path: Path, chooser: Chooser, name: str, counter: bool) -> str | None:
    try:
        return chooser.signal(name, counter=counter)
    except ValueError as fault:
        raise TraceError(path, 0, str(fault)) from None


def _check(path: Path, chooser: Chooser) -> None:
    try:
        chooser.check()
    except ValueError as fault:
        raise TraceError(path, 0, str(fault)) from None


class _Grid:
    """Sums and numbers of samples by place, growing to both sides."""

    def __init__(self, path: Path, step_s: float) -> None:
        self._path = path
        self._step_s = step_s
        self._start_s: float | None = None
        self._low = self._high = 0
        self._sums: dict[str, dict[int, float]] = {}
        self._numbers: dict[str, dict[int, int]] = {}

    def place(self, at_s: float) -> int:
        if self._start_s is None:
            self._start_s = at_s
        place = math.floor((at_s - self._start_s) / self._step_s + 0.5)
        self._low, self._high = min(self._low, place), max(self._high, place)
        if self._high - self._low > MOST_BINS:
            raise TraceError(self._path, 0, f"its samples lie more than {MOST_BINS} steps of {self._step_s:g} s apart")
        return place

    def add(self, signal: str, place: int, value: float) -> None:
        sums, numbers = self._sums.setdefault(signal, {}), self._numbers.setdefault(signal, {})
        if math.isfinite(value) and value >= 0:
            sums[place] = sums.get(place, 0.0) + value
            numbers[place] = numbers.get(place, 0) + 1

    def series(self) -> SignalSeries:
        assert self._start_s is not None
        length = self._high - self._low + 1
        signals = {}
        for signal, sums in self._sums.items():
            mean = SIGNALS[signal].merge != "sum"
            signals[signal] = np.full(length, np.nan)
            for place, total in sums.items():
                signals[signal][place - self._low] = total / self._numbers[signal][place] if mean else total
        start_s = self._start_s + self._low * self._step_s
        return SignalSeries(name=trace_name(self._path), start_s=start_s, step_s=self._step_s, signals=signals)


def write_samples(series: SignalSeries, file: IO[str]) -> None:
    """One gauge a signal, called as it; a gap is NaN, so that the grid stays."""
    for name, values in series.signals.items():
        file.write(f"# TYPE {name} gauge\n")
        for place, value in enumerate(values.tolist()):
            at_s = short_number(series.start_s + series.step_s * place)
            file.write(f"{name} {'NaN' if value != value else short_number(value)} {at_s}\n")
    file.write("# EOF\n")


FORMAT = Format(
    name="openmetrics",
    summary="OpenMetrics text with times",
    matches=lambda _path, header: _matches(header),
    signals=read_samples,
    write_signals=write_samples,
)
