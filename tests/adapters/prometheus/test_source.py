"""What a tick makes of the series it sees: known, idle, unknown, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.prometheus import (
    PrometheusSource,
)
from autoscaler.core.model import Fleet, Readings
from autoscaler.spec import Query, Signals
from tests.adapters.prometheus.worlds import (
    NOW_S,
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
from tests.fakes.prometheus import FakePrometheus

WORK = ("demand", "queue", "running", "concurrency")


async def read(source: PrometheusSource, fleet: Fleet, *signals: str, at_s: float = NOW_S, deadline_s: float = 10.0) -> Readings:
    return await source.read(fleet, wanted(fleet, *signals), at_s, deadline_s)


async def test_only_ready_pods_count() -> None:
    async with FakePrometheus() as fake:
        for pod in ("a", "b", "gone"):
            await fake.write(vllm(pod, queue=5))
        pods = PodsInMemory({("team", "a"): 0, ("team", "b"): 0})
        source = a_source(fake.url, pods)
        fleet = a_fleet([a_service("llama")], ready=[2])
        assert value(await read(source, fleet, "queue"), "queue") == (10.0, "KNOWN")
        pods.set({("team", "b"): 0})
        assert value(await read(source, fleet, "queue"), "queue") == (5.0, "KNOWN")
        pods.set({("team", "b"): 0, ("team", "gone"): 0})
        assert value(await read(source, fleet, "queue"), "queue") == (10.0, "KNOWN")
        await source.close()


async def test_equal_pod_names_of_two_namespaces_are_two_pods() -> None:
    async with FakePrometheus() as fake:
        await fake.write([*vllm("a", "team", queue=1), *vllm("a", "other", queue=2)])
        source = a_source(fake.url, PodsInMemory({("team", "a"): 1, ("other", "a"): 0}))
        fleet = a_fleet([a_service("x", namespace="other"), a_service("y")])
        readings = await read(source, fleet, "queue")
        assert [value(readings, "queue", row)[0] for row in (0, 1)] == [2.0, 1.0]
        await source.close()


async def test_zero_idle_and_unknown_are_three_things() -> None:
    async with FakePrometheus() as fake:
        await fake.write([*vllm("busy", queue=0, running=3, per_s=1), *vllm("quiet", queue=0, running=0, per_s=0)])
        pods = PodsInMemory({("team", "busy"): 0, ("team", "quiet"): 1, ("team", "dark"): 2})
        source = a_source(fake.url, pods)
        specs = [a_service(name) for name in ("busy", "quiet", "dark", "none", "starting")]
        nobody = np.array([0, 0, 0, 0, 1])
        fleet = a_fleet(specs, ready=[1, 1, 1, 0, 0], starting=nobody, current=np.array([1, 1, 1, 0, 1]))
        readings = await read(source, fleet, *WORK, "ttft_s")
        assert [value(readings, "queue", row) for row in (0, 1)] == [(0.0, "KNOWN"), (0.0, "IDLE")]
        for signal in WORK:
            states = [value(readings, signal, row)[1] for row in range(5)]
            assert states == ["KNOWN", "IDLE", "UNKNOWN", "IDLE", "UNKNOWN"], signal
            assert math.isnan(value(readings, signal, 2)[0])
        assert "just started and were not scraped" in readings.why("queue", 2)
        assert "none of its 1 replicas is ready" in readings.why("concurrency", 4)
        assert readings.why("queue", 0) == ""
        await source.close()


async def test_a_latency_without_requests_is_idle_and_one_without_series_unknown() -> None:
    quiet = {"0.1": 0.0, "+Inf": 0.0}
    async with FakePrometheus() as fake:
        await fake.write([*vllm("a"), *histogram("vllm:time_to_first_token_seconds", quiet)])
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        readings = await read(source, fleet, "ttft_s", "latency_s")
        assert value(readings, "ttft_s") == (0.0, "IDLE")
        assert value(readings, "latency_s")[1] == "UNKNOWN"
        await source.close()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0])
async def test_impossible_values_are_unknown_at_once(bad: float) -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a"))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        assert value(await read(source, fleet, "queue"), "queue")[1] == "KNOWN"
        await fake.write(gauge("vllm:num_requests_waiting", bad, at_s=NOW_S + 13, model_name="m", engine="0"))
        await fake.write(vllm("a", at_s=NOW_S + 13, running=5, queue=bad))
        readings = await read(source, fleet, "queue", "running", at_s=NOW_S + 15)
        assert value(readings, "queue")[1] == "UNKNOWN"
        assert "vllm:num_requests_waiting" in readings.why("queue", 0)
        assert value(readings, "running") == (5.0, "KNOWN")
        await source.close()


async def test_an_overshooting_derived_demand_is_zero_not_impossible() -> None:
    async with FakePrometheus() as fake:
        where: dict[str, Any] = {"model_name": "m"}
        await fake.write(counter("vllm:num_requests_waiting", -0.5, start=100.0, **where))
        await fake.write(gauge("vllm:num_requests_running", 0.0, **where))
        await fake.write(counter("vllm:request_success_total", 0.1, **where))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        assert value(await read(source, fleet, "demand", "queue"), "demand") == (0.0, "KNOWN")
        await source.close()


async def test_a_failed_scrape_is_bridged_until_the_sample_is_stale() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a", queue=4))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", stale_after_s=60.0)])
        assert value(await read(source, fleet, "queue"), "queue") == (4.0, "KNOWN")
        fake.forget(pod="a")
        readings = await read(source, fleet, "queue", at_s=NOW_S + 30)
        assert value(readings, "queue") == (4.0, "KNOWN")
        assert readings.signals["queue"].age_s[0] == pytest.approx(32.0)
        assert value(await read(source, fleet, "queue", at_s=NOW_S + 60), "queue")[1] == "UNKNOWN"
        await fake.write(vllm("a", queue=6, at_s=NOW_S + 70))
        assert value(await read(source, fleet, "queue", at_s=NOW_S + 75), "queue") == (6.0, "KNOWN")
        await source.close()


async def test_a_metric_that_was_renamed_goes_unknown_and_the_others_stay() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a", queue=4))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", stale_after_s=30.0)])
        await read(source, fleet, *WORK)
        fake.forget(__name__="vllm:num_requests_waiting")
        await fake.write(vllm("a", queue=4, at_s=NOW_S + 58))
        fake.forget(__name__="vllm:num_requests_waiting")
        readings = await read(source, fleet, *WORK, at_s=NOW_S + 60)
        assert {signal: value(readings, signal)[1] for signal in WORK} == {
            "demand": "UNKNOWN",  # a part of it is missing, and a missing part is not zero
            "queue": "UNKNOWN",
            "running": "KNOWN",
            "concurrency": "UNKNOWN",
        }
        assert readings.why("concurrency", 0).startswith("queue: no fresh")
        await source.close()


async def test_old_samples_that_prometheus_still_gives_are_unknown() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a", at_s=NOW_S - 100))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama"), a_service("patient", stale_after_s=200.0)])
        assert value(await read(source, fleet, "queue"), "queue")[1] == "UNKNOWN"
        source_2 = a_source(fake.url, PodsInMemory({("team", "a"): 1}))
        readings = await read(source_2, fleet, "queue")
        assert value(readings, "queue", 1)[1] == "KNOWN"
        assert readings.signals["queue"].age_s[1] == pytest.approx(100.0)
        await source.close()
        await source_2.close()


async def test_lost_pods_never_look_like_lost_demand() -> None:
    async with FakePrometheus() as fake:
        pods = {("team", f"p{number}"): 0 for number in range(20)}
        for _, pod in pods:
            await fake.write(vllm(pod, queue=10))
        source = a_source(fake.url, PodsInMemory(pods))
        fleet = a_fleet([a_service("llama", stale_after_s=60.0)], ready=[20])
        assert value(await read(source, fleet, "queue"), "queue") == (200.0, "KNOWN")
        later_s = NOW_S + 100
        for number in range(20):
            fake.forget(pod=f"p{number}")
        for number in range(18):
            await fake.write(vllm(f"p{number}", queue=10, at_s=later_s - 2))
        assert value(await read(source, fleet, "queue", at_s=later_s), "queue") == (pytest.approx(200.0), "KNOWN")
        fake.forget(pod="p0")
        readings = await read(source, fleet, "queue", at_s=later_s + 100)
        assert value(readings, "queue")[1] == "UNKNOWN"
        await source.close()


async def test_pods_that_just_started_do_not_blind_a_service_unless_they_are_most_of_it() -> None:
    async with FakePrometheus() as fake:
        for pod in ("a", "b", "c"):
            await fake.write(vllm(pod, queue=10))
        pods = PodsInMemory({("team", pod): 0 for pod in ("a", "b", "c")})
        source = a_source(fake.url, pods)
        fleet = a_fleet([a_service("llama")], ready=[3])
        await read(source, fleet, "queue")
        pods.set({**pods.pods, ("team", "new-1"): 0, ("team", "new-2"): 0})
        assert value(await read(source, fleet, "queue"), "queue") == (30.0, "KNOWN")
        pods.set({**pods.pods, ("team", "new-3"): 0, ("team", "new-4"): 0})
        readings = await read(source, fleet, "queue")
        assert value(readings, "queue")[1] == "UNKNOWN"
        assert readings.why("queue", 0) == (
            "only 3 of 7 ready pods have a fresh, possible value of vllm:num_requests_waiting; 4 just started"
        )
        await source.close()


async def test_a_server_that_answers_twice_with_one_label_set_is_not_added_up() -> None:
    body = (
        b'{"status":"success","data":{"resultType":"vector","result":['
        b'{"metric":{"namespace":"team","pod":"a"},"value":[1,"%s"]},{"metric":{"namespace":"team","pod":"a"},"value":[1,"%s"]}]}}'
    )
    async with FakePrometheus() as fake:
        at = str(NOW_S - 1).encode()
        fake.answers = lambda form: body % ((at, at) if "timestamp" in form["query"] else (b"3", b"3"))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        assert value(await read(source, fleet, "queue"), "queue") == (3.0, "KNOWN")
        await source.close()


async def test_a_service_is_not_idle_while_one_of_its_work_signals_is_unknown() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a", queue=math.nan, running=0, per_s=0))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        readings = await read(source, fleet, "running", "queue")
        assert value(readings, "queue")[1] == "UNKNOWN"
        assert value(readings, "running") == (0.0, "KNOWN")
        assert value(await read(source, fleet, "running"), "running") == (0.0, "IDLE"), "nothing else was asked for"
        await source.close()


async def test_a_signal_that_nothing_offers_keeps_nobody_from_being_idle() -> None:
    async with FakePrometheus() as fake:
        for name in ("count", "sum"):
            await fake.write(counter(f"request_predict_seconds_{name}", 0.0))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", Signals(presets=["kserve"]))])
        readings = await read(source, fleet, "demand", "running", "queue")
        assert value(readings, "demand") == (0.0, "IDLE")
        assert value(readings, "queue")[1] == "UNKNOWN"
        assert readings.why("queue", 0).startswith("nothing gives this signal")
        await source.close()


async def test_services_that_share_a_target_share_its_pods() -> None:
    async with FakePrometheus() as fake:
        for pod, queue in (("a", 2), ("b", 3), ("x", 9)):
            await fake.write(vllm(pod, queue=queue))
            await fake.write(histogram("vllm:time_to_first_token_seconds", {"1.0": 2.0, "2.0": 4.0, "+Inf": 4.0}, pod=pod))
        pods = PodsInMemory({("team", "a"): 2, ("team", "b"): 2, ("team", "x"): 1}, sharing={2: [0, 3]})
        source = a_source(fake.url, pods)
        fleet = a_fleet(
            [a_service("shadow"), a_service("other"), a_service("active"), a_service("strict", stale_after_s=1.0)], [2, 1, 2, 2]
        )
        readings = await source.read(fleet, wanted(fleet, "queue", "ttft_s"), NOW_S, 5.0)
        await source.close()
    assert [value(readings, "queue", row) for row in (0, 1, 2)] == [(5.0, "KNOWN"), (9.0, "KNOWN"), (5.0, "KNOWN")]
    assert value(readings, "ttft_s", 0) == value(readings, "ttft_s", 2) == (pytest.approx(1.99), "KNOWN")
    assert value(readings, "queue", 3)[1] == "UNKNOWN", "each by its own rules"


async def test_rates_tell_over_how_long_they_are_means() -> None:
    own = Signals(presets=["vllm"], queries=[Query(signal="demand", query="sum(rate(hits[2m]))")])
    gauge_of = Signals(presets=[], queries=[Query(signal="demand", query="sum(per_second)")])
    async with FakePrometheus() as fake:
        source = a_source(fake.url, PodsInMemory())
        fleet = a_fleet([a_service("preset"), a_service("own", own), a_service("gauge", gauge_of)])
        readings = await read(source, fleet, "demand", "queue")
        again = await read(source, fleet, "demand", at_s=NOW_S + 15)
        past = await source.backfill(fleet, wanted(fleet, "demand"), [NOW_S - 30, NOW_S - 15])
        await source.close()
    span_s = readings.signals["demand"].span_s
    np.testing.assert_array_equal(span_s, [60.0, 120.0, np.nan])
    assert again.signals["demand"].span_s is span_s, "the same array while nothing changes"
    assert readings.signals["queue"].span_s is None
    assert all(one.signals["demand"].span_s is span_s for one in past.readings if "demand" in one.signals)
