"""`autoscaler external-metrics` as deployed: processes of the component's service account behind the real aggregator."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import yaml

from autoscaler.external_metrics.identity import GROUP_VERSION
from tests.conftest import ROOT
from tests.e2e.world import SYSTEM
from tests.realparts.api import ApiError, Object
from tests.realparts.control_plane import ControlPlane
from tests.realparts.ports import LOOPBACK, free_port
from tests.realparts.processes import Process

ACCOUNT = "inference-autoscaler-external-metrics"
API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = "v1beta1.external.metrics.k8s.io"
COMPONENT = ROOT / "deploy" / "components" / "external-metrics"


class MetricsApi:
    """What deploy/components/external-metrics makes of a cluster, but for its pods, which have no nodes here: its Service is one of type
    ExternalName, so that the aggregator dials this machine, where the stories start the processes."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self.port = free_port()

    async def __aenter__(self) -> MetricsApi:
        for file in ("rbac", "apiservice"):
            for item in yaml.safe_load_all((COMPONENT / f"{file}.yaml").read_text("utf-8")):
                if item["kind"] == "APIService":
                    item["spec"]["service"]["port"] = self.port
                await self.control_plane.apply(item, namespace=item["metadata"].get("namespace", "default"))
        ports = [{"name": "https", "port": self.port}]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": ACCOUNT},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": ports},
        }
        await self.control_plane.apply(service, namespace=SYSTEM)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # First: an API that nobody serves blocks the deletion of the stories' namespaces.
        for path in (
            f"{API_SERVICE}/{NAME}",
            f"/api/v1/namespaces/{SYSTEM}/services/{ACCOUNT}",
            f"/api/v1/namespaces/{SYSTEM}/secrets/{ACCOUNT}",
        ):
            try:
                await self.control_plane.api.delete(path)
            except ApiError as fault:
                if fault.status != 404:  # the Secret is there once a server has made its certificates
                    raise

    @contextlib.asynccontextmanager
    async def server(self, name: str, *controllers: str, extra: Sequence[str] = ()) -> AsyncIterator[Server]:
        """One of the processes, ready. All share the port."""
        process = await self.process(name, *controllers, extra=extra)
        await process.start(ready_within_s=40)
        try:
            yield process
        finally:
            await process.stop()

    async def process(self, name: str, *controllers: str, extra: Sequence[str] = ()) -> Server:
        """The same, not started yet."""
        kubeconfig = await self.control_plane.service_account_kubeconfig(SYSTEM, ACCOUNT)
        directory = self.control_plane.directory / name
        directory.mkdir(exist_ok=True)
        command = [
            *("-m", "autoscaler", "external-metrics"),
            f"--kubeconfig={kubeconfig}",
            f"--listen={LOOPBACK}:{self.port}",
            "--share-port",
            f"--identity={name}",
            f"--own-namespace={SYSTEM}",
            "--drain=500ms",
            *(f"--controller={url}" for url in controllers),
            *extra,
        ]
        return Server(name, command, directory)

    @contextlib.asynccontextmanager
    async def as_from_nothing(self) -> AsyncIterator[None]:
        """Without what was installed here, which is put back afterwards."""
        await self.__aexit__(None, None, None)
        try:
            yield
        finally:
            await self.__aexit__(None, None, None)
            await self.__aenter__()

    async def point_here(self) -> None:
        """Makes the installed Service one that leads to this machine."""
        api, ports = self.control_plane.api, [{"name": "https", "port": self.port}]
        here = {"type": "ExternalName", "externalName": "localhost", "clusterIP": None, "clusterIPs": None, "selector": None}
        await api.patch(f"/api/v1/namespaces/{SYSTEM}/services/{ACCOUNT}", {"spec": {**here, "ports": ports}})
        await api.patch(f"{API_SERVICE}/{NAME}", {"spec": {"service": {"port": self.port}}})

    async def available(self) -> Object:
        """The APIService's condition."""
        item = await self.control_plane.api.get(f"{API_SERVICE}/{NAME}")
        conditions: list[Object] = item.get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == "Available"), {})

    async def until_available(self, within_s: float = 40.0) -> None:
        """Until the aggregator has found it answering."""
        await self.control_plane.api.until(
            API_SERVICE,
            lambda found: any(
                one["type"] == "Available" and one["status"] == "True"
                for one in found[NAME].get("status", {}).get("conditions", [])
            ),
            timeout_s=within_s,
            fieldSelector=f"metadata.name={NAME}",
        )

    async def get(self, path: str, **params: str) -> tuple[int, Object]:
        """A GET below /apis/external.metrics.k8s.io/v1beta1 through the aggregator, as admin: (status, document)."""
        async with Asking(self.control_plane) as asking:
            return await asking.get(path, **params)


class Server(Process):
    """A process whose own log tells when it is ready: it shares its port with others, so that asking there may ask another one."""

    def __init__(self, name: str, arguments: Sequence[str], directory: Path) -> None:
        super().__init__(
            name, [sys.executable, *arguments], directory=directory, ready=self._is_ready, environment={"PYTHONPATH": str(ROOT)}
        )
        self._began_at = 0

    async def launch(self) -> None:
        self._began_at = self.log_path.stat().st_size if self.log_path.exists() else 0
        await super().launch()

    def first_data_s(self) -> float:
        """How long after a controller began to tell it the server answered, in its present life."""
        with self.log_path.open("rb") as log:
            log.seek(self._began_at)
            lines = [json.loads(line) for line in log if line.startswith(b"{")]
        at = {
            word: next(datetime.fromisoformat(line["at"]) for line in lines if word in line["message"])
            for word in ("following the", "is ready")
        }
        return (at["is ready"] - at["following the"]).total_seconds()

    async def _is_ready(self) -> bool:
        with self.log_path.open("rb") as log:
            log.seek(self._began_at)
            return f"{self.name} is ready".encode() in log.read()


class Asking:
    """GETs through the real aggregator, each on the API server's own connections to us. answered: how many by status."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._url = f"{control_plane.url}/apis/{GROUP_VERSION}"
        self._context: ssl.SSLContext = control_plane.admin_context
        self._session: aiohttp.ClientSession | None = None
        self.answered: Counter[int] = Counter()
        self.bad: list[tuple[float, int, str]] = []
        self.told: dict[str, set[str]] = {}
        """By the timestamps of values, which are of a tick each: the values."""

    async def __aenter__(self) -> Asking:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context), timeout=aiohttp.ClientTimeout(total=10)
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str, **params: str) -> tuple[int, Object]:
        assert self._session is not None
        async with self._session.get(f"{self._url}{path}", params=params) as answer:
            text = await answer.text()
        document: Object = json.loads(text) if text.startswith("{") else {"message": text}
        self.answered[answer.status] += 1
        for item in document.get("items") or ():
            self.told.setdefault(item["timestamp"], set()).add(item["value"])
        if answer.status != 200:
            self.bad.append((time.time(), answer.status, text))
        return answer.status, document

    async def value(self, namespace: str, metric: str, name: str) -> float:
        """The one value of an object's metric."""
        status, document = await self.get(f"/namespaces/{namespace}/{metric}", labelSelector=of(name))
        assert status == 200, document
        (item,) = document["items"]
        return quantity(item["value"])

    @contextlib.asynccontextmanager
    async def steadily(self, path: str, selector: str, *, at_once: int = 4) -> AsyncIterator[None]:
        """Asks all the time, `at_once` at a time."""

        async def ask() -> None:
            while True:
                try:
                    await self.get(path, labelSelector=selector)
                except (aiohttp.ClientError, TimeoutError) as fault:
                    self.answered[0] += 1
                    self.bad.append((time.time(), 0, repr(fault)))

        tasks = [asyncio.create_task(ask()) for _ in range(at_once)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def of(name: str) -> str:
    """The selector of one object."""
    return f"inference-autoscaler.io/name={name}"


def quantity(text: str) -> float:
    suffixes: Mapping[str, float] = {"m": 1e-3, "u": 1e-6, "n": 1e-9, "k": 1e3, "M": 1e6, "G": 1e9}
    return float(text[:-1]) * suffixes[text[-1]] if text[-1] in suffixes else float(text)


def hpa(name: str, *, kind: str = "Deployment", most: int = 30) -> dict[str, Any]:
    """The HPA of deploy/examples/hpa-desired-replicas.yaml, for a target of the story."""
    *_, item = yaml.safe_load_all((ROOT / "deploy" / "examples" / "hpa-desired-replicas.yaml").read_text("utf-8"))
    item["metadata"]["name"] = name
    item["spec"]["scaleTargetRef"] |= {"kind": kind, "name": name}
    item["spec"]["maxReplicas"] = most
    item["spec"]["metrics"][0]["external"]["metric"]["selector"]["matchLabels"] = {"inference-autoscaler.io/name": name}
    found: dict[str, Any] = item
    return found
