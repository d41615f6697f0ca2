"""Updates of a target as the cluster adapter sees them, each with the pods that the target's own controller makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from autoscaler.core.model import Fleet, Versions
from tests.adapters.kubernetes.conftest import Team, observed, ready_condition


def seen(fleet: Fleet) -> tuple[int, int, int, int, int]:
    """current, ready, starting, draining, surge."""
    surge = 0 if fleet.surge is None else int(fleet.surge[0])
    return (int(fleet.current[0]), int(fleet.ready[0]), int(fleet.starting[0]), int(fleet.draining[0]), surge)


def versions(fleet: Fleet) -> Versions | None:
    return None if fleet.versions is None else fleet.versions[0]


def pods(team: Team, prefix: str, count: int, labels: Mapping[str, str], *, ready: bool = False) -> None:
    for number in range(count):
        made: dict[str, Any] = {"app": "llama", **labels}
        team.pod(f"{prefix}{number}", ready=ready, **made)


async def test_surge_that_is_not_ready_is_neither_capacity_nor_on_its_way(team: Team) -> None:
    """A Deployment with maxSurge 2 and maxUnavailable 0, from the template a to b and back."""
    team.deployment(replicas=4)
    team.service()
    pods(team, "a", 4, {"pod-template-hash": "a"}, ready=True)
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert (seen(fleet), versions(fleet)) == ((4, 4, 0, 0, 0), (("a", 1.0),))
        pods(team, "b", 2, {"pod-template-hash": "b"})
        fleet = await observed(cluster, lambda fleet: fleet.surge is not None and fleet.surge[0] == 2)
        assert (seen(fleet), versions(fleet)) == ((4, 4, 0, 0, 2), (("a", 1.0),))
        assert len(cluster.rows_by_pod()) == 4

        # Ready before any of the old ones is asked to go: they do serve, and the count stays what its owner asked for.
        for number in range(2):
            team.pod_status(f"b{number}", "Running", ready_condition())
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 6)
        assert (seen(fleet), versions(fleet)) == ((4, 6, 0, 0, 2), (("a", 4 / 6), ("b", 2 / 6)))
        for number in range(2):
            team.fake.patch("pods", f"a{number}", {"metadata": {"deletionTimestamp": "2026-01-01T00:05:00Z"}})
        fleet = await observed(cluster, lambda fleet: fleet.draining[0] == 2)
        assert (seen(fleet), versions(fleet)) == ((4, 4, 0, 2, 0), (("a", 0.5), ("b", 0.5)))

        # Rolled back: what is left of b goes again, and a is what it was.
        pods(team, "c", 2, {"pod-template-hash": "a"}, ready=True)
        for number in range(2):
            team.fake.delete("pods", f"b{number}")
        fleet = await observed(cluster, lambda fleet: versions(fleet) == (("a", 1.0),))
        assert seen(fleet) == (4, 4, 0, 2, 0)


async def test_replicas_that_are_missing_in_an_update_are_on_their_way_and_no_more(team: Team) -> None:
    """maxUnavailable 2 and maxSurge 2: four new ones start, of which two take the place of those that are gone."""
    team.deployment(replicas=8)
    team.service()
    pods(team, "a", 6, {"pod-template-hash": "a"}, ready=True)
    pods(team, "b", 4, {"pod-template-hash": "b"})
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 6)
        assert seen(fleet) == (8, 6, 2, 0, 2)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"controller-revision-hash": "llama-1"}, {"controller-revision-hash": "llama-2"}, ("llama-1", "llama-2")),
        ({"rollouts-pod-template-hash": "r1"}, {"rollouts-pod-template-hash": "r2"}, ("r1", "r2")),
        # A LeaderWorkerSet's leaders are of a StatefulSet, whose revision also moves with what is no part of their template.
        (
            {"leaderworkerset.sigs.k8s.io/template-revision-hash": "l1", "controller-revision-hash": "x"},
            {"leaderworkerset.sigs.k8s.io/template-revision-hash": "l2", "controller-revision-hash": "x"},
            ("l1", "l2"),
        ),
    ],
)
async def test_the_version_is_what_its_controller_says(
    team: Team, old: dict[str, str], new: dict[str, str], expected: tuple[str, str]
) -> None:
    team.deployment(replicas=4)
    team.service()
    pods(team, "a", 3, old, ready=True)
    pods(team, "b", 1, new, ready=True)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 4)
        assert versions(fleet) == ((expected[0], 0.75), (expected[1], 0.25))


async def test_a_stateful_set_that_replaces_a_pod_under_its_name(team: Team) -> None:
    labels: dict[str, Any] = {"app": "llama", "controller-revision-hash": "llama-1"}
    team.deployment(replicas=3)
    team.service(leadTime={"replica": "2m"})
    for number in range(3):
        team.pod(f"llama-{number}", ready=True, **labels)
    async with team.cluster() as cluster:
        for number in (2, 1, 0):
            team.fake.delete("pods", f"llama-{number}")
            fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
            assert seen(fleet) == (3, 2, 1, 0, 0)
            team.pod(f"llama-{number}", **{**labels, "controller-revision-hash": "llama-2"})
            team.pod_status(f"llama-{number}", "Running", ready_condition("2026-01-01T00:01:10Z"))
            fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 3)
            assert seen(fleet) == (3, 3, 0, 0, 0)
        assert versions(fleet) == (("llama-2", 1.0),)
        # They did start, from nothing to ready, and they are of the version that the next ones will be of.
        assert fleet.lead_time_s[0] == 70


async def test_pods_without_such_labels_and_services_that_come_before_others(team: Team) -> None:
    team.deployment(replicas=2)
    team.service()
    pods(team, "a", 2, {}, ready=True)
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        assert fleet.versions is None
        team.deployment("d0", replicas=1)
        team.service("d0", target="d0")
        labels: dict[str, Any] = {"app": "d0", "pod-template-hash": "x"}
        team.pod("d", ready=True, **labels)
        fleet = await observed(cluster, lambda fleet: len(fleet) == 2 and fleet.versions is not None)
        assert fleet.versions == ((("x", 1.0),), ())
        unchanged = (await observed(cluster)).versions
        assert unchanged is fleet.versions
        team.fake.delete("inferenceautoscalers", "d0")
        fleet = await observed(cluster, lambda fleet: len(fleet) == 1)
        assert fleet.versions is None
