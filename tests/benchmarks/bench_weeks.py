"""Whether `predictive` gets better with what it has lived through, on the recording that has four weeks.

Two views. Each week beside the clairvoyant of that very week, and beside a policy that learns nothing of weeks. And the last week alone, by one that
began just before it, a week before it, two, three: the same traffic, so that what differs is what was learnt."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace as with_settings

from autoscaler.manifests import load_manifests
from replay.clairvoyant import optima
from replay.scenario import Scenario, load_scenario
from replay.traces.demand import scaled
from replay.traces.registry import read_any
from replay.traces.series import CountSeries
from tests.benchmarks.bench_promise import promising
from tests.benchmarks.bench_replay import STANDARD, replayed
from tests.benchmarks.registry import Figure, benchmark
from tests.conftest import ROOT

RECORDING: Final = "taxi-4weeks"
WEEKS: Final = 4
DAYS_BEFORE: Final = (0, 1, 2, 7, 14, 21)
_DAY_S: Final = 86_400


def recording() -> CountSeries:
    trace = read_any(Path(os.environ.get("SHARED_TRACES", ROOT.parent / "shared" / "traces")) / f"{RECORDING}.csv.gz")
    assert isinstance(trace, CountSeries)
    return trace


def of_week(week: int) -> Scenario:
    """The standard scenario up to the end of a week (0: the first), of which that week is scored; of the first one all but two days."""
    warmup = f"{7 * week}d" if week else "2d"
    return with_settings(load_scenario(STANDARD / "scenario.yaml"), warmup=warmup, length=f"{7 * (week + 1)}d")


def lived(job: tuple[str, int]) -> dict[str, Any]:
    """The scores of a week (0: the first), by one that has seen all before it; "optimum": the clairvoyant's."""
    policy, week = job
    if policy == "optimum":
        (found,) = optima(load_manifests([STANDARD / "manifest.yaml"]), of_week(week), recording())
        return {"attained_pp": 100 * found.attained_ratio, "replica_hours": found.replica_hours}
    return _shown(replayed(tuple(promising(policy, promises=(0.995,))), of_week(week), recording(), False))


def last_week(days: int) -> dict[str, Any]:
    """The scores of the last week by one that began so many days before it: the very same requests in it, whatever the days."""
    standard = load_scenario(STANDARD / "scenario.yaml")
    seconds = scaled(recording(), standard, promising("predictive")[0].capacity.per_s).arrivals
    begin_s = (7 * (WEEKS - 1) - days) * _DAY_S
    made = CountSeries(name=f"{days} days before", start_s=0.0, bin_s=1.0, counts=seconds[begin_s:])
    as_it_is = with_settings(standard.scale, mode="Factor", factor=1.0)
    scenario = with_settings(standard, warmup=f"{days}d", scale=as_it_is)
    return _shown(replayed(tuple(promising("predictive", promises=(0.995,))), scenario, made, False))


def _shown(score: dict[str, Any]) -> dict[str, Any]:
    return {"attained_pp": 100 * score["attained_ratio"], "replica_hours": score["replica_hours"]}


@benchmark("cost_ratio_last_week_995", only_named=True)
def bench_weeks() -> dict[str, Figure]:
    policies = ("optimum", "predictive", "reactive", "hpa")
    jobs = [(policy, week) for policy in policies for week in range(WEEKS)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        latest = pool.map(last_week, DAYS_BEFORE)
        by_job = dict(zip(jobs, pool.map(lived, jobs), strict=True))
        by_days = dict(zip(DAYS_BEFORE, latest, strict=True))
    hours = [by_job["optimum", week]["replica_hours"] for week in range(WEEKS)]
    detail: dict[str, Any] = {
        policy: {
            "cost_ratio": [by_job[policy, week]["replica_hours"] / hours[week] for week in range(WEEKS)],
            "attained_pp": [by_job[policy, week]["attained_pp"] for week in range(WEEKS)],
        }
        for policy in policies
    }
    detail["last_week_by_days_before"] = {
        str(days): {"cost_ratio": one["replica_hours"] / hours[-1], "attained_pp": one["attained_pp"]}
        for days, one in by_days.items()
    }
    return {"cost_ratio_last_week_995": Figure(value=detail["predictive"]["cost_ratio"][-1], unit="×", detail=detail)}
