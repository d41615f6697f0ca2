"""Story m: docs/migrating-from-keda.md on the real KEDA, the real HPA controller and the real aggregator, command by command."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.conftest import ROOT
from tests.e2e.metrics_api import ACCOUNT, API_SERVICE, NAME, MetricsApi
from tests.e2e.world import SYSTEM, World, deployment
from tests.realparts import parts
from tests.realparts.api import Api, ApiError
from tests.realparts.control_plane import ControlPlane, Finished
from tests.realparts.keda import SERVER_NAME, Keda
from tests.realparts.keda import SERVICE as KEDA_SERVICE
from tests.realparts.scaled_objects import metric_path, scaled_object, until_served

PAGE = ROOT / "docs" / "migrating-from-keda.md"
HPA_CONTROLLER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
ELSEWHERE = ("rollout status", "port-forward")
"""What waits for pods that run on nodes."""
DEMAND_PER_S = 8.0
COUNT = 5
"""KEDA's: 8 requests/s ÷ 1.6 of a replica."""


@dataclass(slots=True, kw_only=True)
class Reader:
    """Somebody who follows the page, in a folder that looks like a clone. The namespace is the story's own, and where the page names the port
    of a Service, a process of the test bed listens on another one."""

    folder: Path
    control_plane: ControlPlane
    namespace: str
    port: int

    def blocks(self, heading: str) -> list[str]:
        """The shell blocks of a section, in order."""
        (section,) = [part for part in PAGE.read_text("utf-8").split("\n## ") if part.startswith(heading)]
        return re.findall(r"```sh\n(.*?)```", section, re.S)

    def at_home(self, text: str) -> str:
        text = text.replace("-n models", f"-n {self.namespace}").replace("/namespaces/models/", f"/namespaces/{self.namespace}/")
        return text.replace('"port": 443', f'"port": {self.port}').replace("localhost:6443", f"localhost:{self.port}")

    def write_manifests(self) -> None:
        """The files that the page shows, under the names that their first lines say."""
        for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.S):
            if found := re.match(r"# ([\w-]+\.yaml)", block):
                (self.folder / found[1]).write_text(block)

    async def types(self, block: str) -> list[Finished]:
        """Every command of a block, one after the other, as printed; each must succeed."""
        return [await self.types_one(line) for line in block.splitlines() if not any(word in line for word in ELSEWHERE)]

    async def types_one(self, line: str) -> Finished:
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.control_plane.admin_kubeconfig),
            "KUBECACHEDIR": str(self.folder / "cache"),
        }
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", self.at_home(line), cwd=self.folder, env=environment, stdout=pipe, stderr=pipe
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        done = Finished(process.returncode or 0, out.decode(), err.decode())
        assert done.code == 0, f"{line}\n{done.out}\n{done.err}"
        return done


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keda(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keda]:
    """With a Deployment of its operator as KEDA's manifests have it, which is patched; the process has the argument from the start."""
    async with Keda(tmp_path_factory.mktemp("keda"), control_plane) as running:
        labels = {"app": "keda-operator"}
        container = {"name": "keda-operator", "image": "keda", "args": ["--leader-elect", "--enable-cert-rotation=true"]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        operator = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "keda-operator"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        }
        await control_plane.apply(operator, namespace="keda")
        yield running


@pytest.fixture
def reader(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Reader:
    """Its copy of deploy/ has our Service lead to this machine, where the servers run as processes."""
    port = MetricsApi(control_plane).port
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    component = tmp_path / "deploy" / "components" / "external-metrics"
    file = component / "apiservice.yaml"
    file.write_text(file.read_text("utf-8").replace("port: 443", f"port: {port}"))
    services = list(yaml.safe_load_all((component / "service.yaml").read_text("utf-8")))
    services[0]["spec"] = {"type": "ExternalName", "externalName": "localhost", "ports": [{"name": "https", "port": port}]}
    (component / "service.yaml").write_text(yaml.safe_dump_all(services))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(parts.need("kubectl")["kubectl"])
    found = Reader(folder=tmp_path, control_plane=control_plane, namespace=namespace, port=port)
    found.write_manifests()
    return found


@pytest.mark.timeout(600)
async def test_m_from_keda_to_ours_without_a_gap(world: World, keda: Keda, reader: Reader) -> None:
    api, control_plane = MetricsApi(world.control_plane), world.control_plane
    api.port = reader.port
    await keda.own_the_group()
    await world.apply(deployment("llama", COUNT))
    await world.until_ready("llama", COUNT)
    query = f'sum(rate(gateway_requests_total{{namespace="{world.namespace}", service="llama"}}[10s]))'
    try:
        async with world.traffic("llama", lambda _at_s: DEMAND_PER_S), world.controller("story-m") as controller:
            await world.apply(scaled_object("llama", world.prometheus.url, query, threshold=DEMAND_PER_S / COUNT))
            await until_served(control_plane, world.namespace, "llama")
            await reader.types_one("kubectl -n models wait --for=create hpa/keda-hpa-llama --timeout=60s")
            await reader.types_one("kubectl -n models wait --for=condition=ScalingActive hpa/keda-hpa-llama --timeout=60s")
            await world.until_replicas("llama", lambda count: count == COUNT)
            began = datetime.now().astimezone()

            argument, kept = reader.blocks("1. ")
            await reader.types(argument)
            await reader.types(kept)
            assert (reader.folder / "keda-ca.crt").read_bytes() == keda.authority.certificate.read_bytes()

            (install,) = reader.blocks("2. ")
            await reader.types(install)
            assert await owner(control_plane) == KEDA_SERVICE
            upstreams = await upstreams_file(reader, keda)
            async with AsyncExitStack() as alone, AsyncExitStack() as both:
                for name in ("story-m-one", "story-m-other"):
                    await both.enter_async_context(api.server(name, controller.url, extra=[f"--upstreams={upstreams}"]))
                _, ask = reader.blocks("3. ")
                *_, answer = await reader.types(ask)
                assert keda_s_count(answer) == pytest.approx(COUNT, abs=0.5)

                take, check, back = reader.blocks("4. ")
                async with asking_as_hpas_do(world) as codes:
                    await taken_over(reader, take, check)
                    await hpa_asked(world, 3)
                    await reader.types(back)
                    assert await owner(control_plane) == KEDA_SERVICE
                    await hpa_asked(world, 3)
                    await taken_over(reader, take, check)
                    await hpa_asked(world, 3)
                assert set(codes) == {200}, codes
                assert codes[200] > 100

                decide, hand_over, undo, remove = reader.blocks("5. ")
                *_, published = await reader.types(decide)
                assert int(json.loads(published.out)["items"][0]["value"]) >= COUNT
                assert counts(world, began) == [], "nothing has been scaled so far"
                await reader.types(hand_over)
                await hpa_asked(world, 3, "desired-replicas")
                await reader.types(undo)
                await hpa_asked(world, 3)
                await reader.types(hand_over)
                await hpa_asked(world, 3, "desired-replicas")
                await reader.types(remove)
                await reader.types_one("kubectl -n models wait --for=delete scaledobject/llama --timeout=60s")
                assert await world.replicas("llama") >= COUNT

                ours_alone, left = reader.blocks("6. ")
                nothing, _ = await reader.types(ours_alone)
                assert "No resources found" in nothing.err
                # As the Deployment rolls: the new one is there before the old ones go.
                await alone.enter_async_context(api.server("story-m-alone", controller.url))
                await both.aclose()
                await keda.adapter.stop()
                await keda.operator.stop()
                await api.until_available()
                await hpa_asked(world, 3, "desired-replicas")
                asked = [event for event in asked_by_hpas(world) if at(event) > began]
                failed = [event for event in asked if event["responseStatus"]["code"] != 200]
                assert not failed, [(event["requestURI"], event["responseStatus"]) for event in failed[:3]]
                assert len(asked) > 20

                # helm uninstall takes the APIService along; HPAs hold until it is there again.
                await control_plane.api.delete(f"{API_SERVICE}/{NAME}")
                await reader.types(ours_alone.splitlines()[1])
                await api.until_available()
                await hpa_asked(world, 3, "desired-replicas")
                await reader.types(left)
            low = [count for count in counts(world, began) if count < COUNT]
            assert not low, f"scaled down to {low}"
    finally:
        await control_plane.kubectl("delete", "scaledobject,hpa,ia", "--all", "-n", world.namespace, "--timeout=30s")
        await control_plane.kubectl("delete", "apiservice", NAME, "--ignore-not-found")
        await control_plane.kubectl("delete", "service,secret", ACCOUNT, "-n", SYSTEM, "--ignore-not-found")


@asynccontextmanager
async def asking_as_hpas_do(world: World) -> AsyncIterator[Counter[int]]:
    """As many HPAs would, several at a time without a pause; how many were answered by which code."""
    codes: Counter[int] = Counter()
    token = await world.control_plane.service_account_token("kube-system", "horizontal-pod-autoscaler")

    async def ask() -> None:
        async with Api(world.control_plane.url, world.control_plane.authority.client_context(), token=token) as api:
            while True:
                try:
                    await api.get(metric_path(world.namespace, "llama"))
                except ApiError as error:
                    codes[error.status] += 1
                except (aiohttp.ClientError, TimeoutError):
                    codes[0] += 1
                else:
                    codes[200] += 1

    tasks = [asyncio.create_task(ask()) for _ in range(3)]
    try:
        yield codes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def taken_over(reader: Reader, take: str, check: str) -> None:
    await reader.types(take)
    assert await owner(reader.control_plane) == ACCOUNT
    asked, _ = await reader.types(check)
    assert keda_s_count(asked) == pytest.approx(COUNT, abs=0.5)


async def upstreams_file(reader: Reader, keda: Keda) -> Path:
    """What the pods would find mounted; the addresses and places of this machine instead of a pod's."""
    listed = await reader.control_plane.api.get(f"/api/v1/namespaces/{SYSTEM}/configmaps")
    maps = {item["metadata"]["name"]: item.get("data", {}) for item in listed["items"]}
    (applied,) = [data for name, data in maps.items() if name.startswith("inference-autoscaler-upstreams-")]
    settings: dict[str, Any] = yaml.safe_load(applied["upstreams.yaml"])
    (only,) = settings["upstreams"]
    service = only.pop("service")
    assert f"{service['name']}.{service['namespace']}.svc" == SERVER_NAME
    mounted = reader.folder / Path(only["caFile"]).name
    mounted.write_text(maps["keda-ca"][mounted.name])
    token = reader.folder / "token"
    token.write_text(await reader.control_plane.service_account_token(SYSTEM, ACCOUNT))
    only |= {"url": keda.url, "serverName": SERVER_NAME, "caFile": str(mounted), "tokenFile": str(token)}
    file = reader.folder / "upstreams.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def keda_s_count(answer: Finished) -> float:
    """Replicas that KEDA's value asks for."""
    (item,) = json.loads(answer.out)["items"]
    value = item["value"]
    return (float(value[:-1]) / 1000 if value.endswith("m") else float(value)) / (DEMAND_PER_S / COUNT)


async def owner(control_plane: ControlPlane) -> str:
    item = await control_plane.api.get(f"{API_SERVICE}/{NAME}")
    return str(item["spec"]["service"]["name"])


def asked_by_hpas(world: World, metric: str = "") -> list[dict[str, Any]]:
    """The HPA controller's requests for external metrics of the namespace so far, as the API server has answered them."""
    return [
        event
        for event in world.control_plane.audit_events()
        if event["user"]["username"] == HPA_CONTROLLER
        and f"/external.metrics.k8s.io/v1beta1/namespaces/{world.namespace}/{metric}" in event["requestURI"]
        and event["stage"] == "ResponseComplete"
    ]


async def hpa_asked(world: World, times: int, metric: str = "s0-prometheus") -> None:
    """Until the HPA controller has asked so many times more, and was answered."""
    async with asyncio.timeout(60):
        before = len(asked_by_hpas(world, metric))
        while len(asked_by_hpas(world, metric)) < before + times:  # noqa: ASYNC110 - a log signals nothing
            await asyncio.sleep(0.3)


def counts(world: World, since: datetime) -> list[int]:
    """Every count that anybody has written to the Deployment's scale."""
    return [
        int(event["requestObject"]["spec"]["replicas"])
        for event in world.control_plane.audit_events()
        if event.get("objectRef", {}).get("subresource") == "scale"
        and event["verb"] in ("update", "patch")
        and event["objectRef"].get("namespace") == world.namespace
        and event["stage"] == "ResponseComplete"
        and event["responseStatus"]["code"] == 200
        and at(event) > since
    ]


def at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["requestReceivedTimestamp"])
