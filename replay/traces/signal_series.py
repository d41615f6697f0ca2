"""Several signals over time, as they were recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Floats
from autoscaler.errors import UsageError
from replay.traces.series import CountSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSeries:
    """signals: name → values (k,) in the signal's unit, one at each of ``start_s + i × step_s``; NaN where the recording has a gap.

    start_s: on the recording's own clock (Unix seconds where the file says so). A value speaks of the moment or, of a rate, of the span
    that ends there.
    """

    name: str
    start_s: float
    step_s: float
    signals: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(next(iter(self.signals.values())))

    @property
    def span_s(self) -> float:
        return self.step_s * len(self)


def demand_series(series: SignalSeries) -> CountSeries:
    """The demand as requests by bin, each bin ending at its reading. Raises UsageError where there is no demand."""
    demand = series.signals.get("demand")
    if demand is None or np.isnan(demand).all():
        raise UsageError(
            f"trace {series.name}: holds no demand, only {', '.join(series.signals)}; `replay run` and `replay compare` drive policies "
            "with it open-loop, everything else needs a trace of requests"
        )
    return CountSeries(
        name=series.name, start_s=series.start_s - series.step_s, bin_s=series.step_s, counts=demand * series.step_s
    )
