"""A small plot for the terminal."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.model import Floats
from replay.traces.series import CountSeries

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def plot(series: CountSeries, width: int = 72, height: int = 6) -> str:
    """Rates over time."""
    return plot_values(series.rates_per_s, series.span_s, "/s", width, height)


def plot_values(rates: Floats, span_s: float, unit: str = "", width: int = 72, height: int = 6) -> str:
    """Values over time, the highest of each column (so that peaks are seen); columns without data are blank."""
    width = min(width, len(rates))
    edges = np.linspace(0, len(rates), width + 1).astype(np.int64)
    peaks = [float(np.nanmax(part)) if not np.isnan(part).all() else 0.0 for part in np.split(rates, edges[1:-1])]
    top = max(peaks) or 1.0
    eighths = [round(peak / top * height * 8) for peak in peaks]
    rows = []
    for level in range(height - 1, -1, -1):
        label = f"{top:.3g}{unit}" if level == height - 1 else "0" if level == 0 else ""
        rows.append(f"{label:>9} │" + "".join(_BLOCKS[min(max(one - level * 8, 0), 8)] for one in eighths))
    end = f"{span_s / 3600:.1f} h"
    rows.append(f"{'':>9} └{'─' * width}")
    rows.append(f"{'':>11}0{end:>{max(width - 1, 1)}}")
    return "\n".join(rows)
