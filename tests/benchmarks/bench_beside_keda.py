"""The external metrics API beside KEDA's adapter and operator, in one run: the same load, each on the same single core, the other core kept
busy. Needs the real parts, KEDA among them (make realparts)."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.bench_external_metrics import OBJECTS, RATE_PER_S, elsewhere, loaded, served, started
from tests.benchmarks.registry import Figure, benchmark
from tests.e2e.world import deployment
from tests.realparts.api import Object
from tests.realparts.control_plane import ControlPlane
from tests.realparts.keda import FRONT_PROXY_NAME, Keda
from tests.realparts.prometheus_server import PrometheusServer
from tests.realparts.scaled_objects import metric_path

FOR_S: Final = 30.0
SCALED: Final = 100
"""ScaledObjects, each with a Prometheus trigger of its own: as many as KEDA has ready within seconds."""


@benchmark("external_metrics_keda_p99_ratio", only_named=True)
def bench_beside_keda() -> dict[str, Figure]:
    keda = asyncio.run(keda_loaded())
    with served(OBJECTS) as api:
        ours = api.load(RATE_PER_S, FOR_S)
    return {
        "external_metrics_keda_p99_ratio": Figure(
            value=keda["p99_ms"] / ours["p99_ms"],
            unit="KEDA ÷ ours",
            goal="≥ 10",
            detail={"ours": ours, "ours_objects": OBJECTS, "keda": keda, "keda_objects": SCALED, "rate_per_s": RATE_PER_S},
        )
    }


async def keda_loaded() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        async with (
            ControlPlane(directory / "cluster") as control_plane,
            PrometheusServer(directory / "prometheus") as prometheus,
            Keda(directory / "keda", control_plane) as keda,
        ):
            await control_plane.create_namespace("team")
            await control_plane.apply([deployment(f"s{number}", 0) for number in range(SCALED)], namespace="team")
            await control_plane.apply([scaled_object(f"s{number}", prometheus.url) for number in range(SCALED)], namespace="team")
            await control_plane.api.until(
                "/apis/keda.sh/v1alpha1/namespaces/team/scaledobjects",
                lambda found: sum("externalMetricNames" in item.get("status", {}) for item in found.values()) == SCALED,
                timeout_s=300,
            )
            for process in keda.processes:
                os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
            pair = control_plane.front_proxy_authority.client("bench", user=FRONT_PROXY_NAME)
            tls = {"ca": str(keda.authority.certificate), "cert": str(pair.certificate), "key": str(pair.key)}
            paths = [metric_path("team", f"s{number}") for number in range(SCALED)]
            with started(["-c", "while True: pass"], elsewhere):
                return await asyncio.to_thread(loaded, directory, keda.port, tls, paths, RATE_PER_S, FOR_S)


def scaled_object(name: str, prometheus_url: str) -> Object:
    """As people have them, asked for at KEDA's own interval; those of ``tests.realparts.scaled_objects`` poll every second."""
    trigger = {"serverAddress": prometheus_url, "query": f"vector({len(name)})", "threshold": "1"}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": 0,
            "maxReplicaCount": 1,
            "triggers": [{"type": "prometheus", "metadata": trigger}],
        },
    }
