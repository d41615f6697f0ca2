"""Story m: a spot node of a real Karpenter is lost; a notice is seen before it goes, the loss is counted, its place is filled again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.credentials import find
from autoscaler.clock import SystemClock
from autoscaler.core.node_facts import PoolFacts
from autoscaler.core.shortages import PoolAsked, Shortages
from tests.e2e.test_l_nodes import POOLS
from tests.e2e.world import SYSTEM
from tests.realparts.control_plane import ControlPlane
from tests.realparts.karpenter import Karpenter

NOTICE = "cloud.google.com/impending-node-termination"


@pytest.mark.realparts
async def test_m_a_lost_spot_node_is_replaced_within_seconds(
    control_plane: ControlPlane, deployed: Any, karpenter: Karpenter, namespace: str
) -> None:
    node_pool = await karpenter.add_pool(namespace, replicas=2, capacity_type="spot")
    before = await karpenter.until_nodes(node_pool, 2)
    pool = {"apiVersion": "inference-autoscaler.io/v1alpha1", "kind": "AcceleratorPool", "metadata": {"name": node_pool}}
    await control_plane.apply({**pool, "spec": {"maxNodes": 9}})
    clock = SystemClock()
    shortages = Shortages()
    try:
        async with HttpKubeApi(await find(str(deployed), clock.monotonic_s)) as api:
            cluster = KubernetesCluster(
                api, clock=clock, rng=np.random.default_rng(3), own_namespace=SYSTEM, may_write=lambda: False
            )
            async with cluster:
                await cluster.wait_synced(10.0)
                ordered: list[int] = []

                async def until(condition: Callable[[PoolFacts], bool]) -> PoolFacts:
                    async with asyncio.timeout(60.0):
                        while True:
                            fleet = await cluster.observe(clock.now_s())
                            facts = fleet.pool_facts.get(node_pool)
                            bounds = shortages.look(fleet, {node_pool: PoolAsked(asked=2)}, {node_pool: 2}, clock.now_s())
                            ordered.append(0 if bounds is None else bounds.ordered_for_lost.get(node_pool, 0))
                            if facts is not None and condition(facts):
                                return facts
                            await asyncio.sleep(0.1)

                await until(lambda facts: facts.advertised == 2)
                cluster.nodes_requested({node_pool: 2})
                gone = sorted(before)[0]
                done = await control_plane.kubectl("taint", "node", gone, f"{NOTICE}=:NoSchedule")
                assert not done.code, done.err
                facts = await until(lambda facts: facts.noticed == 1)
                assert (facts.nodes, facts.usable, facts.advertised) == (2, 1, 1), "it is there, and counts for nothing"
                assert ordered[-1] == 1, "another one is ordered while it is still there"

                began_s = clock.monotonic_s()
                done = await control_plane.kubectl("delete", "node", gone, "--wait=false")
                assert not done.code, done.err
                facts = await until(lambda facts: facts.noticed == 0 and facts.advertised == 2)
                assert clock.monotonic_s() - began_s < 30.0
                assert facts.losses == pytest.approx(1.0, abs=0.01)
                assert ordered[-1] == 0
                after = await karpenter.until_nodes(node_pool, 2)
                assert gone not in after
    finally:
        await control_plane.api.delete(f"{POOLS}/{node_pool}")
