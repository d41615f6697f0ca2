"""How soon ten thousand new objects are served, from being applied: a real API server, the controller and the external metrics API."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.benchmarks.registry import Figure, benchmark
from tests.conftest import ROOT
from tests.e2e.metrics_api import Asking, MetricsApi
from tests.e2e.world import GROUP_PATH, SYSTEM, Controller, autoscaler, deployment
from tests.realparts.control_plane import ControlPlane
from tests.realparts.prometheus_server import PrometheusServer

OBJECTS: Final = 10_000
NAMESPACES: Final = 50
INTERVAL_S: Final = 15.0
AT_ONCE: Final = 16


@benchmark("external_metrics_new_objects_s", only_named=True)
def bench_new_objects() -> dict[str, Figure]:
    return asyncio.run(measured())


async def measured() -> dict[str, Figure]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        async with (
            ControlPlane(directory / "cluster") as control_plane,
            PrometheusServer(directory / "prometheus") as prometheus,
        ):
            for _ in range(2):  # the first time the CRDs may not be served yet when an object of theirs comes
                done = await control_plane.kubectl("apply", "--server-side", "-k", str(ROOT / "deploy" / "base"))
            if done.code:
                raise RuntimeError(done.err)
            kubeconfig = await control_plane.service_account_kubeconfig(SYSTEM, SYSTEM)
            for number in range(NAMESPACES):
                await control_plane.create_namespace(f"team-{number}")
                await control_plane.apply(deployment("llama", 0), namespace=f"team-{number}")
            controller = Controller(control_plane, prometheus.url, kubeconfig, "controller", interval_s=INTERVAL_S)
            async with (
                controller,
                MetricsApi(control_plane) as api,
                api.server("api", controller.url),
                Asking(control_plane) as asking,
            ):
                await api.until_available()
                return await applied_and_served(control_plane, asking)


async def applied_and_served(control_plane: ControlPlane, asking: Asking) -> dict[str, Figure]:
    began_s = time.monotonic()
    slots = asyncio.Semaphore(AT_ONCE)

    async def apply(number: int) -> None:
        # All of a namespace recommend for one target: who recommends is in nobody's way, and the targets are not what is measured.
        item = autoscaler(f"llama-{number}", mode="Recommend", minReplicas=0)
        item["spec"]["scaleTargetRef"]["name"] = "llama"
        async with slots:
            await control_plane.api.create(f"{GROUP_PATH}/namespaces/team-{number % NAMESPACES}/inferenceautoscalers", item)

    await asyncio.gather(*(apply(number) for number in range(OBJECTS)))
    applied_s = time.monotonic() - began_s
    served, seen = 0, {}
    while served < OBJECTS:
        if time.monotonic() - began_s > 600:
            raise RuntimeError(f"only {served} of {OBJECTS} are served; the last answers: {asking.bad[-3:]}")
        counts = await asyncio.gather(*(count(asking, f"team-{number}") for number in range(NAMESPACES)))
        served = sum(counts)
        seen[f"{time.monotonic() - began_s:.0f} s"] = served
    all_s = time.monotonic() - began_s
    return {
        "external_metrics_new_objects_s": Figure(
            value=all_s - applied_s,
            unit="s",
            goal="< 60",
            detail={"objects": OBJECTS, "applying_s": applied_s, "all_served_s": all_s, "served_by_time": seen},
        )
    }


async def count(asking: Asking, namespace: str) -> int:
    """How many are served in one namespace."""
    status, document = await asking.get(f"/namespaces/{namespace}/desired-replicas")
    return len(document["items"]) if status == 200 else 0
