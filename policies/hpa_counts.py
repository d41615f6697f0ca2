"""From a metric to a count, as the HorizontalPodAutoscaler does it: one function a kind of metric, for rows at once.

Source: kubernetes pkg/controller/podautoscaler/replica_calculator.go (1.36). Metric values and targets are whole thousandths there
(``Quantity.MilliValue``, which rounds up), utilizations whole percents (which are cut off); so they are here. All arrays (n,), counts
float64 with NaN where the HPA would fail to compute one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.model import Bools, Floats, Ints
from autoscaler.core.rows import chosen, every, some

NOISE = 1e-12
"""A value this share above a whole number of thousandths is that number plus float noise."""
_UP, _DOWN = 1.0 - NOISE, 1.0 + NOISE
_THOUSAND = constant(1000.0 * _UP)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The ratios that change nothing, (n,): from `low` = 1 − tolerance down to `high` = 1 + tolerance up, both included."""

    low: Floats
    high: Floats

    def holds(self, ratio: Floats) -> Bools:
        return (self.low <= ratio) & (ratio <= self.high)


def thousandths(values: Floats) -> Floats:
    """Metric values as the HPA gets them."""
    whole: Floats = np.ceil(values * _THOUSAND)
    return whole


def average_value(value_m: Floats, target_m: Floats, pods: Floats, tolerance: Tolerance) -> Floats:
    """External (and Object) metric with AverageValue: the work divided by the target; within the tolerance of what there is
    (`pods`: status.replicas, ready or not) that stays."""
    if np.count_nonzero(pods) == len(pods):
        near = tolerance.holds(value_m / (target_m * pods))
    else:
        # Without pods the ratio is infinite (or 0 ÷ 0), which no tolerance holds.
        near = tolerance.holds(value_m / (target_m * np.maximum(pods, 1))) & (pods > 0)
    if every(near):
        return pods
    counts: Floats = chosen(near, pods, np.ceil(value_m / target_m))
    return counts


def total_value(value_m: Floats, target_m: Floats, ready: Ints, current: Ints, tolerance: Tolerance) -> Floats:
    """External (and Object) metric with Value: what is ready times value ÷ target. From zero: value ÷ target itself."""
    ratio = value_m / target_m
    count: Floats = np.where(tolerance.holds(ratio), current, np.ceil(ratio * ready))
    if np.count_nonzero(current) < len(current):
        count = np.where(current == 0, np.ceil(ratio), count)
    return count


@dataclass(frozen=True, slots=True)
class PodsKind:
    """How a mean over pods counts: `unit` parts of 1 (1000 thousandths, 100 percent), and whether the pods on their way are Pending or
    run without a sample yet (`missing`); the share of the unit that a missing pod counts as on the way down: the target, or at least `least_fill`
    (an HPA on a Resource's utilization takes 100 %)."""

    unit: float
    missing: bool
    least_fill: float


def mean_over_pods(
    mean: Floats, target: Floats, ready: Ints, away: Ints, current: Ints, tolerance: Tolerance, kind: PodsKind
) -> Floats:
    """Pods metric with AverageValue, Resource metric: `mean` over the `ready` pods that have a sample, `target` in whole units (thousandths
    or percents), `away` pods on their way.

    On the way up those count as 0. On the way down Pending ones count for nothing, missing ones as the target. Where that turns the
    direction round, or the count moves against it, nothing changes.
    """
    usage = np.floor(mean * (kind.unit * _DOWN))
    ratio = usage / target
    count: Floats = np.where(tolerance.holds(ratio), current, np.ceil(ratio * ready))
    if np.count_nonzero(away):
        fills = (away > 0) & ((ratio != 1.0) if kind.missing else (ratio > 1.0))
        if some(fills):
            count = np.where(fills, _filled(mean, target, ready, away, current, tolerance, kind, ratio), count)
        elif kind.missing:
            count = np.where(away > 0, current, count)
    if np.count_nonzero(ready) < len(ready):
        # No pod has a sample: the HPA fails to compute a count.
        count = np.where(ready > 0, count, np.nan)
    return count


def _filled(
    mean: Floats, target: Floats, ready: Ints, away: Ints, current: Ints, tolerance: Tolerance, kind: PodsKind, ratio: Floats
) -> Floats:
    total = mean * (kind.unit * _DOWN) * ready
    if kind.missing:
        total = total + np.where(ratio < 1.0, np.maximum(target, kind.least_fill) * away, 0.0)
    pods = ready + away
    new_ratio = np.floor(total / np.maximum(pods, 1)) / target
    count = np.ceil(new_ratio * pods)
    turned = ((ratio < 1.0) & (new_ratio > 1.0)) | ((ratio > 1.0) & (new_ratio < 1.0))
    against = ((new_ratio < 1.0) & (count > current)) | ((new_ratio > 1.0) & (count < current))
    stays = tolerance.holds(new_ratio) | turned | against
    return np.where(stays, current, count)
