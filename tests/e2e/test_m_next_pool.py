"""Story m: a pool of a real Karpenter that has no more nodes, and a second one to try: all replicas run, nothing goes back and forth."""

from __future__ import annotations

import pytest

from tests.e2e.node_pools import POOLS, Pools, accelerator_pool, static
from tests.e2e.world import autoscaler, deployment
from tests.realparts.karpenter import NODE_POOLS, Karpenter

MEASURED = {"status": {"leadTime": {"samples": 3, "recent": [4.0] * 3}}}
"""A node takes four seconds, so it is late after fifteen."""


@pytest.mark.realparts
async def test_m_growth_goes_to_the_next_pool_and_what_runs_stays(pools: Pools, karpenter: Karpenter) -> None:
    world, plane = pools.world, pools.plane
    # Karpenter's own limit plays the provider that has one machine.
    first = await karpenter.add_pool(world.namespace, suffix="-first", replicas=1, max_nodes=1)
    second = await karpenter.add_pool(world.namespace, suffix="-second", replicas=0, max_nodes=8)
    await karpenter.until_nodes(first, 1)
    # Its number was applied by kubectl, which counts as an owner.
    for name, cost in ((first, 10), (second, 20)):
        await world.apply(accelerator_pool(name, static(name, takeOwnership=True), costPerHour=cost))
        await plane.api.patch(f"{POOLS}/{name}/status", MEASURED)
    await world.apply(
        deployment("llama", 1, gpus=8),
        autoscaler(
            "llama",
            nodePools=[{"name": first}, {"name": second}],
            acceleratorsPerReplica=8,
            policies=[{"name": "fixed", "params": {"replicas": 3}}],
        ),
    )
    await world.until_ready("llama", 1)
    async with world.controller("story-m-next-pool"), world.traffic("llama", lambda _at_s: 1.0):
        # The system's own bound keeps the order at one: what tells of the lack are the replicas that wait.
        await pools.until_status(first, lambda status: status.get("plannedNodes") == 3)
        items = await plane.api.until(NODE_POOLS, lambda items: second in items)
        assert items[second]["spec"]["replicas"] == 0, "the cheaper one first"
        status = await pools.until_status(first, lambda status: status.get("shortage") is not None, timeout_s=60.0)
        assert status["shortage"]["there"] == 1
        assert "nvidia.com/gpu is short" in status["shortage"]["said"]
        assert "is short of nvidia.com/gpu" in status["reason"]
        await pools.until_asked(second, 2)
        await world.until_ready("llama", 3, timeout_s=60.0)
        assert await world.replicas("llama") == 3, "nothing was released: it had a place to come"
