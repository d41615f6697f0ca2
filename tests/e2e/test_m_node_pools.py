"""Story m: node pools are sized by the controller as deployed: its plan, its rights, a kill in between, somebody else's hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.adapters.nodepools.definitions import NODE_POOLS, Definitions
from tests.e2e.node_pools import POOLS, ready, static
from tests.e2e.world import World, autoscaler, deployment
from tests.realparts.api import Object

KARPENTER = "/apis/karpenter.sh/v1/nodepools"


@pytest_asyncio.fixture(loop_scope="session")
async def static_pool(world: World, sizes_pools: None) -> AsyncIterator[str]:
    """A static NodePool of one node that nobody else sizes; its name."""
    plane, name = world.control_plane, world.namespace
    definitions = Definitions(plane)
    await definitions.serve(NODE_POOLS)
    template = {
        "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "none"},
        "requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}],
    }
    spec: Object = {"replicas": 1, "limits": {"nodes": "7"}, "template": {"spec": template}}
    await plane.api.create(
        KARPENTER, {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": spec}
    )
    yield name
    await plane.api.delete(f"{POOLS}/{name}")
    await plane.api.delete(f"{KARPENTER}/{name}")
    await definitions.take_away()


def pool(name: str, **backend: Any) -> Object:
    spec = {"maxNodes": 9, "acceleratorsPerNode": 8, "backend": static(name, **backend)}
    return {"apiVersion": "inference-autoscaler.io/v1alpha1", "kind": "AcceleratorPool", "metadata": {"name": name}, "spec": spec}


def replicas(items: dict[str, Object], name: str) -> int:
    return int(items[name]["spec"]["replicas"])


async def test_m_a_static_pool_follows_the_plan_over_a_kill_and_is_left_to_another_owner(world: World, static_pool: str) -> None:
    plane, name = world.control_plane, static_pool
    await world.apply(
        pool(name, maxStep=2),
        deployment("llama", 2, gpus=4),
        autoscaler("llama", nodePool=name, acceleratorsPerReplica=4),
    )
    await world.until_ready("llama", 2)
    async with world.controller("story-m-killed") as controller, world.traffic("llama", lambda _at_s: 9.6):
        # The nodes that were asked for never come here: no more than the step is ever on its way.
        await plane.api.until(KARPENTER, lambda items: replicas(items, name) == 2)
        items = await plane.api.until(POOLS, lambda items: items[name].get("status", {}).get("askedNodes") == 2)
        assert ready(items[name]["status"])["reason"] == "Scaling"
        await controller.process.kill()
        versions = (await plane.api.get(f"{KARPENTER}/{name}"))["metadata"]["resourceVersion"]
        async with world.controller("story-m-next"):
            await plane.api.until(POOLS, lambda items: items[name].get("status", {}).get("plannedNodes", 0) >= 3)
            # Nothing was doubled: the next one found what the last one had asked for.
            assert (await plane.api.get(f"{KARPENTER}/{name}"))["metadata"]["resourceVersion"] == versions
            done = await plane.kubectl("scale", f"nodepool/{name}", "--replicas=4")
            assert not done.code, done.err
            items = await plane.api.until(POOLS, lambda items: ready(items[name].get("status", {}))["reason"] == "OwnedElsewhere")
            assert "kubectl" in items[name]["status"]["owner"]
            assert "takeOwnership" in ready(items[name]["status"])["message"]
            assert replicas(await plane.api.until(KARPENTER, lambda items: name in items), name) == 4
            await plane.api.patch(f"{POOLS}/{name}", {"spec": {"backend": {"takeOwnership": True, "maxStep": 9}}})
            await plane.api.until(KARPENTER, lambda items: replicas(items, name) not in (2, 4), timeout_s=60)
            shown = await plane.kubectl("get", "apool", name)
            assert "Scaling" in shown.out
