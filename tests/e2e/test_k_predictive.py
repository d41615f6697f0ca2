"""Story k: what the past in Prometheus foretells is ready before it comes, though a start takes thirty ticks; the present alone is late."""

from __future__ import annotations

import math

from tests.e2e.world import INTERVAL_S, World, autoscaler, deployment
from tests.realparts.api import Object

RHYTHM_S = 600.0
LOWEST_PER_S, HIGHEST_PER_S = 3.0, 30.0
LOADING_S = 30.0
PROMISED_WAIT_S = 5.0
BEGINS = 0.09
"""Where in its rhythm the traffic is at the story's begin: shortly after the lowest point, with the ramp before it."""
LEARNT_S = 4200.0
"""More than the hour of a controller's own steps that policies are shown."""
UP_PER_S = 11.0
"""The ramp is told up to here: three times what it began with."""
AT_FIRST = 4
"""Replicas, enough for the first minute: till then the controller has started, and a first order of its own is ready."""


def rhythm(at_s: float) -> float:
    """Up and down by a factor of ten in every ten minutes, for as long as anybody remembers."""
    middle, swing = math.log(LOWEST_PER_S * HIGHEST_PER_S) / 2, math.log(HIGHEST_PER_S / LOWEST_PER_S) / 2
    return math.exp(middle - swing * math.cos(2 * math.pi * (at_s / RHYTHM_S + BEGINS)))


def follower(name: str, policy: Object) -> Object:
    return autoscaler(
        name,
        minReplicas=AT_FIRST,
        maxReplicas=30,
        signals={
            "presets": ["vllm"],
            "staleAfter": "8s",
            "queries": [{"signal": "demand", "query": f'sum(rate(gateway_requests_total{{service="{name}"}}[10s]))'}],
        },
        objective={"signal": "queue_wait_s", "target": f"{PROMISED_WAIT_S:g}s", "promised": "99%"},
        policies=[policy],
        leadTime={"replica": f"{LOADING_S:g}s", "node": "0s"},
    )


async def test_k_what_the_past_foretells_is_ready_before_the_ramp(world: World) -> None:
    """Twins, of the same traffic: what the one orders ahead, the other orders when it sees it. Without its hold, which would
    keep the highest count of the rhythm for half of it whatever comes."""
    foretold, seen = "foretold", "seen"
    await world.apply(
        *(deployment(name, AT_FIRST, ready_after_ms=round(1000 * LOADING_S)) for name in (foretold, seen)),
        follower(foretold, {"name": "predictive"}),
        follower(seen, {"name": "reactive", "params": {"hold_s": 0}}),
    )
    for name in (foretold, seen):
        await world.load_now(name, AT_FIRST)
    past = {"past_s": LEARNT_S, "has_past": True}
    async with (
        world.traffic(foretold, rhythm, **past) as ahead,
        world.traffic(seen, rhythm, **past) as behind,
        world.controller("story-k"),
    ):
        await behind.until(lambda traffic: traffic.history[-1].demand_per_s >= UP_PER_S, timeout_s=180)
        item = await world.until_status(foretold, lambda item: item["status"].get("leadTime", {}).get("samples", 0) >= 1)
    status = item["status"]
    assert ahead.longest_wait_s < PROMISED_WAIT_S, "the promise is kept where the past was asked"
    assert behind.longest_wait_s > PROMISED_WAIT_S, "who looks at the present alone is late by a start, and breaks the promise"
    assert ahead.longest_wait_s < behind.longest_wait_s / 4
    assert status["leadTime"]["p50Seconds"] >= 20 * INTERVAL_S, "a start of many ticks"
    assert status["reason"].startswith("predictive: in "), status["reason"]
    needed = UP_PER_S / ahead.per_s
    first_ready_s = next(m.at_s for m in ahead.history if m.ready >= needed)
    came_s = next(m.at_s for m in ahead.history if m.demand_per_s >= UP_PER_S)
    assert first_ready_s <= came_s, "ready when it came"
    ordered_s = next(at_s for at_s, _, count in world.counts_written(foretold) if count >= needed)
    assert ordered_s <= came_s - LOADING_S, "because it was ordered a start ahead"
