"""Made flash crowds: how far `predictive` overshoots, and what it costs and keeps beside the best setting of `reactive` in hindsight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np
from msgspec.structs import replace as with_settings

from autoscaler.core.model import Floats, ScalingSpec
from replay.plant.kernel import compiled
from replay.plugins import installed
from replay.run import Result, play
from replay.scenario import load_scenario
from replay.world import build_world
from tests.benchmarks.bench_replay import DAY_S, STANDARD, one
from tests.benchmarks.registry import Figure, benchmark

BASES: Final = (8.0, 3.0)
"""Replicas that the plain traffic needs at full throughput."""
FACTORS: Final = (2.0, 5.0, 20.0)
RAMPS_S: Final = (10, 60, 600)
LASTS_S: Final = 1800
"""From the surge's first second to its last one; all of that is scored, nothing else."""
DRAIN_S: Final = 30.0
"""A backlog justifies what works it off within this time."""
MOST: Final = 4000
"""Replicas: no bound may hide a runaway. The standard scenario's 120 would be less than the largest surge alone needs."""
HEADROOMS: Final = (0.0, 0.1, 0.25, 0.5)
HOLDS_S: Final = (0.0, 120.0, 300.0)
DRAINS_S: Final = (15.0, 30.0, 60.0, 120.0)
REACTIVE_WARMUP_S: Final = 7200
"""`reactive` remembers an hour: of longer warm-ups nothing would be left but their computing time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surge:
    """Plain traffic of `base` replicas' worth that becomes `factor` times as much within `ramp_s`."""

    base: float
    factor: float
    ramp_s: int

    @property
    def name(self) -> str:
        return f"{self.base:g} replicas ×{self.factor:g} in {self.ramp_s} s"

    def rates_per_s(self, warmup_s: int, own_per_s: float) -> Floats:
        """Mean arrivals in each second: of the warm-up and of the surge."""
        risen = np.minimum(np.arange(1, LASTS_S + 1) / self.ramp_s, 1.0)
        course = np.concatenate([np.ones(warmup_s), 1.0 + (self.factor - 1.0) * risen])
        return np.asarray(self.base * own_per_s * course)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridden:
    """How a surge was ridden out."""

    attained_ratio: float
    replica_hours: float


def surges() -> Iterator[Surge]:
    for base, factor, ramp_s in product(BASES, FACTORS, RAMPS_S):
        yield Surge(base=base, factor=factor, ramp_s=ramp_s)


def arrivals(met: Sequence[Surge], own_per_s: float) -> Floats:
    """Drawn (Poisson), (surges, T), after a day of warm-up: the very same for every policy."""
    rng = np.random.Generator(np.random.PCG64(12))
    return np.stack([rng.poisson(surge.rates_per_s(DAY_S, own_per_s)) for surge in met]).astype(np.float64)


def ridden(specs: Sequence[ScalingSpec], demand: Floats, warmup_s: int, keep: bool) -> tuple[Result, list[Ridden]]:
    """One replay of all services; demand (n, T) ends with the surge."""
    scenario = with_settings(load_scenario(STANDARD / "scenario.yaml"), warmup=f"{warmup_s}s")
    world = build_world(specs, (), scenario, demand, keep_series=keep, kernel=compiled())
    names = {ref.name for spec in specs for ref in spec.policies}
    result = play(world, scenario, policies=installed(names), keep_rows=keep)
    scores = result.score["services"].values()
    return result, [Ridden(attained_ratio=one["attained_ratio"], replica_hours=one["replica_hours"]) for one in scores]


def named(spec: ScalingSpec, name: str) -> ScalingSpec:
    return replace(spec, name=name, max_replicas=MOST)


def hindsight(met: Sequence[Surge], demand: Floats) -> list[list[Ridden]]:
    """By surge: what every setting of `reactive` in the grid makes of it."""
    grid = list(product(HEADROOMS, HOLDS_S, DRAINS_S))
    made = [one("reactive", headroom=headroom, hold_s=hold_s, drain_s=drain_s) for headroom, hold_s, drain_s in grid]
    specs = [named(spec, f"surge-{row}-{number}") for row in range(len(met)) for number, spec in enumerate(made)]
    recent = np.repeat(demand[:, DAY_S - REACTIVE_WARMUP_S :], len(grid), axis=0)
    _, found = ridden(specs, recent, REACTIVE_WARMUP_S, keep=False)
    return [found[row * len(grid) : (row + 1) * len(grid)] for row in range(len(met))]


def cheapest(rivals: Sequence[Ridden], attained_ratio: float) -> Ridden | None:
    """The cheapest of those that attain at least as much; None: none of them does."""
    as_good = [rival for rival in rivals if rival.attained_ratio >= attained_ratio]
    return min(as_good, key=lambda rival: rival.replica_hours, default=None)


@benchmark("surge_peak_ratio_max")
def bench_surges() -> dict[str, Figure]:
    met = list(surges())
    spec = one("predictive")
    own_per_s = spec.capacity.per_s
    demand = arrivals(met, own_per_s)
    result, found = ridden([named(spec, f"surge-{row}") for row in range(len(met))], demand, DAY_S, keep=True)
    began = int(np.searchsorted(result.ledger.at_s - result.world.start_s, DAY_S))
    tick_s = result.world.plant.settings.tick_s
    ratios, detail = [], dict[str, Any]()
    for row, (surge, ours, rivals) in enumerate(zip(met, found, hindsight(met, demand), strict=True)):
        peak = int(result.ledger.column("desired", row)[began:].max())
        backlog = float(result.world.plant.queue_by_tick[row, DAY_S // tick_s :].max())
        justified = (surge.base * surge.factor * own_per_s + backlog / DRAIN_S) / own_per_s
        ratios.append(peak / justified)
        best = cheapest(rivals, ours.attained_ratio)
        detail[surge.name] = {
            "peak_ratio": round(ratios[-1], 3),
            "attained_pp": round(100 * ours.attained_ratio, 2),
            "most_attained_by_reactive_pp": round(100 * max(rival.attained_ratio for rival in rivals), 2),
            "hours": round(ours.replica_hours, 2),
            "hours_of_best_reactive": None if best is None else round(best.replica_hours, 2),
        }
    rivalled = [row for row in detail.values() if row["hours_of_best_reactive"] is not None]
    dearer = sum(row["hours"] > row["hours_of_best_reactive"] for row in rivalled)
    detail["dearer_than_best_reactive"] = f"{dearer} of {len(rivalled)}; in {len(met) - len(rivalled)} no setting attains as much"
    return {"surge_peak_ratio_max": Figure(value=max(ratios), unit="×", goal="≤ 2", detail=detail)}
