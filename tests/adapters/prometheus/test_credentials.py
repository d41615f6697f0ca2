"""Credentials are read again when they change, reach the server, and appear nowhere else."""

from __future__ import annotations

import logging
import os
import pickle
import ssl
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autoscaler.adapters.prometheus.client import PrometheusClient
from autoscaler.adapters.prometheus.credentials import (
    SECRET_TTL_S,
    CredentialPlaces,
    Credentials,
    FromFile,
    FromSecret,
    Plain,
)
from autoscaler.adapters.prometheus.problems import CredentialsUnusable, QueryFailed, Unreachable
from autoscaler.clock import ManualClock
from autoscaler.errors import OutsideError
from autoscaler.hidden import Hidden
from tests.fakes.prometheus import FakePrometheus
from tests.realparts.certificates import Authority

SECRET = "s3cr3t-value"


@dataclass
class SecretsInMemory:
    """`autoscaler.ports.SecretReader` that tests fill."""

    values: dict[tuple[str, str, str], tuple[bytes, str]] = field(default_factory=dict)
    reads: int = 0

    async def read_secret(self, namespace: str, name: str, key: str, *, timeout_s: float) -> tuple[bytes, str]:
        self.reads += 1
        try:
            return self.values[namespace, name, key]
        except KeyError:
            raise OutsideError(f"no Secret {namespace}/{name}") from None


async def headers_of(credentials: Credentials) -> dict[str, str]:
    return dict((await credentials.access()).revealed_headers())


def rewrite(path: Path, text: str) -> None:
    """As a mounted Secret changes: another file under the same name, even within the clock's grain."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


async def test_a_token_from_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\n")
    credentials = Credentials(CredentialPlaces(bearer_token=FromFile(str(token))), ManualClock())
    assert await headers_of(credentials) == {"Authorization": f"Bearer {SECRET}"}
    rewrite(token, "another")
    assert await headers_of(credentials) == {"Authorization": "Bearer another"}
    token.unlink()
    with pytest.raises(CredentialsUnusable, match="token can't be read"):
        await credentials.access()


async def test_basic_authentication_and_headers(tmp_path: Path) -> None:
    places = CredentialPlaces(
        username="reader", password=Plain(SECRET), headers={"X-Scope-OrgID": Plain("team-a"), "X-Other": Plain("1")}
    )
    assert await headers_of(Credentials(places, ManualClock())) == {
        "Authorization": "Basic cmVhZGVyOnMzY3IzdC12YWx1ZQ==",
        "X-Scope-OrgID": "team-a",
        "X-Other": "1",
    }


async def test_a_secret_is_asked_for_again_after_a_minute_and_survives_an_outage() -> None:
    clock, secrets = ManualClock(100.0), SecretsInMemory({("team", "prom", "token"): (SECRET.encode(), "1")})
    credentials = Credentials(CredentialPlaces(bearer_token=FromSecret("team", "prom", "token")), clock, secrets)
    for _ in range(3):
        assert await headers_of(credentials) == {"Authorization": f"Bearer {SECRET}"}
    assert secrets.reads == 1
    secrets.values["team", "prom", "token"] = (b"another", "2")
    clock.advance_to(100.0 + SECRET_TTL_S)
    assert await headers_of(credentials) == {"Authorization": "Bearer another"}
    secrets.values.clear()
    clock.advance_to(100.0 + 3 * SECRET_TTL_S)
    assert await headers_of(credentials) == {"Authorization": "Bearer another"}


@pytest.mark.parametrize("content", ["", "\n", f"{SECRET}\nX-Injected: 1", f"{SECRET}\r", f"{SECRET}\x00"])
async def test_what_is_no_header_is_refused_without_showing_it(content: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(content.encode())
    credentials = Credentials(CredentialPlaces(bearer_token=FromFile(str(path))), ManualClock())
    if content == f"{SECRET}\r":
        assert (await headers_of(credentials))["Authorization"] == f"Bearer {SECRET}"
        return
    with pytest.raises(CredentialsUnusable) as caught:
        await credentials.access()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "places",
    [
        CredentialPlaces(bearer_token=Plain("a"), username="b", password=Plain("c")),
        CredentialPlaces(username="b"),
        CredentialPlaces(password=Plain("b")),
        CredentialPlaces(cert=Plain("b")),
        CredentialPlaces(headers={"Authorization": Plain("x")}),
        CredentialPlaces(headers={"Host": Plain("x")}),
        CredentialPlaces(headers={"bad name": Plain("x")}),
    ],
)
def test_what_does_not_fit_together_is_refused(places: CredentialPlaces) -> None:
    with pytest.raises(CredentialsUnusable):
        Credentials(places, ManualClock())


@pytest.fixture
def server_tls(tmp_path: Path) -> Callable[[str], tuple[Authority, ssl.SSLContext]]:
    def make(name: str) -> tuple[Authority, ssl.SSLContext]:
        directory = tmp_path / name
        directory.mkdir()
        authority = Authority(name, directory)
        pair = authority.server("server", names=["127.0.0.1", "prometheus.test"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
        context.load_cert_chain(pair.certificate, pair.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return authority, context

    return make


async def test_mutual_tls_with_rotation_keeps_the_session(
    server_tls: Callable[[str], tuple[Authority, ssl.SSLContext]], tmp_path: Path
) -> None:
    authority, context = server_tls("authority")
    first, second = authority.client("first", user="first"), authority.client("second", user="second")
    stranger = Authority("stranger", tmp_path)
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    ca.write_bytes(authority.certificate.read_bytes())
    cert.write_bytes(first.certificate.read_bytes())
    key.write_bytes(first.key.read_bytes())
    credentials = Credentials(
        CredentialPlaces(ca=FromFile(str(ca)), cert=FromFile(str(cert)), key=FromFile(str(key))), ManualClock()
    )
    async with FakePrometheus(tls=context) as fake:
        client = PrometheusClient(fake.url, credentials)
        await client.query("vector(1)", 1000.0, 5.0)
        session = client._session
        same = (await credentials.access()).tls
        assert (await credentials.access()).tls is same, "nothing changed, so no new context"
        rewrite(cert, second.certificate.read_text())
        rewrite(key, second.key.read_text())
        await client.query("vector(1)", 1000.0, 5.0)
        assert client._session is session
        assert [str(asked.peer_subject["subject"][-1]) for asked in fake.asked] == [
            "(('commonName', 'first'),)",
            "(('commonName', 'second'),)",
        ]
        rewrite(ca, stranger.certificate.read_text())
        with pytest.raises(Unreachable, match="TLS failed"):
            await client.query("vector(1)", 1000.0, 5.0)
        rewrite(ca, "no certificate")
        with pytest.raises(CredentialsUnusable, match="not a PEM certificate"):
            await client.query("vector(1)", 1000.0, 5.0)
        rewrite(ca, authority.certificate.read_text())
        await client.query("vector(1)", 1000.0, 5.0)
        await client.close()


async def test_certificates_may_come_from_secrets(server_tls: Callable[[str], tuple[Authority, ssl.SSLContext]]) -> None:
    authority, context = server_tls("authority")
    pair = authority.client("client", user="from-secret")
    secrets = SecretsInMemory(
        {
            ("team", "tls", "ca.crt"): (authority.certificate.read_bytes(), "1"),
            ("team", "tls", "tls.crt"): (pair.certificate.read_bytes(), "1"),
            ("team", "tls", "tls.key"): (pair.key.read_bytes(), "1"),
        }
    )
    places = CredentialPlaces(
        ca=FromSecret("team", "tls", "ca.crt"),
        cert=FromSecret("team", "tls", "tls.crt"),
        key=FromSecret("team", "tls", "tls.key"),
        server_name="prometheus.test",
    )
    async with FakePrometheus(tls=context) as fake:
        client = PrometheusClient(fake.url, Credentials(places, ManualClock(), secrets))
        await client.query("vector(1)", 1000.0, 5.0)
        assert "from-secret" in str(fake.asked[0].peer_subject)
        await client.close()


async def test_a_secret_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "token"
    path.write_text(SECRET)
    places = CredentialPlaces(
        username="me", password=FromFile(str(path)), headers={"X-Token": FromFile(str(path)), "X-Plain": Plain(SECRET)}
    )
    credentials = Credentials(places, ManualClock())
    shown = []
    async with FakePrometheus() as fake:
        client = PrometheusClient(fake.url, credentials)
        access = await credentials.access()
        await client.query("vector(1)", 1000.0, 5.0)
        for bad in ("up{", "nonsense(1)"):
            with pytest.raises(QueryFailed) as caught:
                await client.query(bad, 1000.0, 5.0)
            shown.append("".join(traceback.format_exception(caught.value)))
        await fake.stop()
        with pytest.raises(Unreachable) as gone:
            await client.query("vector(1)", 1000.0, 5.0)
        shown.append("".join(traceback.format_exception(gone.value)))
        shown += [repr(x) for x in (places, credentials, access, client, access.headers, vars(client), Hidden(SECRET))]
        shown += [str(x) for x in (places, credentials, access, client, f"{access.headers}")]
        shown.append(caplog.text)
        await client.close()
    assert all(SECRET not in text and "bWU6" not in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(Hidden(SECRET))
