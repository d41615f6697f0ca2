"""One owner per number: others are seen, reported and not fought."""

from __future__ import annotations

from typing import Any

from autoscaler.core.model import Written
from tests.adapters.kubernetes.conftest import Team, observed, plan_of

HPA = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}, "maxReplicas": 5}


def why(fleet: Any, row: int = 0) -> str:
    return str(fleet.hands_off_why.get(row, ""))


async def test_the_older_manifest_owns_the_target(team: Team) -> None:
    team.deployment()
    team.service("b-older", created="2026-01-01T00:00:00Z")
    team.service("a-newer", created="2026-01-02T00:00:00Z")
    team.service("c-shadow", mode="Shadow", created="2025-01-01T00:00:00Z")
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert fleet.hands_off.tolist() == [True, False, False]
        assert why(fleet).startswith("TargetConflict: ")
        assert "team/b-older" in why(fleet)
        team.fake.delete("inferenceautoscalers", "b-older")
        await observed(cluster, lambda fleet: not fleet.hands_off.any())


async def test_an_hpa_on_the_same_target(team: Team) -> None:
    team.deployment()
    team.service()
    async with team.cluster() as cluster:
        team.fake.create("horizontalpodautoscalers", {"metadata": {"name": "old-hpa"}, "spec": HPA})
        fleet = await observed(cluster, lambda fleet: fleet.hands_off[0])
        assert why(fleet).startswith("HorizontalPodAutoscaler: ")
        assert "old-hpa" in why(fleet)
        team.fake.patch("deployments", "llama", {"spec": {"replicas": 3}}, manager="kube-controller-manager")
        await observed(cluster, lambda fleet: fleet.current[0] == 3)
        team.fake.delete("horizontalpodautoscalers", "old-hpa")
        await observed(cluster, lambda fleet: not fleet.hands_off[0])


async def test_an_hpa_beside_a_shadow_is_how_people_begin(team: Team) -> None:
    team.deployment()
    team.service(mode="Recommend")
    team.fake.create("horizontalpodautoscalers", {"metadata": {"name": "hpa"}, "spec": HPA})
    async with team.cluster() as cluster:
        assert not (await observed(cluster)).hands_off[0]


async def test_scaled_by_hand_is_left_alone_for_a_while(team: Team) -> None:
    team.deployment(replicas=2)
    team.service()
    async with team.cluster(foreign_hold_s=0.3) as cluster:
        fleet = await observed(cluster)
        outcome = await cluster.act(fleet, plan_of(fleet, 5), 2.0)
        assert outcome.written.tolist() == [Written.DONE]
        team.fake.patch("deployments", "llama", {"spec": {"replicas": 3}}, manager="kubectl")
        fleet = await observed(cluster, lambda fleet: fleet.current[0] == 3)
        assert why(fleet).startswith("ForeignWriter: kubectl set spec.replicas to 3")
        await observed(cluster, lambda fleet: not fleet.hands_off[0])
        # Again: twice as long.
        team.fake.patch("deployments", "llama", {"spec": {"replicas": 4}}, manager="kubectl")
        await observed(cluster, lambda fleet: fleet.hands_off[0])
        target = ("deployments.apps", "team", "llama")
        write = cluster.picture.foreign.of(target, 0.0)
        assert write is not None
        assert write.repetition == 2
        # The owner's word ends it at once.
        team.fake.patch("inferenceautoscalers", "llama", {"spec": {"maxReplicas": 8}})
        await observed(cluster, lambda fleet: not fleet.hands_off[0])


async def test_a_leaders_writes_are_no_foreign_ones_to_a_standby(team: Team) -> None:
    team.deployment(replicas=2)
    team.service()
    async with team.cluster() as leader, team.cluster() as standby:
        await observed(standby)
        fleet = await observed(leader)
        await leader.act(fleet, plan_of(fleet, 5), 2.0)
        fleet = await observed(standby, lambda fleet: fleet.current[0] == 5)
        assert not fleet.hands_off[0]


async def test_other_changes_of_the_target_are_no_foreign_writes(team: Team) -> None:
    team.deployment(replicas=2)
    team.service()
    async with team.cluster() as cluster:
        version = team.fake.patch("deployments", "llama", {"spec": {"paused": True}})["metadata"]["resourceVersion"]
        target = ("deployments.apps", "team", "llama")
        fleet = await observed(cluster, lambda _: cluster.picture.targets.objects[target].resource_version == version)
        assert not fleet.hands_off[0]


async def test_a_foreign_write_while_nobody_looked(team: Team) -> None:
    """After a restart: the status says when we scaled last, and the object says that somebody else owns the count since."""
    team.deployment(replicas=2)
    team.service(status={"lastScaleTime": "2026-01-01T00:00:00Z"})
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert why(fleet).startswith("ForeignWriter: kubectl")


async def test_a_clock_that_is_set_does_not_end_the_wait(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(status={"lastScaleTime": "2026-01-01T00:00:00Z"})
    target = ("deployments.apps", "team", "llama")
    async with team.cluster() as cluster:
        await observed(cluster)
        foreign = cluster.picture.foreign
        write = foreign.of(target, 0.0)
        assert write is not None
        assert foreign.of(target, write.until_s) is None
        foreign.shift(3600.0)
        assert foreign.of(target, write.until_s + 3599.0) is not None
        assert foreign.of(target, write.until_s + 3600.0) is None
