"""Which pods are told to leave first, when, and whose word is left alone."""

from __future__ import annotations

from typing import Any

from autoscaler.adapters.kubernetes.deletion_costs import WAITS_TICKS
from autoscaler.adapters.kubernetes.pods import DELETION_COST, OUR_COST
from autoscaler.core.model import Written
from tests.adapters.kubernetes.conftest import Team, observed, plan_of, ready_condition, until
from tests.fakes.kube_api import Request
from tests.fakes.kube_store import Object

EMPTY = {"pods": "EmptyNodes"}


def put(
    team: Team, name: str, node: str, *, app: str = "llama", ready: bool = True, cost: str | None = None, gpus: int = 0
) -> None:
    meta: Object = {"name": name, "labels": {"app": app}, "creationTimestamp": "2026-01-01T00:00:00Z"}
    if cost is not None:
        meta["annotations"] = {DELETION_COST: cost}
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    spec = {"nodeName": node, "containers": [{"name": "server", "resources": {"limits": limits}}]}
    status = {"phase": "Running", "conditions": [ready_condition()] if ready else []}
    team.fake.create("pods", {"metadata": meta, "spec": spec, "status": status})


def two_to_choose_from(team: Team) -> None:
    """A service of two pods, each on a node of its own."""
    team.deployment(replicas=2)
    team.service(drain=EMPTY)
    put(team, "a", "n1")
    put(team, "b", "n2")


def costs(team: Team) -> dict[str, str]:
    """Of the pods that have one."""
    found = {}
    for item in team.fake.store.table("pods").items.values():
        annotations = item["metadata"].get("annotations") or {}
        if DELETION_COST in annotations:
            found[item["metadata"]["name"]] = annotations[DELETION_COST]
    return found


def writes(team: Team) -> list[Request]:
    return [request for request in team.fake.requests if request.method in ("PUT", "PATCH", "DELETE")]


async def test_pods_are_named_first_and_the_count_follows_when_that_is_seen(team: Team) -> None:
    """Three pods on one node and two on the other: the two go."""
    team.deployment(replicas=5)
    team.service(drain=EMPTY)
    for name, node in (("a", "n1"), ("b", "n1"), ("c", "n1"), ("d", "n2"), ("e", "n2")):
        put(team, name, node)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 5)
        outcome = await cluster.act(fleet, plan_of(fleet, 3), 2.0)
        assert outcome.written.tolist() == [Written.NOTHING]
        assert "2 pods (d, e) go, which frees 1 node (n2); the count follows" in outcome.leaving[0]
        assert costs(team) == {"d": "-1", "e": "-1"}
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 5

        await until(lambda: len(cluster.pods.marked) == 2)
        fleet = await observed(cluster)
        outcome = await cluster.act(fleet, plan_of(fleet, 3), 2.0)
        assert outcome.written.tolist() == [Written.DONE]
        assert outcome.leaving[0] == "2 pods (d, e) go, which frees 1 node (n2)"
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 3
        # While the ReplicaSet has still to remove them their costs stay.
        fleet = await observed(cluster, lambda fleet: fleet.current[0] == 3)
        await cluster.act(fleet, plan_of(fleet, 3), 2.0)
        assert costs(team) == {"d": "-1", "e": "-1"}
        assert not [request for request in writes(team) if request.method == "DELETE" or "eviction" in request.path]


async def test_what_is_no_longer_meant_is_taken_back(team: Team) -> None:
    team.deployment(replicas=3)
    team.service(drain=EMPTY)
    for name, node in (("a", "n1"), ("b", "n1"), ("c", "n2")):
        put(team, name, node)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 3)
        await cluster.act(fleet, plan_of(fleet, 2), 2.0)
        assert costs(team) == {"c": "-1"}
        await until(lambda: cluster.pods.marked)
        fleet = await observed(cluster)
        await cluster.act(fleet, plan_of(fleet, 3), 2.0)
        assert costs(team) == {}
        assert OUR_COST not in (team.fake.get("pods", "c")["metadata"].get("annotations") or {})
        await until(lambda: not cluster.pods.marked)


async def test_what_somebody_else_set_is_respected(team: Team) -> None:
    """b was given a lower one by hand, c a higher one, d a 0: b goes first anyway; of the rest only a is ours to name."""
    team.deployment(replicas=4)
    team.service(drain=EMPTY)
    put(team, "a", "n1")
    put(team, "b", "n2", cost="-100")
    put(team, "c", "n3", cost="50")
    put(team, "d", "n4", cost="0")
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 4)
        outcome = await cluster.act(fleet, plan_of(fleet, 3), 2.0)
        assert outcome.written.tolist() == [Written.DONE], "nothing has to be named"
        assert outcome.leaving[0] == "1 pod goes that would go first anyway, which frees 1 node (n2)"
        team.fake.patch("deployments", "llama", {"spec": {"replicas": 4}}, manager="inference-autoscaler")
        fleet = await observed(cluster, lambda fleet: fleet.current[0] == 4)
        outcome = await cluster.act(fleet, plan_of(fleet, 2), 2.0)
        assert "1 pod (a) goes after 1 that would go first anyway, which frees 2 nodes (n1, n2)" in outcome.leaving[0]
        assert costs(team) == {"a": "-1", "b": "-100", "c": "50", "d": "0"}


async def test_a_cost_that_somebody_sets_in_between_is_not_overwritten(team: Team) -> None:
    two_to_choose_from(team)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        for name in ("a", "b"):  # not seen by our informer yet: no task of it runs before the next await
            team.fake.patch("pods", name, {"metadata": {"annotations": {DELETION_COST: "7"}}})
        await cluster.act(fleet, plan_of(fleet, 1), 2.0)
        assert costs(team) == {"a": "7", "b": "7"}


async def test_a_node_that_others_hold_is_not_emptied_in_vain(team: Team) -> None:
    """n1 would take one pod, but another service's pod is there, and n2 a stranger's with a GPU: n3 goes, which takes two."""
    team.deployment(replicas=6)
    team.deployment("qwen", replicas=1)
    team.service(drain=EMPTY)
    team.service("qwen", target="qwen")
    for name, node in (("a", "n1"), ("b", "n2"), ("c", "n3"), ("d", "n3"), ("e", "n4"), ("f", "n4")):
        put(team, name, node)
    put(team, "g", "n4")
    put(team, "q", "n1", app="qwen")
    put(team, "stranger", "n2", app="training", gpus=1)
    put(team, "agent", "n3", app="agent")
    team.fake.patch("deployments", "llama", {"spec": {"replicas": 7}})
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 7)
        outcome = await cluster.act(fleet, plan_of(fleet, 5, 1), 2.0)
        assert "2 pods (c, d) go, which frees 1 node (n3)" in outcome.leaving[0]


async def test_without_the_right_replicas_leave_as_before(team: Team) -> None:
    team.fake.may_read_definitions = False  # what a SelfSubjectAccessReview is answered
    two_to_choose_from(team)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        assert cluster.emptying()[0][0]
        outcome = await cluster.act(fleet, plan_of(fleet, 1), 2.0)
        assert outcome.written.tolist() == [Written.DONE]
        assert outcome.leaving[0].startswith("PodsNotPatchable: we may not patch pods in namespace team")
        assert cluster.emptying()[0][:2] == (False, "PodsNotPatchable")
        assert [request.method for request in writes(team)] == ["PUT"]


async def test_a_refused_patch_counts_as_a_missing_right(team: Team) -> None:
    two_to_choose_from(team)
    team.fake.fail("PATCH", "", status=403)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        assert (await cluster.act(fleet, plan_of(fleet, 1), 2.0)).written.tolist() == [Written.NOTHING]
        fleet = await observed(cluster)
        assert (await cluster.act(fleet, plan_of(fleet, 1), 2.0)).written.tolist() == [Written.DONE]


async def test_costs_that_can_not_be_written_stop_nobody_for_ever(team: Team) -> None:
    two_to_choose_from(team)
    team.fake.fail("PATCH", "", status=500, times=99)
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        for tick in range(WAITS_TICKS + 1):
            fleet = await observed(cluster)
            outcome = await cluster.act(fleet, plan_of(fleet, 1), 2.0)
            assert outcome.written.tolist() == [Written.DONE if tick == WAITS_TICKS else Written.NOTHING]
        assert "so others may go in their place" in outcome.leaving[0]


async def test_who_does_not_ask_for_it_or_can_not_have_it(team: Team) -> None:
    """Any, a StatefulSet, an update that is under way, a standby, --shadow: no pod is touched."""
    team.deployment(replicas=2)
    team.service()
    ordinal: dict[str, Any] = {
        "metadata": {"name": "llama"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "set"}}},
    }
    team.fake.create("statefulsets", ordinal)
    team.service("set", drain=EMPTY, scaleTargetRef={"kind": "StatefulSet", "name": "llama"})
    for name, node in (("a", "n1"), ("b", "n2")):
        put(team, name, node)
        put(team, f"set-{name}", node, app="set")
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready.tolist() == [2, 2])
        outcome = await cluster.act(fleet, plan_of(fleet, 1, 1), 2.0)
        assert outcome.written.tolist() == [Written.DONE, Written.DONE]
        assert list(outcome.leaving) == [1]
        assert outcome.leaving[1].startswith("RemovesByOrdinal: ")
        assert cluster.emptying() == {1: (False, "RemovesByOrdinal", outcome.leaving[1].partition(": ")[2])}
    assert costs(team) == {}


async def test_during_an_update_nothing_is_chosen(team: Team) -> None:
    two_to_choose_from(team)
    team.fake.patch("pods", "a", {"metadata": {"labels": {"pod-template-hash": "old"}}})
    async with team.cluster(sets_costs=True) as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        outcome = await cluster.act(fleet, plan_of(fleet, 1), 2.0)
        assert outcome.written.tolist() == [Written.DONE]
        assert "an update is under way" in outcome.leaving[0]
    assert costs(team) == {}


async def test_in_shadow_no_pod_is_touched(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(drain=EMPTY)
    put(team, "a", "n1", cost="-1")
    team.fake.patch("pods", "a", {"metadata": {"annotations": {OUR_COST: "-1"}}})
    put(team, "b", "n2")
    async with team.cluster(sets_costs=False) as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        assert cluster.pods.marked
        await cluster.act(fleet, plan_of(fleet, 2), 2.0)
    assert not writes(team)


async def test_after_a_restart_our_own_costs_are_known_again(team: Team) -> None:
    two_to_choose_from(team)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        await cluster.act(fleet, plan_of(fleet, 1), 2.0)
    assert len(costs(team)) == 1
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        outcome = await cluster.act(fleet, plan_of(fleet, 1), 2.0)
        assert outcome.written.tolist() == [Written.DONE]
