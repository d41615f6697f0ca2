"""Federation to the real KEDA: it authorises the user that is carried on, in both ways, and serves what it serves its own HPAs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import pytest_asyncio
from aiohttp import web

from autoscaler.clock import SystemClock
from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.federation import Federation, Upstream
from autoscaler.external_metrics.identity import User
from autoscaler.external_metrics.upstreams import Upstreams
from tests.realparts.certificates import Authority
from tests.realparts.control_plane import ControlPlane
from tests.realparts.keda import SERVER_NAME, Keda
from tests.realparts.prometheus_server import PrometheusServer
from tests.realparts.scaled_objects import deployment, scaled_object, until_served

pytestmark = pytest.mark.realparts

OUR_NAME = "inference-autoscaler-external-metrics"
ALL = ("system:authenticated",)
HPA = User(
    name="system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    groups=("system:serviceaccounts", "system:serviceaccounts:kube-system", *ALL),
    uid="5c7f",
    extra=(("authentication.kubernetes.io/credential-id", ("JTI=7",)),),
)
READER = User(name="reader@example.com", groups=("readers", *ALL), uid="u-7", extra=(("example.com/scope", ("a b",)),))
NOBODY = User(name="nobody@example.com", groups=ALL)
QUERY = "labelSelector=scaledobject.keda.sh%2Fname%3Dllama"


@pytest.fixture(scope="module")
def our_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority("our-authority", tmp_path_factory.mktemp("our-authority"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keda(
    control_plane: ControlPlane, our_authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Keda]:
    directory = tmp_path_factory.mktemp("keda")
    async with Keda(directory, control_plane, front_proxies=[our_authority], names=[OUR_NAME]) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def models(keda: Keda, control_plane: ControlPlane, prometheus: PrometheusServer, namespace: str) -> AsyncIterator[str]:
    """A namespace where KEDA serves 70 for the ScaledObject llama, and `reader@example.com` may read metrics."""
    await keda.own_the_group()
    await prometheus.write([({"__name__": "keda_demand", "namespace": namespace}, [(time.time(), 70.0)])])
    await control_plane.apply(deployment("llama"), namespace=namespace)
    query = f'last_over_time(keda_demand{{namespace="{namespace}"}}[1h])'
    await control_plane.apply(scaled_object("llama", prometheus.url, query, threshold=10), namespace=namespace)
    rules = [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["list"]}]
    await grant(control_plane, namespace, "reader", rules, {"kind": "Group", "name": "readers"})
    await until_served(control_plane, namespace, "llama")
    yield namespace
    await control_plane.kubectl("delete", "scaledobject", "--all", "-n", namespace)
    await control_plane.api.delete("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io")


async def grant(
    control_plane: ControlPlane, namespace: str | None, name: str, rules: list[dict[str, Any]], subject: dict[str, str]
) -> None:
    """A Role and its binding; a ClusterRole's without a namespace."""
    kind = "Role" if namespace else "ClusterRole"
    if subject["kind"] != "ServiceAccount":
        subject = {"apiGroup": "rbac.authorization.k8s.io", **subject}
    version = "rbac.authorization.k8s.io/v1"
    role = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "rules": rules}
    binding = {
        "apiVersion": version,
        "kind": f"{kind}Binding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [subject],
    }
    await control_plane.apply([role, binding], namespace=namespace or "default")


def upstreams(keda: Keda, tmp_path: Path, token: str, our_authority: Authority, **settings: Any) -> Upstreams:
    (tmp_path / "token").write_text(token)
    pair = our_authority.client("front-proxy", user=OUR_NAME)
    given: dict[str, Any] = {
        "name": "keda",
        "url": keda.url,
        "ca_file": str(keda.authority.certificate),
        "server_name": SERVER_NAME,
        "namespaces": ["*"],
        "identity": "impersonation",
        "token_file": str(tmp_path / "token"),
    }
    return Upstreams(
        Federation(upstreams=[Upstream(**{**given, **settings})]),
        clock=SystemClock(),
        rng=np.random.default_rng(1),
        client_certificate=lambda: (pair.certificate.read_bytes(), pair.key.read_bytes()),
    )


def told(answer: web.Response) -> dict[str, Any]:
    assert isinstance(answer.body, bytes)
    document: dict[str, Any] = orjson.loads(answer.body)
    return document


def value(answer: web.Response) -> str:
    assert answer.status == 200, told(answer)
    (item,) = told(answer)["items"]
    return str(item["value"])


async def test_by_front_proxy_headers(keda: Keda, models: str, our_authority: Authority, tmp_path: Path) -> None:
    async with upstreams(keda, tmp_path, "", our_authority, identity="frontProxy") as ours:
        for user in (HPA, READER):
            assert value(await ours.forward(models, "s0-prometheus", QUERY, user)) == "70"
        answer = await ours.forward(models, "s0-prometheus", QUERY, NOBODY)
        assert (answer.status, told(answer)["reason"]) == (403, "Forbidden")
        assert f'"{NOBODY.name}" cannot list' in told(answer)["message"]
        answer = await ours.forward("default", "s0-prometheus", QUERY, READER)
        assert answer.status == 403
        # KEDA's own words and code for what is wrong with a request.
        answer = await ours.forward(models, "s0-prometheus", "", HPA)
        assert (answer.status, told(answer)["message"].endswith("scaledObject name is not specified")) == (500, True), told(
            answer
        )
    somebody = Authority("somebody", tmp_path)
    async with upstreams(keda, tmp_path, "", somebody, identity="frontProxy") as ours:
        # Without a certificate that KEDA believes the headers say nothing.
        with pytest.raises(RefusedError, match="does not accept our client certificate") as error:
            await ours.forward(models, "s0-prometheus", QUERY, HPA)
        assert error.value.code == 502


async def test_by_impersonation_with_the_least_rights(
    keda: Keda, models: str, control_plane: ControlPlane, our_authority: Authority, tmp_path: Path
) -> None:
    """Constrained impersonation: our account may act as the HPA controller where external metrics are read, and nowhere else."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "federation"}}
    await control_plane.apply(account, namespace=models)
    token = await control_plane.service_account_token(models, "federation")
    ours_is = {"kind": "ServiceAccount", "name": "federation", "namespace": models}
    async with upstreams(keda, tmp_path, token, our_authority) as ours:
        answer = await ours.forward(models, "s0-prometheus", QUERY, HPA)
        assert (answer.status, "impersonate" in told(answer)["message"]) == (403, True), told(answer)

    whom = {
        "apiGroups": ["authentication.k8s.io"],
        "resources": ["serviceaccounts"],
        "resourceNames": ["horizontal-pod-autoscaler"],
        "verbs": ["impersonate:serviceaccount"],
    }
    for_what = {"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["impersonate-on:serviceaccount:list"]}
    await grant(control_plane, "kube-system", f"{models}-whom", [whom], ours_is)
    await grant(control_plane, None, f"{models}-what", [for_what], ours_is)
    us = f"system:serviceaccount:{models}:federation"
    group = "external.metrics.k8s.io"
    await control_plane.until_allowed(us, verb="impersonate-on:serviceaccount:list", resource="s0-prometheus", group=group)
    # KEDA remembers a refusal for ten seconds, by all that is known of a user: another token is another credential-id.
    token = await control_plane.service_account_token(models, "federation")
    async with upstreams(keda, tmp_path, token, our_authority) as ours:
        assert value(await ours.forward(models, "s0-prometheus", QUERY, HPA)) == "70"
        answer = await ours.forward(models, "s0-prometheus", QUERY, READER)
        assert answer.status == 403
    # The API server itself lets it do nothing as the HPA controller.
    api_as_us = await control_plane.service_account_kubeconfig(models, "federation")
    done = await control_plane.kubectl("get", "deployments", "-n", models, f"--as={HPA.name}", kubeconfig=api_as_us)
    assert done.code != 0
    assert "impersonate" in done.err


async def test_an_account_that_is_none_is_our_fault(keda: Keda, models: str, our_authority: Authority, tmp_path: Path) -> None:
    async with upstreams(keda, tmp_path, "no-token", our_authority) as ours:
        with pytest.raises(RefusedError, match=r"upstream keda .* does not accept our token") as error:
            await ours.forward(models, "s0-prometheus", QUERY, HPA)
        assert error.value.code == 502


async def test_it_goes_and_comes_back(keda: Keda, models: str, our_authority: Authority, tmp_path: Path) -> None:
    """Away, the answer is ours and names it; back, it is asked again."""
    async with upstreams(keda, tmp_path, "", our_authority, identity="frontProxy") as ours:
        assert value(await ours.forward(models, "s0-prometheus", QUERY, HPA)) == "70"
        await keda.adapter.stop()
        with pytest.raises(RefusedError, match=r"upstream keda .* Cannot connect") as error:
            await ours.forward(models, "s0-prometheus", QUERY, HPA)
        assert error.value.code == 502
        await keda.adapter.start()
        assert value(await ours.forward(models, "s0-prometheus", QUERY, HPA)) == "70"
