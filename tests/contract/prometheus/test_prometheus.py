"""The same questions to the fake and to the real Prometheus: what the adapter makes of the answers must not differ."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest

from autoscaler.adapters.prometheus.answers import Matrix, Scalar, Vector, labels_of
from autoscaler.adapters.prometheus.client import PrometheusClient
from autoscaler.adapters.prometheus.credentials import CredentialPlaces, Credentials
from autoscaler.adapters.prometheus.gateways import GATEWAYS
from autoscaler.adapters.prometheus.presets import PRESETS
from autoscaler.adapters.prometheus.problems import PrometheusRefused
from autoscaler.adapters.prometheus.settings import ServerSettings
from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import PolicyRef, Readings
from autoscaler.plugins import load_policies
from autoscaler.spec import Gateway, GatewayPreset, Query, Signals
from tests.adapters.prometheus.gateway_series import GATEWAY_SERIES
from tests.adapters.prometheus.worlds import (
    PodsInMemory,
    a_fleet,
    a_service,
    a_source,
    counter,
    gauge,
    histogram,
    value,
    vllm,
    wanted,
)
from tests.contract.prometheus.conftest import Server
from tests.realparts.prometheus_server import PrometheusServer
from tests.realparts.remote_write import STALE_MARKER
from tests.ticks import MadeCluster


async def ask(server: Server, promql: str) -> Vector | Scalar | Matrix | object:
    client = PrometheusClient(server.url, Credentials(CredentialPlaces(), ManualClock()))
    try:
        return await client.query(promql, server.now_s, 10.0)
    finally:
        await client.close()


async def read(server: Server, signals: Signals, *names: str, pods: tuple[str, ...] = ("a",)) -> Readings:
    index = PodsInMemory({(server.namespace, pod): 0 for pod in pods})
    source = a_source(server.url, index, namespaces=(server.namespace,))
    fleet = a_fleet([a_service("llama", signals, server.namespace)], ready=[len(pods)])
    try:
        return await source.read(fleet, wanted(fleet, *names), server.now_s, 10.0)
    finally:
        await source.close()


async def test_a_scalar_is_decoded(server: Server) -> None:
    data = await ask(server, "time()")
    assert isinstance(data, Scalar)
    assert float(data.result[1]) == server.now_s


async def test_values_that_are_no_numbers_are_decoded(server: Server) -> None:
    for number, special in enumerate((math.nan, math.inf, -math.inf)):
        await server.write(gauge("special", special, **server.where(pod=str(number))))
    data = await ask(server, f'special{{namespace="{server.namespace}"}}')
    assert isinstance(data, Vector)
    found = {labels_of(bytes(s.metric))["pod"]: float(s.value[1]) for s in data.result if s.value}
    assert math.isnan(found["0"])
    assert found["1"] == math.inf
    assert found["2"] == -math.inf


async def test_a_range_is_decoded(server: Server) -> None:
    await server.write(gauge("level", 7.0, **server.where()))
    client = PrometheusClient(server.url, Credentials(CredentialPlaces(), ManualClock()))
    data = await client.query_range(f'level{{namespace="{server.namespace}"}}', server.now_s - 60, server.now_s, 15, 10.0)
    await client.close()
    assert isinstance(data, Matrix)
    assert [point[0] for point in data.result[0].values] == [server.now_s - back for back in (60, 45, 30, 15, 0)]
    assert {float(point[1]) for point in data.result[0].values} == {7.0}


async def test_a_query_that_does_not_parse_is_refused(server: Server) -> None:
    with pytest.raises(PrometheusRefused) as caught:
        await ask(server, "sum(")
    assert caught.value.error_type == "bad_data"
    assert caught.value.status == 400


async def test_a_query_with_equal_label_sets_is_refused(server: Server) -> None:
    await server.write(counter("old_total", 1.0, **server.where()), counter("new_total", 1.0, **server.where()))
    query = f'rate({{__name__=~"old_total|new_total",namespace="{server.namespace}"}}[1m])'
    with pytest.raises(PrometheusRefused) as caught:
        await ask(server, query)
    assert caught.value.error_type == "execution"


@pytest.mark.parametrize("preset", [*PRESETS, *GATEWAYS])
async def test_every_query_of_every_preset_is_taken(server: Server, preset: str) -> None:
    found = PRESETS.get(preset) or GATEWAYS[preset]
    scope = ServerSettings(url=server.url).scope(preset, (server.namespace, "other"), found.labels)
    for term in (found.alive, *(recipe.term for recipe in found.signals.values())):
        assert await ask(server, term.promql(scope)) == Vector([])


@pytest.mark.parametrize("preset", GATEWAYS)
async def test_a_gateway_is_read_while_nothing_runs(server: Server, preset: str) -> None:
    series, expected = GATEWAY_SERIES[preset]
    at_s = server.now_s - 2
    await server.write(series(server.namespace, "llama", at_s), series(server.namespace, "other", at_s))
    signals = Signals(gateway=Gateway(preset=cast(GatewayPreset, preset)))
    readings = await read(server, signals, *expected, "running", pods=())
    for signal, number in expected.items():
        assert value(readings, signal) == (pytest.approx(number, rel=1e-3), "KNOWN")
        assert readings.signals[signal].age_s[0] == pytest.approx(2.0)
    assert value(readings, "running") == (0.0, "IDLE")


async def test_the_first_request_ever_is_seen_at_a_gateway(server: Server) -> None:
    labels: dict[str, Any] = {
        "__name__": "nginx_ingress_controller_requests",
        "exported_namespace": server.namespace,
        "exported_service": "llama",
        "instance": "proxy-1:10254",
    }
    await server.write([(labels, [(server.now_s - 17, 1.0), (server.now_s - 2, 1.0)])])
    signals = Signals(gateway=Gateway(preset="nginx"))
    readings = await read(server, signals, "demand", pods=())
    assert value(readings, "demand") == (pytest.approx(1 / 60), "KNOWN")


async def test_vllm_is_read(server: Server) -> None:
    await server.write(
        vllm(**server.where("a"), queue=3, running=5, per_s=2), vllm(**server.where("b"), queue=4, running=6, per_s=1)
    )
    readings = await read(server, Signals(), "demand", "queue", "running", "concurrency", "utilization", pods=("a", "b"))
    assert value(readings, "queue") == (7.0, "KNOWN")
    assert value(readings, "running") == (11.0, "KNOWN")
    assert value(readings, "concurrency") == (18.0, "KNOWN")
    assert value(readings, "demand")[0] == pytest.approx(3.0)
    # 5.5 of 32 slots: 5.5 ÷ (1 + 5.5/64) ÷ 21.33.
    assert value(readings, "utilization")[0] == pytest.approx(0.2374, abs=1e-4)
    assert readings.signals["queue"].age_s[0] == pytest.approx(2.0)


async def test_arrivals_are_completions_and_what_piles_up(server: Server) -> None:
    where = server.where(model_name="m")
    await server.write(
        counter("vllm:num_requests_waiting", 0.5, start=0, **where),
        gauge("vllm:num_requests_running", 8, **where),
        counter("vllm:request_success_total", 2.0, finished_reason="stop", **where),
    )
    readings = await read(server, Signals(), "demand")
    assert value(readings, "demand")[0] == pytest.approx(2.5, rel=1e-3)


async def test_a_server_that_was_started_anew_counts_from_zero_and_that_is_no_demand(server: Server) -> None:
    """Its counter falls from 1,150 to 30 (what it did since) and rises on: neither less than nothing arrived, nor a thousand requests."""
    where = {"model_name": "m", "engine": "0", **server.where()}
    ((labels, _),) = counter("vllm:request_success_total", 2.0, finished_reason="stop", **where)
    counts = [1090.0, 1120.0, 1150.0, 30.0, 60.0, 90.0, 120.0]  # two a second, every 15 s
    samples = [(server.now_s - 2 - 15 * (len(counts) - 1 - number), count) for number, count in enumerate(counts)]
    await server.write([(labels, samples)])
    await server.write(gauge("vllm:num_requests_running", 5.0, **where), gauge("vllm:num_requests_waiting", 0.0, **where))
    own = Query(signal="demand", query="sum(rate(vllm:request_success_total[1m]))")
    for signals in (Signals(), Signals(presets=[], queries=[own])):
        arrived, state = value(await read(server, signals, "demand"), "demand")
        assert state == "KNOWN"
        assert arrived == pytest.approx(2.0, rel=0.02)


async def test_scraped_twice_is_not_twice_as_much_and_sub_labels_add_up(server: Server) -> None:
    await server.write(
        vllm(**server.where(engine="0", job="pod-monitor"), queue=3),
        vllm(**server.where(engine="0", job="service-monitor", service="llama", endpoint="http"), queue=3),
        vllm(**server.where(engine="1", job="pod-monitor"), queue=4),
    )
    assert value(await read(server, Signals(), "queue"), "queue") == (7.0, "KNOWN")


async def test_a_renamed_metric_counts_once_and_old_pods_beside_new_ones(server: Server) -> None:
    await server.write(
        vllm(**server.where("a")),
        gauge("vllm:kv_cache_usage_perc", 0.5, **server.where("a")),
        gauge("vllm:gpu_cache_usage_perc", 0.5, **server.where("a")),
        vllm(**server.where("b")),
        gauge("vllm:gpu_cache_usage_perc", 0.9, **server.where("b")),
    )
    readings = await read(server, Signals(), "kv_cache_utilization", pods=("a", "b"))
    assert value(readings, "kv_cache_utilization") == (pytest.approx(0.7), "KNOWN")


async def test_a_renamed_histogram_counts_once(server: Server) -> None:
    buckets = {"0.1": 1.0, "0.2": 2.0, "+Inf": 2.0}
    await server.write(
        vllm(**server.where()),
        histogram("vllm:inter_token_latency_seconds", buckets, **server.where()),
        histogram("vllm:time_per_output_token_seconds", {"0.5": 1.0, "+Inf": 1.0}, **server.where()),
    )
    readings = await read(server, Signals(), "itl_s")
    assert value(readings, "itl_s") == (pytest.approx(0.1 + 0.1 * 0.99, abs=2e-3), "KNOWN")


async def test_our_quantile_of_merged_buckets_is_prometheus_own(server: Server) -> None:
    metric = "vllm:time_to_first_token_seconds"
    await server.write(
        vllm(**server.where("a")),
        vllm(**server.where("b")),
        histogram(metric, {"0.1": 1.0, "0.5": 3.0, "2.5": 4.0, "+Inf": 4.0}, **server.where("a")),
        histogram(metric, {"0.1": 0.0, "0.5": 1.0, "2.5": 7.0, "+Inf": 7.1}, **server.where("b")),
    )
    readings = await read(server, Signals(), "ttft_s", pods=("a", "b"))
    if isinstance(server.prometheus.url, str) and hasattr(server.prometheus, "query"):
        selector = f'{{__name__="{metric}_bucket",namespace="{server.namespace}"}}'
        theirs = await server.prometheus.query(f"histogram_quantile(0.995, sum by (le) (rate({selector}[1m])))", server.now_s)
        assert value(readings, "ttft_s")[0] == pytest.approx(theirs[0][1], rel=1e-6)
    # 11.1/s in all, rank 11.0445 lies above 11.0 at the last finite bound.
    assert value(readings, "ttft_s")[0] == 2.5


async def test_a_service_sleeps_and_the_first_request_at_its_gateway_wakes_it(server: Server) -> None:
    """The whole way: its pod's own signals let it go to zero, nothing there is told by the gateway alone, a backlog there wakes it."""
    pool = {**server.where("picker"), "inference_pool": "llama"}
    saturation, queue = "llm_d_epp_flow_control_pool_saturation", "llm_d_epp_flow_control_queue_size"
    pods = PodsInMemory({(server.namespace, "a"): 0})
    source = a_source(server.url, pods, namespaces=(server.namespace,))
    signals = Signals(gateway=Gateway(preset="endpoint-picker"))
    sleeper = a_service(
        "llama", signals, server.namespace, policies=(PolicyRef(name="reactive"),), min_replicas=0, idle_after_s=60.0
    )
    clock, cluster = ManualClock(server.now_s), MadeCluster([sleeper], current=1)
    controller = Controller(clock=clock, metrics=source, cluster=cluster, policies=load_policies())
    counts: list[int] = []

    async def tick(after_s: float) -> str:
        clock.advance_to(server.now_s + after_s)
        decided = (await controller.tick()).decisions
        counts.append(int(cluster.current[0]))
        pods.set(pods.pods if counts[-1] else {})
        return decided.reason(0)

    for number in range(34):  # reactive holds its count for five minutes
        after_s = 15.0 * number
        at_s = server.now_s + after_s - 2
        await server.write(vllm("a", server.namespace, at_s=at_s, queue=0, running=0, per_s=0))
        await server.write(gauge(saturation, 0.0, **{**pool, "at_s": at_s}))
        await tick(after_s)
    assert counts[0] == 1
    assert counts[-3:] == [0, 0, 0]
    await server.write(gauge(saturation, 0.0, **{**pool, "at_s": server.now_s + 523}))
    await server.write(gauge(queue, 150.0, fairness_id="a", **{**pool, "at_s": server.now_s + 523}))
    assert "backlog 150 requests" in await tick(525.0)
    assert counts[-1] == 4, "150 waiting requests in 30 s, at 1.6/s a replica"
    await controller.past.close()
    await source.close()


async def test_a_series_that_ended_is_unknown_at_once_and_so_is_an_old_one(server: Server) -> None:
    ended = vllm(**server.where("a"))
    for _, samples in ended:
        samples.append((server.now_s - 1, STALE_MARKER))
    await server.write(ended, vllm(**{**server.where("b"), "at_s": server.now_s - 90}))
    for pod in ("a", "b"):
        readings = await read(server, Signals(), "queue", "demand", pods=(pod,))
        assert value(readings, "queue")[1] == "UNKNOWN"
        assert value(readings, "demand")[1] == "UNKNOWN"
        assert "vllm:num_requests_waiting" in readings.why("queue", 0) or "just started" in readings.why("queue", 0)


async def test_own_promql_is_read_with_its_age(server: Server) -> None:
    await server.write(
        counter("gateway_requests_total", 4.0, **server.where("gateway")),
        counter("gateway_requests_total", 400.0, **{**server.where("gateway"), "namespace": server.namespace + "-other"}),
    )
    signals = Signals(presets=[], queries=[Query(signal="demand", query="sum(rate(gateway_requests_total[1m]))")])
    readings = await read(server, signals, "demand", pods=())
    assert value(readings, "demand") == (pytest.approx(4.0), "KNOWN")
    assert readings.signals["demand"].age_s[0] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("sum(gone)", "no series"),
        ("sum(gone) or vector(0)", "default"),
        ("level", "2 series"),
        ("sum(level) * NaN", "nan"),
        ("sum(level) / 0", "inf"),
        ("-sum(level)", "-"),
        ("sum(old_level)", "old"),
    ],
)
async def test_own_promql_without_a_usable_value_is_unknown(server: Server, query: str, why: str) -> None:
    await server.write(
        gauge("level", 1.0, **server.where("a")),
        gauge("level", 2.0, **server.where("b")),
        gauge("old_level", 2.0, **{**server.where("b"), "at_s": server.now_s - 100}),
    )
    readings = await read(server, Signals(presets=[], queries=[Query(signal="queue", query=query)]), "queue")
    assert value(readings, "queue")[1] == "UNKNOWN"
    assert why in readings.why("queue", 0)


@pytest.mark.parametrize(
    ("query", "expected"), [("scalar(sum(level)) + 1", 4.0), ("5", 5.0), ("sum(level) * 2", 6.0), ("sum by (x) (level)", 3.0)]
)
async def test_own_promql_may_be_scalar_or_vector(server: Server, query: str, expected: float) -> None:
    await server.write(gauge("level", 1.0, **server.where("a")), gauge("level", 2.0, **server.where("b")))
    readings = await read(server, Signals(presets=[], queries=[Query(signal="queue", query=query)]), "queue")
    assert value(readings, "queue") == (expected, "KNOWN")


async def test_units_become_ours(server: Server) -> None:
    await server.write(
        gauge("DCGM_FI_DEV_GPU_UTIL", 80.0, **server.where(gpu="0")),
        gauge("DCGM_FI_DEV_GPU_UTIL", 40.0, **server.where(gpu="1")),
        gauge("DCGM_FI_DEV_FB_USED", 60.0, **server.where(gpu="0")),
        gauge("DCGM_FI_DEV_FB_FREE", 20.0, **server.where(gpu="0")),
    )
    readings = await read(server, Signals(presets=["dcgm"]), "gpu_utilization", "gpu_memory_utilization")
    assert value(readings, "gpu_utilization") == (pytest.approx(0.6), "KNOWN")
    assert value(readings, "gpu_memory_utilization") == (pytest.approx(0.75), "KNOWN")


async def test_the_past_is_learnt_again_also_of_pods_that_are_gone(server: Server) -> None:
    gone = "llama-7d9f8b6c5-x2x4z"
    await server.write(vllm(**{**server.where(gone), "at_s": server.now_s - 400}, queue=9), vllm(**server.where("a"), queue=3))
    source = a_source(server.url, PodsInMemory({(server.namespace, "a"): 0}), namespaces=(server.namespace,))
    fleet = a_fleet([a_service("llama", Signals(), server.namespace)])
    times_s = [server.now_s - back for back in (900, 450, 0)]
    past = (await source.backfill(fleet, wanted(fleet, "queue", "demand"), times_s)).readings
    await source.close()
    assert [value(one, "queue") for one in past][1:] == [(9.0, "KNOWN"), (3.0, "KNOWN")]
    assert value(past[0], "queue")[1] == "UNKNOWN"
    assert value(past[2], "demand")[0] == pytest.approx(2.0)


@pytest.mark.realparts
async def test_a_real_prometheus_that_freezes_stops_and_comes_back(real_server: Server, prometheus: PrometheusServer) -> None:
    """Blind in time, with the reason, and seeing again by itself."""
    await real_server.write(vllm(**real_server.where(), queue=3))
    source = a_source(real_server.url, PodsInMemory({(real_server.namespace, "a"): 0}), namespaces=(real_server.namespace,))
    fleet = a_fleet([a_service("llama", Signals(), real_server.namespace, stale_after_s=10.0)])

    async def queue_at(at_s: float) -> tuple[tuple[float, str], str]:
        readings = await source.read(fleet, wanted(fleet, "queue"), at_s, 0.5)
        return value(readings, "queue"), readings.why("queue", 0)

    assert await queue_at(real_server.now_s) == ((3.0, "KNOWN"), "")
    prometheus.freeze()
    try:
        found, why = await queue_at(real_server.now_s + 15)
        assert found[1] == "UNKNOWN"
        assert "no answer" in why
    finally:
        prometheus.thaw()
    await prometheus.stop()
    try:
        found, why = await queue_at(real_server.now_s + 30)
        assert found[1] == "UNKNOWN"
        assert "no connection" in why
    finally:
        await prometheus.start()
    await real_server.write(vllm(**{**real_server.where(), "at_s": real_server.now_s + 40}, queue=4))
    readings = await source.read(fleet, wanted(fleet, "queue"), real_server.now_s + 45, 10.0)
    assert value(readings, "queue") == (4.0, "KNOWN")
    await source.close()


@pytest.mark.realparts
async def test_the_past_is_learnt_when_prometheus_has_come_back_and_of_who_comes_later(
    real_server: Server, prometheus: PrometheusServer
) -> None:
    """The whole way, from a real Prometheus' blocks to what a policy knows."""
    server = real_server
    await server.write(vllm(**server.where("a"), queue=1, per_s=3), vllm(**server.where("b"), queue=1, per_s=5))
    pods = PodsInMemory({(server.namespace, "a"): 0})
    source = a_source(server.url, pods, namespaces=(server.namespace,))
    reactive = (PolicyRef(name="reactive"),)
    specs = [a_service(name, Signals(), server.namespace, policies=reactive) for name in ("llama", "qwen")]
    clock, cluster = ManualClock(server.now_s), MadeCluster(specs[:1], current=9)
    controller = Controller(clock=clock, metrics=source, cluster=cluster, policies=load_policies(), waits_for_past=True)

    def learnt() -> list[float]:
        found: list[float] = controller.engine.save()["policies"]["reactive"]["dispersion"]["pairs"]
        return found

    await prometheus.stop()
    try:
        tick = await controller.tick()
        assert "no connection" in tick.unlearnt[0]
        assert learnt() == [0.0]
    finally:
        await prometheus.start()
    clock.advance_to(server.now_s + 15.0)
    tick = await controller.tick()
    assert not tick.unlearnt
    assert tick.unrecorded
    assert learnt()[0] > 0
    assert "Settling" in [limit.name for limit in tick.decisions.limits(0)], "two minutes of five are too few to shrink by"

    cluster.specs, cluster.current, cluster.starting = tuple(specs), np.array([9, 9]), np.zeros(2, dtype=np.int64)
    cluster.revision += 1
    pods.set({(server.namespace, "a"): 0, (server.namespace, "b"): 1})
    clock.advance_to(server.now_s + 30.0)
    tick = await controller.tick()
    await source.close()
    assert not tick.unlearnt
    assert learnt()[1] > 0
