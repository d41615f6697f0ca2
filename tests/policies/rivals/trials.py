"""What is tried on the real HPA: metrics of each kind, random behavior, made and recorded series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from autoscaler.core.model import Floats, ParamValue
from replay.standard.make_traces import office_week
from replay.traces.registry import read_trace
from tests.policies.rivals.trial import Trial
from tests.realparts.api import Object

SYNCS = 50
RECORDED_SYNCS = 40
TARGET = 10.0
SHARE = 0.6
MOST = 14
RECORDED = {"llm-large-week1": 180, "nasa-july-1to14": 30}
"""Recordings, and how many of their bins make one value: half an hour in both."""
RECORDED_FROM = (120, 230)
"""Which values a slice begins with; each is twenty hours."""


def random_trials() -> list[Trial]:
    rng = np.random.default_rng(11)
    trials = []
    for number in range(10):
        params, behavior = _behavior(rng, number)
        trials.append(Trial(f"external-{number}", {**params, **_metric("External")}, behavior, _work(rng, number), MOST, 0.3))
    for number in range(3):
        params, behavior = _behavior(rng, number)
        trials.append(Trial(f"value-{number}", {**params, **_metric("ExternalValue")}, behavior, _level(rng, number), MOST, 1.5))
    for number, starting in enumerate(("pending", "missing", "pending", "missing")):
        params, behavior = _behavior(rng, number, quick=number > 1)
        given = {**params, **_metric("Pods"), "starting": starting}
        trials.append(Trial(f"pods-{starting}-{number}", given, behavior, _level(rng, number), MOST, 3.0))
    for number, (starting, share) in enumerate((("pending", SHARE), ("missing", SHARE), ("missing", 1.3), ("pending", 0.35))):
        params, behavior = _behavior(rng, number + 2, quick=True)
        given = {**params, **_metric("Resource"), "target": share, "starting": starting}
        level = _level(rng, number) / TARGET * share
        trials.append(Trial(f"memory-{starting}-{number}", given, behavior, level, MOST, 3.0))
    return trials


def recorded_trials(folder: Path) -> list[Trial]:
    """Slices of recorded weeks as the work in flight of all pods, which need 7 on average."""
    rng = np.random.default_rng(13)
    trials: list[Trial] = []
    for trace, bins in RECORDED.items():
        counts = read_trace(folder / f"{trace}.csv.gz").counts
        values = counts[: len(counts) // bins * bins].reshape(-1, bins).mean(axis=1)
        for number, first in enumerate(RECORDED_FROM):
            work = values[first : first + RECORDED_SYNCS + 5]
            work = 7 * work / work.mean()
            for kind, starting in (("External", "pending"), ("Pods", "pending"), ("Pods", "missing"), ("Resource", "missing")):
                params, behavior = _behavior(rng, len(trials) + 2, quick=True)
                given = {**params, **_metric(kind), "starting": starting}
                name = f"{trace.split('-')[0]}-{number}-{kind.lower()}-{starting}"
                own = work * (SHARE if kind == "Resource" else TARGET)
                trials.append(Trial(name, given, behavior, own, MOST, 0.3 if kind == "External" else 2.0, divided=True))
    return trials


def _metric(kind: str) -> dict[str, ParamValue]:
    signal = "utilization" if kind in ("Pods", "Resource") else "concurrency"
    return {"signal": signal, "metric": kind, "target": SHARE if kind == "Resource" else TARGET}


def _behavior(rng: np.random.Generator, number: int, quick: bool = False) -> tuple[dict[str, ParamValue], Object | None]:
    """The same behavior for ours and for the real one. The first has none, the second the defaults.

    quick: little holds the count, so that it shows each step from metric to count.
    """
    if number == 0:
        return {"behavior": False}, None
    if number == 1:
        return {}, {"scaleUp": {"selectPolicy": "Max"}}
    params: dict[str, ParamValue] = {}
    behavior: Object = {}
    for side, field in (("up", "scaleUp"), ("down", "scaleDown")):
        policies = [
            (int(rng.integers(1, 4)) + 3 * quick, "Pods", int(rng.integers(2, 7))),
            (int(rng.integers(10, 120)), "Percent", int(rng.integers(2, 7))),
        ][: int(rng.integers(1, 3))]
        window_s = int(rng.choice([0, 0, 2] if quick else [0, 3, 5, 8]))
        select = "Max" if quick else str(rng.choice(["Max", "Max", "Min"]) if number % 7 != 3 or side == "up" else "Disabled")
        tolerance = float(rng.choice([0.0, 0.05, 0.1] if quick else [0.0, 0.05, 0.1, 0.25]))
        params[f"scale_{side}"] = "; ".join(f"{value} {kind}/{period}s" for value, kind, period in policies)
        params[f"scale_{side}_window_s"] = window_s
        params[f"scale_{side}_select"] = select
        params[f"scale_{side}_tolerance"] = tolerance
        behavior[field] = {
            "stabilizationWindowSeconds": window_s,
            "selectPolicy": select,
            "tolerance": f"{tolerance:g}",
            "policies": [{"type": kind, "value": value, "periodSeconds": period} for value, kind, period in policies],
        }
    return params, behavior


def _shape(rng: np.random.Generator, number: int) -> Floats:
    """A series of mean 1: recorded traffic's shape, a random walk, steps, spikes; some values are missing."""
    n = SYNCS + 5
    shapes: list[Any] = [
        lambda: office_week(np.linspace(86_400 + 6 * 3600, 86_400 + 20 * 3600, n)) * rng.normal(1, 0.08, n),
        lambda: np.exp(np.cumsum(rng.normal(0, 0.15, n))),
        lambda: np.repeat(rng.uniform(0.1, 2.0, n // 6 + 1), 6)[:n],
        lambda: 0.3 + 2.5 * (rng.random(n) < 0.15) + rng.uniform(0, 0.2, n),
        lambda: 1 + 0.9 * np.sin(np.arange(n) / 5) + rng.normal(0, 0.05, n),
    ]
    values: Floats = np.maximum(np.asarray(shapes[number % len(shapes)](), dtype=np.float64), 0.0)
    values = values / values.mean()
    values[rng.random(n) < 0.05] = np.nan
    return values


def _work(rng: np.random.Generator, number: int) -> Floats:
    """Work in flight that needs 7 replicas on average. Some values are exact multiples of the target."""
    values = 7 * TARGET * _shape(rng, number)
    exact = rng.random(len(values)) < 0.2
    return np.where(exact, np.round(values / TARGET) * TARGET, values)


def _level(rng: np.random.Generator, number: int) -> Floats:
    """A level around the target, whatever the count is: what an HPA does with it goes up and down without end."""
    shape = _shape(rng, number)
    return TARGET * np.clip(shape, 0.3, 1.9)
