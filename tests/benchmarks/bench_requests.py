"""The request-level plant's speed: requests a second of CPU time on one core, and how that changes with replicas, slots and length.

The whole plant is meant (arrivals, queue, batches, replicas, a scrape every 15 s, the score at the end), without a controller: what a
tick costs is `tick_10k_s`'s and the replayed weeks' business. The requests are a log, made before the clock runs.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import numpy as np

from autoscaler.manifests import load_manifests
from replay.scenario import load_scenario
from replay.traces.requests import RequestLog, counted
from replay.world import build_world, services
from tests.benchmarks.registry import Figure, benchmark, one_core, spread
from tests.conftest import ROOT

STANDARD = ROOT / "replay" / "standard"
LOAD = 0.8


def made(count: int, rate_per_s: float) -> RequestLog:
    """Poisson arrivals, lognormal lengths as the scenario's own."""
    rng = np.random.Generator(np.random.PCG64(5))
    variance = np.log(2.0)
    prompt, output = (np.rint(rng.lognormal(np.log(mean) - variance / 2, np.sqrt(variance), count)) for mean in (600, 200))
    return RequestLog(
        times_s=np.cumsum(rng.exponential(1 / rate_per_s, count)),
        prompt_tokens=prompt.astype(np.int32),
        output_tokens=output.astype(np.int32),
    )


def per_cpu_s(count: int, replicas: int = 20, slots: int = 32, *, fast: bool = True, drawn: bool = False) -> float:
    """Requests a CPU second of one run. drawn: from a count series, with lengths and moments drawn while it runs."""
    (spec,) = services(load_manifests([STANDARD / "manifest.yaml"]))
    # A replica with other slots does as much more or less, at the same time per token.
    per_s = spec.capacity.per_s * (slots / (1 + slots / 64)) / (32 / (1 + 32 / 64))
    spec = replace(spec, capacity=replace(spec.capacity, slots=slots, per_s=per_s))
    rate_per_s = LOAD * replicas * per_s
    log = made(count, rate_per_s)
    setting = load_scenario(None, {"plant": "requests", "replicas.initial": str(replicas), "nodes.slots": "8"})
    demand = np.full((1, log.span_s), rate_per_s) if drawn else counted(log).counts[None, :]
    plant = build_world([spec], (), setting, demand, log=None if drawn else log, keep_series=False, fast=fast).plant
    began = time.process_time()
    plant.advance_to(plant.end_s)
    (verdict,) = plant.verdicts()
    took_s = time.process_time() - began
    assert abs(verdict.requests / count - 1) < 0.02
    return verdict.requests / took_s


@benchmark("requests_plant_per_s")
def bench_requests() -> dict[str, Figure]:
    with one_core():
        per_cpu_s(10_000)  # compiles
        found = [per_cpu_s(3_000_000) for _ in range(5)]
        return {
            "requests_plant_per_s": Figure(
                value=statistics.median(found),
                unit="requests/CPU s",
                goal="≥ 5 million with numba, ≥ 50 000 without",
                detail={
                    "spread": spread(found),
                    "without_numba": statistics.median(per_cpu_s(60_000, fast=False) for _ in range(3)),
                    "drawn_from_counts": per_cpu_s(3_000_000, drawn=True),
                    "by_replicas": {str(n): per_cpu_s(2_000_000, n) for n in (5, 20, 80, 320)},
                    "by_slots": {str(n): per_cpu_s(2_000_000, slots=n) for n in (8, 32, 128, 256)},
                    "by_days": {str(days): per_cpu_s(int(LOAD * 20 * 1.6 * 86_400 * days)) for days in (0.25, 1, 4)},
                },
            )
        }
