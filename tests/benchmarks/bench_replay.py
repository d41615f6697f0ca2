"""The replay's speed: a week on one core, how it grows, a sweep of 64 parameter sets as 64 services in one run; the memory of a month."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler.core.model import PolicyRef, PoolSpec, ScalingSpec
from autoscaler.manifests import load_manifests
from replay.plugins import installed
from replay.run import demand_of, play
from replay.scenario import Scenario, load_scenario
from replay.standard.make_traces import office_week
from replay.traces.registry import read_any
from replay.traces.series import CountSeries
from replay.world import build_world, services
from tests.benchmarks.registry import Figure, benchmark, cpu_times_s, one_core, spread
from tests.conftest import ROOT

STANDARD = ROOT / "replay" / "standard"
DAY_S = 86_400
SWEEP = 64
RECORDED = "llm-large-week1.csv.gz"


def week(days: int = 7) -> CountSeries:
    """A made week in bins of ten seconds, drawn, so that every second tick has something new to see."""
    rates = office_week(np.arange(0.0, days * DAY_S, 10.0))
    rng = np.random.Generator(np.random.PCG64(7))
    return CountSeries(name="week", start_s=0.0, bin_s=10.0, counts=rng.poisson(10 * rates).astype(np.float64))


def replayed(
    specs: tuple[ScalingSpec, ...], scenario: Scenario, trace: CountSeries, keep: bool, pools: Sequence[PoolSpec] = ()
) -> dict[str, Any]:
    world = build_world(specs, pools, scenario, demand_of(specs, scenario, trace), keep_series=keep)
    names = {ref.name for one in specs for ref in one.policies}
    return play(world, scenario, policies=installed(names), keep_rows=keep).score


def one(policy: str, **params: float | str) -> ScalingSpec:
    return services(load_manifests([STANDARD / "manifest.yaml"]), PolicyRef(name=policy, params=params))[0]


def recorded_week() -> CountSeries:
    """The shared recording where it is at hand, else the made week."""
    path = Path(os.environ.get("SHARED_TRACES", ROOT.parent / "shared" / "traces")) / RECORDED
    series = read_any(path) if path.exists() else week()
    assert isinstance(series, CountSeries)
    return series


@benchmark("replay_week_hpa_s")
def bench_hpa() -> dict[str, Figure]:
    scenario, spec, traces = load_scenario(STANDARD / "scenario.yaml"), one("hpa"), (recorded_week(), week())
    with one_core():
        found = [cpu_times_s(partial(replayed, (spec,), scenario, trace, True), repeats=3) for trace in traces]
    detail = {trace.name: spread(times) for trace, times in zip(traces, found, strict=True)}
    return {"replay_week_hpa_s": Figure(value=statistics.median(found[0]), unit="CPU s", goal="< 2", detail=detail)}


@benchmark("replay_week_predictive_s")
def bench_predictive() -> dict[str, Figure]:
    scenario, spec, traces = load_scenario(STANDARD / "scenario.yaml"), one("predictive"), (recorded_week(), week())
    with one_core():
        found = [cpu_times_s(partial(replayed, (spec,), scenario, trace, True), repeats=3) for trace in traces]
    detail = {trace.name: spread(times) for trace, times in zip(traces, found, strict=True)}
    return {"replay_week_predictive_s": Figure(value=statistics.median(found[0]), unit="CPU s", goal="< 8", detail=detail)}


_WITH_PEAK = """
try:
    main()
finally:
    print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)
"""
"""Not getrusage: its peak begins with that of the process that started this one."""


def peak_mb(days: int, records: bool) -> float:
    """The largest memory of a whole `replay run` of so many days, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.csv"
        made = week(days)
        rows = zip(np.arange(len(made.counts)) * made.bin_s, made.counts, strict=True)
        trace.write_text("offset_s,requests\n" + "".join(f"{at_s:g},{count:g}\n" for at_s, count in rows))
        output = ["-o", str(Path(folder) / "out")] if records else []
        words = ["run", "-t", str(trace), "-p", "target", "--json", *output]
        code = f"import sys; from replay.cli import main; sys.argv = ['replay', *{words!r}]\n{_WITH_PEAK}"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return int(done.stderr.split()[-1]) / 1024


@benchmark("replay_month_rss_mb")
def bench_memory() -> dict[str, Figure]:
    by_days = {
        name: {str(days): peak_mb(days, records) for days in (1, 7, 30)}
        for name, records in (("score", False), ("records", True))
    }
    return {
        "replay_month_rss_mb": Figure(
            value=max(by["30"] for by in by_days.values()), unit="MB", goal="< 500", detail={"by_days_mb": by_days}
        )
    }


@benchmark("replay_week_target_s", "replay_sweep64_ratio")
def bench_replay() -> dict[str, Figure]:
    scenario = load_scenario(STANDARD / "scenario.yaml")
    trace = week()
    by_policy = {}
    with one_core():
        for name in ("fixed", "target", "reactive"):
            spec = one(name, replicas=30) if name == "fixed" else one(name)
            by_policy[name] = statistics.median(cpu_times_s(partial(replayed, (spec,), scenario, trace, True), repeats=3))
        by_days = {
            str(days): cpu_times_s(partial(replayed, (one("target"),), scenario, week(days), True), repeats=1, warmup=0)[0]
            for days in (1, 7, 28)
        }
        sweep = tuple(replace(one("target", target=15 + 0.2 * number), name=f"set-{number}") for number in range(SWEEP))
        # Alike but for the number of services, and as `tune` runs its trials: no series, no records.
        one_s = statistics.median(cpu_times_s(partial(replayed, sweep[:1], scenario, trace, False), repeats=3))
        sweep_s = statistics.median(cpu_times_s(partial(replayed, sweep, scenario, trace, False), repeats=3, warmup=0))
    return {
        "replay_week_target_s": Figure(
            value=by_policy["target"], unit="CPU s", goal="< 3", detail={"by_policy_s": by_policy, "target_by_days_s": by_days}
        ),
        "replay_sweep64_ratio": Figure(value=sweep_s / one_s, unit="×", goal="≤ 6", detail={"sweep_s": sweep_s, "one_s": one_s}),
    }
