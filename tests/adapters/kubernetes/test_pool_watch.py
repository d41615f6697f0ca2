"""Pools and their nodes as the cluster adapter sees them, and what it says of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from autoscaler.adapters.kubernetes.pool_nodes import SILENT_S
from autoscaler.adapters.kubernetes.pool_reporter import PoolReporter
from autoscaler.clock import SystemClock
from autoscaler.core.model import Fleet
from autoscaler.core.node_facts import POD_STAGES
from autoscaler.spec import AcceleratorPoolStatus
from tests.adapters.kubernetes.conftest import Team, observed, ready_condition
from tests.adapters.kubernetes.test_nodes import node
from tests.adapters.kubernetes.test_status_reporter import Loop
from tests.fakes.kube_store import Object

H100 = {"karpenter.sh/nodepool": "h100"}
NO_ROOM = "0/3 nodes are available: 2 Insufficient cpu, 3 Insufficient nvidia.com/gpu. preemption: not helpful"


def moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pool(team: Team, name: str = "h100", status: Object | None = None, **spec: Any) -> None:
    wanted = {"maxNodes": 9, "acceleratorsPerNode": 8, **spec}
    team.fake.create("acceleratorpools", {"metadata": {"name": name}, "spec": wanted, "status": status or {}})


def add_node(team: Team, name: str, labels: dict[str, str] | None = None, **how: Any) -> None:
    team.fake.create("nodes", node(name, labels=H100 if labels is None else labels, **how))


def change_node(team: Team, name: str, **how: Any) -> None:
    team.fake.patch("nodes", name, {"status": node(name, **how)["status"]}, part="status")


def unschedulable(since: str, words: str = NO_ROOM) -> Object:
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words, "lastTransitionTime": since}


def counts(fleet: Fleet, name: str = "h100") -> tuple[int, int, int] | None:
    facts = fleet.pool_facts.get(name)
    return None if facts is None else (facts.nodes, facts.ready, facts.advertised)


async def test_a_pool_knows_its_nodes_by_their_own_label_or_by_a_selector(team: Team) -> None:
    pool(team)
    pool(team, "mixed", nodeSelector={"gpu": "l4", "zone": "a"})
    add_node(team, "a")
    add_node(team, "b", gpus=None)
    add_node(team, "c", ready=False)
    add_node(team, "d", {"gpu": "l4", "zone": "a"})
    add_node(team, "e", {"gpu": "l4", "zone": "b"})
    add_node(team, "f", {"karpenter.sh/nodepool": "mixed"})
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (3, 2, 1))
        assert cluster.ready_nodes("h100") == 2
        assert counts(fleet, "mixed") == (1, 1, 1), "a selector that is given is all that counts"
        team.fake.patch("nodes", "e", {"metadata": {"labels": {"zone": "a"}}})
        await observed(cluster, lambda fleet: counts(fleet, "mixed") == (2, 2, 2))
        team.fake.patch("acceleratorpools", "mixed", {"spec": {"nodeSelector": None}})
        await observed(cluster, lambda fleet: counts(fleet, "mixed") == (1, 1, 1))
        team.fake.delete("nodes", "a")
        team.fake.delete("acceleratorpools", "mixed")
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (2, 1, 0))
        assert set(fleet.pool_facts) == {"h100"}
        assert (cluster.ready_nodes("h100"), cluster.ready_nodes("mixed")) == (1, None)


async def test_without_a_pool_nobody_asks_for_nodes(team: Team) -> None:
    team.deployment()
    team.service()
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: len(fleet) == 1)
        assert not any(request.path.endswith("/nodes") for request in team.fake.requests)
        pool(team)
        add_node(team, "a")
        await observed(cluster, lambda fleet: counts(fleet) == (1, 1, 1))


async def test_without_the_right_to_see_nodes_all_else_goes_on(team: Team) -> None:
    team.fake.fail("GET", "/nodes", status=403, times=1000)
    pool(team)
    team.deployment()
    team.service(nodePool="h100", leadTime={"node": "4m"})
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: len(fleet) == 1 and len(fleet.pools) == 1)
        assert fleet.paused is None
        assert (fleet.pool_facts, fleet.node_lead_time_s[0]) == ({}, 240.0)


@pytest.mark.parametrize(("measured", "expected"), [(True, 100.0), (False, 240.0)])
async def test_a_nodes_lead_time_is_measured_from_the_request(team: Team, measured: bool, expected: float) -> None:
    """Three nodes that we asked for; the manifest's value counts until then, and always where it says so."""
    pool(team)
    team.deployment()
    team.service(nodePool="h100", leadTime={"node": "4m", "measured": measured})
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: counts(fleet) == (0, 0, 0))
        cluster.nodes_requested({"h100": 0, "unknown": 7})
        asked_s = time.time()
        cluster.nodes_requested({"h100": 3})
        for name in "abc":
            item = node(name, ready=False, labels=H100)
            item["metadata"]["creationTimestamp"] = moment(asked_s + 30)
            team.fake.create("nodes", item)
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (3, 0, 0))
        assert fleet.node_lead_time_s[0] == 240.0
        for name in "abc":
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": moment(asked_s + 100)}
            team.fake.patch("nodes", name, {"status": {"conditions": [ready]}}, part="status")
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (3, 3, 3))
        facts = fleet.pool_facts["h100"]
        assert [stage.name for stage in facts.stages] == ["whole", "provisioned", "ready", "advertised"]
        assert facts.stages[0].p50_s == pytest.approx(100.0, abs=1.0)
        assert facts.stages[1].p50_s == pytest.approx(30.0, abs=1.0)
        assert fleet.node_lead_time_s[0] == pytest.approx(expected, abs=1.0)


async def test_a_restart_knows_what_the_pools_status_says(team: Team) -> None:
    lead = {"samples": 3, "recent": [50.0, 60.0, 70.0], "stages": [{"name": "ready", "samples": 1, "recent": [40.0]}]}
    pool(team, status={"leadTime": lead})
    pool(team, "odd", status={"leadTime": {"recent": "of another version"}})
    team.deployment()
    team.service(nodePool="h100")
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: len(fleet.pool_facts) == 2 and len(fleet) == 1)
        assert fleet.node_lead_time_s[0] == pytest.approx(68.0)
        assert [(s.name, s.p50_s) for s in fleet.pool_facts["h100"].stages] == [("whole", 60.0), ("ready", 40.0)]
        assert fleet.pool_facts["odd"].stages == ()


async def test_a_replicas_stages_are_read_off_its_pod(team: Team) -> None:
    team.deployment(replicas=1)
    team.service()
    async with team.cluster() as cluster:
        team.pod("a")
        await observed(cluster, lambda fleet: len(cluster.pods.pods) == 1)
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"}
        running = [{"name": n, "state": {"running": {"startedAt": f"2026-01-01T00:00:{s}Z"}}} for n, s in (("s", 20), ("p", 42))]
        team.pod_status("a", "Running", scheduled, ready_condition(), containerStatuses=running)
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 1)
        told = {stage.name: stage.p50_s for stage in fleet.lead_stages(0)}
        assert told == {"whole": 90.0, "scheduled": 2.0, "image": 40.0, "model": 48.0}
        status = cluster.services.all["team", "llama"].lead.status(POD_STAGES)
        assert status is not None
        assert [(stage.name, stage.recent) for stage in status.stages] == [
            ("scheduled", [2.0]),
            ("image", [40.0]),
            ("model", [48.0]),
        ]


async def test_replicas_that_wait_longer_than_nodes_take_are_stuck(team: Team) -> None:
    now_s = time.time()
    pool(team, status={"leadTime": {"samples": 3, "recent": [40.0] * 3}})
    team.deployment(replicas=3)
    team.service(nodePool="h100")
    for name, waits_s in (("long", 600.0), ("longer", 700.0), ("yet", 20.0)):
        team.pod(name)
        team.pod_status(name, "Pending", unschedulable(moment(now_s - waits_s)))
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.stuck)
        stuck = fleet.stuck[0]
        assert (stuck.replicas, stuck.resource, stuck.limit_s) == (2, "nvidia.com/gpu", 60.0)
        assert stuck.since_s == pytest.approx(now_s - 700.0, abs=1.0)
        assert "nvidia.com/gpu is short (0/3 nodes" in stuck.words

        # A node comes for one of them; the other one goes.
        team.fake.patch("pods", "long", {"spec": {"nodeName": "a"}})
        team.pod_status("long", "Pending", {"type": "PodScheduled", "status": "True", "lastTransitionTime": moment(now_s)})
        team.fake.delete("pods", "longer")
        await observed(cluster, lambda fleet: not fleet.stuck)


async def test_of_several_pools_the_slowest_says_when_a_node_is_late(team: Team) -> None:
    now_s = time.time()
    pool(team, status={"leadTime": {"samples": 3, "recent": [40.0] * 3}})
    pool(team, "l4", status={"leadTime": {"samples": 3, "recent": [80.0] * 3}})
    team.deployment(replicas=1)
    team.service(nodePools=[{"name": "h100"}, {"name": "l4"}])
    team.pod("a")
    team.pod_status("a", "Pending", unschedulable(moment(now_s - 600.0)))
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.stuck and fleet.stuck[0].limit_s != 600.0)
        assert fleet.stuck[0].limit_s == 110.0


async def test_of_several_pools_it_is_told_on_whose_nodes_the_replicas_are(team: Team) -> None:
    team.deployment(replicas=4)
    team.service(nodePools=[{"name": "h100"}, {"name": "l4"}], leadTime={"node": "5m"})
    pool(team, status={"leadTime": {"samples": 3, "recent": [40.0] * 3}})
    pool(team, "l4", status={"leadTime": {"samples": 3, "recent": [80.0] * 3}})
    add_node(team, "a")
    for name, on in (("one", "a"), ("two", "a"), ("three", "b"), ("waits", "")):
        team.pod(name)
        if on:
            team.fake.patch("pods", name, {"spec": {"nodeName": on}})
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.placed == {0: {"h100": 2, "l4": 0}})
        assert fleet.node_lead_time_s[0] == 80.0, "of several pools the slowest one's"
        add_node(team, "b", {"karpenter.sh/nodepool": "l4"})  # the pod was told of first
        await observed(cluster, lambda fleet: fleet.placed == {0: {"h100": 2, "l4": 1}})
        team.fake.patch("pods", "waits", {"spec": {"nodeName": "b"}})
        await observed(cluster, lambda fleet: fleet.placed == {0: {"h100": 2, "l4": 2}})
        team.fake.delete("pods", "one")
        team.fake.delete("nodes", "b")
        await observed(cluster, lambda fleet: fleet.placed == {0: {"h100": 1, "l4": 0}})
        team.fake.patch("inferenceautoscalers", "llama", {"spec": {"nodePools": None, "nodePool": "h100"}})
        await observed(cluster, lambda fleet: fleet.placed is None)


@pytest.mark.parametrize("pools", [{"nodePool": "h100"}, {"nodePools": [{"name": "h100"}, {"name": "l4"}]}])
async def test_replicas_on_nodes_that_count_for_nothing_are_told_apart(team: Team, pools: Object) -> None:
    team.deployment(replicas=2)
    team.service(**pools)
    pool(team)
    pool(team, "l4")
    add_node(team, "a")
    add_node(team, "b", {"unknown": "pool"})
    team.pod("stays", ready=True)
    team.pod("drains")
    team.pod("waits")
    for name, on in (("stays", "a"), ("drains", "a")):
        team.fake.patch("pods", name, {"spec": {"nodeName": on}})
    team.fake.patch("pods", "drains", {"metadata": {"deletionTimestamp": "2026-01-01T02:00:00Z"}})

    def lost(fleet: Fleet) -> tuple[Any, Any]:
        return fleet.draining_lost, fleet.staying_lost

    def taints(name: str, *keys: str) -> None:
        team.fake.patch("nodes", name, {"spec": {"taints": [{"key": key, "effect": "NoSchedule"} for key in keys]}})

    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.draining.tolist() == [1] and counts(fleet) == (1, 1, 1))
        assert lost(fleet) == ({}, {})
        several = len(pools.get("nodePools", ())) > 1
        assert fleet.draining_on == ({0: {"h100": 1, "l4": 0}} if several else None)
        taints("a", "aws-node-termination-handler/spot-itn")
        fleet = await observed(cluster, lambda fleet: lost(fleet) == ({0: 1}, {0: {"h100": 1}}))
        assert fleet.draining.tolist() == [1], "it drains all the same"
        assert fleet.draining_on == ({0: {"h100": 0, "l4": 0}} if several else None)
        taints("a", "karpenter.sh/disrupted")
        await observed(cluster, lambda fleet: lost(fleet) == ({0: 1}, {}))  # whoever replaces it makes the room
        taints("a")
        await observed(cluster, lambda fleet: lost(fleet) == ({}, {}))
        team.fake.patch("nodes", "a", {"spec": {"unschedulable": True}})
        await observed(cluster, lambda fleet: counts(fleet) == (1, 1, 0) and lost(fleet) == ({}, {}))  # cordoned, it counts
        change_node(team, "a", ready=True, gpus=None)
        await observed(cluster, lambda fleet: fleet.pool_facts["h100"].silent is None)  # cordoned as well: somebody works on it
        taints("a", "aws-node-termination-handler/spot-itn")
        await observed(cluster, lambda fleet: lost(fleet) == ({0: 1}, {0: {"h100": 1}}))
        team.fake.patch("nodes", "a", {"metadata": {"deletionTimestamp": "2026-01-01T02:00:00Z"}})
        await observed(cluster, lambda fleet: counts(fleet) == (0, 0, 0) and lost(fleet) == ({0: 1}, {}))
        team.fake.patch("pods", "drains", {"spec": {"nodeName": "b"}})
        await observed(cluster, lambda fleet: lost(fleet) == ({}, {}))  # no pool's, and there
        taints("b", "karpenter.sh/disrupted")
        await observed(cluster, lambda fleet: lost(fleet) == ({0: 1}, {}))
        taints("b")
        await observed(cluster, lambda fleet: lost(fleet) == ({}, {}))
        team.fake.delete("nodes", "b")
        await observed(cluster, lambda fleet: lost(fleet) == ({0: 1}, {}))
        add_node(team, "b", {"unknown": "pool"})
        await observed(cluster, lambda fleet: lost(fleet) == ({}, {}))
        team.fake.delete("nodes", "b")
        await observed(cluster, lambda fleet: lost(fleet) == ({0: 1}, {}))
        team.fake.delete("pods", "drains")
        await observed(cluster, lambda fleet: lost(fleet) == ({}, {}))


async def test_a_node_that_falls_silent_is_lost_to_replicas_on_it(team: Team) -> None:
    """By the clock alone: nothing of node or pods changes in that moment."""

    class Set(SystemClock):
        ahead_s = 0.0

        def now_s(self) -> float:
            return super().now_s() + self.ahead_s

    clock = Set()
    pool(team)
    team.deployment(replicas=1)
    team.service(nodePool="h100")
    add_node(team, "a", gpus=None)
    ready = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": moment(time.time())}]}
    team.fake.patch("nodes", "a", {"status": ready}, part="status")
    for name in ("starts", "drains"):
        team.pod(name)
        team.fake.patch("pods", name, {"spec": {"nodeName": "a"}})
    team.fake.patch("pods", "drains", {"metadata": {"deletionTimestamp": "2026-01-01T02:00:00Z"}})
    async with team.cluster(clock=clock) as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.draining.tolist() == [1] and counts(fleet) == (1, 1, 0))
        assert (fleet.pool_facts["h100"].silent, fleet.draining_lost) == (None, {})
        clock.ahead_s = SILENT_S + 1.0
        fleet = await cluster.observe(clock.now_s())
        assert fleet.pool_facts["h100"].silent is not None
        assert (fleet.draining_lost, fleet.staying_lost) == ({0: 1}, {0: {"h100": 1}}), "in the same look"
        team.fake.delete("acceleratorpools", "h100")
        await observed(cluster, lambda fleet: (fleet.draining_lost, cluster.picture.pools.to_replace) == ({}, set()))
        pool(team)
        await observed(cluster, lambda fleet: fleet.draining_lost == {0: 1} and cluster.picture.pools.to_replace == {"a"})
        change_node(team, "a")
        await observed(
            cluster, lambda fleet: counts(fleet) == (1, 1, 1) and (fleet.draining_lost, fleet.staying_lost) == ({}, {})
        )


async def test_without_the_right_to_see_nodes_nobody_tells_where_replicas_are(team: Team) -> None:
    team.fake.fail("GET", "/nodes", status=403, times=1000)
    pool(team)
    pool(team, "l4")
    team.deployment()
    team.service(nodePools=[{"name": "h100"}, {"name": "l4"}])
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: len(fleet) == 1 and len(fleet.pools) == 2)
        assert fleet.placed is None


async def test_nodes_that_are_seen_late_tell_where_replicas_are_all_the_same(team: Team) -> None:
    forbidden = team.fake.fail("GET", "/nodes", status=403, times=1000)
    pool(team)
    pool(team, "l4")
    team.deployment(replicas=1)
    team.service(nodePools=[{"name": "h100"}, {"name": "l4"}])
    team.pod("waits")
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: len(fleet) == 1 and len(fleet.pools) == 2)
        assert fleet.placed is None, "not listed yet"
        forbidden.times = 0
        await observed(cluster, lambda fleet: fleet.placed == {0: {"h100": 0, "l4": 0}})


async def test_nodes_that_are_seen_late_tell_who_drains_on_none_of_them(team: Team) -> None:
    forbidden = team.fake.fail("GET", "/nodes", status=403, times=1000)
    pool(team)
    team.deployment(replicas=1)
    team.service(nodePool="h100")
    team.pod("drains")
    team.fake.patch("pods", "drains", {"spec": {"nodeName": "gone"}, "metadata": {"deletionTimestamp": "2026-01-01T02:00:00Z"}})
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.draining.tolist() == [1])
        assert fleet.draining_lost == {}, "nobody knows"
        forbidden.times = 0
        await observed(cluster, lambda fleet: fleet.draining_lost == {0: 1})


async def test_without_samples_twice_the_start_value_is_waited(team: Team) -> None:
    now_s = time.time()
    team.deployment(replicas=1)
    team.service(leadTime={"node": "5m"})
    team.pod("a")
    team.pod_status("a", "Pending", unschedulable(moment(now_s - 590), "0/3 nodes are available: untolerated taint"))
    async with team.cluster() as cluster:
        assert not (await observed(cluster, lambda fleet: len(fleet) == 1)).stuck
        team.pod_status("a", "Pending", unschedulable(moment(now_s - 610), "0/3 nodes are available: untolerated taint"))
        fleet = await observed(cluster, lambda fleet: fleet.stuck)
        assert (fleet.stuck[0].resource, fleet.stuck[0].limit_s) == ("", 600.0)


async def test_the_status_of_a_pool_says_how_long_nodes_take_and_which_are_silent(team: Team) -> None:
    pool(team, status={"leadTime": {"samples": 3, "recent": [40.0] * 3}})
    team.deployment()
    team.service(nodePool="h100")
    add_node(team, "a", gpus=None)
    add_node(team, "b")
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: counts(fleet) == (2, 2, 1))
        loop = Loop(team, cluster)
        reporter = PoolReporter(team.api, lambda: team.leads, seen=cluster.pool_statuses)

        async def write() -> int:
            before = loop.patches()
            await reporter.report(await loop.controller.tick())
            return loop.patches() - before

        def told() -> AcceleratorPoolStatus:
            return msgspec.convert(team.fake.get("acceleratorpools", "h100", "")["status"], AcceleratorPoolStatus)

        await write()
        status = told()
        assert (status.nodes, status.ready_nodes) == (2, 1)
        assert status.planned_nodes is not None
        assert status.lead_time is not None
        assert status.lead_time.p90_seconds == 40.0
        silent = status.conditions[0]
        assert (silent.type, silent.status, silent.reason) == ("AcceleratorsAdvertised", "False", "DevicePluginSilent")
        assert "1 node is Ready without any accelerator" in silent.message

        change_node(team, "a")
        await observed(cluster, lambda fleet: counts(fleet) == (2, 2, 2))
        await write()
        assert [(c.status, c.reason) for c in told().conditions] == [("True", "AllAdvertised")]
        await observed(cluster, lambda _: cluster.picture.pools.pools["h100"].pool.status == told())
        await write()
        assert not await write(), "what is said already is not said again"
