"""What stands before a service tells of its requests while nothing of it is ready, and never of another namespace's."""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
import promql_parser as parser
import pytest
from msgspec.structs import replace

from autoscaler.adapters.prometheus import PrometheusSource, SeriesLabels, ServerSettings
from autoscaler.adapters.prometheus.gateways import GATEWAYS
from autoscaler.adapters.prometheus.promql import selectors_of
from autoscaler.adapters.prometheus.promql_text import own_matchers
from autoscaler.core.model import Fleet, Readings, ScalingSpec
from autoscaler.core.signals import SIGNALS
from autoscaler.spec import Gateway, GatewayPreset, Query, Signals
from tests.adapters.prometheus.gateway_series import (
    GATEWAY_SERIES,
    PROXY,
    endpoint_picker,
    envoy,
    istio,
    nginx,
)
from tests.adapters.prometheus.worlds import (
    NOW_S,
    PodsInMemory,
    a_fleet,
    a_service,
    a_source,
    counter,
    gauge,
    value,
    vllm,
    wanted,
)
from tests.fakes.prometheus import FakePrometheus, Fault

WORK = ("demand", "queue", "running", "concurrency")


def behind(preset: str, name: str | None = None, **changes: Any) -> Signals:
    """A vLLM service behind a gateway."""
    return Signals(gateway=Gateway(preset=cast(GatewayPreset, preset), name=name), **changes)


def at_zero(*specs: ScalingSpec, ready: int = 0, **changes: Any) -> Fleet:
    return a_fleet(list(specs), ready=[ready] * len(specs), **changes)


async def read(source: PrometheusSource, fleet: Fleet, *signals: str, at_s: float = NOW_S) -> Readings:
    return await source.read(fleet, wanted(fleet, *(signals or WORK)), at_s, 10.0)


def test_there_is_one_for_each_name_that_manifests_may_use() -> None:
    assert set(GATEWAYS) == set(GatewayPreset.__args__) == set(GATEWAY_SERIES)  # type: ignore[attr-defined]
    assert {signal for preset in GATEWAYS.values() for signal in preset.signals} <= set(SIGNALS)
    for preset in GATEWAYS.values():
        for term in (preset.alive, *(recipe.term for recipe in preset.signals.values())):
            assert all(re.fullmatch(r"[a-z_:]+", metric) for metric in term.metrics())


@pytest.mark.parametrize("name", GATEWAYS)
def test_every_selector_stays_in_its_scope(name: str) -> None:
    preset = GATEWAYS[name]
    scope = ServerSettings(url="http://x").scope(name, ("team-a", "team-b"), preset.labels)
    for term in (preset.alive, *(recipe.term for recipe in preset.signals.values())):
        found = list(selectors_of(parser.parse(term.promql(scope))))
        assert found
        for selector in found:
            matchers = own_matchers(selector)
            confined = [text for _, operator, text in matchers if operator == "=~" and "team\\-a|team\\-b" in text]
            assert len(confined) == 1, matchers
            assert any(operator == "!=" and text == "" for _, operator, text in matchers) or "envoy" in name


@pytest.mark.parametrize("preset", GATEWAYS)
async def test_each_is_read_in_our_units(preset: str) -> None:
    series, expected = GATEWAY_SERIES[preset]
    async with FakePrometheus() as fake:
        await fake.write([*series("team", "llama"), *series("team", "other"), *series("others", "llama")])
        source = a_source(fake.url, PodsInMemory())
        readings = await read(source, at_zero(a_service("llama", behind(preset))))
        await source.close()
    for signal, number in expected.items():
        assert value(readings, signal) == (pytest.approx(number), "KNOWN")
    # What the gateway doesn't tell of is nothing where there are no pods.
    assert value(readings, "running") == (0.0, "IDLE")
    assert value(readings, "concurrency")[0] == pytest.approx(expected.get("queue", 0.0))


@pytest.mark.parametrize("preset", GATEWAYS)
async def test_no_name_reads_another_namespace_s_series(preset: str) -> None:
    series, expected = GATEWAY_SERIES[preset]
    async with FakePrometheus() as fake:
        await fake.write(series("rich", "llama"))
        source = a_source(fake.url, PodsInMemory())
        names = ("llama", "rich.llama", "llama.rich", ".*")
        fleet = at_zero(*(a_service(f"thief-{number}", behind(preset, name), "poor") for number, name in enumerate(names)))
        readings = await read(source, fleet)
        await source.close()
    for signal in expected:
        assert {value(readings, signal, row)[1] for row in range(len(names))} == {"UNKNOWN"}
    assert "for 'llama' in namespace 'poor'" in readings.why(next(iter(expected)), 0)


async def test_while_something_is_ready_its_pods_speak() -> None:
    async with FakePrometheus() as fake:
        await fake.write([*envoy("team", "llama"), *vllm("a", queue=7, running=5, per_s=2)])
        pods = PodsInMemory({("team", "a"): 0})
        source = a_source(fake.url, pods)
        specs = [a_service("llama", behind("envoy"))]
        readings = await read(source, a_fleet(specs))
        assert [value(readings, signal)[0] for signal in WORK] == [pytest.approx(2.0), 7.0, 5.0, 12.0]
        pods.set({})
        starting = at_zero(*specs, current=np.array([2]), starting=np.array([2]))
        readings = await read(source, starting)
        assert [value(readings, signal)[0] for signal in ("demand", "queue")] == [pytest.approx(3.0), 4.0]
        assert value(readings, "running")[1] == value(readings, "concurrency")[1] == "UNKNOWN", "nobody can be asked"
        # Its pods can't be read: the gateway does not stand in for what is ready, it may see a part of the requests only.
        fake.faults = [Fault("status", where="vllm:")]
        pods.set({("team", "b"): 0})
        readings = await read(source, a_fleet(specs, revision=2))
        assert {value(readings, signal)[1] for signal in WORK} == {"UNKNOWN"}
        await source.close()


async def test_of_what_no_preset_gives_the_gateway_always_tells() -> None:
    async with FakePrometheus() as fake:
        await fake.write([*envoy("team", "llama"), *counter("request_predict_seconds_sum", 6.0)])
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", behind("envoy", presets=["kserve"]))])
        await fake.write(counter("request_predict_seconds_count", 6.0))
        readings = await read(source, fleet)
        await source.close()
    assert [value(readings, signal) for signal in WORK] == [
        (pytest.approx(6.0), "KNOWN"),
        (4.0, "KNOWN"),
        (pytest.approx(6.0), "KNOWN"),
        (pytest.approx(10.0), "KNOWN"),
    ]


async def test_own_promql_wins() -> None:
    own = [Query(signal="demand", query="sum(arrivals)")]
    async with FakePrometheus() as fake:
        await fake.write([*istio("team", "llama"), *gauge("arrivals", 0.25)])
        source = a_source(fake.url, PodsInMemory())
        readings = await read(source, at_zero(a_service("llama", behind("istio", queries=own))))
        assert value(readings, "demand") == (0.25, "KNOWN")
        assert not [query for query in fake.queries() if "istio_requests_total" in query]
        await source.close()


async def test_a_service_that_does_a_part_of_the_work_is_told_of_that_part() -> None:
    """The versions of a service behind one gateway, and one that reads a ratio beside it."""
    queries = [Query(signal="demand", query="sum(arrivals)"), Query(signal="kv_cache_utilization", query="max(cache)")]
    canary = behind("envoy", "llama", presets=["dcgm"], share="10%")
    own = Signals(presets=[], queries=queries, share="0.25")
    async with FakePrometheus() as fake:
        await fake.write(
            [*envoy("team", "llama", at_s=NOW_S), *gauge("arrivals", 8.0, at_s=NOW_S), *gauge("cache", 0.5, at_s=NOW_S)]
        )
        source = a_source(fake.url, PodsInMemory())
        whole = replace(canary, share=None)
        fleet = a_fleet([a_service("canary", canary), a_service("stable", whole), a_service("own", own)])
        asked = ("demand", "queue", "kv_cache_utilization")
        past = await source.backfill(fleet, wanted(fleet, *asked), [NOW_S - 30, NOW_S - 15, NOW_S])
        for readings in (await read(source, fleet, *asked), past.readings[2]):
            for signal in ("demand", "queue"):
                part, all_of_it = (value(readings, signal, row)[0] for row in (0, 1))
                assert part == pytest.approx(0.1 * all_of_it)
                assert part > 0
            assert value(readings, "demand", 2) == (pytest.approx(2.0), "KNOWN")
            assert value(readings, "kv_cache_utilization", 2) == (pytest.approx(0.5), "KNOWN"), "a ratio has no parts"
        await source.close()


async def test_without_traffic_a_gateway_makes_idle_and_not_unknown() -> None:
    async with FakePrometheus() as fake:
        quiet: dict[str, Any] = {**PROXY, "exported_namespace": "team", "exported_service": "llama"}
        await fake.write(counter("nginx_ingress_controller_requests", 0.0, start=5, **quiet))
        await fake.write(gauge("llm_d_epp_flow_control_pool_saturation", 0.3, pod="picker", inference_pool="qwen"))
        source = a_source(fake.url, PodsInMemory())
        fleet = at_zero(a_service("llama", behind("nginx")), a_service("qwen", behind("endpoint-picker")))
        readings = await read(source, fleet)
        await source.close()
    assert [value(readings, "demand", row) for row in (0, 1)] == [(0.0, "IDLE")] * 2
    assert [value(readings, "queue", row) for row in (0, 1)] == [(0.0, "IDLE")] * 2


async def test_the_first_request_ever_is_seen() -> None:
    """A rate sees nothing of a series that begins with 1 and stays there."""
    where: dict[str, Any] = {**PROXY, "exported_namespace": "team", "exported_service": "llama"}
    labels = {"__name__": "nginx_ingress_controller_requests", **where, "status": "503", "instance": "proxy-1:10254"}
    async with FakePrometheus() as fake:
        source = a_source(fake.url, PodsInMemory())
        fleet = at_zero(a_service("llama", behind("nginx")))
        assert value(await read(source, fleet), "demand")[1] == "UNKNOWN", "no series: no request, or another name"
        seen = []
        for back in (0, -15, -30, -45, -60, -75):
            await fake.write([(labels, [(NOW_S - back - 2, 1.0)])])
            seen.append(value(await read(source, fleet, at_s=NOW_S - back), "demand"))
        # It is in the demand for a window, as if a rate had seen it, and then there is none.
        assert seen == [(pytest.approx(1 / 60), "KNOWN")] * 4 + [(0.0, "IDLE")] * 2
        await source.close()


async def test_a_gap_of_prometheus_makes_no_million_requests() -> None:
    where: dict[str, Any] = {**PROXY, "exported_namespace": "team", "exported_service": "llama"}
    async with FakePrometheus() as fake:
        series = counter("nginx_ingress_controller_requests", 2.0, start=5e6, **where)
        series[0][1][:] = series[0][1][-3:]  # 30 s of it, and nothing before
        await fake.write(series)
        source = a_source(fake.url, PodsInMemory())
        readings = await read(source, at_zero(a_service("llama", behind("nginx"))))
        await source.close()
    assert value(readings, "demand")[0] < 2.0 + 1 / 60


async def test_a_gateway_that_went_away_is_unknown() -> None:
    async with FakePrometheus() as fake:
        await fake.write(istio("team", "llama", at_s=NOW_S - 90))
        source = a_source(fake.url, PodsInMemory())
        fleet = at_zero(a_service("llama", behind("istio")))
        readings = await read(source, fleet)
        assert value(readings, "demand")[1] == "UNKNOWN"
        assert readings.why("demand", 0) == (
            "no fresh, possible value of istio_requests_total (Istio) for 'llama' in namespace 'team': it has seen no request for it "
            "yet, or calls it otherwise (signals.gateway.name)"
        )
        fake.faults = [Fault("status", where="istio")]
        assert fake.url in (await read(source, fleet)).why("demand", 0)
        await source.close()


async def test_names_are_the_manifest_s_and_several_may_share_one() -> None:
    async with FakePrometheus() as fake:
        await fake.write([*envoy("team", "route", route="grpcroute"), *envoy("team", "mine")])
        source = a_source(fake.url, PodsInMemory())
        fleet = at_zero(
            a_service("a", behind("envoy", "route")), a_service("b", behind("envoy", "route")), a_service("mine", behind("envoy"))
        )
        readings = await read(source, fleet)
        await source.close()
    assert [value(readings, "queue", row) for row in range(3)] == [(4.0, "KNOWN")] * 3


async def test_labels_may_be_called_otherwise() -> None:
    where: dict[str, Any] = {"namespace": "team", "service": "llama", "ingress": "all", "pod": "proxy-1"}
    honored = SeriesLabels(namespace="namespace", pod="service")
    async with FakePrometheus() as fake:
        await fake.write(counter("nginx_ingress_controller_requests", 3.0, **where))
        source = a_source(fake.url, PodsInMemory(), preset_labels={"nginx": honored})
        readings = await read(source, at_zero(a_service("llama", behind("nginx"))))
        await source.close()
        assert value(readings, "demand") == (pytest.approx(3.0), "KNOWN")
        # Clusters of another control plane than Envoy Gateway, with labels that relabeling made of their names.
        relabeled = {"route_ns": "team", "service": "llama", "envoy_cluster_name": "team_llama_80"}
        await fake.write([({**labels, **relabeled}, samples) for labels, samples in envoy("x", "y")[:5]])
        source = a_source(fake.url, PodsInMemory(), preset_labels={"envoy": SeriesLabels(namespace="route_ns", pod="service")})
        readings = await read(source, at_zero(a_service("llama", behind("envoy"))))
        await source.close()
        assert value(readings, "queue") == (4.0, "KNOWN")
        # An endpoint picker runs where its pool is: in whatever the server calls a namespace.
        picker = [({**labels, "ns": "team"}, samples) for labels, samples in endpoint_picker("elsewhere", "llama")]
        await fake.write(picker)
        source = a_source(fake.url, PodsInMemory(), labels=SeriesLabels(namespace="ns"))
        readings = await read(source, at_zero(a_service("llama", behind("endpoint-picker"))))
        await source.close()
        assert value(readings, "queue") == (4.0, "KNOWN")


async def test_older_names_of_knative_s_metrics_count_where_there_are_no_newer_ones() -> None:
    old: dict[str, Any] = {**PROXY, "namespace_name": "team", "configuration_name": "llama", "revision_name": "llama-00001"}
    new: dict[str, Any] = {**PROXY, "k8s_namespace_name": "team", "kn_configuration_name": "qwen"}
    async with FakePrometheus() as fake:
        await fake.write(gauge("activator_request_concurrency", 6.0, **old))
        await fake.write(gauge("activator_request_concurrency", 8.0, **{**old, "configuration_name": "qwen"}))
        await fake.write(gauge("kn_revision_request_concurrency", 9.0, **new))
        source = a_source(fake.url, PodsInMemory())
        fleet = at_zero(a_service("llama", behind("knative")), a_service("qwen", behind("knative")))
        readings = await read(source, fleet)
        await source.close()
    assert [value(readings, "queue", row) for row in (0, 1)] == [(6.0, "KNOWN"), (9.0, "KNOWN")]


async def test_queries_do_not_grow_with_services() -> None:
    counts = []
    for services in (5, 200):
        async with FakePrometheus() as fake:
            source = a_source(fake.url, PodsInMemory())
            names = list(GATEWAYS)
            specs = [a_service(f"s{n}", behind(names[n % len(names)]), f"team-{n % 7}") for n in range(services)]
            await read(source, at_zero(*specs))
            counts.append(source.queries_last_tick)
            assert len(set(fake.queries())) == len(fake.queries())
            await source.close()
    # vLLM's age and three signals; each gateway's age and its one or two.
    assert counts == [4 + 3 + 4 * 2] * 2


async def test_of_a_time_in_which_nothing_ran_the_gateway_knows_the_past() -> None:
    async with FakePrometheus() as fake:
        ran = vllm("llama-7d9f8b6c5-x2x4z", per_s=2, at_s=NOW_S)
        await fake.write([*nginx("team", "llama", at_s=NOW_S), *nginx("team", "llama", at_s=NOW_S - 600), *ran])
        source = a_source(fake.url, PodsInMemory())
        fleet = at_zero(a_service("llama", behind("nginx")), a_service("plain"))
        past = await source.backfill(fleet, wanted(fleet, "demand"), [NOW_S - 600, NOW_S - 300, NOW_S])
        assert not past.failed
        found = [value(one, "demand") for one in past.readings]
        assert found[0] == (pytest.approx(3.0), "KNOWN"), "the gateway's: there were no pods"
        assert found[2] == (pytest.approx(2.0), "KNOWN"), "the pods' own"
        assert value(past.readings[0], "demand", 1)[1] == "UNKNOWN"
        fake.faults = [Fault("status", where="nginx")]
        failed = await source.backfill(fleet, wanted(fleet, "demand"), [NOW_S - 600, NOW_S - 300, NOW_S])
        assert list(failed.failed) == [0]
        await source.close()
