"""A whole tick of a large fleet: queries over HTTP, decoding, deciding, plan. The server is a process of its own on the other cores."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from tests.benchmarks.registry import Figure, benchmark, other_cores, spread

SIZES = (100, 1_000, 10_000, 30_000)
SIGNALS = ("demand", "queue", "running", "kv_cache_utilization", "ttft_s", "gpu_utilization", "prompt_tokens", "output_tokens")


@benchmark("tick_10k_s", "tick_10k_rss_mb", "prometheus_queries_per_tick")
def bench_tick() -> dict[str, Figure]:
    """Each size in a process of its own, so that memory is that size's and nobody else's."""
    found = {size: _measured(size) for size in SIZES}
    at = found[10_000]
    growth = {str(size): run["median"] for size, run in found.items()}
    return {
        "tick_10k_s": Figure(
            value=at["median"],
            unit="s",
            goal="< 2",
            detail={"by_services": growth, "steps": at["steps"], "ticks": at["spread"], "signals": len(SIGNALS)},
        ),
        "tick_10k_rss_mb": Figure(
            value=at["rss_mb"],
            unit="MB",
            goal="< 1000",
            detail={"by_services": {str(s): run["rss_mb"] for s, run in found.items()}},
        ),
        "prometheus_queries_per_tick": Figure(
            value=at["queries"],
            unit="queries",
            goal="constant",
            detail={"by_services": {str(s): run["queries"] for s, run in found.items()}},
        ),
    }


def _measured(services: int) -> dict[str, Any]:
    cores = other_cores()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.prometheus_fleet", "--services", str(services)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        child = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.bench_tick", url, str(services)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=600,
            preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
        )
        return dict(json.loads(child.stdout))
    finally:
        server.terminate()
        server.wait(10)


async def _ticks(url: str, services: int, count: int) -> dict[str, Any]:
    import numpy as np

    from autoscaler.adapters.prometheus import PrometheusSettings, PrometheusSource, ServerSettings
    from autoscaler.clock import SystemClock
    from autoscaler.controller import Controller
    from autoscaler.core.model import PolicyRef
    from autoscaler.core.policy import PolicyType, Stateless
    from autoscaler.plugins import load_policies
    from autoscaler.ports import Backfill
    from autoscaler.spec import Signals
    from tests.adapters.prometheus.worlds import PodsInMemory
    from tests.fakes.prometheus_fleet import pods_of
    from tests.ticks import HPA_DOWN, HPA_UP, MadeCluster, a_spec

    specs = [
        a_spec(
            f"service-{row:05d}",
            f"team-{row % 50}",
            sources=Signals(presets=["vllm", "dcgm"]),
            policies=(PolicyRef(name="reactive"), PolicyRef(name="needs-all")),
            scale_up=HPA_UP,
            scale_down=HPA_DOWN,
        )
        for row in range(services)
    ]

    class NeedsAll(Stateless):
        """Makes every signal needed; wishes nothing."""

        def recommend(self, observation: Any) -> Any:
            from autoscaler.core.model import Recommendation

            return Recommendation(replicas=np.ones(len(observation)))

    needs_all = PolicyType(
        name="needs-all",
        summary="",
        parameters=(),
        make=lambda params, _rng: NeedsAll(params),
        signals=lambda _params: SIGNALS,
        counts_starting=True,
    )

    class NoPast(PrometheusSource):
        """The fleet's server holds one moment only."""

        async def backfill(self, *_: Any, **__: Any) -> Backfill:
            return Backfill()

    source = NoPast(PrometheusSettings(default=ServerSettings(url=url)), PodsInMemory(dict(pods_of(services))), SystemClock())
    controller = Controller(
        clock=SystemClock(),
        metrics=source,
        cluster=MadeCluster(specs),
        policies={**load_policies(), "needs-all": needs_all},
    )
    await controller.tick()
    gc.collect()
    gc.freeze()
    seconds: list[float] = []
    steps: dict[str, list[float]] = {}
    for _ in range(count):
        began = time.perf_counter()
        tick = await controller.tick()
        seconds.append(time.perf_counter() - began)
        for step, took in tick.timings_s.items():
            steps.setdefault(step, []).append(took)
        if tick.decisions.partial.any():
            raise AssertionError("some signal was unknown: the figure would not be of a whole tick")
    await source.close()
    return {
        "median": statistics.median(seconds),
        "spread": spread(seconds),
        "steps": {step: statistics.median(values) for step, values in steps.items()},
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "queries": source.queries_last_tick,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_ticks(sys.argv[1], int(sys.argv[2]), 7))))
