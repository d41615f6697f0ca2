"""How much capacity a demand needs so that few requests wait too long, and how many replicas that is.

All functions take scalars or arrays that broadcast, and only compute: NaN in gives NaN out.

The queueing rule. In any span of t seconds at most ``λt + z·√(φλt)`` requests arrive, except as rarely as the z of a normal
distribution says (φ: how much burstier than Poisson the counts are). With capacity C the backlog then never exceeds
``max over t of λt + z·√(φλt) − Ct = z²φλ ÷ (4(C − λ))``, and it is served within X seconds when that is at most ``C·X``:

    (C − λ)·C ≥ z²φλ ÷ (4X),   so   C = (λ + √(λ² + z²φλ ÷ X)) ÷ 2

The margin grows with the root of the demand: a small service keeps relatively more room than a large one, which no fixed
utilization target does. Source: the envelope argument of Norros' storage model (Queueing Systems 16, 1994) for independent
increments; measured as the capacity rule of the recipe PRED-1, where it beat utilization targets on real traffic.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.model import Floats, Ints

Numbers: TypeAlias = Floats | float

ROUNDING = 1e-9
"""A count this share above a whole number is that number plus float noise: 21.000000000000004 replicas are 21."""

_KEEP = constant(1.0 - ROUNDING)


def needed_capacity_per_s(demand_per_s: Numbers, wait_s: Numbers, z: Numbers, dispersion: Numbers = 1.0) -> Any:
    """The smallest capacity in requests/s that keeps a demand's waits within `wait_s` (> 0) but for z's tail.

    z (≥ 0): how many standard deviations of the arrivals are provided for; 0 asks for the demand alone.
    dispersion (≥ 0): variance ÷ mean of the counts; 1 for a Poisson stream."""
    return capacity_with_slack_per_s(demand_per_s, z * z * dispersion / wait_s)


def capacity_with_slack_per_s(demand_per_s: Numbers, slack: Numbers) -> Any:
    """The same with slack = z²φ ÷ X (requests/s) computed before: it changes far more slowly than the demand."""
    return 0.5 * (demand_per_s + np.sqrt(demand_per_s * (demand_per_s + slack)))


def whole_replicas(replicas: Numbers) -> Any:
    """`replicas` rounded up to whole ones, but for float noise just above a whole number. Any work at all needs one."""
    return np.ceil(replicas * _KEEP)


def multiples_up(counts: Ints, multiple: Ints) -> Ints:
    """The counts in whole multiples, rounded up."""
    return -(-counts // multiple) * multiple


def multiples_down(counts: Ints, multiple: Ints) -> Ints:
    """The counts in whole multiples, rounded down."""
    return counts // multiple * multiple


def dispersion_of_counts(counts: Floats) -> Any:
    """Variance ÷ mean of counts in successive spans of equal length: counts (…, k) → (…). NaN where nothing can be told.

    The variance is half the mean square of successive differences (von Neumann 1941), which a slow trend does not inflate.
    A difference with a missing (NaN) end is left out."""
    counts = np.asarray(counts, dtype=np.float64)
    steps = np.diff(counts, axis=-1)
    means = 0.5 * (counts[..., 1:] + counts[..., :-1])
    known = ~np.isnan(steps)
    squares = np.where(known, steps * steps, 0.0).sum(axis=-1)
    total = np.where(known, means, 0.0).sum(axis=-1)
    return np.divide(0.5 * squares, total, out=np.full_like(total, np.nan), where=total > 0)


def step_dispersion_scale_s(window_s: Numbers, step_s: float) -> Any:
    """What turns ½·(difference of two rates)² ÷ rate into a dispersion, for rates that are means over `window_s` taken every `step_s`.

    Windows that overlap (window_s > step_s) share arrivals, so their differences vary less: by step ÷ window."""
    return window_s * window_s / np.minimum(window_s, step_s)
