"""Format ``prometheus``: the answer of Prometheus' query_range as JSON (``/api/v1/query_range``, or ``promtool query range -o json``).

Such an export is often one line of many megabytes, so it is read piece by piece, one series at a time. What its series stand for:
``picks``. Series of one signal are added up (ratios and latencies averaged), counters become increases per second; NaN is a gap.
Source: prometheus.io/docs/prometheus/latest/querying/api.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from autoscaler.core.model import Floats
from replay.traces.counts import short_number
from replay.traces.error import TraceError
from replay.traces.files import open_text
from replay.traces.format import Format
from replay.traces.picks import Chooser, Picks, is_counter
from replay.traces.ratios import EXPORT_IT_DIVIDED, most, too_much
from replay.traces.signal_series import SignalSeries
from replay.traces.totals import Totals, increase_per_s

_PIECE: Final = 1 << 20
_LARGEST_LABELS: Final = 1 << 16
_METRIC: Final = re.compile(r'"metric"\s*:\s*')
_NEXT: Final = re.compile(r'"(metric|values|value)"\s*:\s*(\[)?')
_PAIR: Final = re.compile(r'\[\s*([^\s,\]"]+)\s*,\s*"([^"\]]*)"\s*\]')
_NOT_BLANK: Final = re.compile(r"[^\s,]")
_END: Final = re.compile(r"\]\s*\]")
_FAULT: Final = re.compile(r'"error"\s*:\s*"((?:[^"\\]|\\.)*)"')


def _matches(header: str) -> bool:
    if header in ("{", "["):  # pretty-printed; no other format begins so
        return True
    return header[:1] in "{[" and ('"resultType"' in header or _METRIC.search(header) is not None or '"errorType"' in header)


def read_export(path: Path, picks: Picks) -> SignalSeries:
    """Raises TraceError; the fault's place is told as the character, since an export is one line."""
    totals, chooser = Totals(), Chooser(picks)
    with open_text(path) as file:
        text = _Pieces(path, file)
        for labels in _series(text):
            name = labels.get("__name__", "")
            counter = is_counter(name)
            try:
                signal = chooser.signal(name, counter=counter)
            except ValueError as fault:
                raise TraceError(path, 0, str(fault)) from None
            if signal is None:
                continue
            times_s, values = _points(text, labels)
            values = increase_per_s(times_s, values) if counter else values
            values[values < 0] = np.nan  # impossible of every signal; noise of delta()
            if (over := np.flatnonzero(values > most(signal))).size:
                words = (
                    f"the series {labels} at {times_s[over[0]]:.12g}: {too_much(signal, values[over[0]])}; {EXPORT_IT_DIVIDED}"
                )
                raise TraceError(path, 0, words)
            totals.add(signal, times_s, values)
    try:
        chooser.check()
    except ValueError as fault:
        raise TraceError(path, 0, str(fault)) from None
    return totals.series(path)


class _Pieces:
    """A text that is looked at through a window; `at` is where the window is looked at."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self._file = file
        self._before = 0
        self.text = ""
        self.at = 0

    def more(self) -> bool:
        """Drops what was looked at and reads on; False at the end."""
        piece = self._file.read(_PIECE)
        self._before += self.at
        self.text = self.text[self.at :] + piece
        self.at = 0
        return bool(piece)

    def find(self, pattern: re.Pattern[str], longest: int = 4096) -> re.Match[str] | None:
        """The next match, looked up to; None where there is none any more. longest: of a match."""
        while True:
            found = pattern.search(self.text, self.at)
            # A match at the very end might go on in the next piece.
            if found is not None and found.end() < len(self.text):
                self.at = found.end()
                return found
            if found is None:
                self.at = max(self.at, len(self.text) - longest)
            if not self.more():
                if found is not None:
                    self.at = len(self.text)
                return found

    def fault(self, words: str) -> TraceError:
        return TraceError(self.path, 0, f"character {self._before + self.at}: {words}")


def _series(text: _Pieces) -> Iterator[dict[str, str]]:
    """The labels of each series; `text` then stands at its values."""
    if not text.more():
        raise TraceError(text.path, 1, "is empty")
    if _FAULT.search(text.text, 0, 65536) and '"metric"' not in text.text[:65536]:
        found = _FAULT.search(text.text)
        raise TraceError(text.path, 1, f"is an error that Prometheus answered with: {found[1] if found else ''}")
    labels: dict[str, str] | None = None
    while (found := text.find(_NEXT)) is not None:
        if found[1] == "metric":
            labels = _labels(text)
        elif found[1] == "value":
            raise text.fault("is the answer of an instant query; a range query is needed (/api/v1/query_range)")
        elif labels is None or found[2] is None:
            raise text.fault("values without a metric before them")
        else:
            yield labels
            labels = None


def _labels(text: _Pieces) -> dict[str, str]:
    decoder = json.JSONDecoder()
    while True:
        try:
            found, end = decoder.raw_decode(text.text, text.at)
            break
        except json.JSONDecodeError:
            if len(text.text) - text.at > _LARGEST_LABELS or not text.more():
                raise text.fault(f"labels are expected (is: {text.text[text.at : text.at + 60]!r})") from None
    text.at = end
    if not isinstance(found, dict):
        raise text.fault(f"labels are expected (is: {found!r})")
    return {str(key): str(value) for key, value in found.items()}


def _points(text: _Pieces, labels: dict[str, Any]) -> tuple[Floats, Floats]:
    """Times and values of the series whose values the text stands at."""
    times: list[Floats] = []
    values: list[Floats] = []
    while True:
        if text.find(_NOT_BLANK) is None:
            raise text.fault(f"the file ends in the middle of the series {labels}")
        text.at -= 1
        if text.text[text.at : text.at + 1] == "]":
            break
        end = _END.search(text.text, text.at)
        stop = end.start() + 1 if end is not None else text.text.rfind("]", text.at) + 1
        region = text.text[text.at : max(stop, text.at)]
        pairs = _PAIR.findall(region)
        if len(pairs) != region.count("["):
            raise text.fault(f'[time, "value"] is expected in the series {labels} (is: {_odd(region)!r})')
        try:
            times.append(np.array([pair[0] for pair in pairs], dtype=np.float64))
            values.append(np.array([pair[1] for pair in pairs], dtype=np.float64))
        except ValueError as fault:
            raise text.fault(f"a number is expected in the series {labels} ({fault})") from None
        text.at += len(region)
        if end is None and not text.more():
            raise text.fault(f"the file ends in the middle of the series {labels}")
    times_s, found = np.concatenate(times) if times else np.empty(0), np.concatenate(values) if values else np.empty(0)
    found[~np.isfinite(found)] = np.nan
    if (np.diff(times_s) <= 0).any():
        raise text.fault(f"the times of the series {labels} don't rise")
    return times_s, found


def _odd(region: str) -> str:
    """What is left of a region without its good pairs."""
    return re.sub(r"[\s,]+", " ", _PAIR.sub("", region)).strip()[:60]


def write_export(series: SignalSeries, file: IO[str]) -> None:
    """One series a signal, called as it; a gap is NaN, so that the grid stays."""
    file.write('{"status":"success","data":{"resultType":"matrix","result":[')
    for number, (name, values) in enumerate(series.signals.items()):
        file.write(f'{"," if number else ""}\n{{"metric":{{"__name__":"{name}"}},"values":[')
        for place, value in enumerate(values.tolist()):
            at_s = short_number(series.start_s + series.step_s * place)
            file.write(f'{"," if place else ""}[{at_s},"{"NaN" if value != value else short_number(value)}"]')
        file.write("]}")
    file.write("\n]}}\n")


FORMAT = Format(
    name="prometheus",
    summary="JSON of a Prometheus range query",
    matches=lambda _path, header: _matches(header),
    signals=read_export,
    write_signals=write_export,
)
