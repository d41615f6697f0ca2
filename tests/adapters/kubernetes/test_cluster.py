"""What the cluster adapter sees, and what it writes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.kubernetes.secrets import KubernetesSecrets
from autoscaler.core.model import Fleet, Written
from autoscaler.core.node_facts import POD_STAGES
from autoscaler.errors import OutsideError
from tests.adapters.kubernetes.conftest import WIDGETS, Team, observed, plan_of, ready_condition, until
from tests.fakes.kube_store import Kind


async def test_counts_by_selector(team: Team) -> None:
    team.deployment(replicas=4)
    team.service()
    team.pod("a", ready=True)
    team.pod("b")
    team.pod("c", ready=True, app="other")
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert [spec.key for spec in fleet.specs] == ["team/llama"]
        assert (fleet.current[0], fleet.ready[0]) == (4, 1)
        assert fleet.starting[0] == 3  # one pod, and two that were asked for and are not there yet
        assert not fleet.hands_off[0]
        assert fleet.paused is None
        assert dict(cluster.rows_by_pod()) == {("team", "a"): 0}

        before = cluster.revision
        team.pod_status("b", "Running", ready_condition())
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 2)
        assert cluster.revision > before
        assert set(cluster.rows_by_pod()) == {("team", "a"), ("team", "b")}
        team.fake.patch("pods", "a", {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
        fleet = await observed(cluster, lambda fleet: fleet.draining[0] == 1)
        assert fleet.ready[0] == 1
        team.fake.delete("pods", "a")
        await observed(cluster, lambda fleet: fleet.draining[0] == 0)


async def test_what_was_taken_out_of_service_no_longer_counts(team: Team) -> None:
    team.deployment(replicas=1)
    team.service()
    team.pod("a", ready=True)
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        revision = fleet.revision
        team.service("qwen", target="qwen")
        fleet = await observed(cluster, lambda fleet: len(fleet) == 2)
        assert fleet.revision > revision
        assert fleet.hands_off_why[1].startswith("TargetMissing: ")
        team.fake.delete("inferenceautoscalers", "llama")
        fleet = await observed(cluster, lambda fleet: len(fleet) == 1)
        assert fleet.specs[0].name == "qwen"
        assert dict(cluster.rows_by_pod()) == {}


async def test_rows_that_move_keep_what_is_known_of_them(team: Team) -> None:
    """A manifest that comes or goes in front of others moves their rows, and only it is looked at anew."""
    for number, replicas in ((1, 3), (2, 5)):
        team.deployment(f"d{number}", replicas=replicas)
        team.service(f"d{number}", target=f"d{number}")
    team.service("lost", target="nowhere")
    team.pod("p", ready=True, app="d2")
    async with team.cluster() as cluster:
        await observed(cluster, lambda fleet: fleet.ready[1] == 1)
        team.deployment("d0", replicas=1)
        team.service("d0", target="d0")
        fleet = await observed(cluster, lambda fleet: len(fleet) == 4 and not fleet.hands_off[0])
        assert (fleet.current.tolist(), fleet.ready.tolist()) == ([1, 3, 5, 0], [0, 0, 1, 0])
        assert set(fleet.hands_off_why) == {3}
        assert dict(cluster.rows_by_pod()) == {("team", "p"): 2}
        outcome = await cluster.act(fleet, plan_of(fleet, 1, 3, 6, 0), 2.0)
        assert outcome.written.tolist() == [Written.NOTHING, Written.NOTHING, Written.DONE, Written.NOTHING]
        team.fake.delete("inferenceautoscalers", "d1")
        fleet = await observed(cluster, lambda fleet: len(fleet) == 3)
        assert (fleet.current.tolist(), fleet.ready.tolist()) == ([1, 6, 0], [0, 1, 0])
        assert set(fleet.hands_off_why) == {2}


async def test_a_status_alone_changes_no_revision(team: Team) -> None:
    team.deployment()
    team.service()
    async with team.cluster() as cluster:
        revision = (await observed(cluster)).revision
        team.fake.patch("inferenceautoscalers", "llama", {"status": {"desiredReplicas": 3}}, part="status")
        await observed(cluster, lambda _: cluster.services.all["team", "llama"].object.status != b"{}")
        assert (await observed(cluster)).revision == revision


async def test_writes_what_was_planned_once(team: Team) -> None:
    team.deployment(replicas=2)
    team.service()
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        outcome = await cluster.act(fleet, plan_of(fleet, 5), 2.0)
        assert outcome.written.tolist() == [Written.DONE]
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 5
        # Also before the watch has told of it, the next tick sees our own write and does not write again.
        fleet = await cluster.observe(time.time())
        assert fleet.current[0] == 5
        assert not plan_of(fleet, 5).act.any()
        await observed(cluster, lambda fleet: fleet.current[0] == 5)
        puts = [request for request in team.fake.requests if request.method == "PUT"]
        assert len(puts) == 1
        assert not fleet.hands_off[0]


async def test_a_decision_on_an_old_fleet_is_not_written(team: Team) -> None:
    team.deployment(replicas=2)
    team.service()
    async with team.cluster() as cluster:
        old = await observed(cluster)
        await cluster.observe(time.time())
        outcome = await cluster.act(old, plan_of(old, 5), 2.0)
        assert outcome.written.tolist() == [Written.REFUSED]
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 2


async def test_a_standby_writes_nothing(team: Team) -> None:
    team.deployment(replicas=2)
    team.service()
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        team.leads = False
        outcome = await cluster.act(fleet, plan_of(fleet, 5), 2.0)
        assert outcome.written.tolist() == [Written.REFUSED]
        assert not [request for request in team.fake.requests if request.method == "PUT"]


async def test_somebody_scaled_between_decision_and_write(team: Team) -> None:
    team.deployment(replicas=2)
    team.service()
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        team.fake.patch("deployments", "llama", {"spec": {"replicas": 7}}, manager="kubectl")
        outcome = await cluster.act(fleet, plan_of(fleet, 5), 2.0)
        assert outcome.written.tolist() == [Written.REFUSED]
        assert "from 2 to 7" in outcome.errors[0]
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 7


async def test_the_deadline_holds_when_the_server_hangs(team: Team) -> None:
    for number in range(40):
        team.deployment(f"d{number:02}", replicas=1)
        team.service(f"d{number:02}", target=f"d{number:02}")
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        team.fake.fail("PUT", "/scale", times=1e9, hang=True)
        began_s = time.monotonic()
        outcome = await cluster.act(fleet, plan_of(fleet, *([3] * 40)), 0.3)
        assert time.monotonic() - began_s < 1.0
        assert set(outcome.written.tolist()) == {Written.FAILED}
        assert len(outcome.errors) == 40


async def test_custom_resource_with_its_own_paths(team: Team) -> None:
    team.fake.store.serve(WIDGETS)
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}
    team.fake.create(
        "customresourcedefinitions",
        {"metadata": {"name": "widgets.models.test"}, "spec": {"versions": [{"name": "v1", "subresources": {"scale": scale}}]}},
    )
    team.fake.create("widgets", {"metadata": {"name": "w"}, "spec": {"size": 3}, "status": {"selector": "app in (w), !old"}})
    team.service("w", scaleTargetRef={"apiVersion": "models.test/v1", "kind": "Widget", "name": "w"})
    team.pod("w-0", ready=True, app="w")
    team.pod("w-1", ready=True, app="w", old="yes")
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert (fleet.current[0], fleet.ready[0]) == (3, 1)
        outcome = await cluster.act(fleet, plan_of(fleet, 4), 2.0)
        assert outcome.written.tolist() == [Written.DONE]
        assert team.fake.get("widgets", "w")["spec"]["size"] == 4


async def test_a_kind_that_is_installed_later(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler.adapters.kubernetes.target_watch.LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr("autoscaler.adapters.kubernetes.discovery.MISS_FIRST_S", 0.02)
    team.service("w", scaleTargetRef={"apiVersion": "models.test/v1", "kind": "Widget", "name": "w"})
    team.service("p", scaleTargetRef={"apiVersion": "v1", "kind": "Pod", "name": "p"})
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert fleet.hands_off_why[0].startswith("NoScaleSubresource: ")
        assert fleet.hands_off_why[1].startswith("TargetKindUnknown: ")
        team.fake.store.serve(WIDGETS)
        team.fake.create("widgets", {"metadata": {"name": "w"}, "spec": {"replicas": 3, "size": 3}})
        fleet = await observed(cluster, lambda fleet: "names no pods" in fleet.hands_off_why.get(1, ""))
        team.fake.patch("widgets", "w", {"status": {"selector": "app=w"}}, part="status")
        fleet = await observed(cluster, lambda fleet: not fleet.hands_off[1])
        assert fleet.current.tolist() == [0, 3]


@pytest.mark.parametrize("conventional", [True, False])
async def test_a_definition_that_may_not_be_read(team: Team, conventional: bool) -> None:
    """Then the convention is compared with a scale before it is relied on, and nothing is asked that would be refused."""
    team.fake.may_read_definitions = False
    replicas = "spec.replicas" if conventional else "spec.size"
    team.fake.store.serve(
        Kind("models.test", "v1", "widgets", "Widget", status=True, replicas=replicas, selector="status.selector")
    )
    team.fake.create("widgets", {"metadata": {"name": "w"}, "spec": {"replicas": 3, "size": 5}, "status": {"selector": "app=w"}})
    team.service("w", scaleTargetRef={"apiVersion": "models.test/v1", "kind": "Widget", "name": "w"})
    team.pod("w-0", ready=True, app="w")
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        if conventional:
            assert (fleet.current[0], fleet.ready[0], fleet.hands_off[0]) == (3, 1, False)
        else:
            assert fleet.hands_off_why[0].startswith("TargetUnreadable: the count of widgets.models.test is not at spec.replicas")
    assert not [request for request in team.fake.requests if "customresourcedefinitions" in request.path]


async def test_that_scales_may_be_read_is_asked_once_a_kind(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    """Needed only when a write meets a conflict, which is a bad moment to find out that the right is missing."""
    for name in ("a", "b"):
        team.deployment(name)
        team.service(name, target=name)
    team.fake.fail("GET", "/scale", times=1e9, status=403)
    async with team.cluster() as cluster:
        await until(lambda: "can't be read" in caplog.text)
        fleet = await observed(cluster)
        assert not fleet.hands_off.any()
        outcome = await cluster.act(fleet, plan_of(fleet, 3, 3), 2.0)
        assert outcome.written.tolist() == [Written.DONE, Written.DONE]
    assert sum(request.path.endswith("/scale") and request.method == "GET" for request in team.fake.requests) == 1


async def test_a_kind_that_can_not_be_read_holds_up_nobody_else(team: Team) -> None:
    team.fake.may_read_definitions = False
    team.fake.store.serve(WIDGETS)
    team.fake.create("widgets", {"metadata": {"name": "w"}, "spec": {"size": 5}, "status": {"selector": "app=w"}})
    team.fake.fail("GET", "/w/scale", times=1e9, status=403)
    team.fake.fail("GET", "/statefulsets", times=1e9, status=403)
    team.service("w", scaleTargetRef={"apiVersion": "models.test/v1", "kind": "Widget", "name": "w"})
    team.service("s", scaleTargetRef={"kind": "StatefulSet", "name": "s"})
    team.deployment()
    team.service()
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert fleet.hands_off.tolist() == [False, True, True]
        assert "can't be listed: 403" in fleet.hands_off_why[1]
        assert "was not found out" in fleet.hands_off_why[2]


@pytest.mark.parametrize("document", [{"resources": [{"name": 5}]}, {"resources": ["x"]}, {"resources": 7}])
async def test_an_api_that_speaks_nonsense_is_the_fault_of_its_kind_only(team: Team, document: Any) -> None:
    team.fake.fail("GET", "/apis/a.nonsense/v1", times=1e9, document=document)
    team.service("w", scaleTargetRef={"apiVersion": "a.nonsense/v1", "kind": "Widget", "name": "w"})
    team.deployment()
    team.service()
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert fleet.hands_off.tolist() == [False, True]
        assert fleet.hands_off_why[1].startswith("TargetUnreadable: Widget of a.nonsense/v1 can't be looked up")
        # Kinds that are named later are still looked at.
        team.fake.create(
            "statefulsets", {"metadata": {"name": "s"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "s"}}}}
        )
        team.service("s", scaleTargetRef={"kind": "StatefulSet", "name": "s"})
        fleet = await observed(cluster, lambda fleet: len(fleet) == 3 and not fleet.hands_off[1])
        assert fleet.current.tolist() == [2, 3, 0]


async def test_invalid_manifests_are_left_out_and_harm_nobody(team: Team) -> None:
    team.deployment()
    team.service()
    team.service("bad", objective={"target": "soon"})
    team.service("worse", maxReplicas="many")
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert [spec.name for spec in fleet.specs] == ["llama"]
        assert "objective.target" in cluster.services.all["team", "bad"].fault
        assert "maxReplicas" in cluster.services.all["team", "worse"].fault
        team.fake.patch("inferenceautoscalers", "bad", {"spec": {"objective": {"target": "5s"}}})
        await observed(cluster, lambda fleet: len(fleet) == 2)


async def test_memories_of_the_status_are_told_once(team: Team) -> None:
    team.deployment()
    memory = {"desired": 7, "blindSince": 12.5, "recommendations": [{"at": 1.0, "replicas": 7}]}
    recent = [50.0, 60.0, 70.0]
    team.service(status={"memory": memory, "leadTime": {"samples": 3, "recent": recent}})
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert fleet.memories["team/llama"].desired == 7
        assert fleet.memories["team/llama"].recommendations == ((1.0, 7),)
        assert fleet.lead_time_s[0] == pytest.approx(np.quantile(recent, 0.9))
        team.service("qwen")
        fleet = await observed(cluster, lambda fleet: len(fleet) == 2)
        assert fleet.memories == {}


async def test_a_memory_of_another_target_is_none_of_this_one(team: Team) -> None:
    memory = {"target": "Deployment/llama", "desired": 7}
    for name, target in (("same", "llama"), ("retargeted", "mixtral")):
        team.deployment(name=target)
        team.service(name, target, status={"memory": memory})
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: len(fleet) == 2)
        assert set(fleet.memories) == {"team/same"}


async def test_time_to_ready_is_measured_on_starts_that_were_watched(team: Team) -> None:
    team.deployment(replicas=5)
    team.service(leadTime={"replica": "2m"})
    team.pod("old", ready=True)
    async with team.cluster() as cluster:
        assert (await observed(cluster)).lead_time_s[0] == 120
        for number in range(3):
            team.pod(f"new{number}")
        team.pod("late")
        no_node = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
        team.pod_status("late", "Pending", no_node)
        await observed(cluster, lambda fleet: fleet.starting[0] == 4)
        for number in range(3):
            team.pod_status(f"new{number}", "Running", ready_condition("2026-01-01T00:01:30Z"))
        found_a_node = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T09:00:00Z"}
        team.pod_status("late", "Pending", found_a_node)
        team.pod_status("late", "Running", found_a_node, ready_condition("2026-01-01T09:01:30Z"))
        fleet = await observed(cluster, lambda fleet: fleet.ready[0] == 5)
        assert fleet.lead_time_s[0] == 90
        # A probe that flaps is no start.
        team.pod_status("old", "Running")
        await observed(cluster, lambda fleet: fleet.ready[0] == 4)
        team.pod_status("old", "Running", ready_condition("2026-01-01T12:00:00Z"))
        await observed(cluster, lambda fleet: fleet.ready[0] == 5)
        lead = cluster.services.all["team", "llama"].lead.status(POD_STAGES)
        assert lead is not None
        assert lead.recent == [90.0] * 4


async def test_the_pause_switch(team: Team) -> None:
    async with team.cluster() as cluster:
        assert (await observed(cluster)).paused is None
        team.fake.create("configmaps", {"metadata": {"name": "other"}, "data": {"pause": "true"}}, "system")
        team.fake.create("configmaps", {"metadata": {"name": "inference-autoscaler"}, "data": {"pause": "down"}}, "system")
        fleet = await observed(cluster, lambda fleet: fleet.paused is not None)
        assert fleet.paused is not None
        assert fleet.paused.direction == "Down"
        for word, direction in (("true", "Both"), ("up", "Up"), ("yes please", "Both")):
            team.fake.patch("configmaps", "inference-autoscaler", {"data": {"pause": word}}, "system")

            def is_paused(fleet: Fleet, direction: str = direction) -> bool:
                return fleet.paused is not None and fleet.paused.direction == direction

            await observed(cluster, is_paused)
        team.fake.patch("configmaps", "inference-autoscaler", {"data": {"pause": "false"}}, "system")
        await observed(cluster, lambda fleet: fleet.paused is None)


async def test_nothing_is_decided_before_everything_is_listed(team: Team) -> None:
    team.deployment()
    team.service()
    team.fake.fail("GET", "/pods", times=1e9, status=403)
    with pytest.raises(OutsideError, match=r"pods .*403"):
        async with team.cluster(sync_s=0.3):
            pass


async def test_what_was_not_heard_of_for_long_leads_to_no_removal(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler.adapters.kubernetes.cluster.STALE_S", 0.3)
    team.deployment()
    team.service()
    async with team.cluster() as cluster:
        assert (await observed(cluster)).paused is None
        await team.fake.stop()
        fleet = await observed(cluster, lambda fleet: fleet.paused is not None)
        assert fleet.paused is not None
        assert fleet.paused.direction == "Down"
        assert fleet.current[0] == 2  # and what was known stays known
        await team.fake.start()
        await observed(cluster, lambda fleet: fleet.paused is None)


async def test_namespaces(team: Team) -> None:
    team.deployment()
    team.service()
    team.fake.create(
        "inferenceautoscalers",
        {"metadata": {"name": "x"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "x"}, "maxReplicas": 2}},
        "other",
    )
    async with team.cluster(namespaces=["team"]) as cluster:
        assert [spec.key for spec in (await observed(cluster)).specs] == ["team/llama"]
    async with team.cluster() as cluster:
        assert [spec.key for spec in (await observed(cluster)).specs] == ["other/x", "team/llama"]


async def test_pools(team: Team) -> None:
    team.fake.create("acceleratorpools", {"metadata": {"name": "h100"}, "spec": {"maxNodes": 4}})
    team.fake.create("acceleratorpools", {"metadata": {"name": "bad"}, "spec": {"maxNodes": "four"}})
    async with team.cluster() as cluster:
        fleet = await observed(cluster)
        assert [(pool.name, pool.max_nodes) for pool in fleet.pools] == [("h100", 4)]


async def test_secrets(team: Team) -> None:
    team.fake.create("secrets", {"metadata": {"name": "prom"}, "data": {"token": "aGVsbG8="}})
    secrets = KubernetesSecrets(team.api)
    value, version = await secrets.read_secret("team", "prom", "token", timeout_s=2)
    assert value == b"hello"
    team.fake.patch("secrets", "prom", {"data": {"token": "Ynll"}})
    again, later = await secrets.read_secret("team", "prom", "token", timeout_s=2)
    assert again == b"bye"
    assert version != later
    for name, key in (("prom", "nothing"), ("nobody", "token")):
        with pytest.raises(OutsideError):
            await secrets.read_secret("team", name, key, timeout_s=2)


async def test_all_services_of_a_target_see_its_pods(team: Team) -> None:
    """Comparing in Shadow mode beside an Active one is the point of a Shadow."""
    team.deployment()
    team.service("a-shadow", mode="Shadow", target="llama", created="2025-01-01T00:00:00Z")
    team.service("b-active", target="llama", created="2026-01-01T00:00:00Z")
    team.service("c-recommend", mode="Recommend", target="llama", created="2025-01-01T00:00:00Z")
    team.pod("p", ready=True, app="llama")
    async with team.cluster() as cluster:
        fleet = await observed(cluster, lambda fleet: fleet.ready.tolist() == [1, 1, 1])
        assert not fleet.hands_off.any()
        assert dict(cluster.rows_by_pod()) == {("team", "p"): 1}
        assert {row: list(others) for row, others in cluster.sharing_rows().items()} == {1: [0, 2]}
        team.fake.delete("inferenceautoscalers", "b-active")
        await observed(cluster, lambda fleet: len(fleet) == 2)
        assert dict(cluster.rows_by_pod()) == {("team", "p"): 0}
        assert {row: list(others) for row, others in cluster.sharing_rows().items()} == {0: [1]}


@pytest.mark.parametrize("steps", range(5))
async def test_it_stops_also_when_a_kind_is_asked_for_at_that_very_moment(team: Team, steps: int) -> None:
    team.service("w", scaleTargetRef={"apiVersion": "a.missing/v1", "kind": "Widget", "name": "w"})
    async with asyncio.timeout(5):
        async with team.cluster() as cluster:
            await observed(cluster)  # it waits for a while before it looks for the missing kind again
            cluster.picture.targets.want([("apps/v1", "StatefulSet")])
            for _ in range(steps):
                await asyncio.sleep(0)
