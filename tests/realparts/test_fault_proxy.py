"""Faults that are made up, before servers that are real."""

from __future__ import annotations

import time

import aiohttp
import pytest

from tests.realparts.control_plane import ControlPlane
from tests.realparts.fault_proxy import Answer, Delay, Drop, FaultProxy, Hang, Rewrite, kubernetes_error, times
from tests.realparts.prometheus_server import PrometheusServer

pytestmark = pytest.mark.realparts


async def test_kubectl_meets_the_faults(control_plane: ControlPlane, namespace: str) -> None:
    """The real client behaves as with a real server: it waits where it is told to, reports what it can't mend."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "somebody"}}
    await control_plane.apply(account, namespace=namespace)
    viewer = f"--serviceaccount={namespace}:somebody"
    assert (await control_plane.kubectl("create", "rolebinding", "view", "--clusterrole=view", viewer, "-n", namespace)).code == 0
    async with control_plane.fault_proxy() as proxy:
        kubeconfig = await control_plane.service_account_kubeconfig(namespace, "somebody", server=proxy.url)

        async def get(*more: str) -> tuple[int, str, str]:
            return await control_plane.kubectl("get", "configmaps", *more, kubeconfig=kubeconfig)

        assert (await get())[0] == 0
        assert all(seen.status == 200 for seen in proxy.requests)

        proxy.requests.clear()
        proxy.rule = times(2, kubernetes_error(429, "TooManyRequests", retry_after_s=1), lambda r: "configmaps" in r.path)
        started_s = time.monotonic()
        assert (await get())[0] == 0
        assert time.monotonic() - started_s > 1.5
        assert [seen.status for seen in proxy.requests if "configmaps" in seen.path_qs] == [429, 429, 200]

        proxy.rule = lambda request: kubernetes_error(500, "InternalError", "a made up fault")
        code, _, err = await get()
        assert code == 1
        assert "a made up fault" in err

        proxy.rule = times(1, Drop(), lambda request: "configmaps" in request.path)
        assert (await get())[0] in {0, 1}

        proxy.rule = lambda request: Hang() if "configmaps" in request.path else None
        code, _, err = await get("--request-timeout=1s")
        assert code == 1
        assert "Timeout" in err or "deadline" in err


async def test_a_watch_can_be_cut(control_plane: ControlPlane, namespace: str) -> None:
    """A stream goes through piece by piece, and breaks when the test says so."""
    async with control_plane.fault_proxy() as proxy, aiohttp.ClientSession() as http:
        token = await _token(control_plane, namespace)
        path = f"{proxy.url}/api/v1/namespaces/{namespace}/configmaps?watch=true"
        context = control_plane.authority.client_context()
        async with http.get(path, headers={"Authorization": f"Bearer {token}"}, ssl=context) as answer:
            assert answer.status == 200
            metadata = {"name": "one"}
            config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            await control_plane.api.create(f"/api/v1/namespaces/{namespace}/configmaps", config_map)
            line = b""
            while b'"one"' not in line:
                line = await answer.content.readline()
            proxy.cut_streams()
            with pytest.raises(aiohttp.ClientError):
                await answer.content.read()


async def test_prometheus_slow_and_wrong(prometheus: PrometheusServer) -> None:
    """Delays and changed answers, on HTTP."""
    async with FaultProxy(prometheus.url) as proxy, aiohttp.ClientSession() as http:

        async def ask() -> str:
            async with http.post(f"{proxy.url}/api/v1/query", data={"query": "vector(7)"}) as answer:
                return f"{answer.status} {await answer.text()}"

        assert '"7"' in await ask()
        proxy.rule = lambda request: Delay(0.3)
        started_s = time.monotonic()
        assert '"7"' in await ask()
        assert time.monotonic() - started_s > 0.3
        proxy.rule = lambda request: Rewrite(lambda body: body.replace(b'"7"', b'"NaN"'))
        assert '"NaN"' in await ask()
        proxy.rule = lambda request: Answer(status=503, body=b"no")
        assert await ask() == "503 no"
        proxy.rule = lambda request: Drop(lost_answer=True)
        with pytest.raises(aiohttp.ClientError):
            await ask()
        proxy.rule = lambda request: None
        assert '"7"' in await ask()


async def _token(control_plane: ControlPlane, namespace: str) -> str:
    """The token of an account that may read this namespace."""
    await control_plane.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    reader = f"--serviceaccount={namespace}:reader"
    await control_plane.kubectl("create", "rolebinding", "read", "--clusterrole=view", reader, "-n", namespace)
    user = f"system:serviceaccount:{namespace}:reader"
    await control_plane.until_allowed(user, verb="watch", resource="configmaps", namespace=namespace)
    return await control_plane.service_account_token(namespace, "reader")
