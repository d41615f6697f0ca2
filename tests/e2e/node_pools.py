"""What the stories of node pools play with: AcceleratorPools over a real Karpenter, what was written of them, and where pods went when."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from autoscaler.spec import AcceleratorPoolStatus
from tests.conftest import ROOT
from tests.e2e.audit import WHO
from tests.e2e.world import GROUP_PATH, Controller, World
from tests.realparts.api import Object, Objects
from tests.realparts.control_plane import ControlPlane
from tests.realparts.karpenter import NODE_CLAIMS, NODE_POOLS, POOL_LABEL

POOLS = f"{GROUP_PATH}/acceleratorpools"
PLACEHOLDERS = "inference-autoscaler-placeholders"
"""The namespace of deploy/components/nodepool-headroom."""
COMPONENTS = ("nodepool-karpenter", "nodepool-headroom")
COOL_DOWN = "3s"
"""Between the plan's lower number and the order, so that a story sees nodes go."""


def accelerator_pool(name: str, backend: Mapping[str, Any], **spec: Any) -> Object:
    """A pool of nodes of 8 GPUs, of which none is kept once it is spare."""
    return {
        "apiVersion": "inference-autoscaler.io/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": name},
        "spec": {
            "maxNodes": 6,
            "acceleratorsPerNode": 8,
            "waitingCost": 0,
            "backend": {"coolDown": COOL_DOWN, **backend},
            **spec,
        },
    }


def static(node_pool: str, **backend: Any) -> Object:
    """The backend that sizes a static NodePool."""
    ref = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "name": node_pool}
    return {"type": "Scale", "scale": ref, **backend}


def headroom(method: str, **backend: Any) -> Object:
    """The backend that keeps room, in one of its two ways."""
    return {
        "type": "Headroom",
        "headroom": {"namespace": PLACEHOLDERS, "image": "example.invalid/pause", "method": method},
        **backend,
    }


@dataclass(slots=True)
class Pools:
    """A story's AcceleratorPools."""

    world: World

    @property
    def plane(self) -> ControlPlane:
        return self.world.control_plane

    async def until(self, name: str, *, timeout_s: float = 40.0, **status: Any) -> Object:
        """The pool's status once all these fields are as told. `ready` stands for the condition's reason."""

        def holds(told: Object) -> bool:
            return all((ready(told)["reason"] if key == "ready" else told.get(key)) == value for key, value in status.items())

        return await self.until_status(name, holds, timeout_s=timeout_s)

    async def until_status(self, name: str, condition: Callable[[Object], bool], *, timeout_s: float = 40.0) -> Object:
        """The pool's status once `condition` holds for it; it is as the schema says."""

        def holds(pools: Objects) -> bool:
            return condition(pools.get(name, {}).get("status", {}))

        found = await self.plane.api.until(POOLS, holds, timeout_s=timeout_s, fieldSelector=f"metadata.name={name}")
        told: Object = found[name]["status"]
        msgspec.convert(told, AcceleratorPoolStatus)
        return told

    async def until_asked(self, node_pool: str, nodes: int, *, timeout_s: float = 40.0) -> None:
        """Until a static NodePool is asked for exactly so many nodes."""
        await self.plane.api.until(
            NODE_POOLS,
            lambda found: found[node_pool]["spec"]["replicas"] == nodes,
            timeout_s=timeout_s,
            fieldSelector=f"metadata.name={node_pool}",
        )

    async def claims(self, node_pool: str) -> list[Object]:
        """What Karpenter has ordered for a NodePool."""
        return list((await self.plane.api.get(NODE_CLAIMS, labelSelector=f"{POOL_LABEL}={node_pool}"))["items"])

    async def kubectl(self, *arguments: str) -> str:
        done = await self.plane.kubectl(*arguments)
        assert not done.code, done.err
        return done.out

    def sizes_written(self, node_pool: str) -> list[int]:
        """The counts that the controller wrote of a static NodePool, oldest first, from the audit log."""
        return [
            int(event["requestObject"]["spec"]["replicas"])
            for event in self.plane.audit_events()
            if event["user"]["username"] == WHO
            and event["verb"] == "update"
            and (event["objectRef"].get("resource"), event["objectRef"].get("subresource")) == ("nodepools", "scale")
            and event["objectRef"]["name"] == node_pool
            and event["responseStatus"]["code"] == 200
        ]

    async def waits_s(self, app: str, *, since_s: float = 0.0) -> dict[str, float]:
        """Of each pod of an app that was made since then: the seconds from its creation to its node. The API tells whole ones."""
        pods = await self.plane.api.get(f"/api/v1/namespaces/{self.world.namespace}/pods", labelSelector=f"app={app}")
        waits_s = {}
        for pod in pods["items"]:
            made_s = moment_s(pod["metadata"]["creationTimestamp"])
            placed = [
                one for one in pod["status"].get("conditions", ()) if one["type"] == "PodScheduled" and one["status"] == "True"
            ]
            if made_s >= since_s:
                waits_s[pod["metadata"]["name"]] = (
                    moment_s(placed[0]["lastTransitionTime"]) - made_s if placed else time.time() - made_s
                )
        return waits_s


def moment_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def ready(status: Object) -> Object:
    """The condition Ready of a pool's status; one without words where there is none yet."""
    found = [one for one in status.get("conditions", ()) if one["type"] == "Ready"]
    return dict(found[0]) if found else {"status": "Unknown", "reason": "", "message": ""}


@contextlib.asynccontextmanager
async def pools_of(world: World) -> AsyncIterator[Pools]:
    """The pools that a story makes are gone after it, before their nodes are."""
    try:
        yield Pools(world)
    finally:
        api = world.control_plane.api
        await api.delete(f"{GROUP_PATH}/namespaces/{world.namespace}/inferenceautoscalers")
        for pool in (await api.get(POOLS))["items"]:
            if pool["metadata"]["name"].startswith(world.namespace):
                await api.delete(f"{POOLS}/{pool['metadata']['name']}")
        # Nodes are given back at once where nothing has to leave them.
        await api.delete(f"/apis/apps/v1/namespaces/{world.namespace}/deployments")
        await api.delete(f"/api/v1/namespaces/{world.namespace}/pods", gracePeriodSeconds="0")


async def explain(controller: Controller, service: str) -> str:
    """What `autoscaler explain` prints of a running controller."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autoscaler", "explain", service, "--url", controller.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert not process.returncode, err.decode()
    return out.decode()
