"""External, custom and resource metrics of a test's own, served behind the real aggregator: what a real HPA reads is what the test says."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.realparts.control_plane import ControlPlane
from tests.realparts.ports import LOOPBACK, free_port

EXTERNAL = "external.metrics.k8s.io/v1beta1"
CUSTOM = "custom.metrics.k8s.io/v1beta2"
RESOURCE = "metrics.k8s.io/v1beta1"
_SERVICE = "programmed-metrics"

Values = Callable[[str], str | None]
"""By metric: its value as a Quantity; None: there is none now. Asked once for each sync of each HPA."""
PodValues = Callable[[str], Mapping[str, str] | None]
"""By metric (a resource's: by the pods' label `app`): the values of pods by their names."""


class MetricsApis:
    """`async with MetricsApis(control_plane, namespace, external, pods, memory):` while it is open, a real HPA may name its metrics."""

    def __init__(self, control_plane: ControlPlane, namespace: str, external: Values, pods: PodValues, memory: PodValues) -> None:
        self._cp = control_plane
        self._namespace = namespace
        self._external = external
        self._pods = pods
        self._memory = memory
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> MetricsApis:
        async with contextlib.AsyncExitStack() as stack:
            port = await self._serve(stack)
            service = {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": _SERVICE},
                "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
            }
            await self._cp.api.create(f"/api/v1/namespaces/{self._namespace}/services", service)
            for group_version in (EXTERNAL, CUSTOM, RESOURCE):
                await self._register(stack, group_version, port)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def _serve(self, stack: contextlib.AsyncExitStack) -> int:
        pair = self._cp.authority.server(
            f"{_SERVICE}-{self._namespace}", names=["localhost", f"{_SERVICE}.{self._namespace}.svc"]
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        app = web.Application()
        app.router.add_get(f"/apis/{EXTERNAL}", self._resources(EXTERNAL))
        app.router.add_get(f"/apis/{CUSTOM}", self._resources(CUSTOM))
        app.router.add_get(f"/apis/{RESOURCE}", self._resources(RESOURCE))
        app.router.add_get(f"/apis/{EXTERNAL}/namespaces/{{namespace}}/{{metric}}", self._answer_external)
        app.router.add_get(f"/apis/{CUSTOM}/namespaces/{{namespace}}/pods/*/{{metric}}", self._answer_pods)
        app.router.add_get(f"/apis/{RESOURCE}/namespaces/{{namespace}}/pods", self._answer_memory)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        port = free_port()
        await web.TCPSite(runner, LOOPBACK, port, ssl_context=context).start()
        return port

    async def _register(self, stack: contextlib.AsyncExitStack, group_version: str, port: int) -> None:
        group, version = group_version.split("/")
        name = f"{version}.{group}"
        path = "/apis/apiregistration.k8s.io/v1/apiservices"
        body = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": name},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": base64.b64encode(self._cp.authority.certificate.read_bytes()).decode(),
                "service": {"name": _SERVICE, "namespace": self._namespace, "port": port},
            },
        }
        await self._cp.api.create(path, body)
        stack.push_async_callback(self._cp.api.delete, f"{path}/{name}")

        def available(services: Mapping[str, Any]) -> bool:
            conditions = services.get(name, {}).get("status", {}).get("conditions") or []
            return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)

        await self._cp.api.until(path, available, fieldSelector=f"metadata.name={name}")

    def _resources(self, group_version: str) -> Callable[[web.Request], Any]:
        async def answer(_request: web.Request) -> web.Response:
            return web.json_response(
                {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": []}
            )

        return answer

    async def _answer_external(self, request: web.Request) -> web.Response:
        metric = request.match_info["metric"]
        value = self._external(metric)
        if value is None:
            return web.json_response(_failure(metric), status=503)
        items = [{"metricName": metric, "metricLabels": {}, "timestamp": _NOW, "value": value}]
        return web.json_response({"kind": "ExternalMetricValueList", "apiVersion": EXTERNAL, "metadata": {}, "items": items})

    async def _answer_pods(self, request: web.Request) -> web.Response:
        metric, namespace = request.match_info["metric"], request.match_info["namespace"]
        values = self._pods(metric)
        if values is None:
            return web.json_response(_failure(metric), status=503)
        items = [
            {
                "describedObject": {"kind": "Pod", "namespace": namespace, "name": name, "apiVersion": "/v1"},
                "metric": {"name": metric},
                "timestamp": _NOW,
                "windowSeconds": 1,
                "value": value,
            }
            for name, value in values.items()
        ]
        return web.json_response({"kind": "MetricValueList", "apiVersion": CUSTOM, "metadata": {}, "items": items})

    async def _answer_memory(self, request: web.Request) -> web.Response:
        app, namespace = request.query["labelSelector"].removeprefix("app="), request.match_info["namespace"]
        values = self._memory(app)
        if values is None:
            return web.json_response(_failure("memory"), status=503)
        items = [
            {
                "metadata": {"name": name, "namespace": namespace},
                "timestamp": _NOW,
                "window": "1s",
                "containers": [{"name": "server", "usage": {"memory": value}}],
            }
            for name, value in values.items()
        ]
        return web.json_response({"kind": "PodMetricsList", "apiVersion": RESOURCE, "metadata": {}, "items": items})


_NOW = "2025-01-01T00:00:00Z"
"""The HPA looks at no sample's time but that of a CPU metric."""


def _failure(metric: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "ServiceUnavailable",
        "code": 503,
        "message": f"{metric} has no value now",
    }
