"""What the stories play in: the controller as a process, services of kwok pods, and traffic that lies in the real Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from tests.conftest import ROOT
from tests.realparts.api import ApiError, Object, conditions, is_ready
from tests.realparts.control_plane import ControlPlane
from tests.realparts.ports import LOOPBACK, free_port
from tests.realparts.processes import Process
from tests.realparts.prometheus_server import PrometheusServer
from tests.realparts.remote_write import STALE_MARKER

SYSTEM = "inference-autoscaler"
"""The controller's namespace, and the name of its service account."""
INTERVAL_S = 1.0
API_SERVER_STARTS: list[tuple[float, float]] = []
"""Unix seconds from a story's crash of the API server until it knows its roles again: until then it forbids everything to everybody."""
_WRITTEN_AT_ONCE = 4000
"""Series of one write: some hundred kilobytes."""
GROUP_PATH = "/apis/inference-autoscaler.io/v1alpha1"


class Controller:
    """`autoscaler run` as a process of its own, with the service account of deploy/."""

    def __init__(
        self,
        control_plane: ControlPlane,
        prometheus_url: str,
        kubeconfig: Path,
        name: str,
        *extra: str,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.name = name
        self.address = f"{LOOPBACK}:{free_port()}"
        self.url = f"http://{self.address}"
        directory = control_plane.directory / name
        directory.mkdir(exist_ok=True)
        self.records = directory / "records"
        command = [
            sys.executable,
            "-m",
            "autoscaler",
            "run",
            f"--kubeconfig={kubeconfig}",
            f"--prometheus={prometheus_url}",
            f"--interval={interval_s:g}s",
            f"--identity={name}",
            f"--listen={self.address}",
            f"--records={self.records}",
            *extra,
        ]
        self.process = Process(name, command, directory=directory, ready=self._is_ready, environment={"PYTHONPATH": str(ROOT)})

    async def __aenter__(self) -> Controller:
        await self.process.start(ready_within_s=40)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.process.stop()

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}{path}") as answer:
            answer.raise_for_status()
            return await answer.json()

    async def metrics(self) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            return await answer.text()

    async def _is_ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(f"{self.url}/readyz") as answer,
            ):
                return answer.status == 200
        return False


@dataclass(slots=True)
class Moment:
    """One step of the traffic."""

    at_s: float
    demand_per_s: float
    queue: float
    ready: int


@dataclass(slots=True)
class Traffic:
    """Requests that arrive at a service's ready pods, and what its vLLM servers would show of them in Prometheus.

    The model: one FIFO queue, each ready pod serves `per_s` requests/s; running = what is served × `service_s`. demand is a function of
    the seconds since the traffic began; has_past: also of those before it. A gateway before the pods counts what arrives. fault changes
    what is written: it gets the series and gives those to write. What is no longer among them is marked stale, as Prometheus itself does
    at a scrape that misses a series.
    """

    control_plane: ControlPlane
    prometheus: PrometheusServer
    namespace: str
    app: str
    demand: Callable[[float], float]
    per_s: float = 1.6
    service_s: float = 5.0
    step_s: float = 0.5
    past_s: float = 60.0
    has_past: bool = False
    fault: Callable[[list[Any]], list[Any]] = lambda series: series
    history: list[Moment] = field(default_factory=list)
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    _queue: float = 0.0
    _arrived: float = 1000.0
    _done: dict[str, float] = field(default_factory=dict)
    _written: dict[frozenset[tuple[str, str]], dict[str, str]] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Traffic:
        await self._backfill()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def longest_wait_s(self) -> float:
        """The longest time that a request would have waited so far: queue ÷ what the ready pods serve."""
        return max(
            (m.queue / (self.per_s * m.ready) if m.ready else 999.0 if m.queue else 0.0 for m in self.history), default=0.0
        )

    async def until(self, condition: Callable[[Traffic], bool], *, timeout_s: float) -> None:
        """Until `condition` holds after one of its steps."""
        async with asyncio.timeout(timeout_s), self._moved:
            await self._moved.wait_for(lambda: condition(self))

    async def ready_pods(self) -> list[str]:
        pods = await self.control_plane.api.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=f"app={self.app}")
        return [pod["metadata"]["name"] for pod in pods["items"] if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]

    async def _backfill(self) -> None:
        """What was for `past_s` (a minute), so that rates are known from the first tick on: the demand's start, or its own past."""
        pods = await self.ready_pods()
        now_s = time.time()
        series: list[Any] = []
        for step in range(int(self.past_s / 2), 0, -1):
            series += self._series(pods, now_s - 2 * step, self.demand(-2.0 * step if self.has_past else 0.0), 2.0)
            self._queue = 0.0  # so far everything was fine
        series = self.fault(series)
        with contextlib.suppress(aiohttp.ClientError):
            for first in range(0, len(series), _WRITTEN_AT_ONCE):
                await self.prometheus.write(series[first : first + _WRITTEN_AT_ONCE])

    async def _run(self) -> None:
        began_s = last_s = time.time()
        pods = await self.ready_pods()
        while True:
            await asyncio.sleep(self.step_s)  # the traffic's own clock
            now_s = time.time()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ApiError):  # the API server is away: the pods still serve
                pods = await self.ready_pods()
            demand = self.demand(now_s - began_s)
            series = self._series(pods, now_s, demand, now_s - last_s)
            self.history.append(Moment(now_s, demand, self._queue, len(pods)))
            async with self._moved:
                self._moved.notify_all()
            last_s = now_s
            series = self.fault(series)
            written = {frozenset(labels.items()): labels for labels, _ in series}
            ended = [(labels, [(now_s, STALE_MARKER)]) for key, labels in self._written.items() if key not in written]
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self.prometheus.write([*series, *ended])
                self._written = written

    def _series(self, pods: list[str], at_s: float, demand_per_s: float, dt_s: float) -> list[Any]:
        arrived = demand_per_s * dt_s
        served = min(self._queue + arrived, self.per_s * len(pods) * dt_s)
        # The sum may come out a hair below zero when the queue empties; a server shows no such value, and it would rightly be refused.
        self._queue = max(self._queue + arrived - served, 0.0)
        self._arrived += arrived
        gateway = {"__name__": "gateway_requests_total", "namespace": self.namespace, "service": self.app}
        found: list[Any] = [(gateway, [(at_s, self._arrived)])]
        for pod in pods:
            labels = {"namespace": self.namespace, "pod": pod, "job": "vllm", "model_name": self.app, "engine": "0"}
            share = served / len(pods)
            self._done[pod] = self._done.get(pod, 1000.0) + share
            values = {
                "vllm:num_requests_running": share / dt_s * self.service_s,
                "vllm:num_requests_waiting": self._queue / len(pods),
                "vllm:request_success_total": self._done[pod],
                "vllm:kv_cache_usage_perc": min(share / dt_s / self.per_s, 1.0),
            }
            found += [({"__name__": name, **labels}, [(at_s, value)]) for name, value in values.items()]
        return found


def deployment(name: str, replicas: int, *, gpus: int = 0, ready_after_ms: int = 1500, drain_after_ms: int = 300) -> Object:
    """A Deployment of vLLM servers that kwok plays."""
    return workload("Deployment", name, replicas, gpus=gpus, ready_after_ms=ready_after_ms, drain_after_ms=drain_after_ms)


def workload(
    kind: str, name: str, replicas: int, *, gpus: int = 0, ready_after_ms: int = 1500, drain_after_ms: int = 300
) -> Object:
    """A Deployment or StatefulSet whose pods load their model for `ready_after_ms`."""
    container: dict[str, Any] = {"name": "server", "image": "vllm"}
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    spec: dict[str, Any] = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {
                "labels": {"app": name},
                "annotations": {"kwok.test/ready-after-ms": str(ready_after_ms), "kwok.test/drain-after-ms": str(drain_after_ms)},
            },
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 5},
        },
    }
    if kind == "StatefulSet":
        spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def autoscaler(name: str, *, kind: str = "Deployment", api_version: str = "apps/v1", **spec: Any) -> Object:
    """An Active manifest for a target of the same name, with windows and times that suit a test."""
    return {
        "apiVersion": "inference-autoscaler.io/v1alpha1",
        "kind": "InferenceAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": name},
            "mode": "Active",
            "minReplicas": 1,
            "maxReplicas": 20,
            "signals": {"presets": ["vllm"], "staleAfter": "5s"},
            "capacity": {"requestsPerSecond": 1.6, "concurrency": 32},
            "policies": [{"name": "target", "params": {"signal": "concurrency", "target": 6}}],
            "behavior": {"scaleUp": {"policies": []}, "scaleDown": {"stabilizationWindowSeconds": 4, "policies": []}},
            "leadTime": {"replica": "2s", "node": "0s"},
            **spec,
        },
    }


@dataclass(slots=True)
class World:
    """The deployed product and the story's own namespace."""

    control_plane: ControlPlane
    prometheus: PrometheusServer
    namespace: str
    kubeconfig: Path
    """Of the controller's service account."""

    @contextlib.asynccontextmanager
    async def controller(
        self, name: str = "controller", *extra: str, interval_s: float = INTERVAL_S
    ) -> AsyncIterator[Controller]:
        started = Controller(self.control_plane, self.prometheus.url, self.kubeconfig, name, *extra, interval_s=interval_s)
        async with started:
            yield started

    def traffic(self, app: str, demand: Callable[[float], float], **settings: Any) -> Traffic:
        return Traffic(self.control_plane, self.prometheus, self.namespace, app, demand, **settings)

    async def apply(self, *objects: Mapping[str, Any]) -> None:
        await self.control_plane.apply(list(objects), namespace=self.namespace)

    async def until_status(self, name: str, condition: Callable[[Object], bool], *, timeout_s: float = 40.0) -> Object:
        """The object once it has a status and `condition` holds for it."""
        path = f"{GROUP_PATH}/namespaces/{self.namespace}/inferenceautoscalers"
        found = await self.control_plane.api.until(
            path,
            lambda objects: "status" in objects.get(name, {}) and condition(objects[name]),
            timeout_s=timeout_s,
            fieldSelector=f"metadata.name={name}",
        )
        return found[name]

    async def until_condition(
        self, name: str, kind: str, status: str, reason: str | None = None, *, timeout_s: float = 40.0
    ) -> Object:
        def holds(item: Object) -> bool:
            found = [c for c in item.get("status", {}).get("conditions", []) if c["type"] == kind]
            return bool(found) and found[0]["status"] == status and (reason is None or found[0]["reason"] == reason)

        return await self.until_status(name, holds, timeout_s=timeout_s)

    async def replicas(self, name: str, *, resource: str = "apps/v1/{ns}/deployments") -> int:
        item = await self.control_plane.api.get(self._path(resource, name))
        return int(item["spec"]["replicas"])

    async def until_replicas(
        self, name: str, condition: Callable[[int], bool], *, resource: str = "apps/v1/{ns}/deployments", timeout_s: float = 40.0
    ) -> int:
        """spec.replicas of a workload once `condition` holds for it."""
        group, plural = resource.split("/{ns}/")
        found = await self.control_plane.api.until(
            f"/apis/{group}/namespaces/{self.namespace}/{plural}",
            lambda objects: name in objects and condition(objects[name]["spec"]["replicas"]),
            timeout_s=timeout_s,
            fieldSelector=f"metadata.name={name}",
        )
        return int(found[name]["spec"]["replicas"])

    async def until_ready(self, name: str, count: int, *, timeout_s: float = 40.0) -> None:
        """Until so many of the app's pods are ready."""
        await self.control_plane.api.until(
            f"/api/v1/namespaces/{self.namespace}/pods",
            lambda pods: sum(is_ready(pod) for pod in pods.values()) >= count,
            timeout_s=timeout_s,
            labelSelector=f"app={name}",
        )

    async def load_now(self, name: str, count: int) -> None:
        """So many of the app's pods, which have just been started, have loaded their model already: kwok reads off their condition when."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"

        def loading(pods: Mapping[str, Object]) -> bool:
            return sum("Ready" in conditions(pod) for pod in pods.values()) >= count

        for pod in (await self.control_plane.api.until(path, loading, labelSelector=f"app={name}")).values():
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            known = [{**c, "message": f"until {now}"} if c["type"] == "Ready" else c for c in pod["status"]["conditions"]]
            await self.control_plane.api.patch(f"{path}/{pod['metadata']['name']}/status", {"status": {"conditions": known}})
        await self.until_ready(name, count)

    async def events(self, name: str) -> list[Object]:
        listed = await self.control_plane.api.get(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")
        return [event for event in listed["items"] if event["regarding"]["name"] == name]

    def scale_writes(self, name: str) -> list[Object]:
        """Every write of the target's scale by the controller, from the audit log."""
        return [
            event
            for event in self.control_plane.audit_events()
            if event.get("objectRef", {}).get("subresource") == "scale"
            and event["verb"] in ("update", "patch")
            and event["objectRef"].get("namespace") == self.namespace
            and event["objectRef"].get("name") == name
            and event["user"]["username"].endswith(f":{SYSTEM}")
            and event["stage"] == "ResponseComplete"
        ]

    def counts_written(self, name: str) -> list[tuple[float, str, int]]:
        """(when it was received, the controller's name, the count) of every write of the target's scale that was done, oldest first."""
        found = []
        for event in self.scale_writes(name):
            if event["responseStatus"]["code"] == 200:
                at_s = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
                who = event["userAgent"].partition("(")[2].rstrip(")")
                found.append((at_s, who, int(event["requestObject"]["spec"]["replicas"])))
        return sorted(found)

    def _path(self, resource: str, name: str) -> str:
        group, plural = resource.split("/{ns}/")
        return f"/apis/{group}/namespaces/{self.namespace}/{plural}/{name}"


__all__ = ["Controller", "Traffic", "World", "autoscaler", "conditions", "deployment", "json", "workload"]
