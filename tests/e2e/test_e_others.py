"""Story e: somebody else writes the same number: reported, not fought."""

from __future__ import annotations

from typing import Any

from tests.e2e.world import World, autoscaler, deployment


async def test_e_a_second_hpa(world: World) -> None:
    hpa: dict[str, Any] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "other"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
            "minReplicas": 2,
            "maxReplicas": 3,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
            ],
        },
    }
    await world.apply(deployment("llama", 2), hpa, autoscaler("llama"))
    await world.until_ready("llama", 2)
    async with world.controller("story-e-hpa"), world.traffic("llama", lambda _at_s: 9.0):
        item = await world.until_condition("llama", "AbleToScale", "False", "HorizontalPodAutoscaler")
        message = next(c["message"] for c in item["status"]["conditions"] if c["type"] == "AbleToScale")
        assert "other" in message, "names the other one"
        assert not world.scale_writes("llama")
        await world.control_plane.api.delete(f"/apis/autoscaling/v2/namespaces/{world.namespace}/horizontalpodautoscalers/other")
        await world.until_replicas("llama", lambda count: count >= 5)


async def test_e_kubectl_scale_by_hand(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama"))
    await world.until_ready("llama", 2)
    async with world.controller("story-e-by-hand"), world.traffic("llama", lambda _at_s: 2.4):
        await world.until_status(
            "llama", lambda item: item["status"].get("desiredReplicas") == item["status"].get("currentReplicas", -1)
        )
        done = await world.control_plane.kubectl("scale", "deployment/llama", "--replicas=9", "-n", world.namespace)
        assert not done.code, done.err
        wrote = len(world.scale_writes("llama"))
        item = await world.until_condition("llama", "AbleToScale", "False", "ForeignWriter")
        assert item["status"]["currentReplicas"] == 9
        assert item["status"]["desiredReplicas"] < 9, "what we would do is still shown"
        assert len(world.scale_writes("llama")) == wrote
        assert await world.replicas("llama") == 9


async def test_e_a_second_manifest_for_the_target(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama"))
    await world.until_ready("llama", 2)
    async with world.controller("story-e-second-manifest"), world.traffic("llama", lambda _at_s: 2.4):
        await world.until_condition("llama", "ScalingActive", "True")
        second = autoscaler("llama")
        second["metadata"]["name"] = "llama-again"
        second["spec"] |= {"minReplicas": 15}
        await world.apply(second)
        await world.until_condition("llama-again", "AbleToScale", "False", "TargetConflict")
        assert await world.replicas("llama") < 15
