"""Story n: a spot node of a static NodePool is told to go: the controller orders another one before it goes, and one fewer when it has gone."""

from __future__ import annotations

import pytest

from tests.e2e.node_pools import Pools, accelerator_pool, static
from tests.e2e.test_m_spot import NOTICE
from tests.e2e.test_n_static_pools import ONE, llama
from tests.realparts.karpenter import Karpenter

pytestmark = pytest.mark.realparts


async def test_n_a_spot_node_that_is_told_to_go_is_ordered_again_before_it_goes(pools: Pools, karpenter: Karpenter) -> None:
    world, name = pools.world, pools.world.namespace
    await karpenter.add_pool(name, replicas=1, capacity_type="spot")
    (lost,) = await karpenter.until_nodes(name, 1)
    await world.apply(accelerator_pool(name, static(name)), *llama(name, policies=[{"name": "fixed", "params": {"replicas": 1}}]))
    await world.until_ready("llama", 1)
    async with world.controller("story-n-spot"), world.traffic("llama", lambda _at_s: ONE):
        await pools.until(name, nodes=1, plannedNodes=1, askedNodes=1, ready="Reconciled")
        await pools.kubectl("taint", "node", lost, f"{NOTICE}=:NoSchedule")
        status = await pools.until(name, plannedNodes=2, askedNodes=2, nodes=2)
        assert "1 more is there and counts for nothing" in status["reason"]
        assert lost in await karpenter.until_nodes(name, 2), "it still serves"

        await pools.kubectl("delete", "node", lost, "--wait=false")
        status = await pools.until(name, nodes=1, plannedNodes=1, askedNodes=1, ready="Reconciled")
        assert status["losses"]["nodes"] == pytest.approx(1.0, abs=0.01)
        assert lost not in await karpenter.until_nodes(name, 1)
        await world.until_ready("llama", 1)
    assert pools.sizes_written(name) == [2, 1]
    assert not world.counts_written("llama"), "the number of replicas stays"
