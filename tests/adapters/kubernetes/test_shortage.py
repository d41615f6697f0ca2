"""A whole controller over a fake API server: what is stuck is released and said, what goes is ordered again, a restart goes on from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.pool_reporter import PoolReporter
from autoscaler.adapters.kubernetes.status_reporter import StatusReporter
from autoscaler.clock import SystemClock
from autoscaler.controller import Controller
from autoscaler.core.model import Fleet, Plan, PoolSpec
from autoscaler.ports import PoolTold, Reporter
from autoscaler.spec import AcceleratorPoolStatus
from tests.adapters.kubernetes.conftest import Team, observed
from tests.adapters.kubernetes.test_node_strip import runs_on
from tests.adapters.kubernetes.test_pool_watch import NO_ROOM, add_node, counts, moment, pool, unschedulable
from tests.adapters.kubernetes.test_status_reporter import INSTANT
from tests.ticks import PER_REPLICA, MadeMetrics

SPOT_ITN = {"key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule"}


class Provider:
    """The NodePools port of a system that takes every order. short: what it says of its lack."""

    def __init__(self, asked: int) -> None:
        self.asked = {"h100": asked}
        self.short = ""

    async def act(self, pools: Sequence[PoolSpec], plan: Plan, deadline_s: float) -> Mapping[str, str]:
        self.asked = dict(plan.nodes)
        return {}

    def told(self) -> Mapping[str, PoolTold]:
        return {
            name: PoolTold(asked=nodes, ready=None, owner="", ok=True, reason="Scaling", message="", short=self.short)
            for name, nodes in self.asked.items()
        }


def controller_of(team: Team, cluster: KubernetesCluster, provider: Provider, in_flight: float) -> Controller:
    reporters: list[Reporter] = [
        StatusReporter(team.api, cluster, SystemClock(), instance="pod-1"),
        PoolReporter(team.api, lambda: True, provider.told, cluster.pool_statuses),
    ]
    return Controller(
        clock=SystemClock(),
        metrics=MadeMetrics({"concurrency": lambda _at_s, _row: in_flight}),
        cluster=cluster,
        policies={"per-replica": PER_REPLICA},
        reporters=reporters,
        node_pools=provider,
    )


def status(team: Team) -> AcceleratorPoolStatus:
    return msgspec.convert(team.fake.get("acceleratorpools", "h100", "")["status"], AcceleratorPoolStatus)


def three_replicas_two_of_them_stuck(team: Team) -> None:
    """Of eight GPUs each, on a pool with one node."""
    pool(team, status={"leadTime": {"samples": 3, "recent": [40.0] * 3}})
    team.deployment(replicas=3)
    team.service(nodePool="h100", acceleratorsPerReplica=8, **INSTANT)
    add_node(team, "a")
    team.pod("runs", ready=True)
    for name in ("b", "c"):
        team.pod(name)
        team.pod_status(name, "Pending", unschedulable(moment(time.time() - 600.0), NO_ROOM))


async def test_what_is_stuck_is_released_said_and_remembered(team: Team) -> None:
    three_replicas_two_of_them_stuck(team)
    provider = Provider(asked=3)
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: fleet.stuck and counts(fleet) == (1, 1, 1))
        controller = controller_of(team, cluster, provider, in_flight=30.0)
        provider.short = "NoCapacity: no such machines"
        await controller.tick()
        tick = await controller.tick()
        assert controller.reporter_failures == 0
        assert tick.plan.replicas.tolist() == [1]
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 1, "what runs stays"
        conditions = {c["type"]: c for c in team.fake.get("inferenceautoscalers", "llama")["status"]["conditions"]}
        assert (conditions["ScalingLimited"]["status"], conditions["ScalingLimited"]["reason"]) == ("True", "ScaleUpStuck")
        assert conditions["Ready"]["reason"] == "ScaleUpStuck"
        told = status(team)
        assert told.shortage is not None
        assert (told.shortage.there, told.shortage.trying, told.shortage.pause_seconds) == (1, 0, 300.0)
        assert "no such machines" in told.shortage.said
        assert "short of nvidia.com/gpu" in (told.reason or "")
        for name in ("b", "c"):
            team.fake.delete("pods", name)  # as its ReplicaSet does
        for _ in range(3):
            tick = await controller.tick()
            assert tick.plan.replicas.tolist() == [1], "not asked for again before the pause is over"
        await observed(cluster, lambda _: cluster.picture.pools.pools["h100"].pool.status.shortage == status(team).shortage)
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: counts(fleet) == (1, 1, 1))
        again = controller_of(team, cluster, Provider(asked=1), in_flight=30.0)
        tick = await again.tick()
        assert tick.plan.replicas.tolist() == [1], "the pool's status remembers"
        assert tick.plan.limits[0].name == "ScaleUpStuck"


async def test_what_is_over_leaves_the_status(team: Team) -> None:
    began = {"since": time.time() - 4000.0, "until": time.time() - 700.0, "pauseSeconds": 300.0, "there": 1, "trying": 2}
    pool(team, status={"shortage": {**began, "resource": "nvidia.com/gpu", "said": "nobody"}})
    team.deployment(replicas=1)
    team.service(nodePool="h100", acceleratorsPerReplica=8, **INSTANT)
    team.pod("runs", ready=True)
    add_node(team, "a")
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: counts(fleet) == (1, 1, 1))
        controller = controller_of(team, cluster, Provider(asked=1), in_flight=10.0)
        assert (await controller.tick()).plan.bounds is None
        assert status(team).shortage is None


async def test_a_node_with_a_notice_is_ordered_again_before_it_goes_and_the_count_stays(team: Team) -> None:
    pool(team)
    team.deployment(replicas=2)
    team.service(nodePool="h100", acceleratorsPerReplica=8, **INSTANT)
    for name in ("a", "b"):
        add_node(team, name)
        team.pod(f"on-{name}", ready=True)
    provider = Provider(asked=2)
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: counts(fleet) == (2, 2, 2) and fleet.ready.tolist() == [2])
        controller = controller_of(team, cluster, provider, in_flight=20.0)
        assert (await controller.tick()).plan.nodes == {"h100": 2}
        team.fake.patch("nodes", "a", {"spec": {"taints": [SPOT_ITN]}})
        await observed(cluster, lambda fleet: counts(fleet) == (2, 2, 1))
        tick = await controller.tick()
        assert tick.plan.nodes == {"h100": 3}
        assert tick.plan.replicas.tolist() == [2], "its ReplicaSet replaces what the node takes along"
        assert provider.asked == {"h100": 3}
        assert "counts for nothing" in (status(team).reason or "")
        add_node(team, "c")
        await observed(cluster, lambda fleet: counts(fleet) == (3, 3, 2))
        assert (await controller.tick()).plan.nodes == {"h100": 3}, "not ordered once more"
        cluster.nodes_requested(provider.asked)
        team.fake.delete("nodes", "a")
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (2, 2, 2))
        assert fleet.pool_facts["h100"].losses == 1.0
        assert (await controller.tick()).plan.nodes == {"h100": 2}


async def test_a_node_with_a_notice_is_replaced_by_one_also_while_its_replicas_drain(team: Team) -> None:
    """Eight replicas of one GPU on a node of eight. free: GPUs that nobody asks for by itself, for which a ``Headroom`` would keep room."""
    pool(team)
    team.deployment(replicas=8)
    team.service(nodePool="h100", **INSTANT)
    add_node(team, "a")
    old, new = [[f"{kind}-{number}" for number in range(8)] for kind in ("old", "new")]
    for name in old:
        runs_on(team, "a", name)
    provider = Provider(asked=1)
    async with team.cluster() as cluster:

        async def planned(true: Callable[[Fleet], bool]) -> tuple[int, int]:
            """(nodes, free) of a tick in which the fleet is so."""
            await observed(cluster, true)
            plan = (await controller.tick()).plan
            cluster.nodes_requested(provider.asked)
            assert plan.taken is not None
            return plan.nodes["h100"], plan.nodes["h100"] * 8 - plan.taken["h100"]

        controller = controller_of(team, cluster, provider, in_flight=80.0)
        assert await planned(lambda fleet: counts(fleet) == (1, 1, 1) and fleet.ready.tolist() == [8]) == (1, 0)
        team.fake.patch("nodes", "a", {"spec": {"taints": [SPOT_ITN]}})
        assert await planned(lambda fleet: counts(fleet) == (1, 1, 0)) == (2, 8)
        for name in old[:4]:
            team.fake.patch("pods", name, {"metadata": {"deletionTimestamp": "2026-01-01T02:00:00Z"}})
        for name in new[:4]:
            team.pod(name)
        assert await planned(lambda fleet: fleet.draining_lost == {0: 4} and fleet.staying_lost == {0: {"h100": 4}}) == (2, 4)
        add_node(team, "b")
        for name in old[4:]:
            team.fake.patch("pods", name, {"metadata": {"deletionTimestamp": "2026-01-01T02:00:00Z"}})
        for name in new[4:]:
            team.pod(name)
        for name in new:
            team.fake.patch("pods", name, {"spec": {"nodeName": "b"}})
        assert await planned(lambda fleet: counts(fleet) == (2, 2, 1) and fleet.draining_lost == {0: 8}) == (2, 0)
        team.fake.delete("nodes", "a")  # the pods' objects go within a minute after it
        assert await planned(lambda fleet: counts(fleet) == (1, 1, 1) and fleet.draining_lost == {0: 8}) == (1, 0)
        assert cluster.picture.pools.to_replace == set()
        for name in old:
            team.fake.delete("pods", name)
        assert await planned(lambda fleet: fleet.draining.tolist() == [0]) == (1, 0)
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 8
