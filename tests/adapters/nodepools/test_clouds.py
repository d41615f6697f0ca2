"""What each cloud has of its own: zones, owners, bounds, and orders that were taken and failed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from autoscaler.adapters.nodepools.pools import BackendPools
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from autoscaler.core.model import PoolSpec, Zone
from autoscaler.spec import PoolBackend
from tests.adapters.nodepools import beds
from tests.adapters.nodepools.amazon import Amazon
from tests.adapters.nodepools.beds import Around, Bed
from tests.adapters.nodepools.google import Google
from tests.adapters.nodepools.microsoft import Microsoft
from tests.adapters.nodepools.test_pools import plan


@pytest_asyncio.fixture(loop_scope="session")
async def base(tmp_path: Path) -> AsyncIterator[Around]:
    async with beds.around(tmp_path) as made:
        yield made


async def problem(asking: Any) -> PoolProblem:
    with pytest.raises(PoolProblem) as met:
        await asking
    return met.value


# ------------------------------------------------------------ GKE

ZONES = {"europe-west4-a": 1, "europe-west4-b": 1, "europe-west4-c": 1}


async def test_gke_counts_nodes_per_zone(base: Around) -> None:
    async with Google(dict(ZONES)) as server:
        bed = beds.gke(base, server)
        state = await bed.get()
        assert (state.target, state.multiple) == (3, 3)
        await bed.set(6, state)
        assert server.orders == [{"nodeCount": 2}]


async def test_gke_s_own_autoscaler_owns_the_size(base: Around) -> None:
    async with Google(dict(ZONES), {"enabled": True, "minNodeCount": 0, "maxNodeCount": 4}) as server:
        assert "cluster autoscaler" in (await beds.gke(base, server).get()).owner


async def test_gke_s_lower_bound_keeps_all_else_as_it_is(base: Around) -> None:
    per_zone = {"enabled": True, "minNodeCount": 1, "maxNodeCount": 4, "locationPolicy": "ANY"}
    async with Google(dict(ZONES), dict(per_zone)) as server:
        bed = beds.gke(base, server, "Minimum")
        state = await bed.get()
        assert (state.target, state.max_nodes, state.multiple, state.owner) == (3, 12, 3, "")
        await bed.set(6, state)
        assert server.orders == [{"autoscaling": {**per_zone, "minNodeCount": 2}}]
        assert server.zones == ZONES
    total = {"enabled": True, "totalMaxNodeCount": 12}  # of a bound that is 0 nothing is told
    async with Google(dict(ZONES), dict(total)) as server:
        bed = beds.gke(base, server, "Minimum")
        state = await bed.get()
        assert (state.target, state.max_nodes, state.multiple) == (0, 12, 1)
        await bed.set(4, state)
        assert server.orders == [{"autoscaling": {**total, "totalMinNodeCount": 4}}]
    async with Google(dict(ZONES), {}) as server:
        met = await problem(beds.gke(base, server, "Minimum").get())
        assert met.reason == PoolReason.NotUsable


async def test_gke_out_of_machines_in_one_zone(base: Around) -> None:
    async with Google(dict(ZONES)) as server:
        server.short = {"europe-west4-b": "ZONE_RESOURCE_POOL_EXHAUSTED"}
        state = await beds.gke(base, server).get()
        assert state.reason == PoolReason.NoCapacity
        assert state.problem == "europe-west4-b: ZONE_RESOURCE_POOL_EXHAUSTED: no machines in this zone"


async def test_gke_an_operation_that_fails_is_told_until_the_next_order(base: Around) -> None:
    async with Google({"europe-west4-a": 2}) as server:
        bed = beds.gke(base, server)
        await bed.set(5)
        server.finish({"code": 8, "message": "Insufficient regional quota to satisfy request: resource GPUS_ALL_REGIONS"})
        state = await bed.get()
        assert state.reason == PoolReason.QuotaExceeded
        assert "GPUS_ALL_REGIONS" in state.problem
        await bed.set(3, state)
        server.finish()
        assert (await bed.get()).problem == ""


async def test_gke_busy_with_something_else(base: Around) -> None:
    async with Google({"europe-west4-a": 2}) as server:
        bed = beds.gke(base, server)
        over = await bed.get()
        server.operation = "somebody-s-upgrade"
        assert (await problem(bed.set(5, over))).reason == PoolReason.Conflict
        assert (await bed.get()).changing == "the node pool is RECONCILING"


# ------------------------------------------------------------ EKS


async def test_eks_tells_its_bounds_and_is_never_asked_for_others(base: Around) -> None:
    async with Amazon(desired=2, low=1, high=4) as server:
        state = await beds.eks(base, server).get()
        assert (state.min_nodes, state.max_nodes) == (1, 4)
        await beds.eks(base, server).set(4)
        assert server.orders == [{"scalingConfig": {"desiredSize": 4}}]


async def test_eks_cluster_autoscaler_s_tag(base: Around) -> None:
    async with Amazon() as server:
        server.tags = {"k8s.io/cluster-autoscaler/enabled": "true"}
        assert "cluster-autoscaler" in (await beds.eks(base, server).get()).owner
        assert (await beds.eks(base, server, "Minimum").get()).owner == ""


async def test_eks_s_lower_bound_takes_the_size_up_with_it(base: Around) -> None:
    async with Amazon(desired=2, low=2) as server:
        bed = beds.eks(base, server, "Minimum")
        await bed.set(5)
        assert server.orders == [{"scalingConfig": {"minSize": 5, "desiredSize": 5}}]
        server.finish()
        await bed.set(1)
        assert server.orders[1:] == [{"scalingConfig": {"minSize": 1}}], "the size is the owner's to take down"


async def test_eks_an_update_that_fails_and_issues_of_the_group(base: Around) -> None:
    async with Amazon() as server:
        bed = beds.eks(base, server)
        await bed.set(5)
        server.finish(
            {"errorCode": "AsgInstanceLaunchFailures", "errorMessage": "We currently do not have sufficient p5.48xlarge"}
        )
        state = await bed.get()
        assert (state.reason, "AsgInstanceLaunchFailures" in state.problem) == (PoolReason.NoCapacity, True)
        server.issues = [{"code": "InstanceLimitExceeded", "message": "You have requested more vCPU capacity than your limit"}]
        # After a restart the update is forgotten, and the issue is not.
        bed.backend = bed.again()
        assert (await bed.get()).reason == PoolReason.QuotaExceeded


# ------------------------------------------------------------ AKS


async def test_aks_somebody_s_change_is_not_written_over(base: Around) -> None:
    async with Microsoft() as server:
        bed = beds.aks(base, server)
        over = await bed.get()
        server.properties["nodeTaints"] = []
        server.etag += 1
        assert (await problem(bed.set(5, over))).reason == PoolReason.Conflict
        await bed.set(5)
        assert server.properties["nodeTaints"] == []
        assert server.properties["vmSize"] == "Standard_ND96isr_H100_v5"


async def test_aks_own_autoscaler(base: Around) -> None:
    async with Microsoft(autoscaling=(1, 6)) as server:
        assert "cluster autoscaler" in (await beds.aks(base, server).get()).owner
        bed = beds.aks(base, server, "Minimum")
        assert ((await bed.get()).target, (await bed.get()).max_nodes) == (1, 6)
        await bed.set(4)
        assert (server.properties["minCount"], server.properties["count"]) == (4, 2)
    async with Microsoft() as server:
        assert (await problem(beds.aks(base, server, "Minimum").get())).reason == PoolReason.NotUsable


async def test_aks_an_operation_that_fails_is_told_also_after_a_restart(base: Around) -> None:
    async with Microsoft() as server:
        bed = beds.aks(base, server)
        await bed.set(5)
        server.finish(
            {"code": "QuotaExceeded", "message": "Operation could not be completed as it results in exceeding approved quota"}
        )
        state = await bed.get()
        assert state.reason == PoolReason.QuotaExceeded
        bed.backend = bed.again()
        state = await bed.get()
        assert (state.reason, state.problem.startswith("the last operation failed")) == (PoolReason.Failed, True)


async def test_aks_shows_its_token_to_nobody_else(base: Around) -> None:
    async with Microsoft() as stranger, Microsoft() as server:
        server.elsewhere = f"{stranger.url}/operations/op-1"
        bed = beds.aks(base, server)
        await bed.set(5)
        await bed.get()
        assert stranger.seen == []
        # A name that only begins as ours does.
        server.finish()
        server.elsewhere = f"{server.url}.example.com/operations/op-2"
        await bed.set(6)
        assert (await bed.get()).changing == "the node pool is Scaling"


# ------------------------------------------------------------ webhook


async def test_a_webhook_tells_problems_in_the_list_s_words(base: Around, tmp_path: Path) -> None:
    tls, ca = beds.hook_tls(tmp_path)
    async with beds.Hook(tls) as server:
        bed = beds.webhook(base, server, ca)
        told = {"target": 2, "owner": "the night shift", "problem": {"reason": "NoCapacity", "message": "the hall is full"}}
        bed.fail(document=told)
        state = await bed.get()
        assert (state.owner, state.reason, state.problem) == ("the night shift", PoolReason.NoCapacity, "the hall is full")
        for wrong in ({"target": -1}, {"target": "3"}, {"target": True}, {"ready": 2}, {"target": 2, "ready": 1.5}):
            bed.fail(document=wrong)
            assert (await problem(bed.get())).reason == PoolReason.UnexpectedAnswer


async def test_a_webhook_is_told_of_zones_and_spot_where_the_pool_has_them(base: Around, tmp_path: Path) -> None:
    tls, ca = beds.hook_tls(tmp_path)
    async with beds.Hook(tls) as server:
        bed = beds.webhook(base, server, ca)
        settings = PoolBackend(type="EKS", cool_down="0s", max_step=4)  # the backend is handed in
        plain = PoolSpec(name="h100", min_nodes=0, max_nodes=20, accelerators_per_node=8, backend=settings)
        split = replace(plain, zones=(Zone(name="a", max_nodes=1), Zone(name="b")), spot_ratio=0.5, on_demand_nodes=2)
        pools = BackendPools(lambda _pool, _settings: bed.again(), clock=bed.clock, rng=np.random.default_rng(1))

        async def ordered(pool: PoolSpec, nodes: int) -> dict[str, Any]:
            """Of the order of a tick, {} where there is none."""
            server.finish()
            bed.clock.advance_to(bed.clock.now_s() + 15.0)
            before = len(server.orders)
            assert await pools.act([pool], plan(h100=nodes), 2.0) == {}
            assert len(server.orders) - before in (0, 1)
            return {name: server.orders[-1].get(name) for name in ("nodes", "zones", "spot")} if server.orders[before:] else {}

        assert await ordered(plain, 3) == {"nodes": 3, "zones": None, "spot": None}
        assert server.orders[-1].keys() == {"schema", "pool", "operation", "nodes", "reason"}
        # Two are ready and four a step: what is ordered is split, not what is planned.
        assert await ordered(split, 9) == {"nodes": 6, "zones": {"a": 1, "b": 5}, "spot": 3}
        other = replace(split, zones=(Zone(name="a"), Zone(name="b")), on_demand_nodes=6)
        assert await ordered(other, 6) == {}, "no node goes in one zone so that another one comes elsewhere"
        assert await ordered(other, 5) == {"nodes": 5, "zones": {"a": 3, "b": 2}, "spot": 0}
        assert await ordered(replace(plain, spot_ratio=0.5), 4) == {"nodes": 4, "zones": None, "spot": 2}
        await pools.close()


async def test_a_webhook_s_certificate_is_verified_and_no_redirect_is_followed(base: Around, tmp_path: Path) -> None:
    tls, _ = beds.hook_tls(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = beds.hook_tls(tmp_path / "other")
    async with beds.Hook(tls) as server, beds.Hook(None) as stranger:
        bed = beds.webhook(base, server, other)
        met = await problem(bed.get())
        assert met.reason == PoolReason.Unreachable
        assert server.seen == []
        base.kube.delete("secrets", "hook", namespace="system")
        bed = beds.webhook(base, server, beds.hook_tls(tmp_path)[1])
    (tmp_path / "third").mkdir()
    tls, ca = beds.hook_tls(tmp_path / "third")
    async with beds.Hook(tls) as server, beds.Hook(None) as stranger:
        base.kube.delete("secrets", "hook", namespace="system")
        bed = beds.webhook(base, server, ca)
        bed.fail(status=307, document={}, headers={"Location": f"{stranger.url}/size"})
        assert (await problem(bed.get())).reason == PoolReason.Rejected
        assert stranger.seen == []


async def test_a_webhook_whose_secret_is_missing(base: Around, tmp_path: Path) -> None:
    tls, ca = beds.hook_tls(tmp_path)
    async with beds.Hook(tls) as server:
        bed: Bed = beds.webhook(base, server, ca)
        base.kube.patch("secrets", "hook", {"data": {"token": None}}, namespace="system")
        met = await problem(bed.get())
        assert met.reason == PoolReason.CredentialsRefused
        assert "system/hook" in met.words
