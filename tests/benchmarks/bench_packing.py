"""How far node-hours of a replay carry over: the counts of a replayed day, set on a Deployment of a real control plane, and the nodes that
its real ReplicaSet controller and scheduler then hold, beside those that the replay counts."""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from autoscaler.adapters.kubernetes.deletion_costs import COST
from autoscaler.adapters.kubernetes.pods import DELETION_COST
from autoscaler.core.emptying import TargetPods, choose
from autoscaler.manifests import load_manifests
from replay.plugins import policy_ref
from replay.run import run_replay
from replay.scenario import load_scenario
from replay.traces.registry import read_trace
from tests.benchmarks.bench_replay import STANDARD
from tests.benchmarks.registry import Figure, benchmark
from tests.conftest import ROOT
from tests.e2e.world import deployment
from tests.realparts.api import Objects
from tests.realparts.control_plane import ControlPlane

GPUS: Final = 8
EVERY_TICKS: Final = 24
"""Counts are set every six minutes of two days: that is 480 of them."""
NAME: Final = "server"


def decided(trace: Path) -> list[int]:
    """What `reactive` decides on two days of a trace, every six minutes."""
    manifests = load_manifests([STANDARD / "manifest.yaml"])
    scenario = load_scenario(STANDARD / "scenario.yaml", {"length": "2d"})
    ledger = run_replay(manifests, scenario, read_trace(trace), policy=policy_ref("reactive")).ledger
    return [int(count) for count in ledger.column("desired")[::EVERY_TICKS]]


def traces() -> dict[str, Path]:
    """A smooth one, and where it is at hand a recorded one that swings from minute to minute."""
    shared = Path(os.environ.get("SHARED_TRACES", ROOT.parent / "shared" / "traces")) / "llm-large-week1.csv.gz"
    found = {"day": STANDARD / "traces" / "day.csv.gz", "llm-large-week1": shared}
    return {name: path for name, path in found.items() if path.exists()}


class Cluster:
    """A Deployment of one-GPU pods on nodes that come when pods have no room and go when they are empty."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane = plane
        self._namespace = namespace
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._nodes: list[str] = []
        self._made = 0

    async def begin(self, count: int) -> None:
        await self._plane.create_namespace(self._namespace)
        await self._room_for(count, {})
        await self._plane.apply(deployment(NAME, count, gpus=1, ready_after_ms=1, drain_after_ms=1), namespace=self._namespace)
        await self._settled(count)

    async def scale(self, count: int, *, emptying: bool) -> int:
        """Sets the count and lets empty nodes go; how many nodes stay. emptying: says which pods leave, as `drain.pods: EmptyNodes` does."""
        pods = await self._settled(None)
        if emptying and count < len(pods):
            await self._mark(pods, len(pods) - count)
        await self._room_for(count, pods)
        scale = f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{NAME}/scale"
        await self._plane.api.patch(scale, {"spec": {"replicas": count}})
        used = {pod["spec"]["nodeName"] for pod in (await self._settled(count)).values()}
        for node in [node for node in self._nodes if node not in used]:
            await self._plane.api.delete(f"/api/v1/nodes/{node}")
            self._nodes.remove(node)
        return len(used)

    async def _room_for(self, count: int, pods: Objects) -> None:
        """Nodes as a node autoscaler adds them: as few as the pods that have no room need."""
        for _ in range(math.ceil(max(count - GPUS * len(self._nodes), 0) / GPUS)):
            self._made += 1
            self._nodes.append(await self._plane.add_gpu_node(f"node-{self._made}", GPUS, namespace=self._namespace))

    async def _settled(self, count: int | None) -> Objects:
        """The pods, once there are so many, all of them on nodes and ready and none on its way out."""

        def settled(pods: Objects) -> bool:
            states = [
                "deletionTimestamp" not in pod["metadata"]
                and "nodeName" in pod["spec"]
                and any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ())
                for pod in pods.values()
            ]
            return all(states) and count in (None, len(states))

        return await self._plane.api.until(self._pods, settled, timeout_s=60.0)

    async def _mark(self, pods: Objects, leave: int) -> None:
        """What the controller would say of the pods, by the controller's own choice among them."""
        names = list(pods)
        numbers = {node: number for number, node in enumerate(self._nodes)}
        born = [pods[name]["metadata"]["creationTimestamp"] for name in names]
        order = {moment: place for place, moment in enumerate(sorted(set(born)))}
        columns = TargetPods(
            names=names,
            node=np.array([numbers[pods[name]["spec"]["nodeName"]] for name in names], dtype=np.int64),
            tier=np.zeros(len(names), dtype=np.int64),
            choosable=np.ones(len(names), dtype=np.bool_),
            created_at_s=np.array([order[moment] for moment in born], dtype=np.float64),
            in_flight=np.zeros(len(names)),
            held=np.zeros(len(self._nodes), dtype=np.bool_),
        )
        for place in choose(columns, leave).marked:
            await self._plane.api.patch(f"{self._pods}/{names[place]}", {"metadata": {"annotations": {DELETION_COST: COST}}})


async def held(counts: list[int], *, emptying: bool) -> list[int]:
    """Nodes held after each count."""
    with tempfile.TemporaryDirectory() as folder:
        async with ControlPlane(Path(folder)) as plane:
            cluster = Cluster(plane, "packing")
            await cluster.begin(counts[0])
            return [await cluster.scale(count, emptying=emptying) for count in counts]


@benchmark("node_packing_ratio", only_named=True)
def bench_packing() -> dict[str, Figure]:
    detail: dict[str, Any] = {}
    for trace, path in traces().items():
        counts = decided(path)
        counted = np.array([-(-count // GPUS) for count in counts])
        for order, emptying in (("as_it_comes", False), ("EmptyNodes", True)):
            nodes = np.array(asyncio.run(held(counts, emptying=emptying)))
            detail[f"{trace}, {order}"] = {
                "ratio": float(nodes.sum() / counted.sum()),
                "same_ratio": float((nodes == counted).mean()),
                "most_more": int((nodes - counted).max()),
                "fewest_more": int((nodes - counted).min()),
                "counts": len(counts),
            }
    worst = max(one["ratio"] for one in detail.values())
    return {"node_packing_ratio": Figure(value=worst, unit="×", detail=detail)}
