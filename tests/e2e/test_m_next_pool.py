"""Story m: a pool of a real Karpenter that has no more nodes, and a second one to try: all replicas run, nothing goes back and forth."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.e2e.test_m_node_pools import KARPENTER, POOLS, pool
from tests.e2e.world import SYSTEM, World, autoscaler, deployment
from tests.realparts.control_plane import ControlPlane
from tests.realparts.karpenter import Karpenter
from tests.realparts.prometheus_server import PrometheusServer

ACCOUNT = f"system:serviceaccount:{SYSTEM}:{SYSTEM}"
MEASURED = {"status": {"leadTime": {"samples": 3, "recent": [4.0] * 3}}}
"""A node takes four seconds, so it is late after fifteen."""


@pytest.mark.realparts
async def test_m_growth_goes_to_the_next_pool_and_what_runs_stays(
    control_plane: ControlPlane, prometheus: PrometheusServer, deployed: Any, karpenter: Karpenter, namespace: str
) -> None:
    world = World(control_plane, prometheus, namespace, deployed)
    component = str(ROOT / "deploy" / "components" / "nodepool-karpenter")
    done = await control_plane.kubectl("apply", "--server-side", "-k", component)
    assert not done.code, done.err
    await control_plane.until_allowed(ACCOUNT, verb="get", resource="nodepools", group="karpenter.sh")
    # Karpenter's own limit plays the provider that has one machine.
    first = await karpenter.add_pool(namespace, suffix="-first", replicas=1, max_nodes=1)
    second = await karpenter.add_pool(namespace, suffix="-second", replicas=0, max_nodes=8)
    await karpenter.until_nodes(first, 1)
    # Its number was applied by kubectl, which counts as an owner.
    cheap, dear = pool(first, takeOwnership=True), pool(second, takeOwnership=True)
    cheap["spec"] |= {"costPerHour": 10}
    dear["spec"] |= {"costPerHour": 20}
    await world.apply(cheap, dear)
    for name in (first, second):
        await control_plane.api.patch(f"{POOLS}/{name}/status", MEASURED)
    await world.apply(
        deployment("llama", 1, gpus=8),
        autoscaler(
            "llama",
            nodePools=[{"name": first}, {"name": second}],
            acceleratorsPerReplica=8,
            policies=[{"name": "fixed", "params": {"replicas": 3}}],
        ),
    )
    try:
        await world.until_ready("llama", 1)
        async with world.controller("story-m-next-pool"), world.traffic("llama", lambda _at_s: 1.0):
            # The system's own bound keeps the order at one: what tells of the lack are the replicas that wait.
            await control_plane.api.until(POOLS, lambda items: items[first].get("status", {}).get("plannedNodes") == 3)
            items = await control_plane.api.until(KARPENTER, lambda items: second in items)
            assert items[second]["spec"]["replicas"] == 0, "the cheaper one first"
            items = await control_plane.api.until(
                POOLS, lambda items: items[first].get("status", {}).get("shortage") is not None, timeout_s=60.0
            )
            short = items[first]["status"]
            assert short["shortage"]["there"] == 1
            assert "nvidia.com/gpu is short" in short["shortage"]["said"]
            assert "is short of nvidia.com/gpu" in short["reason"]
            await control_plane.api.until(KARPENTER, lambda items: items[second]["spec"]["replicas"] == 2)
            await world.until_ready("llama", 3, timeout_s=60.0)
            assert await world.replicas("llama") == 3, "nothing was released: it had a place to come"
    finally:
        for name in (first, second):
            await control_plane.api.delete(f"{POOLS}/{name}")
        await asyncio.shield(control_plane.kubectl("delete", "-k", component, "--ignore-not-found"))
