"""What `predictive` costs on a recording that had no say in its settings: chosen on four recordings, told on the fifth.

Two ways to choose, since they differ: of all settings of a grid that keep 99.5 % on each recording, the one of the lowest geometric mean of costs;
and the same among those that change the count no more often than the goal allows, or than the defaults do on these recordings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final, TypeAlias

from policies.predictive import POLICY
from tests.benchmarks.bench_promise import RECORDED, geomean, on_recording
from tests.benchmarks.bench_replay import one
from tests.benchmarks.registry import Figure, benchmark

Setting: TypeAlias = Mapping[str, float]
CHOSEN: Final = ("miss", "keep", "drain_s", "aim", "room")
FROZEN: Final[Setting] = {
    parameter.name: float(str(parameter.default)) for parameter in POLICY.parameters if parameter.name in CHOSEN
}
"""The defaults."""
GRID: Final[tuple[Setting, ...]] = (
    *(
        {**FROZEN, "miss": miss, "keep": keep, "drain_s": drain_s}
        for miss, keep, drain_s in product((0.8, 0.95, 1.05, 1.15, 1.3, 1.6), (0.2, 0.35, 0.52, 0.75), (25.0, 35.0, 50.0, 70.0))
    ),
    *({**FROZEN, "miss": miss, "aim": aim} for miss, aim in product((0.95, 1.05, 1.15, 1.3), (0.8, 1.0))),
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


def chosen(found: Mapping[str, Sequence[Tried]], *, few_actions: bool) -> int:
    """Which setting of GRID is best on these recordings; where none keeps to the bounds on all, the one that comes nearest."""

    def worth(number: int) -> tuple[float, float, float]:
        rows = [of_one[number] for of_one in found.values()]
        short = max(0.0, *(LEAST_PP - row.attained_pp for row in rows))
        restless = max(0.0, sum(row.actions_per_h for row in rows) / len(rows) - most_actions(found))
        return short, restless if few_actions else 0.0, geomean([row.cost_ratio for row in rows])

    return min(range(len(GRID)), key=worth)


def most_actions(found: Mapping[str, Sequence[Tried]]) -> float:
    """The goal, or what the defaults take on these recordings where that is more: they are always among those to choose from."""
    frozen = GRID.index(FROZEN)
    return max(MOST_ACTIONS_PER_H, sum(rows[frozen].actions_per_h for rows in found.values()) / len(found))


@benchmark("cost_ratio_geomean_995_left_out", only_named=True)
def bench_left_out() -> dict[str, Figure]:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(RECORDED, pool.map(tried, RECORDED), strict=True))
    by_cost, calm = left_out(found, few_actions=False), left_out(found, few_actions=True)
    detail = {"by_cost_alone": by_cost, "with_few_actions": calm}
    return {"cost_ratio_geomean_995_left_out": Figure(value=by_cost["geomean"], unit="×", goal="≤ 1.10", detail=detail)}


def left_out(found: Mapping[str, Sequence[Tried]], *, few_actions: bool) -> dict[str, Any]:
    """Each recording's own row: the setting chosen without it, told on it, beside the defaults."""
    frozen = GRID.index(FROZEN)
    table: dict[str, Any] = {}
    for name, rows in found.items():
        best = chosen({other: theirs for other, theirs in found.items() if other != name}, few_actions=few_actions)
        table[name] = {
            "chosen": _differing(best),
            "cost_ratio": rows[best].cost_ratio,
            "attained_pp": rows[best].attained_pp,
            "actions_per_h": rows[best].actions_per_h,
            "frozen_cost_ratio": rows[frozen].cost_ratio,
            "frozen_attained_pp": rows[frozen].attained_pp,
        }
    of_all = chosen(found, few_actions=few_actions)
    of_all_rows = [rows[of_all] for rows in found.values()]
    table["all"] = {"chosen": _differing(of_all), "geomean": geomean([row.cost_ratio for row in of_all_rows])}
    table["geomean"] = geomean([table[name]["cost_ratio"] for name in found])
    table["frozen_geomean"] = geomean([rows[frozen].cost_ratio for rows in found.values()])
    return table


def _differing(number: int) -> dict[str, float]:
    """What of a setting is not as in the defaults."""
    return {key: value for key, value in GRID[number].items() if value != FROZEN[key]}
