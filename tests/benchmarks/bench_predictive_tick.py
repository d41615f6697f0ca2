"""A tick of `predictive` alone for many services: learning and counting, and what it keeps of each."""

from __future__ import annotations

import json
import statistics
import time

import numpy as np

from policies.predictive import POLICY
from tests.benchmarks.registry import Figure, benchmark, one_core, spread
from tests.policies.observations import Services

SIZES = (100, 1_000, 10_000, 30_000)
WARM = 24
"""Ticks before the first one counts: then forecasts fall due, and everything is learnt that is to be."""
COUNTED = 24
"""Two of them open a new five minutes, with all that is looked up then."""


def ticks_s(services: int) -> tuple[list[float], float]:
    """CPU seconds of each counted tick, and the kB of saved state a service."""
    made = Services(POLICY, [{}] * services)
    rng = np.random.Generator(np.random.PCG64(11))
    mean = rng.uniform(2.0, 60.0, services)
    found = []
    for tick in range(WARM + COUNTED):
        rates = rng.poisson(15.0 * mean) / 15.0
        began_s = time.process_time()
        made.see(demand=rates, queue=np.zeros(services), running=10.0 * rates)
        if tick >= WARM:
            found.append(time.process_time() - began_s)
    return found, len(json.dumps(made.policy.save())) / services / 1000


@benchmark("predictive_tick_10k_s")
def bench_predictive_tick() -> dict[str, Figure]:
    with one_core():
        by_services = {size: ticks_s(size) for size in SIZES}
    seconds, kilobytes = by_services[10_000]
    return {
        "predictive_tick_10k_s": Figure(
            value=statistics.median(seconds),
            unit="CPU s",
            goal="< 1.5",
            detail={
                "ticks": spread(seconds),
                "median_by_services": {str(size): statistics.median(times) for size, (times, _) in by_services.items()},
                "longest_by_services": {str(size): max(times) for size, (times, _) in by_services.items()},
                "state_kb_a_service": kilobytes,
            },
        )
    }
