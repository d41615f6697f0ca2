"""Story n: a static NodePool of a real Karpenter follows the plan up and down, over kills on either side, and one owner has its size."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from aiohttp import web

from tests.e2e.node_pools import Pools, accelerator_pool, explain, ready, static
from tests.e2e.world import SYSTEM, World, autoscaler, deployment
from tests.realparts.api import Object
from tests.realparts.fault_proxy import Fault, Hang
from tests.realparts.karpenter import NODE_CLAIMS, POOL_LABEL, Karpenter

pytestmark = pytest.mark.realparts

ONE, FOUR = 1.0, 4.0
"""Requests/s that one replica and four are wished for: 5 s each, 6 at a time."""


def llama(pool: str, **spec: Any) -> list[Object]:
    """One replica, of eight GPUs: a node for each."""
    return [
        deployment("llama", 1, gpus=8),
        autoscaler("llama", nodePool=pool, acceleratorsPerReplica=8, maxReplicas=4, **spec),
    ]


async def test_n_a_static_pool_follows_the_plan_up_over_a_kill_of_karpenter_and_down(pools: Pools, karpenter: Karpenter) -> None:
    world, name = pools.world, pools.world.namespace
    await karpenter.add_pool(name, replicas=1, registered_after="1s", ready_after_ms=2000)
    await karpenter.until_nodes(name, 1)
    await world.apply(accelerator_pool(name, static(name)), *llama(name))
    await world.until_ready("llama", 1)
    demand = ONE
    async with world.controller("story-n") as controller, world.traffic("llama", lambda _at_s: demand):
        await pools.until(name, nodes=1, plannedNodes=1, ready="Reconciled")
        demand = FOUR
        # Karpenter has just begun with what it was asked for, and dies.
        await pools.plane.api.until(NODE_CLAIMS, lambda claims: len(claims) >= 2, labelSelector=f"{POOL_LABEL}={name}")
        await karpenter.process.kill()
        status = await pools.until(name, plannedNodes=4, askedNodes=4, ready="Scaling")
        assert "the plan needs 4 nodes, asked for 4, ready 1" in ready(status)["message"]
        await karpenter.process.start()
        await karpenter.until_nodes(name, 4)
        await world.until_ready("llama", 4)
        status = await pools.until(name, nodes=4, readyNodes=4, plannedNodes=4, askedNodes=4, ready="Reconciled")
        assert len(await pools.claims(name)) == 4, "none was ordered twice"

        why = "4 nodes of 8: 32 nvidia.com/gpu for replicas of 1 service"
        assert status["reason"] == why
        assert (ready(status)["status"], ready(status)["message"]) == ("True", "the plan needs 4 nodes, asked for 4, ready 4")
        shown = (await pools.kubectl("get", "apool", name, "-o", "wide")).splitlines()
        assert shown[0].split()[:7] == ["NAME", "BACKEND", "MIN", "MAX", "NODES", "PLANNED", "REASON"]
        assert shown[1].split()[:7] == [name, "Scale", "0", "6", "4", "4", "Reconciled"]
        assert why in shown[1]
        told = await explain(controller, f"{name}/llama")
        assert why in told
        assert f"Nodes of {name}" in told

        demand = ONE
        await karpenter.until_nodes(name, 1, timeout_s=60.0)
        status = await pools.until(name, nodes=1, plannedNodes=1, askedNodes=1, ready="Reconciled")
        assert status["reason"].startswith("1 node of 8: 8 nvidia.com/gpu for replicas of 1 service")
        await world.until_replicas("llama", lambda count: count == 1)
    sizes = pools.sizes_written(name)
    steps = [after - before for before, after in itertools.pairwise([1, *sizes])]
    assert 0 not in steps, "nothing was ordered twice"
    assert steps == [*filter(lambda step: step > 0, steps), *filter(lambda step: step < 0, steps)], "up once, and down"


@pytest.mark.parametrize("lost", ["replicas", "nodes"])
async def test_n_killed_between_the_two_orders_the_next_tick_finishes_and_doubles_nothing(
    pools: Pools, karpenter: Karpenter, lost: str
) -> None:
    """The one of the two that is lost never reaches the API server; the other one does, and then the controller dies. Without the Lease,
    which the next one would wait for: nobody else is there."""
    world, plane, name = pools.world, pools.plane, pools.world.namespace
    await karpenter.add_pool(name, replicas=1)
    await karpenter.until_nodes(name, 1)
    await world.apply(accelerator_pool(name, static(name)), *llama(name, minReplicas=4))
    await world.until_ready("llama", 1)
    alone = "--no-leader-election"
    path = "/deployments/llama/scale" if lost == "replicas" else f"/nodepools/{name}/scale"

    def hold(request: web.Request) -> Fault | None:
        return Hang() if request.method == "PUT" and request.path.endswith(path) else None

    async with plane.fault_proxy() as proxy, world.traffic("llama", lambda _at_s: FOUR):
        proxy.rule = hold
        kubeconfig = await plane.service_account_kubeconfig(SYSTEM, SYSTEM, server=proxy.url)
        async with World(plane, world.prometheus, name, kubeconfig).controller("story-n-killed", alone) as first:
            if lost == "replicas":
                await pools.until_asked(name, 4)
            else:
                await world.until_replicas("llama", lambda count: count == 4)
            await first.process.kill()
        assert await world.replicas("llama") == (1 if lost == "replicas" else 4)
        assert pools.sizes_written(name) == ([4] if lost == "replicas" else [])
        async with world.controller("story-n-next", alone):
            await pools.until(name, nodes=4, plannedNodes=4, askedNodes=4, ready="Reconciled")
            await world.until_ready("llama", 4)
    assert pools.sizes_written(name) == [4]
    assert [count for _, _, count in world.counts_written("llama")] == [4]
    assert len(await pools.claims(name)) == 4


async def test_n_a_static_pool_that_gitops_applies_is_left_to_it_until_it_is_to_be_taken(
    pools: Pools, karpenter: Karpenter
) -> None:
    """And then it is handed over for good, as the page of node pools says: Karpenter lets nobody take the field away that alone has set it."""
    world, plane, name = pools.world, pools.plane, pools.world.namespace
    await karpenter.add_pool(name, replicas=1)
    await karpenter.until_nodes(name, 1)

    async def gitops(spec: str) -> str:
        manifest = f'{{"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {{"name": "{name}"}}, "spec": {spec}}}'
        words = ("--field-manager=gitops", "--force-conflicts", "-f", "-")
        return (await plane.kubectl("apply", "--server-side", *words, input=manifest)).err

    assert not await gitops('{"replicas": 2}')
    assert "Cannot transition NodePool between static" in await gitops("{}")
    await world.apply(accelerator_pool(name, static(name)), *llama(name, minReplicas=4))
    async with world.controller("story-n-owner"), world.traffic("llama", lambda _at_s: FOUR):
        status = await pools.until(name, plannedNodes=4, askedNodes=2, ready="OwnedElsewhere")
        assert status["owner"] == "gitops applies spec.replicas (take the field out of what it applies)"
        condition = ready(status)
        assert condition["status"] == "False"
        assert condition["message"].endswith("; nothing is written, unless takeOwnership is true")
        assert "OwnedElsewhere" in await pools.kubectl("get", "apool", name)
        await world.until_replicas("llama", lambda count: count == 4)
        assert pools.sizes_written(name) == []
        await pools.kubectl("patch", "apool", name, "--type=merge", "-p", take_ownership("true"))
        await pools.until(name, nodes=4, askedNodes=4, ready="Reconciled")
        assert not await gitops("{}")
        await pools.kubectl("patch", "apool", name, "--type=merge", "-p", take_ownership("false"))
        await pools.kubectl(
            "-n", name, "patch", "ia", "llama", "--type=merge", "-p", '{"spec": {"minReplicas": 3, "maxReplicas": 3}}'
        )
        status = await pools.until(name, plannedNodes=3, nodes=3, askedNodes=3, ready="Reconciled")
        assert "owner" not in status
    assert pools.sizes_written(name) == [4, 3]


def take_ownership(whether: str) -> str:
    return f'{{"spec": {{"backend": {{"takeOwnership": {whether}}}}}}}'
