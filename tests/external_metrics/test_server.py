"""Who gets an answer, in which order that is asked, and what happens to requests that nobody well-meaning sends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
from aiohttp import web

from autoscaler.adapters.telemetry.families import Family
from autoscaler.clock import SystemClock
from autoscaler.external_metrics.answers import RefusedError, json_answer
from autoscaler.external_metrics.identity import MetricAccess, PathAccess, User
from autoscaler.external_metrics.store import Store
from autoscaler.published import DESIRED, Column, Published
from tests.external_metrics.served import MASTER, NOBODY, TENANT, VALUES, Client, authority, namespaces, served, store_of
from tests.realparts.certificates import Authority
from tests.realparts.ports import LOOPBACK

VALUE = f"{VALUES}/team/{DESIRED}"
OBJECTS = [Published(namespace="team", name="llama", max_age_s=3600.0)]


def a_store() -> Store:
    return store_of(SystemClock(), OBJECTS, [Column(metric=DESIRED, values=[7.0])])


@pytest.fixture(scope="session")
def signed_by(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("external-metrics"))


@pytest_asyncio.fixture(loop_scope="session")
async def client(signed_by: Authority) -> AsyncIterator[Client]:
    async with served(a_store(), authority=signed_by) as client:
        yield client


PATHS = [
    "/apis",
    "/apis/external.metrics.k8s.io/v1beta1",
    "/openapi/v2",
    "/openapi/v3",
    "/version",
    "/metrics",
    VALUE,
    "/",
    "/nothing",
]


@pytest.mark.parametrize("path", PATHS)
async def test_who_is_not_known_learns_nothing(client: Client, path: str) -> None:
    for token in ("", "forged"):
        answer = await client.get(path, token=token)
        assert (answer.code, answer.body["reason"]) == (401, "Unauthorized")
    refused = await client.get(path, token=NOBODY)
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/healthz?verbose", "/readyz/"])
async def test_health_is_open(client: Client, path: str) -> None:
    answer = await client.get(path, token="")
    assert (answer.code, answer.text) == (200, "ok")


async def test_nothing_below_health_is_open(client: Client) -> None:
    for path in ("/healthz/ping", "/healthzz", "/HEALTHZ", "/livez/../apis"):
        assert (await client.get(path, token="")).code in (400, 401), path


async def test_a_tenant_reads_its_own_namespace_only(client: Client) -> None:
    assert (await client.get(VALUE, token=TENANT)).code == 200
    assert (await client.get(f"{VALUES}/other/{DESIRED}", token=TENANT)).code == 403
    assert (await client.get("/metrics", token=TENANT)).code == 403


async def test_what_is_authorized_is_what_is_answered() -> None:
    authorizer = namespaces()
    async with served(a_store(), authorizer=authorizer) as client:
        for path in (VALUE, f"{VALUES}/team/DESIRED-replicas", f"{VALUES}/%74eam/desired%2Dreplicas", f"{VALUE}/"):
            assert (await client.get(path)).code == 200, path
        assert authorizer.asked == [MetricAccess(namespace="team", metric=DESIRED)] * 4
        authorizer.asked.clear()
        await client.get("/apis/")
        assert authorizer.asked == [PathAccess(path="/apis")]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_everything_is_read_with_get(client: Client, method: str) -> None:
    for path in (VALUE, "/apis", "/healthz"):
        answer = await client.get(path, method=method)
        assert (answer.code, answer.headers["Allow"]) == (405, "GET"), path
        assert method == "HEAD" or answer.body["reason"] == "MethodNotAllowed"
    assert (await client.get(VALUE, method=method, token="")).code == 401


@pytest.mark.parametrize(
    "path",
    [
        f"/{VALUE}",
        f"{VALUES}//{DESIRED}",
        f"{VALUES}/team/../other/{DESIRED}",
        f"{VALUES}/team%2Fother/{DESIRED}",
        f"{VALUES}/team/%2e%2e/{DESIRED}",
        f"{VALUES}/team/{DESIRED}%00",
        f"{VALUES}/team%0a/{DESIRED}",
        f"{VALUES}/team/desired%252dreplicas",
        f"{VALUES}/team%5C/{DESIRED}",
        f"{VALUES}/team/%20",
        "/apis//",
        "//healthz",
        "/./healthz",
    ],
)
async def test_paths_that_mean_something_else_decoded_are_refused(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


async def test_ready_says_why_not() -> None:
    why = "no controller is followed yet"
    async with served(a_store(), ready=lambda: why) as client:
        answer = await client.get("/readyz", token="")
        assert (answer.code, answer.body["message"]) == (503, f"not ready: {why}")
        assert (await client.get("/livez", token="")).code == 200
        assert (await client.get("/apis")).code == 200, "discovery is answered whatever else is broken"


class Elsewhere:
    """An upstream that answers with what it was asked."""

    def owns(self, namespace: str, metric: str) -> bool:
        return metric.startswith("s0-")

    async def forward(self, namespace: str, metric: str, query_string: str, user: User) -> web.Response:
        if metric == "s0-gone":
            raise RefusedError(502, "the other adapter is not there")
        return json_answer(orjson.dumps([namespace, metric, query_string, user.name]))


async def test_what_is_owned_elsewhere_is_forwarded_after_who_and_whether() -> None:
    async with served(a_store(), upstreams=Elsewhere()) as client:
        answer = await client.get(f"{VALUES}/team/S0-Kafka?labelSelector=a%3Db&x=%2F", token=TENANT)
        assert answer.body == ["team", "s0-kafka", "labelSelector=a%3Db&x=%2F", "tenant"]
        assert (await client.get(f"{VALUES}/team/s0-kafka", token="")).code == 401
        assert (await client.get(f"{VALUES}/other/s0-kafka", token=TENANT)).code == 403
        assert (await client.get(f"{VALUES}/team/s0-gone")).body["reason"] == "ServiceUnavailable"
        assert (await client.get(VALUE)).body["items"][0]["value"] == "7"


class Broken:
    async def authenticate(self, request: web.Request) -> User:
        raise KeyError("secret of the inside")


async def test_a_fault_of_ours_is_a_status_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with served(a_store(), authenticator=Broken()) as client:
        answer = await client.get(VALUE)
        assert (answer.code, answer.body["reason"]) == (500, "InternalError")
        assert "secret" not in answer.text
        assert (await client.get("/healthz")).code == 200
    assert "secret of the inside" in caplog.text


async def test_own_metrics() -> None:
    hands_in = [Family(name="certificate_expiry_seconds", help="When.", kind="gauge", samples={(("of", 'a"b'),): 3.0})]
    async with served(a_store(), metrics=lambda: hands_in) as client:
        for _ in range(3):
            await client.get(VALUE)
        await client.get(f"{VALUES}/team/nothing")
        answer = await client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    prefix = "inference_autoscaler_external_metrics_"
    for line in (
        f'{prefix}requests_total{{code="200",kind="values"}} 3.0',
        f'{prefix}requests_total{{code="404",kind="values"}} 1.0',
        f'{prefix}request_duration_seconds_count{{kind="values"}} 4.0',
        f"{prefix}values 1.0",
        f"{prefix}connections 1",
        'inference_autoscaler_certificate_expiry_seconds{of="a\\"b"} 3.0',
    ):
        assert line in answer.text.splitlines()


async def raw(client: Client, sent: bytes, *, tls: ssl.SSLContext | None = None) -> list[tuple[int, bytes, bytes]]:
    """What comes back for these bytes until the server closes: (code, head, body) of each answer."""
    reader, writer = await asyncio.open_connection(
        LOOPBACK, client.serving.port, ssl=tls, server_hostname="localhost" if tls else None
    )
    writer.write(sent)
    answers = []
    try:
        async with asyncio.timeout(20):
            while head := await head_of(reader):
                length = next(
                    (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
                )
                answers.append((int(head.split(b" ", 2)[1]), head, await reader.readexactly(length)))
    finally:
        writer.close()
    return answers


async def head_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def request_of(path: str, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: x", f"Authorization: Bearer {MASTER}", *headers, "", ""]).encode()


LAST = "Connection: close"


async def test_pipelined_requests_are_answered_in_order(client: Client, signed_by: Authority) -> None:
    sent = request_of("/healthz") + request_of(VALUE) + request_of("/nothing") + request_of("/healthz", LAST)
    answers = await raw(client, sent, tls=signed_by.client_context())
    assert [code for code, _, _ in answers] == [200, 200, 404, 200]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (request_of("http://elsewhere/apis", LAST), 400),
        (request_of("*", LAST), 400),
        (request_of("/apis", "Bad Header: x"), 400),
        (request_of("/apis", "X: a\x00b"), 400),
        (request_of("/apis", "Content-Length: 3", "Content-Length: 4"), 400),
        (request_of("/apis", "Content-Length: -1"), 400),
        (request_of("/apis", "Transfer-Encoding: chunked", "Content-Length: 3"), 400),
        (request_of("/apis?x=" + "y" * 17_000), 414),
        (request_of(f"{VALUE}?labelSelector=" + "a" * 2**20), 414),
        (request_of("/apis", "X: " + "y" * 17_000), 431),
        (request_of("/apis", *(f"X-{number}: y" for number in range(200))), 400),
        (b"GET " + "/ä".encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        (request_of("/apis", "Accept: \xff", LAST), 406),
    ],
)
async def test_what_is_no_request_gets_a_status_and_the_end(client: Client, signed_by: Authority, sent: bytes, code: int) -> None:
    answers = await raw(client, sent, tls=signed_by.client_context())
    assert [one for one, _, _ in answers] == [code]
    status = orjson.loads(answers[0][2])
    assert (status["kind"], status["code"]) == ("Status", code)
    assert b"retry-after" not in answers[0][1].lower()
    assert (await client.get("/healthz")).code == 200, "and everybody else goes on"


@pytest.mark.parametrize(
    "head",
    [
        ["Content-Length: 1000000"],
        ["Transfer-Encoding: chunked"],
        ["Content-Length: 5", "Expect: 100-continue"],
    ],
)
async def test_bodies_are_not_read(client: Client, signed_by: Authority, head: list[str]) -> None:
    """Answered at once, though the body never comes; and the connection, on which it might, ends."""
    answers = await raw(client, request_of(VALUE, *head), tls=signed_by.client_context())
    assert [code for code, _, _ in answers] == [200]
    assert b"connection: close" in answers[0][1].lower()


async def test_a_body_does_not_become_a_second_request(client: Client, signed_by: Authority) -> None:
    smuggled = request_of("/metrics")
    sent = request_of("/healthz", f"Content-Length: {len(smuggled)}") + smuggled
    answers = await raw(client, sent, tls=signed_by.client_context())
    assert [(code, body) for code, _, body in answers] == [(200, b"ok")]


@pytest.mark.parametrize("sent", [request_of("/healthz", LAST), b"\x16\x03\x01garbage", b"", b"SSH-2.0-x\r\n"])
async def test_what_is_no_tls_ends_and_harms_nobody(client: Client, sent: bytes) -> None:
    if sent:
        assert await raw(client, sent) == []
    else:
        _, writer = await asyncio.open_connection(LOOPBACK, client.serving.port)
        writer.close()
    assert (await client.get("/healthz")).code == 200


async def test_http_1_0_gets_one_answer(client: Client, signed_by: Authority) -> None:
    answers = await raw(client, request_of(VALUE, version="1.0"), tls=signed_by.client_context())
    assert [code for code, _, _ in answers] == [200]


async def test_an_upgrade_is_not_taken_up(client: Client, signed_by: Authority) -> None:
    sent = request_of("/healthz", "Connection: Upgrade", "Upgrade: websocket") + request_of("/healthz", LAST)
    answers = await raw(client, sent, tls=signed_by.client_context())
    assert {code for code, _, _ in answers} == {200}


def test_the_process_starts_without_the_numbers(tmp_path: Path) -> None:
    """Nothing of the contract needs numpy; what loads it would be felt at each start."""
    import subprocess
    import sys

    program = (
        "import sys\n"
        "from autoscaler.external_metrics import catalogue, discovery, openapi, selectors, quantity, value_lists\n"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "False"
