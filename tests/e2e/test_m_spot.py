"""Story m: a spot node is reclaimed. The controller as deployed orders another one on the notice, before the loss, and gives none too many."""

from __future__ import annotations

import pytest

from tests.e2e.node_pools import Pools, accelerator_pool, ready, static
from tests.e2e.world import autoscaler, deployment
from tests.realparts.api import Objects, is_ready
from tests.realparts.control_plane import ControlPlane
from tests.realparts.karpenter import NODE_CLAIMS, POOL_LABEL, Karpenter

NOTICE = "cloud.google.com/impending-node-termination"
"""Who sets it brings no other node, and a static NodePool counts the node until it is gone: without us nothing comes before."""
PATIENCE_S = 90.0
"""On a busy machine; each wait ends with what it waits for."""


@pytest.mark.realparts
async def test_m_a_reclaimed_spot_node_is_replaced_from_its_notice_on(pools: Pools, karpenter: Karpenter) -> None:
    world, plane, name = pools.world, pools.plane, pools.world.namespace
    await karpenter.add_pool(name, replicas=2, capacity_type="spot")
    before = await karpenter.until_nodes(name, 2, timeout_s=PATIENCE_S)
    # A node for each replica. There is work for one, so no backlog is a reason to grow; there is room to, should a lost node be taken for one.
    await world.apply(
        accelerator_pool(name, static(name)),
        deployment("llama", 2, gpus=8),
        autoscaler("llama", nodePool=name, acceleratorsPerReplica=8, minReplicas=2, maxReplicas=4),
    )
    await world.until_ready("llama", 2, timeout_s=PATIENCE_S)
    async with world.controller("story-m-spot"), world.traffic("llama", lambda _at_s: 1.0):
        settled = {"nodes": 2, "readyNodes": 2, "plannedNodes": 2, "askedNodes": 2, "ready": "Reconciled"}
        status = await pools.until(name, timeout_s=PATIENCE_S, **settled)
        assert status["losses"]["nodes"] == 0
        assert pools.sizes_written(name) == []

        gone, stays = sorted(before)
        await pools.kubectl("taint", "node", gone, f"{NOTICE}=:NoSchedule")
        await pools.until_asked(name, 3, timeout_s=PATIENCE_S)
        after = await karpenter.until_nodes(name, 3, timeout_s=PATIENCE_S)
        (another,) = after.keys() - before.keys()
        status = await pools.until(name, timeout_s=PATIENCE_S, nodes=3, readyNodes=2, plannedNodes=3, askedNodes=3)
        assert "1 more is there and counts for nothing" in status["reason"]
        assert status["losses"]["nodes"] == 0, "it is there, counts for nothing, and is not lost yet"

        pods = f"/api/v1/namespaces/{name}/pods"
        await plane.api.until(pods, lambda found: serving_on(found) == {gone, stays}, timeout_s=PATIENCE_S)
        await plane.api.delete(f"/api/v1/nodes/{gone}")
        await plane.api.until(pods, lambda found: serving_on(found) == {stays, another}, timeout_s=PATIENCE_S)
        await pools.until_asked(name, 2, timeout_s=PATIENCE_S)
        await until_claimed(plane, name, {stays, another})
        status = await pools.until(name, timeout_s=PATIENCE_S, **settled)
        assert status["losses"]["nodes"] == pytest.approx(1.0, abs=0.01)
        assert ready(status)["message"] == "the plan needs 2 nodes, asked for 2, ready 2"
        assert (await karpenter.until_nodes(name, 2, timeout_s=PATIENCE_S)).keys() == {stays, another}
    assert pools.sizes_written(name) == [3, 2]
    assert world.counts_written("llama") == [], "its pods were replaced by their Deployment, and the count stayed"


def serving_on(pods: Objects) -> set[str]:
    """The nodes of the pods that are ready."""
    return {pod["spec"]["nodeName"] for pod in pods.values() if is_ready(pod)}


async def until_claimed(plane: ControlPlane, node_pool: str, nodes: set[str]) -> None:
    """Until Karpenter has ordered exactly these nodes. It fills up by itself at once, so now and then it makes one too many between the loss and
    our lower order; if it takes that back while it is being made, its kwok provider leaves a node behind that no claim stands for: that one
    is taken away here, as ``Karpenter.remove_pools`` does."""
    mine = {"labelSelector": f"{POOL_LABEL}={node_pool}"}

    def settled(claims: Objects) -> bool:
        return len(claims) == len(nodes) and {claim.get("status", {}).get("nodeName") for claim in claims.values()} == nodes

    await plane.api.until(NODE_CLAIMS, settled, timeout_s=PATIENCE_S, **mine)
    for node in (await plane.api.get("/api/v1/nodes", **mine))["items"]:
        if node["metadata"]["name"] not in nodes:
            await plane.api.delete(f"/api/v1/nodes/{node['metadata']['name']}")
