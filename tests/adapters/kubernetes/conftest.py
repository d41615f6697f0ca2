"""A fake API server, a session with it, and a team's namespace with something to scale."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.adapters.kubernetes.informer import InformerSettings
from autoscaler.clock import SystemClock
from autoscaler.core.model import Fleet, Plan
from autoscaler.ports import Clock
from tests.fakes.kube_api import FakeKubeApi
from tests.fakes.kube_store import Kind, Object

QUICK = InformerSettings(backoff_first_s=0.02, backoff_max_s=0.2, watch_s=(5.0, 6.0), list_timeout_s=1.0, open_timeout_s=0.5)
WIDGETS = Kind("models.test", "v1", "widgets", "Widget", status=True, replicas="spec.size", selector="status.selector")


@pytest_asyncio.fixture(loop_scope="session")
async def fake() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi(bookmark_s=0.1) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def api(fake: FakeKubeApi) -> AsyncIterator[HttpKubeApi]:
    async with HttpKubeApi(Credentials(fake.url, monotonic_s=time.monotonic)) as session:
        yield session


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


async def until(true: Callable[[], Any], timeout_s: float = 5.0) -> None:
    """Waits for what tasks of the same loop bring about."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Team:
    """Objects of namespace ``team`` on the fake server, and a cluster adapter that watches them."""

    def __init__(self, fake: FakeKubeApi, api: HttpKubeApi) -> None:
        self.fake = fake
        self.api = api
        self.leads = True

    def deployment(self, name: str = "llama", replicas: int = 2, **labels: str) -> Object:
        labels = labels or {"app": name}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}}
        return self.fake.create("deployments", {"metadata": {"name": name}, "spec": spec}, manager="kubectl")

    def service(self, name: str = "llama", target: str = "llama", mode: str = "Active", **spec: Any) -> Object:
        created = spec.pop("created", "2026-01-01T00:00:00Z")
        status = spec.pop("status", None)
        spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}, "maxReplicas": 9, "mode": mode, **spec}
        meta = {"name": name, "creationTimestamp": created}
        return self.fake.create("inferenceautoscalers", {"metadata": meta, "spec": spec, "status": status or {}})

    def pod(self, name: str, ready: bool = False, created: str = "2026-01-01T00:00:00Z", **labels: str) -> Object:
        pod: Object = {"metadata": {"name": name, "labels": labels or {"app": "llama"}, "creationTimestamp": created}}
        pod["status"] = {"phase": "Running" if ready else "Pending", "conditions": [ready_condition()] if ready else []}
        return self.fake.create("pods", pod)

    def pod_status(self, name: str, phase: str, *conditions: Object, **status: Any) -> None:
        self.fake.patch("pods", name, {"status": {"phase": phase, "conditions": list(conditions), **status}}, part="status")

    @asynccontextmanager
    async def cluster(
        self, sync_s: float = 5.0, *, clock: Clock | None = None, **settings: Any
    ) -> AsyncIterator[KubernetesCluster]:
        made = KubernetesCluster(
            self.api,
            clock=clock or SystemClock(),
            rng=np.random.default_rng(5),
            own_namespace="system",
            may_write=lambda: self.leads,
            informer_settings=QUICK,
            **settings,
        )
        async with made:
            await made.wait_synced(sync_s)
            yield made


@pytest.fixture
def team(fake: FakeKubeApi, api: HttpKubeApi) -> Team:
    return Team(fake, api)


def ready_condition(at: str = "2026-01-01T00:01:30Z") -> Object:
    return {"type": "Ready", "status": "True", "lastTransitionTime": at}


async def observed(
    cluster: KubernetesCluster, true: Callable[[Fleet], Any] = lambda fleet: True, timeout_s: float = 5.0
) -> Fleet:
    """The first fleet that is as wanted."""
    async with asyncio.timeout(timeout_s):
        while True:
            fleet = await cluster.observe(time.time())
            if true(fleet):
                return fleet
            await asyncio.sleep(0.005)


def plan_of(fleet: Fleet, *replicas: int) -> Plan:
    """A plan that wishes these counts, row by row, wherever we may write."""
    wished = np.array(replicas, dtype=np.int64)
    return Plan(
        at_s=time.time(),
        replicas=wished,
        act=(wished != fleet.current) & ~fleet.hands_off,
        headroom=np.zeros(len(fleet), dtype=np.int64),
        nodes={},
    )
