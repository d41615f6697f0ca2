"""Ratios are 0 to 1, and a percentage among them is refused: read as a ratio it would ask for a hundred times the replicas."""

from __future__ import annotations

import math
from typing import Final

from autoscaler.core.signals import SIGNALS

_MOST: Final = {name: 10.0 if name == "utilization" else 1.05 for name, signal in SIGNALS.items() if signal.unit == "ratio"}
"""What is above is no ratio. A little more than 1 is a rounded reading; `utilization` is what runs ÷ what a replica sustains, and more than
that may run."""


def most(signal: str) -> float:
    """The largest value that a signal may have: infinite for all but ratios."""
    return _MOST.get(signal, math.inf)


def too_much(signal: str, value: float) -> str:
    """Of a value above that, what is allowed instead."""
    allowed = "0 to 1" if signal != "utilization" else f"a ratio, 1 for full and at most {_MOST[signal]:g},"
    return f"{signal}: {allowed} is allowed (is: {value:g}; a percentage?)"


EXPORT_IT_DIVIDED: Final = "a range query of it ÷ 100, or `replay record`, gives the ratio"
"""What to do where series come as they were scraped, such as DCGM's percentages."""
