"""The past after a cold start: by pods' names, in stretches, with gaps where something failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.prometheus import past as past_module
from autoscaler.adapters.prometheus.answers import Data, decode
from autoscaler.adapters.prometheus.past import MAX_POINTS, MAX_STRETCHES, SAMPLES_AT_ONCE, Past, read_past
from autoscaler.adapters.prometheus.pod_names import PodNames
from autoscaler.adapters.prometheus.preset_reader import PresetReader
from autoscaler.adapters.prometheus.presets import PRESETS
from autoscaler.adapters.prometheus.problems import HttpStatus, QueryFailed, QueryTimeout, Unreachable
from autoscaler.adapters.prometheus.settings import PrometheusSettings, ServerSettings
from autoscaler.adapters.prometheus.source import PrometheusSource
from autoscaler.adapters.prometheus.stretches import Stretch, each_stretch
from autoscaler.adapters.prometheus.terms import Scope, SeriesLabels
from autoscaler.clock import ManualClock
from autoscaler.core.model import Readings
from autoscaler.spec import PrometheusRef, Query, Signals
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
from tests.fakes.prometheus import FakePrometheus, Fault


@pytest.mark.parametrize(
    ("target", "pod", "ours"),
    [
        ("Deployment/llama", "llama-7d9f8b6c5-x2x4z", True),
        ("Deployment/llama", "llama-7b-7d9f8b6c5-x2x4z", False),
        ("Deployment/llama", "llama-0", False),
        ("Deployment/llama", "xllama-7d9f8b6c5-x2x4z", False),
        ("StatefulSet/llama", "llama-0", True),
        ("StatefulSet/llama", "llama-7d9f8b6c5-x2x4z", False),
        ("StatefulSet/llama", "llama-0-1", False),
        ("LeaderWorkerSet/llama", "llama-3", True),
        ("InferenceService/llama", "llama-predictor-00001-deployment-6f7c9-abcde", True),
    ],
)
def test_pods_that_are_gone_are_told_by_their_names(target: str, pod: str, ours: bool) -> None:
    fleet = a_fleet([a_service("x", target=target), a_service("y", target="Deployment/other")])
    there = {("team", "llama-predictor-00001-deployment-5d8b7-qwert"): 0} if target.startswith("Inference") else {}
    names = PodNames(fleet, there)
    assert names.row("team", pod) == (0 if ours else -1)
    assert names.row("elsewhere", pod) == -1


async def backfill(fake: FakePrometheus, signals: Signals, times_s: list[float], *names: str) -> list[Readings]:
    source = a_source(fake.url, PodsInMemory({("team", "a"): 0, ("team", "b"): 0}))
    fleet = a_fleet([a_service("llama", signals)], ready=[2])
    try:
        return list((await source.backfill(fleet, wanted(fleet, *names), times_s)).readings)
    finally:
        await source.close()


def steps(count: int) -> list[float]:
    return [NOW_S - 15.0 * back for back in range(count - 1, -1, -1)]


async def test_sums_means_and_quantiles_have_a_past() -> None:
    where: dict[str, Any] = {"model_name": "m"}
    async with FakePrometheus() as fake:
        for pod in ("a", "b"):
            await fake.write(vllm(pod, queue=2, per_s=3))
            await fake.write(gauge("vllm:kv_cache_usage_perc", 0.4, pod=pod, **where))
            await fake.write(histogram("vllm:time_to_first_token_seconds", {"1.0": 2.0, "2.0": 4.0, "+Inf": 4.0}, pod=pod))
        past = await backfill(
            fake, Signals(), steps(3), "queue", "running", "concurrency", "demand", "kv_cache_utilization", "ttft_s"
        )
    for one in past:
        assert value(one, "queue") == (4.0, "KNOWN")
        assert value(one, "concurrency") == (14.0, "KNOWN")
        assert value(one, "demand") == (pytest.approx(6.0), "KNOWN")
        assert value(one, "kv_cache_utilization") == (pytest.approx(0.4), "KNOWN")
        assert value(one, "ttft_s") == (pytest.approx(1.99), "KNOWN")


async def test_own_promql_has_a_past_where_it_gave_one_number() -> None:
    signals = Signals(
        presets=[], queries=[Query(signal="demand", query="sum(rate(hits[1m]))"), Query(signal="queue", query="hits")]
    )
    async with FakePrometheus() as fake:
        await fake.write([*counter("hits", 2.0, pod="x"), *counter("hits", 3.0, pod="y")])
        past = await backfill(fake, signals, steps(2), "demand", "queue")
    assert value(past[0], "demand") == (pytest.approx(5.0), "KNOWN")
    assert "queue" not in past[0].signals or value(past[0], "queue")[1] == "UNKNOWN"


async def test_a_stretch_that_fails_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_module, "MAX_POINTS", 2)
    async with FakePrometheus() as fake:
        for pod in ("a", "b"):
            await fake.write(vllm(pod, queue=2))
        assert [value(one, "queue")[1] for one in await backfill(fake, Signals(), steps(6), "queue")] == ["KNOWN"] * 6
        assert len(fake.asked) == 3
        fake.faults = [Fault("status")]
        assert all("queue" not in one.signals for one in await backfill(fake, Signals(), steps(6), "queue"))


async def test_a_stretch_that_is_too_much_for_the_server_is_halved() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("a", queue=2))
        fake.faults = [Fault("too-many", points=100)]
        past = await backfill(fake, Signals(), steps(250), "queue")
        assert len(fake.asked) == 3 + 4, "250 and twice 125 are refused"
        newest = [value(one, "queue")[1] for one in past[-3:]]
        assert newest == ["KNOWN"] * 3
        fake.asked.clear()
        fake.faults = [Fault("too-many", points=10)]
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        answer = await source.backfill(fleet, wanted(fleet, "queue"), steps(4000))
        await source.close()
    assert "too many samples" in answer.failed[0]
    assert len(fake.asked) < 15, "a server that can't answer is not asked for every piece"


async def test_only_what_may_come_in_shorter_stretches_is_halved() -> None:
    asked: list[Stretch] = []

    def failing(fault: QueryFailed, steps: int) -> Callable[[Stretch], Awaitable[None]]:
        asked.clear()

        async def read(stretch: Stretch) -> None:
            asked.append(stretch)
            if stretch[1] - stretch[0] + 1 > steps:
                raise fault

        return read

    whole = [(1000, 1999), (0, 999)]
    assert await each_stretch(whole, failing(QueryTimeout("too slow"), 500)) == ""
    assert asked == [(1000, 1999), (1500, 1999), (1000, 1499), (0, 999), (500, 999), (0, 499)]
    assert await each_stretch(whole, failing(Unreachable("no connection"), 500)) == "no connection"
    assert asked == whole
    assert await each_stretch(whole, failing(HttpStatus("forbidden", 403), 500)) == "forbidden"
    assert asked == whole
    assert await each_stretch(whole, failing(HttpStatus("gateway timeout", 504), 500)) == ""


async def test_others_get_their_turn_while_a_large_answer_is_taken_in() -> None:
    pods, times = 100, steps(500)
    series = [
        {"metric": {"namespace": "team", "pod": f"llama-{pod}"}, "values": [[at, "1.5"] for at in times]} for pod in range(pods)
    ]
    body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()

    class AtOnce:
        async def query_range(self, promql: str, start_s: float, end_s: float, step_s: float, deadline_s: float) -> Data:
            data = decode(body).data
            assert data is not None
            return data

    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    past = Past(a_fleet([a_service("llama", target="StatefulSet/llama")]), times, {})
    reader = PresetReader(PRESETS["vllm"], Scope(window_s=60.0, labels=SeriesLabels()))
    task = asyncio.create_task(other())
    await read_past(past, AtOnce(), reader, "queue", np.ones(1, dtype=np.bool_))
    task.cancel()
    assert turns >= pods * len(times) // SAMPLES_AT_ONCE - 1
    assert past.column("queue")[:, 0].tolist() == [1.5 * pods] * len(times)
    assert not past.failed


def test_stretches_are_as_long_as_answers_may_be_large_and_newest_first() -> None:
    def stretches(times: int, series: int) -> list[tuple[int, int]]:
        return Past(a_fleet([]), list(np.arange(float(times)) * 15.0), {}).stretches(series)

    assert stretches(4000, 10) == [(0, 3999)]
    assert stretches(25_000, 1) == [(25_000 - MAX_POINTS, 24_999), (5_000, 14_999), (0, 4_999)]
    assert stretches(250, 10_000) == [(150, 249), (50, 149), (0, 49)]
    assert len(stretches(4000, 4_000_000)) == MAX_STRETCHES


async def test_queries_do_not_grow_with_services() -> None:
    async with FakePrometheus() as fake:
        source = a_source(fake.url, PodsInMemory())
        for revision, services in enumerate((1, 50)):
            fake.asked.clear()
            fleet = a_fleet([a_service(f"s{row}") for row in range(services)], revision=revision)
            assert len((await source.backfill(fleet, wanted(fleet, "demand", "queue"), steps(100))).readings) == 100
            assert len(fake.asked) == 2
        assert (await source.backfill(fleet, wanted(fleet, "demand"), [])).readings == ()
        await source.close()


async def test_what_could_not_be_read_is_named_and_what_is_not_there_is_not() -> None:
    signals = Signals(presets=["vllm"], queries=[Query(signal="demand", query="sum(rate(hits[1m]))")])
    async with FakePrometheus() as fake:
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", signals), a_service("other"), a_service("none", Signals(presets=[]))])
        nothing = await source.backfill(fleet, wanted(fleet, "demand", "queue"), steps(3))
        assert not nothing.failed, "nobody has a past, and that is an answer"
        fake.faults = [Fault("status", where="hits")]
        assert list((await source.backfill(fleet, wanted(fleet, "demand", "queue"), steps(3))).failed) == [0]
        fake.faults = [Fault("status")]
        failed = (await source.backfill(fleet, wanted(fleet, "demand", "queue"), steps(3))).failed
        assert sorted(failed) == [0, 1]
        assert "503" in failed[1]
        await source.close()


async def test_what_hangs_has_failed_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Past, "deadline_s", 0.2)
    async with FakePrometheus() as fake:
        fake.faults = [Fault("hang")]
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama")])
        assert "0.2 s" in (await source.backfill(fleet, wanted(fleet, "demand"), steps(3))).failed[0]
        await source.close()


async def test_one_new_service_costs_no_more_in_a_large_fleet() -> None:
    async with FakePrometheus() as fake:
        for namespace in ("team", "others"):
            await fake.write(vllm("a", queue=2 if namespace == "team" else 7, namespace=namespace))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 1, ("others", "a"): 0}))
        fleet = a_fleet([a_service("big", namespace="others"), a_service("new", namespace="team")], ready=[1, 1])
        past = await source.backfill(fleet, {"queue": [1]}, steps(2))
        await source.close()
    assert [value(one, "queue", 1) for one in past.readings] == [(2.0, "KNOWN")] * 2
    assert [value(one, "queue", 0)[1] for one in past.readings] == ["UNKNOWN"] * 2
    assert all('namespace=~"team"' in asked for asked in fake.queries())


async def test_two_services_of_one_target_have_the_same_past() -> None:
    async with FakePrometheus() as fake:
        await fake.write(vllm("llama-7d9f8b6c5-x2x4z", queue=2))
        await fake.write(
            histogram("vllm:time_to_first_token_seconds", {"1.0": 2.0, "2.0": 4.0, "+Inf": 4.0}, pod="llama-7d9f8b6c5-x2x4z")
        )
        source = a_source(fake.url, PodsInMemory())
        both = [a_service(name, target="Deployment/llama") for name in ("llama", "llama-shadow")]
        fleet = a_fleet([both[0], a_service("other"), both[1]])
        past = await source.backfill(fleet, wanted(fleet, "queue", "ttft_s"), steps(2))
        shadow_only = await source.backfill(fleet, {"queue": [2]}, steps(2))
        await source.close()
    for one in past.readings:
        for signal in ("queue", "ttft_s"):
            assert value(one, signal, 0) == value(one, signal, 2)
            assert value(one, signal, 0)[1] == "KNOWN"
        assert value(one, "queue", 1)[1] == "UNKNOWN"
    assert value(shadow_only.readings[0], "queue", 2) == (2.0, "KNOWN")


async def test_a_past_that_is_under_way_is_not_touched_by_a_newer_fleet_with_another_server() -> None:
    """A tick that wires a fleet with one more service, and another server, must not close the client that the past is read by, nor say
    over how many seconds whose demand is a mean."""
    async with FakePrometheus() as old, FakePrometheus() as new:
        for fake in (old, new):
            await fake.write(vllm("a", per_s=2))
        settings = PrometheusSettings(default=ServerSettings(url=old.url), named={"new": ServerSettings(url=new.url)})
        pods = PodsInMemory({("team", "a"): 0})
        source = PrometheusSource(settings, pods, ManualClock())
        before = a_fleet([a_service("llama")])
        there = Signals(prometheus=PrometheusRef(name="new"))
        after = a_fleet([a_service("llama", there), a_service("more", there)], revision=2)
        old.faults = [Fault("slow", seconds=0.3)]
        reading = asyncio.ensure_future(source.backfill(before, wanted(before, "demand"), steps(3)))
        await old.arrived.wait()
        tick = await source.read(after, wanted(after, "demand"), NOW_S, 5.0)
        assert value(tick, "demand")[1] == "KNOWN"
        assert not reading.done()
        past = await reading
        assert not past.failed
        column = past.readings[-1].signals["demand"]
        assert column.values.tolist() == pytest.approx([2.0])
        assert column.span_s is not None
        assert column.span_s.shape == (1,)
        assert not source._unwired, "what nobody asks any more is closed"
        await source.close()
