"""A Prometheus that holds a whole fleet of vLLM services with GPUs, for load: bodies are built once for each query and sent as they are.

``python -m tests.fakes.prometheus_fleet --services 10000`` serves it from a process of its own and prints its URL, so that a benchmark pays
for its own work only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping

import numpy as np

from autoscaler.adapters.prometheus.presets import PRESETS
from autoscaler.adapters.prometheus.terms import Scope, SeriesLabels
from tests.fakes.prometheus import FakePrometheus

BOUNDS = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
    float("inf"),
)
"""As many as vLLM's time to first token has, give or take."""
_LEVELS = {
    "demand": 1.2,
    "throughput": 1.2,
    "queue": 3.0,
    "running": 20.0,
    "kv_cache_utilization": 0.5,
    "gpu_utilization": 0.8,
    "gpu_memory_utilization": 0.9,
    "prompt_tokens": 900.0,
    "output_tokens": 300.0,
}
_NOW = b"@NOW@"


def pods_of(services: int, pods_each: int = 1, namespaces: int = 50) -> Iterator[tuple[tuple[str, str], int]]:
    """((namespace, pod), row) of each pod, in rows' order."""
    for row in range(services):
        for replica in range(pods_each):
            yield (f"team-{row % namespaces}", f"service-{row:05d}-7d9f8b6c5-{replica:05d}"), row


class FleetAnswers:
    """Bodies by query text, for `FakePrometheus.answers`. One scope: the window is the settings' default."""

    def __init__(self, services: int, pods_each: int = 1, presets: tuple[str, ...] = ("vllm", "dcgm")) -> None:
        self._pods = [pod for pod, _ in pods_of(services, pods_each)]
        scope = Scope(window_s=60.0, labels=SeriesLabels())
        self._kinds: dict[str, str] = {}
        for preset in presets:
            self._kinds[PRESETS[preset].alive.promql(scope)] = "alive"
            for signal, recipe in PRESETS[preset].signals.items():
                self._kinds[recipe.term.promql(scope)] = "buckets" if recipe.buckets else signal
        self._bodies: dict[str, bytes] = {}

    def __call__(self, form: Mapping[str, str]) -> bytes | None:
        kind = self._kinds.get(form.get("query", ""))
        if kind is None:
            return None
        body = self._bodies.get(kind)
        if body is None:
            body = self._bodies[kind] = self._build(kind)
        # Scraped two seconds ago, whenever that is.
        return body.replace(_NOW, f"{float(form['time']) - 2.0:.3f}".encode()) if kind == "alive" else body

    def _build(self, kind: str) -> bytes:
        noise = np.random.default_rng(0).uniform(0.9, 1.1, len(self._pods)).tolist()
        series: list[bytes] = []
        for (namespace, pod), factor in zip(self._pods, noise, strict=True):
            if kind == "buckets":
                for number, bound in enumerate(BOUNDS):
                    value = factor * min(1.0, (number + 1) / 12)
                    labels = {"le": "+Inf" if bound == float("inf") else repr(bound), "namespace": namespace, "pod": pod}
                    series.append(_sample(labels, f"{value:.6f}".encode()))
            else:
                value_text = _NOW if kind == "alive" else f"{_LEVELS[kind] * factor:.6f}".encode()
                series.append(_sample({"namespace": namespace, "pod": pod}, value_text))
        return b'{"status":"success","data":{"resultType":"vector","result":[' + b",".join(series) + b"]}}"


def _sample(labels: Mapping[str, str], value: bytes) -> bytes:
    metric = json.dumps(labels, separators=(",", ":")).encode()
    return b'{"metric":' + metric + b',"value":[1700000000.123,"' + value + b'"]}'


async def _serve(services: int, pods_each: int) -> None:
    fake = FakePrometheus()
    fake.answers = FleetAnswers(services, pods_each)
    await fake.start()
    print(fake.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--services", type=int, default=10_000)
    arguments.add_argument("--pods", type=int, default=1)
    given = arguments.parse_args()
    asyncio.run(_serve(given.services, given.pods))
