"""Story d: two controllers; the leader is killed, and apart from that frozen past its lease."""

from __future__ import annotations

import asyncio
import time

from tests.e2e.world import SYSTEM, Controller, World, autoscaler, deployment


async def leader_of(world: World) -> str:
    lease = await world.control_plane.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{SYSTEM}")
    return str(lease["spec"].get("holderIdentity") or "")


async def leads(controller: Controller) -> bool:
    return "inference_autoscaler_leading 1.0" in await controller.metrics()


async def until_leads(controller: Controller) -> None:
    """Its metrics are of its last whole tick, so they may lag behind its writes."""
    async with asyncio.timeout(5):
        while not await leads(controller):  # noqa: ASYNC110 - another process's metrics signal nothing
            await asyncio.sleep(0.1)


async def two(world: World, one: Controller, other: Controller) -> tuple[Controller, Controller]:
    """(leader, standby)."""
    return (one, other) if await leads(one) else (other, one)


def writes_after(world: World, name: str, at_s: float) -> list[float]:
    from datetime import datetime

    times = [datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp() for event in world.scale_writes(name)]
    return [when for when in times if when > at_s]


async def test_d_the_leader_is_killed_and_the_other_one_acts_within_15_s(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama"))
    await world.until_ready("llama", 2)
    demand = 1.6
    async with (
        world.controller("story-d-one") as one,
        world.controller("story-d-other") as other,
        world.traffic("llama", lambda _at_s: demand),
    ):
        await world.until_condition("llama", "ScalingActive", "True")
        leader, _standby = await two(world, one, other)
        await leader.process.kill()
        killed_s = time.time()
        demand = 9.0
        await world.until_replicas("llama", lambda count: count >= 5, timeout_s=25)
        assert time.time() - killed_s < 15 + 3, "it acts within 15 s; the demand needs a moment to be seen"
        first = min(writes_after(world, "llama", killed_s))
        assert first - killed_s < 15


async def test_d_a_frozen_leader_writes_nothing_when_it_wakes_up(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama"))
    await world.until_ready("llama", 2)
    demand = 1.6
    async with (
        world.controller("story-d-frozen-one") as one,
        world.controller("story-d-frozen-other") as other,
        world.traffic("llama", lambda _at_s: demand),
    ):
        await world.until_condition("llama", "ScalingActive", "True")
        leader, standby = await two(world, one, other)
        leader.process.freeze()
        demand = 9.0
        try:
            await world.until_replicas("llama", lambda count: count >= 5, timeout_s=30)
            await until_leads(standby)
            wrote = len(world.scale_writes("llama"))
        finally:
            leader.process.thaw()
        # The old leader looks at the lease, finds itself out, and goes on as a standby.
        await world.control_plane.audited(
            lambda event: event.get("objectRef", {}).get("resource") == "leases" and event["verb"] == "get", timeout_s=10
        )
        settled = await world.until_status(
            "llama", lambda item: item["status"]["desiredReplicas"] == item["status"]["currentReplicas"]
        )
        assert settled["status"]["currentReplicas"] >= 5
        assert not await leads(leader)
        counts = [event["responseStatus"]["code"] for event in world.scale_writes("llama")]
        assert counts.count(200) <= wrote + 3, "no number is written twice"


async def test_d_a_restart_does_not_scale_down_by_itself(world: World) -> None:
    slow_down = {"scaleUp": {"policies": []}, "scaleDown": {"stabilizationWindowSeconds": 30, "policies": []}}
    await world.apply(deployment("llama", 6), autoscaler("llama", behavior=slow_down))
    await world.until_ready("llama", 6)
    async with world.traffic("llama", lambda _at_s: 1.0):
        async with world.controller("story-d-before"):
            await world.until_condition("llama", "ScalingActive", "True")
        assert await world.replicas("llama") == 6
        async with world.controller("story-d-after"):
            limited = await world.until_status(
                "llama",
                lambda item: any(limit["name"] == "Stabilized" for limit in item["status"].get("limits", [])),
            )
            assert limited["status"]["currentReplicas"] == 6
