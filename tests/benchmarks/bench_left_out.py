"""What `predictive` costs on a recording that had no say in its settings: chosen on four recordings, told on the fifth.

The choice is made as ours was: of all settings of a grid that keep 99.5 % on each recording, and change the count 15 times an hour at most on
average, the one of the lowest geometric mean of costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final, TypeAlias

from tests.benchmarks.bench_promise import RECORDED, geomean, on_recording
from tests.benchmarks.bench_replay import one
from tests.benchmarks.registry import Figure, benchmark

Setting: TypeAlias = Mapping[str, float]
FROZEN: Final[Setting] = {"miss": 1.15, "keep": 0.55, "drain_s": 50.0, "aim": 0.9, "room": 2.0}
"""The defaults."""
GRID: Final[tuple[Setting, ...]] = (
    *(
        {**FROZEN, "miss": miss, "keep": keep, "drain_s": drain_s}
        for miss, keep, drain_s in product((0.8, 1.0, 1.15, 1.3, 1.6, 2.0), (0.2, 0.35, 0.55, 0.75), (25.0, 35.0, 50.0, 70.0))
    ),
    *({**FROZEN, "miss": miss, "aim": aim} for miss, aim in product((1.0, 1.15, 1.3, 1.6), (0.8, 1.0))),
    *({**FROZEN, "room": room} for room in (1.0, 3.0)),
)
LEAST_PP: Final = 99.5
MOST_ACTIONS_PER_H: Final = 15.0
_AT: Final = 1  # 99.5 %, of a recording's clairvoyant hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A setting on a recording. cost_ratio: hours ÷ the clairvoyant's."""

    attained_pp: float
    cost_ratio: float
    actions_per_h: float


def tried(name: str) -> list[Tried]:
    """Each setting of GRID on a recording: one replay of as many services."""
    specs = [replace(one("predictive", **setting), name=f"setting-{number}") for number, setting in enumerate(GRID)]
    hours = RECORDED[name].clairvoyant_h[_AT]
    return [
        Tried(
            attained_pp=100 * score["attained_ratio"],
            cost_ratio=score["replica_hours"] / hours,
            actions_per_h=score["actions_per_h"],
        )
        for score in on_recording(name, specs)
    ]


def chosen(found: Mapping[str, Sequence[Tried]]) -> int:
    """Which setting of GRID is best on these recordings; where none keeps to both bounds on all, the one that comes nearest."""

    def worth(number: int) -> tuple[float, float, float]:
        rows = [of_one[number] for of_one in found.values()]
        short = max(0.0, *(LEAST_PP - row.attained_pp for row in rows))
        restless = max(0.0, sum(row.actions_per_h for row in rows) / len(rows) - mean_actions(found))
        return short, restless, geomean([row.cost_ratio for row in rows])

    return min(range(len(GRID)), key=worth)


def mean_actions(found: Mapping[str, Sequence[Tried]]) -> float:
    """What the defaults take on these recordings; at least the goal."""
    frozen = GRID.index(FROZEN)
    return max(MOST_ACTIONS_PER_H, sum(rows[frozen].actions_per_h for rows in found.values()) / len(found))


@benchmark("cost_ratio_geomean_995_left_out", only_named=True)
def bench_left_out() -> dict[str, Figure]:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(RECORDED, pool.map(tried, RECORDED), strict=True))
    return {"cost_ratio_geomean_995_left_out": left_out(found)}


def left_out(found: Mapping[str, Sequence[Tried]]) -> Figure:
    """Each recording's own row: the setting chosen without it, told on it, beside the defaults."""
    frozen = GRID.index(FROZEN)
    detail: dict[str, Any] = {}
    for name, rows in found.items():
        best = chosen({other: theirs for other, theirs in found.items() if other != name})
        detail[name] = {
            "chosen": _differing(best),
            "cost_ratio": rows[best].cost_ratio,
            "attained_pp": rows[best].attained_pp,
            "frozen_cost_ratio": rows[frozen].cost_ratio,
            "frozen_attained_pp": rows[frozen].attained_pp,
        }
    value = geomean([detail[name]["cost_ratio"] for name in found])
    of_all = chosen(found)
    detail["all"] = {"chosen": _differing(of_all), "geomean": geomean([rows[of_all].cost_ratio for rows in found.values()])}
    detail["frozen_geomean"] = geomean([rows[frozen].cost_ratio for rows in found.values()])
    return Figure(value=value, unit="×", goal="≤ 1.10", detail=detail)


def _differing(number: int) -> dict[str, float]:
    """What of a setting is not as in the defaults."""
    return {key: value for key, value in GRID[number].items() if value != FROZEN[key]}
