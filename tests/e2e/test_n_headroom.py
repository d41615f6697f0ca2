"""Story n: nodes of dynamic NodePools are there before a ramp's replicas need them, and go after it, by either way of keeping room."""

from __future__ import annotations

import math
import time
from functools import partial
from operator import le

import pytest

from tests.e2e.node_pools import PLACEHOLDERS, Pools, accelerator_pool, explain, headroom
from tests.e2e.world import autoscaler, deployment
from tests.realparts.api import Object
from tests.realparts.karpenter import POOL_LABEL, Karpenter

pytestmark = pytest.mark.realparts

RHYTHM_S = 600.0
LOWEST_PER_S, HIGHEST_PER_S = 1.5, 15.0
BEGINS = 0.05
"""Where in its rhythm the traffic is at the story's begin: before the ramp, so that nodes can be there in its steep middle."""
LEARNT_S = 4200.0
"""More than the hour of a controller's own steps that policies are shown."""
AT_FIRST, MOST = 3, 12
"""Replicas, of which each fills a node."""
NODE_S, LOADING_S = 35.0, 2.0
"""What a node takes, about, and a model: demand grows by up to a half in that time."""


def rhythm(at_s: float) -> float:
    """Up and down by a factor of ten in every ten minutes, for as long as anybody remembers."""
    middle, swing = math.log(LOWEST_PER_S * HIGHEST_PER_S) / 2, math.log(HIGHEST_PER_S / LOWEST_PER_S) / 2
    return math.exp(middle - swing * math.cos(2 * math.pi * (at_s / RHYTHM_S + BEGINS)))


def follower(name: str, pool: str) -> list[Object]:
    """A replica of eight GPUs, which is a node, that runs on one NodePool only."""
    workload = deployment(name, AT_FIRST, gpus=8, ready_after_ms=round(1000 * LOADING_S))
    workload["spec"]["template"]["spec"]["nodeSelector"] = {POOL_LABEL: pool}
    return [
        workload,
        autoscaler(
            name,
            maxReplicas=MOST,
            signals={
                "presets": ["vllm"],
                "staleAfter": "8s",
                "queries": [{"signal": "demand", "query": f'sum(rate(gateway_requests_total{{service="{name}"}}[10s]))'}],
            },
            objective={"signal": "queue_wait_s", "target": "5s", "promised": "99%"},
            policies=[{"name": "predictive"}],
            leadTime={"replica": f"{LOADING_S:g}s", "node": f"{NODE_S:g}s"},
            nodePool=pool,
            acceleratorsPerReplica=8,
        ),
    ]


async def test_n_room_is_there_before_a_ramp_and_goes_after_it(pools: Pools, karpenter: Karpenter) -> None:
    """Twins on NodePools of their own: one with a CapacityBuffer, the other with placeholder pods."""
    world, api, ns = pools.world, pools.plane.api, pools.world.namespace
    methods = {"buffer": "CapacityBuffer", "placeholder": "Placeholder"}
    names = {name: f"{ns}-{name}" for name in methods}
    kept = {
        "buffer": f"/apis/autoscaling.x-k8s.io/v1beta1/namespaces/{PLACEHOLDERS}/capacitybuffers",
        "placeholder": f"/apis/apps/v1/namespaces/{PLACEHOLDERS}/deployments",
    }
    for name, pool in names.items():
        await karpenter.add_pool(ns, suffix=f"-{name}", max_nodes=MOST, registered_after="15s", ready_after_ms=15_000)
        selector = {POOL_LABEL: pool}
        await world.apply(
            accelerator_pool(pool, headroom(methods[name]), maxNodes=MOST, nodeSelector=selector), *follower(name, pool)
        )
    for name in names:
        await world.until_ready(name, AT_FIRST, timeout_s=90.0)
    past = {"past_s": LEARNT_S, "has_past": True}
    async with (
        world.traffic("buffer", rhythm, **past),
        world.traffic("placeholder", rhythm, **past),
        world.controller("story-n-room") as controller,
    ):
        there_s: dict[str, float] = {}
        for name, pool in names.items():
            status = await pools.until_status(pool, has_room, timeout_s=90.0)
            assert "headroom" in status["reason"], status
            assert ", with room for " in await explain(controller, f"{ns}/{name}")
            nodes = status["plannedNodes"]
            assert nodes > await world.replicas(name), "nodes are asked for that no replica asks for"
            assert [one["metadata"]["labels"]["inference-autoscaler.io/pool"] for one in (await api.get(kept[name]))["items"]]
            await pools.until_status(pool, lambda status, nodes=nodes: status.get("readyNodes", 0) >= nodes, timeout_s=90.0)  # type: ignore[misc]
            there_s[name] = time.time() + 1.0
        before = {name: await world.replicas(name) for name in names}
        for name in names:
            await world.until_replicas(name, partial(le, before[name] + 2), timeout_s=90)
            await world.until_ready(name, before[name] + 2)
            waited_s = await pools.waits_s(name, since_s=there_s[name])
            assert len(waited_s) >= 2, "the ramp needed more"
            assert max(waited_s.values()) <= 2.0, f"no replica of {name} waits for a node: {waited_s}"

        # Nothing may grow any more, and all but one replica go.
        for name in names:
            await pools.kubectl("-n", ns, "patch", "ia", name, "--type=merge", "-p", '{"spec": {"maxReplicas": 1}}')
        for name, pool in names.items():
            await karpenter.until_nodes(pool, 1, timeout_s=60.0)
            await api.until(kept[name], lambda items: not any(item["spec"]["replicas"] for item in items.values()))
            status = await pools.until(pool, nodes=1, plannedNodes=1, ready="Reconciled")
            assert status["reason"].startswith("1 node of 8: 8 nvidia.com/gpu for replicas of 1 service")

        # Room that is kept in the other way from now on isn't kept twice.
        other = '{"spec": {"backend": {"headroom": {"method": "Placeholder"}}}}'
        await pools.kubectl("patch", "apool", names["buffer"], "--type=merge", "-p", other)
        await api.until(kept["buffer"], lambda items: not items)


def has_room(status: Object) -> bool:
    return "headroom" in status.get("reason", "")
