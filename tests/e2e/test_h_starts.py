"""Story h: starts that take far longer than a tick, and a full cluster: no runaway, and Pending replicas are named with what is short."""

from __future__ import annotations

from tests.e2e.world import World, autoscaler, deployment


async def test_h_long_starts_do_not_run_away(world: World) -> None:
    # The queue grows for as long as no help arrives: a policy that looks at it alone would double again and again.
    on_queue = [{"name": "target", "params": {"signal": "queue", "target": 2}}]
    await world.apply(deployment("llama", 2, ready_after_ms=12_000), autoscaler("llama", policies=on_queue, maxReplicas=32))
    await world.until_ready("llama", 2)
    async with world.controller("story-h-long-starts"), world.traffic("llama", lambda _at_s: 6.4) as traffic:
        item = await world.until_status(
            "llama",
            lambda item: any(limit["name"] == "StartingReplicas" for limit in item["status"].get("limits", [])),
            timeout_s=60,
        )
        limit = next(limit for limit in item["status"]["limits"] if limit["name"] == "StartingReplicas")
        assert "still starting" in limit["why"]
        highest = max([await world.replicas("llama"), item["status"]["currentReplicas"]])
        assert highest <= 2 * (6.4 + max(m.queue for m in traffic.history) / 30) / 1.6 + 1
        await world.until_status("llama", lambda item: item["status"]["readyReplicas"] >= 4, timeout_s=60)


async def test_h_a_full_cluster_is_named_with_the_resource_that_is_short(world: World) -> None:
    await world.apply(
        deployment("llama", 2, gpus=8),
        autoscaler("llama", acceleratorsPerReplica=8, leadTime={"replica": "3s", "node": "0s"}),
    )
    await world.until_ready("llama", 2)
    async with world.controller("story-h-full"), world.traffic("llama", lambda _at_s: 9.6):
        item = await world.until_condition("llama", "Ready", "False", "Unschedulable", timeout_s=60)
        message = next(c["message"] for c in item["status"]["conditions"] if c["type"] == "Ready")
        assert "nvidia.com/gpu" in message
        assert item["status"]["startingReplicas"] >= 1


async def test_h_a_pool_shows_how_many_nodes_the_plan_needs(world: World) -> None:
    pool = {
        "apiVersion": "inference-autoscaler.io/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": "h100"},
        "spec": {"minNodes": 0, "maxNodes": 16, "acceleratorsPerNode": 8},
    }
    await world.apply(pool, deployment("llama", 2, gpus=4), autoscaler("llama", nodePool="h100", acceleratorsPerReplica=4))
    await world.until_ready("llama", 2)
    pools = "/apis/inference-autoscaler.io/v1alpha1/acceleratorpools"
    try:
        async with world.controller("story-h-pool"), world.traffic("llama", lambda _at_s: 6.4):
            await world.control_plane.api.until(pools, lambda items: items["h100"].get("status", {}).get("plannedNodes", 0) >= 2)
            shown = await world.control_plane.kubectl("get", "apool", "-o", "wide")
            assert "h100" in shown.out
            assert "nodes of 8: " in shown.out  # why as many
            assert "nvidia.com/gpu for replicas of 1 service" in shown.out
    finally:
        await world.control_plane.api.delete(f"{pools}/h100")
