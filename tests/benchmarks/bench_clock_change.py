"""What a change of clocks for summer or winter costs: people come an hour earlier or later, and what is learnt is kept in UTC.

Two made weeks of days with a steep morning, the users' clocks set in the night after, two days scored; beside the same without a change."""

from __future__ import annotations

from replay.scenario import load_scenario
from tests.benchmarks.bench_replay import STANDARD
from tests.benchmarks.registry import Figure, benchmark
from tests.policies.changed_clocks import after_a_change


@benchmark("clock_change_cost_ratio", only_named=True)
def bench_clock_change() -> dict[str, Figure]:
    scenario = load_scenario(STANDARD / "scenario.yaml")
    detail = {}
    for policy in ("predictive", "reactive"):
        found = after_a_change(scenario, policy, learnt_days=14, scored_days=2)
        detail[policy] = {
            name: {"attained_pp": attained, "cost_ratio": hours / found["none"][1]} for name, (attained, hours) in found.items()
        }
    value = max(row["cost_ratio"] for row in detail["predictive"].values())
    return {"clock_change_cost_ratio": Figure(value=value, unit="×", detail=detail)}
