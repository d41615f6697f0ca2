"""Story d: two controllers; the leader is killed, and apart from that frozen past its lease."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from tests.e2e.world import SYSTEM, Controller, World, autoscaler, deployment


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


def judge(world: World, name: str, old: Controller, other: Controller, gone_s: float) -> None:
    """Of a count that only rises: the other one's first write comes within 15 s, none is the old one's from then on, and no number was
    written twice."""
    written = world.counts_written(name)
    after = [(at_s, who) for at_s, who, _ in written if at_s > gone_s]
    assert {who for _, who in after} == {other.name}
    assert after[0][0] - gone_s < 15.0
    counts = [count for _, _, count in written]
    assert counts == sorted(set(counts)), f"each number once: {written}"
    assert {who for at_s, who, _ in written if at_s <= gone_s} <= {old.name}


RISES: dict[str, Any] = {"scaleUp": {"policies": []}, "scaleDown": {"stabilizationWindowSeconds": 3600, "policies": []}}


async def test_d_the_leader_is_killed_and_the_other_one_acts_within_15_s(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama", behavior=RISES))
    await world.until_ready("llama", 2)
    demand = 1.6
    async with (
        world.controller("story-d-one") as one,
        world.controller("story-d-other") as other,
        world.traffic("llama", lambda _at_s: demand),
    ):
        await world.until_condition("llama", "ScalingActive", "True")
        leader, standby = await two(world, one, other)
        demand = 5.0
        await world.until_replicas("llama", lambda count: count > 2)
        await leader.process.kill()
        killed_s = time.time()
        demand = 9.0
        await world.until_replicas("llama", lambda count: count >= 7, timeout_s=25)
        judge(world, "llama", leader, standby, killed_s)


async def test_d_as_shipped_with_an_interval_of_15_s_too(world: World) -> None:
    """The worst moment: the lease was renewed just now, and the tick that comes before it has run out comes too early. Becoming the
    leader means a tick at once, or the next one would come 26 s after the death."""
    await world.apply(deployment("llama", 2), autoscaler("llama", behavior=RISES))
    await world.until_ready("llama", 2)
    demand = 1.6
    async with (
        world.traffic("llama", lambda _at_s: demand),
        world.controller("story-d-shipped-one", interval_s=15.0) as one,
        world.controller("story-d-shipped-other", interval_s=15.0) as other,
    ):
        await world.until_condition("llama", "ScalingActive", "True")
        leader, standby = await two(world, one, other)
        demand = 9.0
        lease = await world.control_plane.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{SYSTEM}")
        await world.control_plane.api.until(
            f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases",
            lambda leases: leases[SYSTEM]["spec"]["renewTime"] != lease["spec"]["renewTime"] and 4.0 <= time.time() % 15.0 < 8.0,
            timeout_s=40,
            fieldSelector=f"metadata.name={SYSTEM}",
        )
        await leader.process.kill()
        killed_s = time.time()
        before = await world.replicas("llama")
        demand = 20.0
        await world.until_replicas("llama", lambda count: count > before, timeout_s=25)
        judge(world, "llama", leader, standby, killed_s)


async def test_d_a_frozen_leader_writes_nothing_when_it_wakes_up(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama", behavior=RISES))
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
        frozen_s = time.time()
        demand = 9.0
        try:
            await world.until_replicas("llama", lambda count: count >= 5, timeout_s=30)
            await until_leads(standby)
        finally:
            leader.process.thaw()
        thawed_s = time.time()
        # The old leader looks at the lease, finds itself out, and goes on as a standby.
        await world.control_plane.audited(
            lambda event: (
                event.get("objectRef", {}).get("resource") == "leases"
                and event["verb"] == "get"
                and leader.name in event.get("userAgent", "")
                and datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp() > thawed_s
            ),
            timeout_s=10,
        )
        settled = await world.until_status(
            "llama", lambda item: item["status"]["desiredReplicas"] == item["status"]["currentReplicas"]
        )
        assert settled["status"]["currentReplicas"] >= 5
        assert not await leads(leader)
        tried = [event for event in world.scale_writes("llama") if f"({leader.name})" in event["userAgent"]]
        late = [e for e in tried if datetime.fromisoformat(e["requestReceivedTimestamp"]).timestamp() > frozen_s]
        assert not late, "it does not even try"
        judge(world, "llama", leader, standby, frozen_s)


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
