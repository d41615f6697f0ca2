"""A request log: when each request came, and how many tokens it had."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Floats
from replay.traces.series import CountSeries

Tokens: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLog:
    """Requests in the order of their arrival, columns (r,).

    times_s: arrival in seconds from the recording's start, ≥ 0 and never falling. prompt_tokens, output_tokens: ≥ 0 each. start_s: the
    recording's start on its own clock (Unix seconds where the file says so, else 0), as in a CountSeries. Raises ValueError where the
    columns differ in length or times fall.
    """

    times_s: Floats
    prompt_tokens: Tokens
    output_tokens: Tokens
    name: str = ""
    start_s: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.times_s) == len(self.prompt_tokens) == len(self.output_tokens):
            raise ValueError("times_s, prompt_tokens and output_tokens differ in length")
        if len(self.times_s) and (self.times_s[0] < 0 or (np.diff(self.times_s) < 0).any()):
            raise ValueError("times_s: rising seconds from 0 on are allowed")

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def span_s(self) -> int:
        """Whole seconds that hold every request: the second of the last one ends it."""
        return math.floor(self.times_s[-1]) + 1 if len(self) else 0


def counted(log: RequestLog, bin_s: float = 1.0) -> CountSeries:
    """The log as a count series: requests in each bin from the recording's start on, the last bin whole."""
    bins = max(math.ceil(log.span_s / bin_s), 1)
    places = np.minimum((log.times_s / bin_s).astype(np.int64), bins - 1)
    counts = np.bincount(places, minlength=bins).astype(np.float64)
    return CountSeries(name=log.name, start_s=log.start_s, bin_s=bin_s, counts=counts)
