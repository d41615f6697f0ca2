"""A pool's nodes one by one with what runs on each, as the cluster adapter sees them."""

from __future__ import annotations

import time
from typing import Any

from autoscaler.core.model import Fleet
from autoscaler.core.seen_nodes import Runs, SeenNode, SeenPool
from tests.adapters.kubernetes.conftest import Team, observed
from tests.adapters.kubernetes.test_pool_watch import add_node, counts, moment, pool
from tests.fakes.kube_store import Object


def runs_on(
    team: Team, node: str, name: str, *, gpus: int = 1, phase: str = "Running", ready: bool = True, **labels: str
) -> None:
    """A pod of one container that holds so many GPUs of a node."""
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:30Z"}] if ready else []
    container: Object = {"name": "server", "resources": {"limits": {"nvidia.com/gpu": str(gpus), "cpu": "8"}} if gpus else {}}
    pod: Object = {
        "metadata": {"name": name, "labels": labels or {"app": "llama"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": node, "containers": [container]},
        "status": {"phase": phase, "conditions": conditions},
    }
    team.fake.create("pods", pod)


def seen(fleet: Fleet, name: str = "h100") -> SeenPool:
    found = fleet.nodes_of(name)
    assert found is not None
    return found


def by_name(found: SeenPool, most: int = 100) -> dict[str, SeenNode]:
    return {node.name: node for node in found.pick(most)}


async def test_what_runs_on_each_node_and_what_is_free(team: Team) -> None:
    pool(team)
    team.deployment(replicas=3)
    team.service(nodePool="h100")
    team.deployment("search", replicas=1)
    team.service("search", "search", nodePool="h100")
    add_node(team, "a")
    add_node(team, "b")
    runs_on(team, "a", "llama-1", gpus=2)
    runs_on(team, "a", "llama-2", gpus=2, phase="Pending", ready=False)
    runs_on(team, "a", "search-1", app="search")
    runs_on(team, "b", "llama-3", gpus=2)
    runs_on(team, "b", "notebook", gpus=3, app="notebook")
    runs_on(team, "b", "finished", gpus=8, phase="Succeeded", app="llama")
    runs_on(team, "b", "agent", gpus=0, app="agent")
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (2, 2, 2) and fleet.ready.sum() == 3)
        found = seen(fleet)
        assert (found.counts, found.free, found.nodes) == ({"ready": 2}, 3 + 3, 2)
        nodes = by_name(found)
        assert nodes["a"].runs == (
            Runs(service="team/llama", ready=1, starting=1, accelerators=4),
            Runs(service="team/search", ready=1, accelerators=1),
        )
        assert (nodes["a"].accelerators, nodes["a"].others, nodes["a"].taken) == (8, 0, 5)
        assert nodes["b"].runs == (Runs(service="team/llama", ready=1, accelerators=2),)
        assert (nodes["b"].others, nodes["b"].taken) == (3, 5)
        team.fake.patch("pods", "llama-3", {"metadata": {"deletionTimestamp": "2026-01-01T02:00:00Z"}})
        team.fake.delete("pods", "notebook")
        fleet = await observed(cluster, lambda fleet: fleet.draining.sum() == 1 and seen(fleet).free == 3 + 6)
        assert by_name(seen(fleet))["b"].runs == (Runs(service="team/llama", draining=1, accelerators=2),)


async def test_how_each_node_is(team: Team) -> None:
    pool(team)
    team.deployment()
    team.service(nodePool="h100")
    notice = {"taints": [{"key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule"}]}
    add_node(team, "closed", spec={"unschedulable": True})
    add_node(team, "fine")
    add_node(team, "reclaimed", spec=notice)
    add_node(team, "silent", gpus=None)
    add_node(team, "young", ready=False)
    add_node(team, "down")
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: counts(fleet) == (6, 5, 2))
        cluster.nodes_requested({"h100": 6})
        asked_s = time.time()
        cluster.nodes_requested({"h100": 8})
        lost: dict[str, Any] = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
        team.fake.patch("nodes", "down", lost, part="status")
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (6, 4, 1))
        found = seen(fleet)
        assert found.counts == {"cordoned": 1, "ready": 1, "noticed": 1, "silent": 1, "starting": 1, "unready": 1, "asked": 2}
        assert found.free == 8, "of the one node that takes pods"
        nodes = by_name(found)
        assert {name: node.state for name, node in nodes.items()} == {
            "closed": "cordoned",
            "fine": "ready",
            "reclaimed": "noticed",
            "silent": "silent",
            "young": "starting",
            "down": "unready",
            "": "asked",
        }
        assert nodes["reclaimed"].why == "aws-node-termination-handler/spot-itn"
        assert moment(nodes["young"].since_s or 0.0) == "2026-01-01T00:00:00Z"
        assert moment(nodes["silent"].since_s or 0.0) == "2026-01-01T00:01:00Z"
        assert nodes[""].since_s is not None
        assert abs(nodes[""].since_s - asked_s) < 5.0
        few = found.pick(5)
        assert "fine" not in {node.name for node in few}, "what wants looking at comes first"
        assert [node.name for node in found.pick(3)] == ["down", "reclaimed", "silent"]


async def test_without_the_right_to_see_nodes_nobody_knows_them(team: Team) -> None:
    team.fake.fail("GET", "/nodes", status=403, times=1000)
    pool(team)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: len(fleet.pools) == 1)
        assert fleet.nodes_of("h100") is None
        assert fleet.nodes_of("ghost") is None


async def test_who_sees_some_namespaces_does_not_know_what_is_free(team: Team) -> None:
    pool(team)
    add_node(team, "a")
    async with team.cluster(namespaces=("team",)) as cluster:
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (1, 1, 1))
        assert (seen(fleet).free, seen(fleet).counts) == (None, {"ready": 1})


async def test_nodes_whose_accelerators_nobody_advertises_are_ready_where_replicas_serve(team: Team) -> None:
    """Dynamic resource allocation: status.allocatable tells nothing, for any node."""
    pool(team)
    team.deployment(replicas=1)
    team.service(nodePool="h100")
    add_node(team, "a", gpus=None)
    runs_on(team, "a", "llama-1", gpus=0)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: counts(fleet) == (1, 1, 0) and fleet.ready.sum() == 1)
        (only,) = seen(fleet).pick(9)
        assert (only.state, only.accelerators) == ("ready", 0)
        assert only.runs == (Runs(service="team/llama", ready=1),)


async def test_of_services_on_several_pools_too_where_they_are_on_this_one_s_nodes(team: Team) -> None:
    pool(team)
    pool(team, "l4")
    team.deployment(replicas=1)
    team.service(nodePools=[{"name": "h100"}, {"name": "l4"}])
    add_node(team, "a", gpus=None)
    add_node(team, "b", {"karpenter.sh/nodepool": "l4"}, gpus=None)
    runs_on(team, "a", "llama-1", gpus=0)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.placed == {0: {"h100": 1, "l4": 0}} and fleet.ready.sum() == 1)
        assert seen(fleet).counts == {"ready": 1}
        assert seen(fleet, "l4").counts == {"silent": 1}, "nobody serves there"
        assert fleet.pool_facts["h100"].silent is None
        assert fleet.draining_on == {0: {"h100": 0, "l4": 0}}
        team.fake.patch("pods", "llama-1", {"metadata": {"deletionTimestamp": "2026-01-01T02:00:00Z"}})
        fleet = await observed(cluster, lambda fleet: fleet.draining.sum() == 1)
        assert (fleet.placed, fleet.draining_on) == ({0: {"h100": 0, "l4": 0}}, {0: {"h100": 0, "l4": 0}})
        assert fleet.draining_lost == {0: 1}, "with nobody who serves its node tells no more than one that does not come up"
