"""Format ``servegen-rates``: how often one client of ServeGen's data asked, CSV without a header: ``start_s,rate,cv,pattern,parameters…``.

Source: ServeGen's data (``chunk-i-trace.csv``): requests/s in the window that begins at start_s; empty where the client was silent or was
not observed, which the files don't tell apart: it is read as zero, since a window of a client that asks nothing is what they mostly are.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Final

import numpy as np

from replay.traces.counts import number_of, on_grid
from replay.traces.error import TraceError
from replay.traces.files import open_text
from replay.traces.format import Format
from replay.traces.series import CountSeries

_FIRST: Final = re.compile(r"\d+(\.\d*)?,[\d.eE+-]*,[\d.eE+-]*,(Gamma|Weibull|Exponential|Poisson)?,.*")


def read_rates(path: Path) -> CountSeries:
    """Raises TraceError with the line, the value and what is allowed."""
    starts: list[float] = []
    rates: list[float] = []
    with open_text(path) as file:
        for line, cells in enumerate(csv.reader(file), 1):
            if not cells:
                continue
            if len(cells) < 2:
                raise TraceError(path, line, "has 1 value; start_s,rate,… is expected")
            starts.append(number_of(path, line, "start_s", cells[0]))
            rates.append(number_of(path, line, "rate", cells[1]) if cells[1].strip() else 0.0)
            if rates[-1] < 0:
                raise TraceError(path, line, f"rate: 0 or more is allowed (is: {cells[1].strip()})")
    if len(starts) < 2:
        raise TraceError(path, len(starts) + 1, "at least two windows are needed: without them their width is not known")
    windows = on_grid(path, np.array(starts), np.array(rates), header_lines=0)
    return CountSeries(name=windows.name, start_s=windows.start_s, bin_s=windows.bin_s, counts=windows.counts * windows.bin_s)


FORMAT = Format(
    name="servegen-rates",
    summary="CSV start_s,rate,cv,pattern,…: one client of ServeGen's data",
    matches=lambda _path, header: _FIRST.fullmatch(header) is not None,
    counts=read_rates,
)
