"""The clairvoyant optimum: how long a week takes on one core, how that grows, and how its hours stand beside known ones."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Final

from autoscaler.manifests import load_manifests
from replay.clairvoyant import optima
from replay.optimum import kernels
from replay.scenario import load_scenario
from replay.traces.registry import read_trace
from tests.benchmarks.bench_replay import STANDARD, week
from tests.benchmarks.registry import Figure, benchmark, one_core
from tests.conftest import ROOT

# Replica-hours of another programme's clairvoyant schedules at 99.5 %, paid waits for nodes included; warm-up 2 days.
KNOWN: Final = {
    "llm-large-week1": ("", 1955.0),
    "llm-small-week1": ("", 2717.3),
    "nasa-july-1to14": ("15m", 2683.1),
    "worldcup-june-7to20": ("15m", 2436.1),
    "taxi-4weeks": ("", 13889.0),
}


def solved_s(days: int, replicas: int = 40) -> tuple[float, float]:
    """CPU seconds for a made trace of so many days and so many replicas at its peak, and how far its schedule is above the bound (ratio)."""
    manifests = load_manifests([STANDARD / "manifest.yaml"], {"maxReplicas": str(3 * replicas)})
    scenario = load_scenario(STANDARD / "scenario.yaml", {"scale.replicas": str(replicas)})
    began_s = time.process_time()
    (found,) = optima(manifests, scenario, week(days))
    return time.process_time() - began_s, found.replica_hours / found.lower_bound_replica_hours


@benchmark("optimum_week_s")
def bench_optimum() -> dict[str, Figure]:
    with one_core():
        solved_s(1)  # compiles what is to be compiled
        by_days = {str(days): solved_s(days)[0] for days in (1, 2, 14)}
        by_replicas = {str(replicas): solved_s(1, replicas)[0] for replicas in (20, 40, 80)}
        week_s, above_bound = solved_s(7)
    detail = {
        "cpu_s_by_days": {**by_days, "7": week_s},
        "cpu_s_a_day_by_replicas": by_replicas,
        "above_bound_ratio": above_bound,
        "numba": kernels.compiled() is not None,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return {"optimum_week_s": Figure(value=week_s, unit="s", goal="< 60", detail=detail)}


@benchmark("optimum_known_ratio_worst")
def bench_known() -> dict[str, Figure]:
    folder = Path(os.environ.get("SHARED_TRACES", ROOT.parent / "shared" / "traces"))
    manifests = load_manifests([STANDARD / "manifest.yaml"])
    ratios, above, attained = {}, {}, {}
    for name, (smoothing, known) in KNOWN.items():
        setting = {"warmup": "2d", **({"smoothing": smoothing} if smoothing else {})}
        (found,) = optima(manifests, load_scenario(STANDARD / "scenario.yaml", setting), read_trace(folder / f"{name}.csv.gz"))
        ratios[name] = found.replica_hours / known
        above[name] = found.replica_hours / found.lower_bound_replica_hours
        attained[name] = found.attained_ratio
    detail = {"by_trace": ratios, "above_bound_ratio": above, "attained_ratio": attained}
    return {"optimum_known_ratio_worst": Figure(value=max(ratios.values()), unit="×", goal="≤ 1.005", detail=detail)}
