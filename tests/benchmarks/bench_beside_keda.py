"""The external metrics API beside KEDA's adapter and operator, in one run: the same load, each on the same single core, the other core kept
busy. Needs the real parts, KEDA among them (make realparts)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.bench_external_metrics import CONNECTIONS, HEADERS, OBJECTS, RATE_PER_S, elsewhere, served, started
from tests.benchmarks.registry import Figure, benchmark
from tests.e2e.world import deployment
from tests.realparts.api import Object
from tests.realparts.control_plane import ControlPlane
from tests.realparts.keda import FRONT_PROXY_NAME, Keda
from tests.realparts.ports import LOOPBACK
from tests.realparts.prometheus_server import PrometheusServer

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
            plan = {
                "host": LOOPBACK,
                "port": keda.port,
                "ca": str(keda.authority.certificate),
                "cert": str(pair.certificate),
                "key": str(pair.key),
                "headers": HEADERS,
                "paths": [
                    f"/apis/external.metrics.k8s.io/v1beta1/namespaces/team/s0-prometheus?labelSelector=scaledobject.keda.sh%2Fname%3Ds{i}"
                    for i in range(SCALED)
                ],
                "rate_per_s": RATE_PER_S,
                "for_s": FOR_S,
                "connections": CONNECTIONS,
            }
            file = directory / "plan.json"
            file.write_text(json.dumps(plan))
            with started(["-c", "while True: pass"], elsewhere):
                done = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-m", "tests.benchmarks.https_load", str(file)],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                    timeout=300,
                    preexec_fn=elsewhere,
                )
            return dict(json.loads(done.stdout))


def scaled_object(name: str, prometheus_url: str) -> Object:
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
