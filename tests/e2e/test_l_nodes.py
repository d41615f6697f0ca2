"""Story l: nodes of a real Karpenter, measured stage by stage; what never comes and what comes without GPUs is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.credentials import find
from autoscaler.clock import SystemClock
from autoscaler.core.node_facts import NODE_STAGES, PoolFacts
from tests.e2e.node_pools import POOLS, Pools
from tests.e2e.world import SYSTEM, World, autoscaler, deployment
from tests.realparts.api import Objects, is_ready
from tests.realparts.control_plane import NAMESPACE_LABEL, ControlPlane
from tests.realparts.karpenter import POOL_LABEL, Karpenter
from tests.realparts.prometheus_server import PrometheusServer


def stages(lead_time: Any) -> dict[str, float]:
    return {stage["name"]: stage["p50Seconds"] for stage in lead_time.get("stages", [])}


def settled(nodes: Objects) -> bool:
    """Ready, and Karpenter has taken its taint of the start away."""
    return all(is_ready(node) and not node["spec"].get("taints") for node in nodes.values())


async def scale(world: World, replicas: int) -> None:
    done = await world.control_plane.kubectl("-n", world.namespace, "scale", "deployment/llama", f"--replicas={replicas}")
    assert not done.code, done.err


@pytest.mark.realparts
async def test_l_lead_times_by_stage_and_what_is_stuck(
    control_plane: ControlPlane, prometheus: PrometheusServer, deployed: Any, karpenter: Karpenter, namespace: str
) -> None:
    world = World(control_plane, prometheus, namespace, deployed)
    node_pool = await karpenter.add_pool(
        namespace, max_nodes=3, registered_after="3s", ready_after_ms=4000, advertised_after_ms=3000, consolidate_after="600s"
    )
    pool = {
        "apiVersion": "inference-autoscaler.io/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": namespace},
        "spec": {"maxNodes": 9, "acceleratorsPerNode": 8, "nodeSelector": {NAMESPACE_LABEL: namespace}},
    }
    llama = deployment("llama", 0, gpus=8, ready_after_ms=3000)
    llama["spec"]["template"]["metadata"]["annotations"]["kwok.test/start-after-ms"] = "2000"
    lead_time = {"replica": "1m", "node": "10m"}
    await world.apply(
        pool, llama, autoscaler("llama", mode="Shadow", nodePool=namespace, acceleratorsPerReplica=8, leadTime=lead_time)
    )

    until_pool = partial(Pools(world).until_status, namespace, timeout_s=60.0)
    try:
        async with world.controller("story-l") as controller:
            await until_pool(lambda status: status.get("nodes") == 0)
            await scale(world, 3)
            status = await until_pool(
                lambda status: (
                    status.get("leadTime", {}).get("samples") == 3 and (status.get("nodes"), status.get("readyNodes")) == (3, 3)
                )
            )
            took = stages(status["leadTime"])
            # Pods that nobody placed for a second, Karpenter's batch, 3 s of its provider; the two times of kwok, in whole seconds.
            assert 3.0 <= took["provisioned"] <= 20.0, took
            assert 3.0 <= took["ready"] <= 10.0, took
            assert 1.0 <= took["advertised"] <= 10.0, took
            whole = status["leadTime"]["p50Seconds"]
            assert abs(whole - sum(took.values())) <= 3.0, (whole, took)

            item = await world.until_status("llama", lambda item: item["status"].get("leadTime", {}).get("samples", 0) >= 3)
            replica = stages(item["status"]["leadTime"])
            assert "scheduled" not in replica, "the wait for a node is the node's time"
            assert 1.0 <= replica["image"] <= 10.0, replica
            assert 2.0 <= replica["model"] <= 12.0, replica

            service = await controller.get(f"/api/services/{namespace}/llama")
            assert whole - 1.0 <= service["node_lead_time_s"] <= whole + 20.0 < 600.0
            told = await controller.get(f"/api/services/{namespace}/llama/explain")
            assert [stage["name"] for stage in told["lead_times"]["node_stages"]] == ["whole", *took]
            text = await controller.metrics()
            assert f'inference_autoscaler_pool_nodes{{pool="{namespace}",state="advertised"}} 3' in text
            assert f'inference_autoscaler_pool_lead_time_seconds{{pool="{namespace}",stage="ready",quantile="0.9"}}' in text

            # Karpenter's limit is three nodes: the fourth replica waits for what nobody brings. A node of another NodePool comes up without
            # GPUs, and stays so.
            await scale(world, 4)
            await karpenter.add_pool(namespace, suffix="-silent", replicas=1, advertised_after_ms=3_600_000)
            item = await world.until_condition("llama", "Ready", "False", "ScaleUpStuck", timeout_s=90.0)
            message = next(c["message"] for c in item["status"]["conditions"] if c["type"] == "Ready")
            assert "nvidia.com/gpu is short" in message, message
            status = await until_pool(
                lambda status: any(c["reason"] == "DevicePluginSilent" for c in status.get("conditions", []))
            )
            silent = next(one for one in status["conditions"] if one["reason"] == "DevicePluginSilent")
            assert "1 node is Ready without any accelerator" in silent["message"]

        async with world.controller("story-l-again") as controller:
            await world.until_status("llama", lambda item: "readyReplicas" in item["status"])
            service = await controller.get(f"/api/services/{namespace}/llama")
            assert service["node_lead_time_s"] < 60.0, "the pool's status remembers"
    finally:
        await control_plane.api.delete(f"{POOLS}/{namespace}")
    assert node_pool == namespace


@pytest.mark.realparts
async def test_l_nodes_that_we_asked_for_are_measured_from_the_request(
    control_plane: ControlPlane, deployed: Any, karpenter: Karpenter, namespace: str
) -> None:
    """A static NodePool, sized as a backend of ours does it, without a single pod that waits."""
    node_pool = await karpenter.add_pool(
        namespace, replicas=1, registered_after="2s", ready_after_ms=2000, advertised_after_ms=2000
    )
    await control_plane.api.until(
        "/api/v1/nodes",
        lambda nodes: [node["status"]["allocatable"]["nvidia.com/gpu"] for node in nodes.values()] == ["8"] and settled(nodes),
        labelSelector=f"{POOL_LABEL}={node_pool}",
    )
    pool = {"apiVersion": "inference-autoscaler.io/v1alpha1", "kind": "AcceleratorPool", "metadata": {"name": node_pool}}
    await control_plane.apply({**pool, "spec": {"maxNodes": 9}})
    clock = SystemClock()
    try:
        async with HttpKubeApi(await find(str(deployed), clock.monotonic_s)) as api:
            cluster = KubernetesCluster(
                api, clock=clock, rng=np.random.default_rng(3), own_namespace=SYSTEM, may_write=lambda: False
            )
            async with cluster:
                await cluster.wait_synced(10.0)

                async def until(condition: Callable[[PoolFacts], bool]) -> PoolFacts:
                    async with asyncio.timeout(60.0):
                        while True:
                            facts = (await cluster.observe(clock.now_s())).pool_facts.get(node_pool)
                            if facts is not None and condition(facts):
                                return facts
                            await asyncio.sleep(0.2)

                assert not (await until(lambda facts: facts.advertised == 1)).stages, "the first one was there before we came"
                cluster.nodes_requested({node_pool: 1})
                done = await control_plane.kubectl("scale", f"nodepool/{node_pool}", "--replicas=4")
                assert not done.code, done.err
                cluster.nodes_requested({node_pool: 4})
                facts = await until(lambda facts: facts.advertised == 4)
                told = {stage.name: stage for stage in facts.stages}
                assert {stage.samples for stage in facts.stages} == {3}
                assert 1.0 <= told["provisioned"].p50_s <= 20.0, told
                assert 5.0 <= told["whole"].p50_s <= 40.0, told
                assert abs(told["whole"].p50_s - sum(told[name].p50_s for name in NODE_STAGES)) <= 3.0, told
                assert facts.lead_s is not None
    finally:
        await control_plane.api.delete(f"{POOLS}/{node_pool}")
