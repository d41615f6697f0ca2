"""What replicas really do, where it is not what the manifest says: another speed, one that drifts or jumps, and GPUs of several types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Floats
from autoscaler.spec import duration_s
from replay.scenario import Replicas

_STEP_S = 60
"""It moves once a minute, so that it doesn't depend on the steps in which a plant is moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """times_s, factors (p,): what is done ÷ what the manifest says, straight lines between these moments and level outside; of two of the
    same moment the later is from then on. mixed (k,): further factors that replicas have by turns, in the order in which they start."""

    times_s: Floats
    factors: Floats
    mixed: Floats

    def factor(self, at_s: int) -> float:
        """Of all replicas at a moment, in seconds from the trace's start."""
        at_s = at_s // _STEP_S * _STEP_S
        after = int(self.times_s.searchsorted(at_s, side="right"))
        if after == 0 or after == len(self.times_s):
            return float(self.factors[max(after - 1, 0)])
        return float(np.interp(at_s, self.times_s[after - 1 : after + 1], self.factors[after - 1 : after + 1]))

    def factors_at(self, times_s: Floats) -> Floats:
        """The same for many moments (r,), rising."""
        minutes = times_s // _STEP_S
        every, place = np.unique(minutes, return_inverse=True)
        return np.array([self.factor(int(minute) * _STEP_S) for minute in every], dtype=np.float64)[place]

    def mean_of(self, replicas: int) -> float:
        """The mean of the first so many replicas' own factors; of the first alone where there are none."""
        kinds = len(self.mixed)
        whole, rest = divmod(max(replicas, 1), kinds)
        return float((whole * self.mixed.sum() + self.mixed[:rest].sum()) / max(replicas, 1))

    def capacity_per_s(self, given_per_s: Floats, ready: Floats, at_s: int) -> Floats:
        """Requests/s of a ready replica on average, (n,)."""
        mean = [self.mean_of(count) for count in ready.astype(np.int64).tolist()]
        return given_per_s * (self.factor(at_s) * np.array(mean))


def throughput_of(replicas: Replicas) -> Throughput | None:
    """None where replicas do what the manifest says."""
    if not replicas.throughput and not replicas.mixed:
        return None
    times: list[float] = [0.0]
    factors: list[float] = [1.0]
    for point in replicas.throughput:
        from_s = duration_s(point.at)
        times += [from_s, from_s + duration_s(point.over)]
        factors += [factors[-1], point.factor]
    return Throughput(times_s=np.array(times), factors=np.array(factors), mixed=_mixed(replicas.mixed))


def _mixed(factors: Sequence[float]) -> Floats:
    return np.array(factors or [1.0], dtype=np.float64)
