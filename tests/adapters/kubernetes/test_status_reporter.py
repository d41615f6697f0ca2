"""What people read on the object: status, conditions, events; written when it changed and within a budget."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.events import AGAIN_AFTER_S, Events
from autoscaler.adapters.kubernetes.services import ManifestObject, Service
from autoscaler.adapters.kubernetes.status_reporter import StatusReporter, StatusSettings
from autoscaler.adapters.prometheus.wiring import share_of
from autoscaler.clock import ManualClock, SystemClock
from autoscaler.controller import Controller
from autoscaler.core.policy import PolicyType
from autoscaler.spec import InferenceAutoscalerStatus
from tests.adapters.kubernetes.conftest import Team, observed, ready_condition
from tests.core.test_remembering import Counting, a_policy
from tests.fakes.kube_store import Object
from tests.ticks import PER_REPLICA, MadeMetrics

INSTANT: dict[str, Any] = {
    "policies": [{"name": "per-replica"}],
    "behavior": {"scaleUp": {"policies": []}, "scaleDown": {"stabilizationWindowSeconds": 0, "policies": []}},
}


class Loop:
    """The real controller over the adapter; concurrency is what a test sets."""

    def __init__(
        self, team: Team, cluster: KubernetesCluster, policies: dict[str, PolicyType] | None = None, **settings: Any
    ) -> None:
        self.team = team
        self.cluster = cluster
        self.concurrency = 20.0
        self.reporter = StatusReporter(team.api, cluster, SystemClock(), instance="pod-1", settings=StatusSettings(**settings))
        self.metrics = MadeMetrics({"concurrency": lambda _at_s, _row: self.concurrency})
        self.controller = Controller(
            clock=SystemClock(),
            metrics=self.metrics,
            cluster=cluster,
            policies={"per-replica": PER_REPLICA} if policies is None else policies,
            reporters=[self.reporter],
            may_act=lambda: team.leads,
        )

    async def tick(self) -> None:
        await self.controller.tick()
        assert self.controller.reporter_failures == 0

    def status(self, name: str = "llama") -> Object:
        found: Object = self.team.fake.get("inferenceautoscalers", name).get("status") or {}
        msgspec.convert(found, InferenceAutoscalerStatus)  # what the schema of the CRD allows
        return found

    def condition(self, type_: str, name: str = "llama") -> tuple[str, str]:
        found = next(c for c in self.status(name)["conditions"] if c["type"] == type_)
        return found["status"], found["reason"]

    def patches(self) -> int:
        return sum(request.method == "PATCH" for request in self.team.fake.requests)

    def events(self) -> list[tuple[str, str]]:
        table = self.team.fake.store.table("events")
        return [(event["reason"], event["note"]) for event in table.items.values()]

    async def settled(self) -> None:
        """The watches have told of everything that was written."""
        for plural, objects in (("inferenceautoscalers", self.cluster.services.all),):
            for (namespace, name), service in objects.items():
                version = self.team.fake.get(plural, name, namespace)["metadata"]["resourceVersion"]
                async with asyncio.timeout(5):
                    while service.object.version != version:  # noqa: ASYNC110
                        await asyncio.sleep(0.005)


async def test_the_binding_objective_and_its_warnings_are_told(team: Team) -> None:
    team.deployment(replicas=1)
    team.service(**INSTANT, objectives=[{"signal": "running", "target": "8"}])
    team.service("other", target="other", **INSTANT, objectives=[{"signal": "gpu_memory_utilization", "target": "80%"}])
    team.deployment("other", replicas=1)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        allows = "the most demanding objective, running ≤ 8, allows 8 of 32 requests at a time"
        status = loop.status()
        assert allows in status["reason"]
        assert loop.condition("Ready") == ("True", "Reconciled")
        assert allows in next(one["message"] for one in status["conditions"] if one["type"] == "Ready")
        assert loop.condition("Ready", "other") == ("True", "ObjectiveWarning")


async def test_the_roles_of_a_service_are_told_and_a_wrong_one_gets_a_condition(team: Team) -> None:
    for name in ("prefill", "decode", "lost"):
        team.deployment(name, replicas=1)
    ratios = [{"to": "decode", "min": 2}]
    team.service("prefill", target="prefill", role={"service": "chat", "name": "prefill", "ratios": ratios}, **INSTANT)
    team.service("decode", target="decode", role={"service": "chat", "name": "decode"}, **INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        status = loop.status("prefill")
        assert (status["recommendedReplicas"], status["desiredReplicas"]) == (2, 4)
        assert [limit["name"] for limit in status["limits"]] == ["Roles"]
        assert loop.condition("ScalingLimited", "prefill") == ("True", "Roles")
        assert status["role"]["bottleneck"] == loop.status("decode")["role"]["bottleneck"] == "decode"
        assert status["role"]["message"].startswith("the bottleneck of service 'chat' is decode: 2 wished")
        ready = next(one for one in status["conditions"] if one["type"] == "Ready")
        assert "the bottleneck of service 'chat' is decode" in ready["message"]
        # A second decode: both are told, though neither has changed a count.
        team.service("decode-2", target="lost", role={"service": "chat", "name": "decode"}, **INSTANT)
        async with asyncio.timeout(5):
            while len(cluster.services.all) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await loop.tick()
        for name in ("decode", "decode-2", "prefill"):
            assert loop.condition("Ready", name) == ("False", "RoleFault")
        assert loop.condition("AbleToScale", "decode")[0] == "True"
        status = loop.status("prefill")
        assert status["desiredReplicas"] == 4, "it keeps what it has for the others' sake"
        assert [limit["name"] for limit in status["limits"]] == ["RolesHeld"]


async def test_two_that_read_the_same_demand_are_told_until_their_shares_are_said(team: Team) -> None:
    signals = {"presets": [], "queries": [{"signal": "concurrency", "query": "sum(in_flight)"}]}
    team.deployment(replicas=1)
    team.service(**INSTANT, signals=signals)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        assert loop.condition("Ready") == ("True", "Reconciled")
        team.deployment("canary", replicas=1)
        team.service("canary", target="canary", **INSTANT, signals=signals)
        await observed(cluster, lambda fleet: len(fleet) == 2 and not fleet.hands_off.any())
        await loop.tick()
        assert loop.condition("Ready") == ("True", "SharedDemand")
        assert loop.condition("Ready", "canary") == ("True", "SharedDemand")
        message = next(one["message"] for one in loop.status()["conditions"] if one["type"] == "Ready")
        assert message.startswith("concurrency (own PromQL) is the very same that team/canary reads")
        for name, share in (("llama", "90%"), ("canary", "10%")):
            team.fake.patch("inferenceautoscalers", name, {"spec": {"signals": {**signals, "share": share}}})
        await observed(cluster, lambda fleet: [share_of(spec) for spec in fleet.specs] == [0.1, 0.9])
        await loop.tick()
        assert loop.condition("Ready") == ("True", "Reconciled")
        assert loop.condition("Ready", "canary") == ("True", "Reconciled")


async def test_a_rescale_is_told_in_status_conditions_and_an_event(team: Team) -> None:
    team.deployment(replicas=1)
    team.service(**INSTANT)
    team.pod("a", ready=True)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        status = loop.status()
        assert status["currentReplicas"] == 1
        assert (status["recommendedReplicas"], status["desiredReplicas"], status["plannedReplicas"]) == (2, 2, 2)
        assert status["lastScaleTime"].startswith("20")
        assert status["memory"]["desired"] == 2
        assert status["observedGeneration"] == 1
        assert status["signals"] == [{"name": "concurrency", "state": "Known", "value": "20", "ageSeconds": 0}]
        assert "20 in flight" in status["reason"]
        assert loop.condition("Ready") == ("True", "Reconciled")
        assert loop.condition("AbleToScale") == ("True", "SucceededRescale")
        assert loop.condition("ScalingActive") == ("True", "SignalsKnown")
        assert loop.condition("ScalingLimited") == ("False", "DesiredWithinRange")
        ((reason, note),) = loop.events()
        assert reason == "SuccessfulRescale"
        assert note.startswith("New size: 2, was 1; reason: ")


async def test_nothing_new_writes_nothing(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(**INSTANT)
    team.pod("a", ready=True)
    team.pod("b", ready=True)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        await loop.settled()
        await loop.tick()
        before = loop.patches()
        for _ in range(3):
            await loop.tick()
        assert loop.patches() == before
        loop.concurrency = 31.0
        await loop.tick()
        assert loop.patches() == before + 1
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 4


async def test_blind_services_say_so_and_keep_their_transition_times(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(**INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        await loop.settled()
        ready_since = next(c["lastTransitionTime"] for c in loop.status()["conditions"] if c["type"] == "Ready")
        loop.concurrency = float("nan")
        await loop.tick()
        assert loop.condition("ScalingActive") == ("False", "SignalsUnknown")
        assert next(c["lastTransitionTime"] for c in loop.status()["conditions"] if c["type"] == "Ready") == ready_since
        assert "SignalsUnknown" in {reason for reason, _ in loop.events()}
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == 2


async def test_a_pause_is_shown_at_once(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(**INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        await loop.settled()
        team.fake.create("configmaps", {"metadata": {"name": "inference-autoscaler"}, "data": {"pause": "true"}}, "system")
        await observed(cluster, lambda fleet: fleet.paused is not None)
        await loop.tick()
        assert loop.condition("ScalingActive") == ("False", "ScalingPaused")
        await loop.settled()
        team.fake.delete("configmaps", "inference-autoscaler", "system")
        await observed(cluster, lambda fleet: fleet.paused is None)
        await loop.tick()
        assert loop.condition("ScalingActive") == ("True", "SignalsKnown")


async def test_pending_replicas_are_named_with_the_resource_that_is_short(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(**INSTANT)
    team.pod("llama-1")
    message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes are available"
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    team.pod_status("llama-1", "Pending", condition)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        assert loop.condition("Ready") == ("False", "Unschedulable")
        words = next(c["message"] for c in loop.status()["conditions"] if c["type"] == "Ready")
        assert "insufficient nvidia.com/gpu (llama-1: " in words, "the full stop of the scheduler's sentence is not in the name"
        assert "llama-1" in words
        await loop.settled()
        waiting = {"state": {"waiting": {"reason": "ImagePullBackOff"}}, "restartCount": 0}
        team.pod_status("llama-1", "Pending", containerStatuses=[waiting])
        await observed(cluster, lambda _: not cluster.pods.pods["team", "llama-1"].unschedulable)
        await loop.tick()
        assert loop.condition("Ready") == ("False", "ReplicasFailing")
        await loop.settled()
        team.pod_status("llama-1", "Running", ready_condition(), containerStatuses=None)
        await observed(cluster, lambda fleet: fleet.ready[0] == 1)
        await loop.tick()
        assert loop.condition("Ready") == ("True", "Reconciled")


async def test_invalid_and_hands_off_objects_get_a_condition(team: Team) -> None:
    team.service("bad", objective={"target": "soon"})
    team.service("lost", target="nowhere")
    team.service("shadow", mode="Shadow", target="llama")
    team.deployment()
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        assert loop.condition("Ready", "bad") == ("False", "InvalidSpec")
        assert loop.condition("Ready", "lost") == ("False", "TargetMissing")
        assert loop.condition("AbleToScale", "lost") == ("False", "TargetMissing")
        assert loop.condition("AbleToScale", "shadow") == ("False", "NotActive")
        await loop.settled()
        before = loop.patches()
        await loop.tick()
        assert loop.patches() == before


async def test_other_peoples_conditions_stay(team: Team) -> None:
    theirs = {
        "type": "Audited",
        "status": "True",
        "reason": "Yes",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    team.deployment()
    team.service(status={"conditions": [theirs]}, **INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        assert theirs in loop.status()["conditions"]


async def test_a_standby_writes_no_status_and_knows_nothing_when_it_leads(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(**INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        team.leads = False
        await loop.tick()
        assert loop.patches() == 0
        assert loop.events() == []
        team.leads = True
        await loop.tick()
        assert loop.status()["desiredReplicas"] == 2


async def test_who_lost_the_lead_within_a_tick_writes_no_status(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(**INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        tick = await loop.controller.tick()
        await loop.settled()
        before = loop.patches()
        team.leads = False
        stale = replace(tick, decisions=replace(tick.decisions, desired=tick.decisions.desired + 1))
        assert stale.leading
        await loop.reporter.report(stale)
        assert loop.patches() == before


async def test_a_budget_of_requests_a_tick_and_nobody_forgotten(team: Team) -> None:
    for number in range(25):
        team.deployment(f"d{number:02}", replicas=2)
        team.service(f"d{number:02}", target=f"d{number:02}", **INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster, requests_per_tick=10)
        for tick, written in ((1, 10), (2, 20), (3, 25), (4, 25)):
            await loop.tick()
            await loop.settled()
            assert loop.patches() == written, tick
        assert all(loop.status(f"d{number:02}")["desiredReplicas"] == 2 for number in range(25))
        # What people wait for goes first: the one whose target is gone, though all others changed as well.
        loop.concurrency = 15.0
        team.fake.delete("deployments", "d24")
        await observed(cluster, lambda fleet: fleet.hands_off[24])
        await loop.tick()
        assert loop.condition("Ready", "d24") == ("False", "TargetMissing")


@pytest.mark.parametrize("how", [{"status": 500}, {"status": 429}, {"hang": True}, {"status": 409}])
async def test_what_was_refused_is_written_with_a_later_tick(team: Team, how: dict[str, Any]) -> None:
    team.deployment(replicas=2)
    team.service(**INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster, call_timeout_s=0.1)
        team.fake.fail("PATCH", "/status", times=1, **how)
        await loop.tick()
        assert loop.status() == {}
        await loop.tick()
        assert loop.status()["desiredReplicas"] == 2


async def test_a_hanging_server_does_not_hold_up_the_tick(team: Team) -> None:
    for number in range(30):
        team.deployment(f"d{number:02}", replicas=2)
        team.service(f"d{number:02}", target=f"d{number:02}", **INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster, share=0.02)
        team.fake.fail("PATCH", "/status", times=1e9, hang=True)
        async with asyncio.timeout(20):  # the server would hang for ever
            await loop.tick()
        team.fake.faults.clear()
        async with asyncio.timeout(20):  # a busy machine may need more than one tick's budget for all of them
            while not all(loop.status(f"d{number:02}").get("desiredReplicas") == 2 for number in range(30)):
                await loop.tick()


async def test_events_are_not_repeated(team: Team) -> None:
    clock = ManualClock(1000.0)
    events = Events(team.api, clock, "pod-1")
    service = Service(("team", "llama"), ManifestObject("u", "1", 1, "", b"{}", b"{}"))
    for _ in range(5):
        events.add(service, "Normal", "SuccessfulRescale", "Rescale", "New size: 3")
    clock.advance_to(1000.0 + AGAIN_AFTER_S)
    events.add(service, "Normal", "SuccessfulRescale", "Rescale", "New size: 3")
    await events.send(10, 2.0)
    table = team.fake.store.table("events")
    assert [event["note"] for event in table.items.values()] == ["New size: 3", "New size: 3 (and 4 times before)"]
    assert {event["regarding"]["name"] for event in table.items.values()} == {"llama"}


async def test_an_event_that_had_arrived_is_neither_lost_nor_warned_of(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    """The answer was given up when the tick's time was over, and the event is sent again under its name."""
    events = Events(team.api, ManualClock(1000.0), "pod-1")
    service = Service(("team", "llama"), ManifestObject("u", "1", 1, "", b"{}", b"{}"))
    team.fake.fail("POST", "/events", times=1, status=409)
    events.add(service, "Normal", "SuccessfulRescale", "Rescale", "New size: 3")
    events.add(service, "Normal", "SuccessfulRescale", "Rescale", "New size: 4")
    await events.send(10, 2.0)
    assert [event["note"] for event in team.fake.store.table("events").items.values()] == ["New size: 4"]
    assert events.dropped == 0
    assert not caplog.records


async def test_a_new_leader_keeps_what_the_old_one_measured(team: Team) -> None:
    team.deployment(replicas=2)
    team.service(status={"lastScaleTime": "2026-01-01T00:00:00Z", "leadTime": {"samples": 1, "recent": [42.0]}}, **INSTANT)
    team.fake.patch("deployments", "llama", {"spec": {"replicas": 2, "x": 1}}, manager="inference-autoscaler")
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        assert loop.status()["lastScaleTime"] == "2026-01-01T00:00:00Z"
        assert loop.status()["leadTime"]["recent"] == [42.0]


async def test_a_blindness_that_is_over_is_forgotten(team: Team) -> None:
    """A merge patch keeps what it doesn't name, also within the memory: a restart would take the old blindness for its own."""
    team.deployment(replicas=2)
    team.service(**INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        loop.concurrency = float("nan")
        await loop.tick()
        assert loop.status()["memory"]["blindSince"] > 0
        await loop.settled()
        loop.concurrency = 20.0
        await loop.tick()
        await loop.settled()
        assert "blindSince" not in loop.status()["memory"]
        assert cluster.services.all["team", "llama"].memory() == loop.controller.engine.memory(0)


async def test_the_status_gives_the_whole_memory_back(team: Team) -> None:
    windows = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 8, "periodSeconds": 1800}]},
        "scaleDown": {"stabilizationWindowSeconds": 1800, "policies": []},
    }
    team.deployment(replicas=2)
    team.service(**{**INSTANT, "behavior": windows})
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        for concurrency in (20.0, 41.0, 31.0, 55.0, 22.0):
            loop.concurrency = concurrency
            await loop.tick()
            await loop.settled()
            await observed(
                cluster, lambda fleet: int(fleet.current[0]) == team.fake.get("deployments", "llama")["spec"]["replicas"]
            )
        memory = loop.controller.engine.memory(0)
        assert cluster.services.all["team", "llama"].memory() == memory
        assert [count for _, count in memory.scale_events] == [3, 1]
        assert memory.recommendations[-1][1] == 3
        assert memory.current is not None


async def test_a_replacement_is_remembered_and_of_which_target(team: Team) -> None:
    team.deployment(replicas=1)
    team.service(**INSTANT)
    team.pod("a", ready=True, **{"app": "llama", "pod-template-hash": "a"})
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        loop.concurrency = 10.0
        await loop.tick()
        await loop.settled()
        assert loop.status()["memory"]["target"] == "Deployment/llama"
        assert "replacedAt" not in loop.status()["memory"]
        team.fake.delete("pods", "a")
        await observed(cluster, lambda fleet: fleet.ready[0] == 0)
        await loop.tick()
        await loop.settled()
        team.pod("b", ready=True, **{"app": "llama", "pod-template-hash": "b"})
        await observed(cluster, lambda fleet: fleet.versions == ((("b", 1.0),),))
        await loop.tick()
        await loop.settled()
        memory = loop.controller.engine.memory(0)
        assert loop.status()["memory"]["replacedAt"] == memory.replaced_at_s
        assert memory.replaced_at_s is not None
        assert cluster.services.all["team", "llama"].memory() == memory


async def test_a_learnt_capacity_is_shown_and_taken_up_again(team: Team) -> None:
    learnt = {
        "schema": 1, "requestsPerSecond": 1.25, "weight": 950.0, "seen": 940.5, "concurrency": 32, "slowdownConcurrency": 64.0, "given": 2.0,
        "version": "v2", "versions": [{"version": "v1", "requestsPerSecond": 2.5, "weight": 90.0, "seen": 80.5}],
    }  # fmt: skip
    team.deployment(replicas=2)
    capacity = {"mode": "Learnt", "requestsPerSecond": 2.0}
    team.service(**INSTANT, capacity=capacity, status={"memory": {"capacity": learnt}})
    team.service("other", "other", capacity=capacity, status={"memory": {"capacity": {**learnt, "schema": 2}}})
    team.service("given", "given", capacity={"requestsPerSecond": 2.0})
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        await loop.settled()
        assert loop.status()["capacity"] == {"requestsPerSecond": 1.25, "confidence": "0.95"}
        assert loop.status()["memory"]["capacity"] == learnt
        assert loop.status("other")["capacity"] == {"requestsPerSecond": 2.0, "confidence": "0.00"}
        assert "capacity" not in loop.status("given")
        assert cluster.services.all["team", "llama"].memory() == loop.controller.engine.memory(
            [spec.name for spec in loop.controller.engine.table.specs].index("llama")
        )
        before = loop.patches()
        await loop.tick()
        assert loop.patches() == before


@pytest.mark.parametrize(
    ("spec", "warned"),
    [
        ({"minReplicas": 0}, True),
        ({"minReplicas": 0, "signals": {"queries": [{"signal": "ttft_s", "query": "sum(x)"}]}}, True),
        ({"minReplicas": 1}, False),
        ({"minReplicas": 0, "signals": {"gateway": {"preset": "istio"}}}, False),
        ({"minReplicas": 0, "signals": {"queries": [{"signal": "queue", "query": "sum(x)"}]}}, False),
    ],
)
async def test_a_service_that_nothing_could_wake_is_told(team: Team, spec: dict[str, Any], warned: bool) -> None:
    team.deployment(replicas=2)
    team.service(**{**INSTANT, **spec})
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        await loop.tick()
        assert loop.condition("Ready") == ("True", "Reconciled")
        (ready,) = (one for one in loop.status()["conditions"] if one["type"] == "Ready")
        assert ("at zero nothing sees a request" in ready["message"]) == warned


@pytest.mark.parametrize(("idle_s", "replicas"), [(420, 1), (600, 0)])
async def test_idle_time_lies_in_the_status_and_a_new_controller_goes_on_from_there(
    team: Team, idle_s: int, replicas: int
) -> None:
    team.deployment(replicas=1)
    team.service(**INSTANT, minReplicas=0, idle={"after": "10m"}, status={"memory": {"desired": 1, "idleSeconds": idle_s}})
    async with team.cluster() as cluster:
        loop = Loop(team, cluster)
        loop.concurrency = 0.0
        loop.metrics.signals["demand"] = lambda _at_s, _row: 0.0
        await loop.tick()
        assert team.fake.get("deployments", "llama")["spec"]["replicas"] == replicas
        await loop.settled()
        kept = cluster.services.all["team", "llama"].memory()
        assert kept is not None
        assert kept == loop.controller.engine.memory(0)
        assert kept.idle_s == idle_s
        if replicas == 0:
            assert "limits" not in loop.status()
        else:
            assert [limit["name"] for limit in loop.status()["limits"]] == ["ScaleToZero"]
            loop.concurrency = 20.0
            await loop.tick()
            await loop.settled()
            assert "idleSeconds" not in loop.status()["memory"]


async def test_objects_whose_status_is_always_refused_starve_nobody(team: Team) -> None:
    """A tenant's admission webhook may refuse every write; so may a schema that has become stricter than what is stored."""
    for number in range(20):
        team.deployment(f"d{number:02}", replicas=2)
        valid = number % 2 == 1
        team.service(f"d{number:02}", target=f"d{number:02}", **(INSTANT if valid else {"objective": {"target": "soon"}}))
    for number in range(10):
        team.fake.fail("PATCH", f"/d{number:02}/status", times=1e9, status=422)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster, requests_per_tick=4)
        for _ in range(10):
            await loop.tick()
            await loop.settled()
        assert all(loop.status(f"d{number:02}") for number in range(10, 20))
        wrote = loop.patches()
        for _ in range(3):
            await loop.tick()
        assert loop.patches() - wrote <= 3 * 4


async def test_events_are_told_while_statuses_take_all_their_time(team: Team) -> None:
    for number in range(40):
        team.deployment(f"d{number:02}", replicas=1)
        team.service(f"d{number:02}", target=f"d{number:02}", **INSTANT)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster, share=0.02, at_once=1)
        team.fake.fail("PATCH", "/status", times=1e9, hang=True)
        await loop.tick()
        assert loop.events()


async def test_what_policies_have_learnt_comes_back_from_the_status(team: Team) -> None:
    """Through the API server, as a restart does it: a policy that counts moments goes on from where it was."""
    counting = {"policies": [{"name": "counting"}], "behavior": INSTANT["behavior"]}
    team.deployment(replicas=2)
    team.service(**counting)
    async with team.cluster() as cluster:
        loop = Loop(team, cluster, policies={"counting": a_policy(Counting)})
        for _ in range(3):
            await loop.tick()
            await loop.settled()
        memory = loop.controller.engine.memory(0)
        assert cluster.services.all["team", "llama"].memory() == memory
        assert memory.learnt["counting"].text == "3"
    async with team.cluster() as cluster:
        again = Loop(team, cluster, policies={"counting": a_policy(Counting)})
        await again.tick()
        assert again.controller.engine.memory(0).learnt["counting"].text == "4"
