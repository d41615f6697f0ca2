"""Servers that fail, several of them, own queries, and who may ask whom."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from autoscaler.adapters.prometheus import (
    CredentialPlaces,
    FromFile,
    Plain,
    PrometheusSettings,
    PrometheusSource,
    ServerSettings,
)
from autoscaler.clock import ManualClock
from autoscaler.core.model import Fleet, Readings
from autoscaler.errors import UsageError
from autoscaler.spec import BasicAuth, Header, PrometheusRef, Query, SecretKey, Signals
from tests.adapters.prometheus.test_credentials import SecretsInMemory
from tests.adapters.prometheus.worlds import (
    NOW_S,
    PodsInMemory,
    a_fleet,
    a_service,
    a_source,
    counter,
    gauge,
    own,
    value,
    vllm,
    wanted,
)
from tests.fakes.prometheus import FakePrometheus, Fault, Kind
from tests.fakes.prometheus_fleet import FleetAnswers, pods_of

WORK = ("demand", "queue", "running", "concurrency")


async def read(source: PrometheusSource, fleet: Fleet, *signals: str, at_s: float = NOW_S, deadline_s: float = 10.0) -> Readings:
    return await source.read(fleet, wanted(fleet, *signals), at_s, deadline_s)


@pytest.mark.parametrize(
    "kind", ["status", "refuse", "not-json", "wrong-json", "truncated", "disconnect", "hang", "slow", "redirect"]
)
async def test_one_query_that_fails_leaves_the_others_and_says_why(kind: Kind) -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a"))
        fake.faults = [Fault(kind, where="vllm:num_requests_waiting", seconds=5.0)]
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        began_s = time.monotonic()
        readings = await read(source, fleet, "queue", "running", deadline_s=0.5)
        assert time.monotonic() - began_s < 1.0
        assert value(readings, "running") == (5.0, "KNOWN")
        assert value(readings, "queue")[1] == "UNKNOWN"
        assert fake.url in readings.why("queue", 0) or "not Prometheus' JSON" in readings.why("queue", 0)
        fake.faults = []
        assert value(await read(source, fleet, "queue"), "queue") == (3.0, "KNOWN"), "recovers by itself"
        await source.close()


async def test_without_ages_nothing_is_known() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a"))
        fake.faults = [Fault("status", where="timestamp")]
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        readings = await read(source, fleet, "queue")
        assert value(readings, "queue")[1] == "UNKNOWN"
        assert "how old its samples are is not known" in readings.why("queue", 0)
        await source.close()


async def test_prometheus_away_is_unknown_in_time_and_comes_back() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a"))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", stale_after_s=10.0)])
        await read(source, fleet, *WORK)
        await fake.stop()
        readings = await read(source, fleet, *WORK, at_s=NOW_S + 15)
        assert {value(readings, signal)[1] for signal in WORK} == {"UNKNOWN"}
        assert "no connection" in readings.why("queue", 0)
        await fake.start()
        await fake.write(vllm("a", at_s=NOW_S + 28))
        assert value(await read(source, fleet, "queue", at_s=NOW_S + 30), "queue")[1] == "KNOWN"
        await source.close()


async def test_queries_do_not_grow_with_services_and_only_what_is_used_is_asked() -> None:
    counts = []
    for services in (10, 300):
        async with FakePrometheus() as fake:
            fake.answers = FleetAnswers(services, pods_each=2)
            source = a_source(fake.url, PodsInMemory(dict(pods_of(services, 2))))
            specs = [
                a_service(f"service-{row}", Signals(presets=["vllm", "dcgm"]), f"team-{row % 50}") for row in range(services)
            ]
            fleet = a_fleet(specs, ready=[2] * services)
            readings = await read(source, fleet, "demand", "queue", "running", "gpu_utilization", "ttft_s")
            assert (readings.signals["demand"].state == 0).all()
            assert (readings.signals["ttft_s"].state == 0).all()
            counts.append(source.queries_last_tick)
            assert len(set(fake.queries())) == len(fake.queries()) == source.queries_last_tick
            await source.close()
    assert counts == [7, 7]


async def test_equal_own_queries_of_a_namespace_are_asked_once() -> None:
    async with FakePrometheus() as fake:
        await fake.write([*gauge("level", 4.0, namespace="one"), *gauge("level", 6.0, namespace="two")])
        source = a_source(fake.url, PodsInMemory())
        fleet = a_fleet([a_service(f"s{row}", own("queue", "sum(level)"), ("one", "one", "two")[row % 3]) for row in range(9)])
        readings = await read(source, fleet, "queue")
        assert [value(readings, "queue", row)[0] for row in range(3)] == [4.0, 4.0, 6.0]
        assert source.queries_last_tick == 2
        await source.close()


async def test_own_promql_wins_over_presets_and_speaks_without_pods() -> None:
    signals = Signals(queries=[Query(signal="demand", query="sum(rate(gateway_requests_total[1m]))")])
    async with FakePrometheus() as fake:
        await fake.write([*vllm("a", per_s=2), *counter("gateway_requests_total", 9.0, pod="gateway")])
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", signals), a_service("asleep", signals)], ready=[1, 0])
        readings = await read(source, fleet, "demand", "running")
        assert [value(readings, "demand", row) for row in (0, 1)] == [(pytest.approx(9.0), "KNOWN")] * 2
        assert value(readings, "running", 1) == (0.0, "IDLE")
        await source.close()


async def test_a_refused_query_is_a_reason_and_touches_nobody_else() -> None:
    async with FakePrometheus() as fake:
        await fake.write(gauge("level", 4.0))
        source = a_source(fake.url, PodsInMemory())
        thief = own("queue", 'sum(level{namespace="other"})')
        fleet = a_fleet([a_service("thief", thief), a_service("honest", own("queue", "sum(level)"))])
        readings = await read(source, fleet, "queue")
        assert value(readings, "queue", 0)[1] == "UNKNOWN"
        assert "only its own namespace" in readings.why("queue", 0)
        assert value(readings, "queue", 1) == (4.0, "KNOWN")
        assert len(fake.queries()) == 1
        await source.close()


async def test_several_prometheus_for_several_objects(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("admin-token")
    secrets = SecretsInMemory({("team", "prom", "password"): (b"own-password", "1"), ("team", "prom", "org"): (b"org-1", "1")})
    async with FakePrometheus() as one, FakePrometheus() as two, FakePrometheus() as three:
        for number, fake in enumerate((one, two, three)):
            await fake.write(vllm("a", queue=number + 1.0))
        settings = PrometheusSettings(
            default=ServerSettings(url=one.url, credentials=CredentialPlaces(bearer_token=FromFile(str(token)))),
            named={"second": ServerSettings(url=two.url, credentials=CredentialPlaces(headers={"X-Scope-OrgID": Plain("all")}))},
            own_urls=True,
        )
        pods = PodsInMemory()
        source = PrometheusSource(settings, pods, ManualClock(), secrets)
        own_url = PrometheusRef(
            url=three.url,
            basic_auth=BasicAuth(username="me", password=SecretKey(name="prom", key="password")),
            headers=[Header(name="X-Scope-OrgID", value_from=SecretKey(name="prom", key="org"))],
        )
        references = [None, PrometheusRef(name="second"), own_url, PrometheusRef(name="unheard-of")]
        fleet = a_fleet([a_service(f"s{row}", Signals(prometheus=reference)) for row, reference in enumerate(references)])
        found = []
        for row in range(4):
            pods.set({("team", "a"): row})
            found.append(value(await read(source, fleet, "queue"), "queue", row))
        assert found[:3] == [(1.0, "KNOWN"), (2.0, "KNOWN"), (3.0, "KNOWN")]
        assert found[3][1] == "UNKNOWN"
        readings = await read(source, fleet, "queue")
        assert readings.why("queue", 3) == "no Prometheus server is named 'unheard-of'; the controller knows: second"
        await source.close()
        assert one.asked[0].headers["Authorization"] == "Bearer admin-token"
        assert two.asked[0].headers["X-Scope-OrgID"] == "all"
        assert "Authorization" not in two.asked[0].headers
        assert three.asked[0].headers["Authorization"].startswith("Basic ")
        assert three.asked[0].headers["X-Scope-OrgID"] == "org-1"
        assert all('namespace=~"team"' in query for query in three.queries()), "a tenant's server is asked for the tenant only"


async def test_an_own_url_is_refused_where_the_administrator_did_not_allow_it() -> None:
    async with FakePrometheus() as fake:
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", Signals(prometheus=PrometheusRef(url="http://169.254.169.254")))])
        readings = await read(source, fleet, "queue")
        assert "own Prometheus URL is not allowed" in readings.why("queue", 0)
        assert fake.asked == []
        await source.close()


async def test_a_hostile_server_hurts_only_its_own_object(caplog: pytest.LogCaptureFixture) -> None:
    bodies = [
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":5,"value":[1,"1"]}]}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"much"]}]}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{"namespace":"team"}}]}}',
        b'{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[]}}',
        b'{"status":"success","data":' + b"[" * 50_000,
        b'{"status":"success"}',
    ]
    caplog.set_level(logging.ERROR)
    async with FakePrometheus() as good, FakePrometheus() as bad:
        await good.write(vllm("a"))
        settings = PrometheusSettings(default=ServerSettings(url=good.url), named={"bad": ServerSettings(url=bad.url)})
        source = PrometheusSource(settings, PodsInMemory({("team", "a"): 0, ("team", "b"): 1}), ManualClock())
        evil = Signals(prometheus=PrometheusRef(name="bad"), queries=[Query(signal="demand", query="sum(x)")])
        fleet = a_fleet([a_service("good"), a_service("evil", evil)])
        for body in bodies:
            bad.answers = lambda _form, body=body: body  # type: ignore[misc]
            readings = await read(source, fleet, "queue", "demand", "ttft_s")
            assert value(readings, "queue", 0)[1] == "KNOWN"
            assert value(readings, "queue", 1)[1] == "UNKNOWN"
            assert value(readings, "demand", 1)[1] == "UNKNOWN"
            assert readings.why("demand", 1)
        await source.close()
    assert caplog.text == "", "no fault of ours among them"


async def test_fleets_change_between_ticks() -> None:
    async with FakePrometheus() as fake:
        await fake.write([*vllm("a", queue=1), *vllm("b", queue=2)])
        pods = PodsInMemory({("team", "a"): 0})
        source = a_source(fake.url, pods)
        one = a_fleet([a_service("x")])
        assert value(await read(source, one, "queue"), "queue")[0] == 1.0
        two = a_fleet([a_service("y"), a_service("x")], revision=2)
        pods.set({("team", "a"): 1, ("team", "b"): 0})
        readings = await read(source, two, "queue")
        assert [value(readings, "queue", row)[0] for row in (0, 1)] == [2.0, 1.0]
        nobody = a_fleet([], revision=3)
        pods.set({})
        assert len((await source.read(nobody, {}, NOW_S, 1.0)).signals) == 0
        await source.close()


async def test_a_cancelled_read_leaves_nothing_behind() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a"))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        fake.faults = [Fault("hang")]
        reading = asyncio.ensure_future(read(source, fleet, "queue", deadline_s=60.0))
        await fake.arrived.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        fake.faults = []
        assert value(await read(source, fleet, "queue"), "queue")[1] == "KNOWN"
        await source.close()


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://x", "http://", "http://me:s3cr3t@x", "http://x?token=s3cr3t"])
def test_a_url_with_credentials_in_it_is_refused_without_showing_them(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        ServerSettings(url=url)
    assert "s3cr3t" not in str(caught.value)


async def test_a_url_that_a_tenant_names_never_sees_our_credentials() -> None:
    async with FakePrometheus() as ours, FakePrometheus() as theirs:
        admin = CredentialPlaces(bearer_token=Plain("admin-token"), headers={"X-Scope-OrgID": Plain("all")})
        settings = PrometheusSettings(default=ServerSettings(url=ours.url, credentials=admin), own_urls=True)
        source = PrometheusSource(settings, PodsInMemory(), ManualClock(), SecretsInMemory())
        plain = Signals(prometheus=PrometheusRef(url=theirs.url))
        with_header = Signals(prometheus=PrometheusRef(url=theirs.url, headers=[Header(name="X-Mine", value="1")]))
        fleet = a_fleet([a_service("plain", plain), a_service("header", with_header)])
        await read(source, fleet, "queue")
        assert ours.asked == []
        assert len(theirs.asked) == 4
        for asked in theirs.asked:
            assert "Authorization" not in asked.headers
            assert "X-Scope-OrgID" not in asked.headers
        await source.close()
