"""Every way in which a query ends without an answer has its own type, in time, once, and without a secret in it."""

from __future__ import annotations

import asyncio
import time

import pytest

from autoscaler.adapters.prometheus.answers import Vector, decode, labels_of, numbers
from autoscaler.adapters.prometheus.client import PrometheusClient
from autoscaler.adapters.prometheus.credentials import CredentialPlaces, Credentials, Plain
from autoscaler.adapters.prometheus.problems import (
    AnswerTooLarge,
    HttpStatus,
    PrometheusRefused,
    QueryFailed,
    QueryTimeout,
    Unparsable,
    Unreachable,
)
from autoscaler.clock import ManualClock
from tests.fakes.prometheus import FakePrometheus, Fault, Kind

SECRET = "s3cr3t-token"


def a_client(url: str, **options: int) -> PrometheusClient:
    places = CredentialPlaces(bearer_token=Plain(SECRET), headers={"X-Scope-OrgID": Plain("tenant-7")})
    return PrometheusClient(url, Credentials(places, ManualClock()), **options)


@pytest.mark.parametrize(
    ("kind", "status", "expected", "words"),
    [
        ("status", 500, HttpStatus, "500"),
        ("status", 503, HttpStatus, "503"),
        ("refuse", 422, PrometheusRefused, "expanding series"),
        ("refuse", 503, PrometheusRefused, "execution"),
        ("refuse", 200, PrometheusRefused, "execution"),
        ("redirect", 302, HttpStatus, "302"),
        ("not-json", 200, Unparsable, "not Prometheus' JSON"),
        ("wrong-json", 200, Unparsable, "Expected `str`"),
        ("truncated", 200, Unreachable, "cut off"),
        ("disconnect", 200, Unreachable, "closed"),
        ("huge", 200, AnswerTooLarge, "1048576"),
        ("hang", 200, QueryTimeout, "within 0.3 s"),
        ("slow", 200, QueryTimeout, "within 0.3 s"),
    ],
)
async def test_each_fault_has_its_type(kind: Kind, status: int, expected: type[QueryFailed], words: str) -> None:
    async with FakePrometheus() as fake:
        fake.faults = [Fault(kind, status=status, seconds=5.0)]
        client = a_client(fake.url, max_bytes=1 << 20)
        began_s = time.monotonic()
        with pytest.raises(expected) as caught:
            await client.query("up", 1000.0, 0.3 if expected is QueryTimeout else 5.0)
        assert time.monotonic() - began_s < 2.0
        await client.close()
        assert words in str(caught.value)
        assert type(caught.value) is expected
        assert len(fake.asked) == 1, "no retries: the next tick is the retry"
        shown = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__suppress_context__}"
        assert SECRET not in shown
        assert caught.value.__cause__ is None


async def test_nobody_listening_is_unreachable_and_says_where() -> None:
    async with FakePrometheus() as fake:
        url = fake.url
    client = a_client(url)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1") as caught:
        await client.query("up", 1000.0, 5.0)
    await client.close()
    assert SECRET not in repr(caught.value)


async def test_it_is_asked_by_post_without_compression_and_told_the_deadline() -> None:
    async with FakePrometheus() as fake:
        client = a_client(fake.url)
        assert (
            await client.query("vector(1)", 1000.0, 5.0)
            == decode(b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1000.0,"1.0"]}]}}').data
        )
        await client.close()
        asked = fake.asked[0]
        assert asked.path == "/api/v1/query"
        assert asked.form == {"query": "vector(1)", "time": "1000.000", "timeout": "5000ms", "partial_response": "false"}
        assert asked.headers["Accept-Encoding"] == "identity"
        assert asked.headers["Authorization"] == f"Bearer {SECRET}"
        assert asked.headers["X-Scope-OrgID"] == "tenant-7"


async def test_at_most_so_many_at_once_and_waiting_counts_against_the_deadline() -> None:
    async with FakePrometheus() as fake:
        client = a_client(fake.url, concurrency=3)
        fake.faults = [Fault("slow", seconds=0.05)]
        await asyncio.gather(*(client.query("vector(1)", 1000.0, 10.0) for _ in range(12)))
        assert fake.most_at_once == 3
        assert client.queries == 12
        fake.faults = [Fault("hang")]
        results = await asyncio.gather(*(client.query("vector(1)", 1000.0, 0.2) for _ in range(6)), return_exceptions=True)
        assert all(isinstance(result, QueryTimeout) for result in results)
        await client.close()


async def test_it_recovers_by_itself() -> None:
    async with FakePrometheus() as fake:
        client = a_client(fake.url)
        for kind in ("disconnect", "truncated", "status"):
            fake.faults = [Fault(kind)]
            with pytest.raises(QueryFailed):
                await client.query("vector(1)", 1000.0, 5.0)
            fake.faults = []
            assert isinstance(await client.query("vector(1)", 1000.0, 5.0), Vector)
        await fake.stop()
        with pytest.raises(QueryFailed):
            await client.query("vector(1)", 1000.0, 5.0)
        await fake.start()
        assert isinstance(await client.query("vector(1)", 1000.0, 5.0), Vector)
        await client.close()


async def test_warnings_are_kept() -> None:
    async with FakePrometheus() as fake:
        fake.faults = [Fault("warning")]
        client = a_client(fake.url)
        await client.query("up", 1000.0, 5.0)
        await client.close()
        assert client.warnings == ("a store is away",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"status":"success","data":{"resultType":"unheard-of","result":[]}}',
        b'{"status":"success","data":{"resultType":"vector","result":{}}}',
        b'{"status":"success","data":{"resultType":"scalar","result":[1]}}',
        b"\xff\xfe",
        b'{"status":"success","data":' + b"[" * 100_000,
    ],
)
def test_what_is_not_an_answer_is_unparsable(body: bytes) -> None:
    with pytest.raises(Unparsable):
        decode(body)


def test_a_label_set_or_value_that_is_none_is_unparsable() -> None:
    for metric in (b"5", b"[]", b'{"a":1}', b"{"):
        with pytest.raises(Unparsable):
            labels_of(metric)
    with pytest.raises(Unparsable):
        numbers(["1", "much"])
