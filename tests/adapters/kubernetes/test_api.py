"""The session: deadlines, limits, errors in words, credentials that are read again."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from autoscaler.adapters.kubernetes import credentials
from autoscaler.adapters.kubernetes.api import HttpKubeApi, resource_of
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.errors import UsageError
from tests.fakes.kube_api import FakeKubeApi

PATH = "/api/v1/namespaces/team/configmaps"


async def test_every_call_has_its_deadline(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    fake.fail("GET", "/configmaps", hang=True, times=2)
    began_s = time.monotonic()
    with pytest.raises(ApiError) as late:
        await api.request("GET", PATH, timeout_s=0.1)
    assert late.value.unreachable
    assert late.value.reason == "Timeout"
    with pytest.raises(ApiError):
        async with api.stream(PATH, params={"watch": "1"}, open_timeout_s=0.1, total_timeout_s=5):
            pass
    assert time.monotonic() - began_s < 2


async def test_the_deadline_covers_the_wait_for_a_free_slot(fake: FakeKubeApi) -> None:
    fake.fail("GET", "/configmaps", hang=True, times=1)
    async with HttpKubeApi(Credentials(fake.url, monotonic_s=time.monotonic), at_once=1) as api:
        slow = asyncio.create_task(api.request("GET", PATH, timeout_s=1.0))
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="Timeout"):
            await api.request("GET", PATH, timeout_s=0.1)
        with pytest.raises(ApiError):
            await slow


async def test_a_stream_that_outlives_its_time_is_ended(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    params = {"watch": "1", "resourceVersion": "100"}
    async with api.stream(PATH, params=params, open_timeout_s=1, total_timeout_s=0.2) as chunks:
        with pytest.raises(ApiError, match="not ended"):
            assert [chunk async for chunk in chunks if b"BOOKMARK" not in chunk] == []


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not_found"),
        (409, "conflict"),
        (410, "gone"),
        (422, "invalid"),
        (429, "throttled"),
    ],
)
async def test_errors_can_be_told_apart(fake: FakeKubeApi, api: HttpKubeApi, status: int, name: str) -> None:
    fake.fail("GET", "/configmaps", status=status, retry_after_s=7)
    with pytest.raises(ApiError) as refused:
        await api.request("GET", PATH, timeout_s=1)
    names = ["unauthorized", "forbidden", "not_found", "conflict", "gone", "invalid", "throttled", "unreachable"]
    assert [word for word in names if getattr(refused.value, word)] == [name]
    assert refused.value.retry_after_s == 7


async def test_no_server_is_said_in_words() -> None:
    async with HttpKubeApi(Credentials("http://127.0.0.1:9", monotonic_s=time.monotonic)) as api:
        with pytest.raises(ApiError) as nobody:
            await api.request("GET", PATH, timeout_s=2)
    assert nobody.value.unreachable
    assert api.requests["list", "configmaps", 0] == 1


async def test_an_answer_beyond_the_limit_is_not_kept(fake: FakeKubeApi) -> None:
    fake.create("configmaps", {"metadata": {"name": "large"}, "data": {"a": "x" * 100_000}})
    async with HttpKubeApi(Credentials(fake.url, monotonic_s=time.monotonic), largest_answer_bytes=50_000) as api:
        with pytest.raises(ApiError) as large:
            await api.request("GET", PATH, timeout_s=2)
        assert large.value.too_large


async def test_credentials_are_read_again_when_due_or_refused(fake: FakeKubeApi) -> None:
    now_s, tokens = 0.0, iter(["Bearer one", "Bearer two", "Bearer three"])

    async def authorization() -> str:
        return next(tokens)

    access = Credentials(fake.url, authorization=authorization, monotonic_s=lambda: now_s)
    assert await access.authorization() == "Bearer one"
    now_s += credentials.REREAD_S - 1
    assert await access.authorization() == "Bearer one"
    now_s += 2
    assert await access.authorization() == "Bearer two"
    async with HttpKubeApi(access) as api:
        fake.fail("GET", "/configmaps", status=401)
        with pytest.raises(ApiError):
            await api.request("GET", PATH, timeout_s=2)
        now_s += 2
        assert await access.authorization() == "Bearer three"
        now_s += 2 * credentials.REREAD_S
        assert await access.authorization() == "Bearer three"  # none to be had: the old one may still be good


async def test_a_kubeconfig_with_an_exec_plugin_is_asked_again(fake: FakeKubeApi, tmp_path: Path) -> None:
    count, plugin = tmp_path / "count", tmp_path / "plugin"
    plugin.write_text(
        f"""#!{sys.executable}
import json, pathlib
count = pathlib.Path({str(count)!r})
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
status = {{"token": f"token{{number}}\\n", "expirationTimestamp": "2020-01-01T00:00:00Z"}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}}
    path = tmp_path / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": fake.url}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    now_s = 0.0
    access = await credentials.from_kubeconfig(str(path), None, lambda: now_s)
    first = await access.authorization()
    assert first is not None
    assert first.startswith("Bearer token")
    assert first == first.strip()
    now_s += credentials.REREAD_S + 1
    assert await access.authorization() != first


async def test_the_service_accounts_token_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes_asyncio.config import incluster_config

    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first\n")
    authority.write_text("")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    with pytest.raises(UsageError, match="not in a cluster"):
        await credentials.in_cluster(time.monotonic)
    authority.write_text(_certificate())
    now_s = 0.0
    access = await credentials.in_cluster(lambda: now_s)
    assert access.url == "https://127.0.0.1:6443"
    assert await access.authorization() == "Bearer first"
    token.write_text("second")
    now_s = credentials.REREAD_S
    assert await access.authorization() == "Bearer second"


def _certificate() -> str:
    import ssl
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    text = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    assert ssl.PEM_cert_to_DER_cert(text)
    return text


async def test_a_missing_kubeconfig_is_said_in_words() -> None:
    with pytest.raises(UsageError, match="/not/there"):
        await credentials.from_kubeconfig("/not/there", None, time.monotonic)


def test_resources_in_the_words_of_rbac() -> None:
    assert resource_of("/apis/apps/v1/namespaces/team/deployments/llama/scale") == "deployments/scale"
    assert resource_of("/api/v1/pods") == "pods"
    assert resource_of("/api/v1/namespaces/team") == "namespaces"
    assert resource_of("/apis/apps/v1") == "/apis/apps/v1"


def test_importing_the_adapter_loads_no_client_library() -> None:
    code = "import sys, autoscaler.adapters.kubernetes.cluster; print('kubernetes_asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
