"""Story n: a full pool goes by priority, a namespace's quota holds, and who is cut reads why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.node_pools import Pools, accelerator_pool, explain, static
from tests.e2e.world import World, autoscaler, deployment
from tests.realparts.api import Object
from tests.realparts.karpenter import Karpenter

pytestmark = pytest.mark.realparts


def service(name: str, pool: str, *, replicas: int, least: int, priority: int) -> list[Object]:
    """Half a node a replica, and a wish that stands in its minReplicas alone where nobody asks it anything."""
    wish: dict[str, Any] = {
        "minReplicas": least,
        "maxReplicas": 4,
        "priority": priority,
        "nodePool": pool,
        "acceleratorsPerReplica": 4,
    }
    return [deployment(name, replicas, gpus=4), autoscaler(name, **wish)]


def limit(item: Object) -> Object:
    """The condition ScalingLimited."""
    return dict(next(one for one in item["status"]["conditions"] if one["type"] == "ScalingLimited"))


async def until_limited(world: World, name: str, words: str) -> Object:
    """The service's condition, once it says this."""
    return limit(
        await world.until_status(
            name,
            lambda item: any(
                one["type"] == "ScalingLimited" and one["status"] == "True" and words in one["message"]
                for one in item.get("status", {}).get("conditions", [])
            ),
        )
    )


async def test_n_a_full_pool_goes_by_priority_and_a_quota_holds(pools: Pools, karpenter: Karpenter) -> None:
    """Two nodes, of which the lower service has three halves and wants all four; the higher one then wants three."""
    world, name = pools.world, pools.world.namespace
    await karpenter.add_pool(name, replicas=2)
    await karpenter.until_nodes(name, 2)
    await world.apply(
        accelerator_pool(name, static(name), maxNodes=2),
        *service("chat", name, replicas=1, least=1, priority=10),
        *service("batch", name, replicas=3, least=1, priority=0),
    )
    await world.until_ready("chat", 1)
    await world.until_ready("batch", 3)
    chats = 1.0
    async with (
        world.controller("story-n-scarce") as controller,
        world.traffic("chat", lambda _at_s: chats),
        world.traffic("batch", lambda _at_s: 4.4),
    ):
        full = f"pool {name} has at most 2 nodes of 8 nvidia.com/gpu, shared by priority and then fairly"
        await until_limited(world, "batch", f"{full}: 3 of 4 replicas have a place")
        chats = 3.4
        await world.until_replicas("chat", lambda count: count == 3)
        told = await until_limited(world, "batch", f"{full}: 1 of 4 replicas have a place")
        assert told["reason"] == "NodePoolFull"
        await world.until_replicas("batch", lambda count: count == 1)
        await world.until_ready("chat", 3)
        await pools.until(name, nodes=2, plannedNodes=2, askedNodes=2, ready="Reconciled")
        why = "2 nodes of 8: 16 nvidia.com/gpu for replicas of 2 services; 12 more are wished and have no place"
        await pools.until(name, reason=why)
        assert "NodePoolFull" in await explain(controller, f"{name}/batch")

        # Room for everybody, but the namespace may have five halves of it.
        quota = f'{{"spec": {{"maxNodes": 4, "quotas": [{{"namespace": "{name}", "accelerators": 20}}]}}}}'
        await pools.kubectl("patch", "apool", name, "--type=merge", "-p", quota)
        await karpenter.until_nodes(name, 3)
        await world.until_ready("batch", 2)
        told = await until_limited(world, "batch", f"namespace {name} may have 20 nvidia.com/gpu of pool {name}: 2 of 4 replicas")
        assert told["reason"] == "NamespaceQuota"
        assert await world.replicas("chat") == 3
        await pools.until(name, nodes=3, plannedNodes=3, askedNodes=3, ready="Reconciled")
    assert max(pools.sizes_written(name)) == 3
