"""Each preset's queries: the right metrics, our units, one scope, a number of them that does not grow."""

from __future__ import annotations

import re
from typing import Any

import promql_parser as parser
import pytest

from autoscaler.adapters.prometheus.presets import PRESETS
from autoscaler.adapters.prometheus.promql import selectors_of
from autoscaler.adapters.prometheus.promql_text import own_matchers
from autoscaler.adapters.prometheus.settings import ServerSettings
from autoscaler.adapters.prometheus.terms import Scope, SeriesLabels
from autoscaler.core.signals import SIGNALS
from autoscaler.spec import Preset, Signals
from tests.adapters.prometheus.worlds import (
    NOW_S,
    PodsInMemory,
    Written,
    a_fleet,
    a_service,
    a_source,
    counter,
    gauge,
    histogram,
    value,
    wanted,
)
from tests.fakes.prometheus import FakePrometheus

SCOPE = Scope(window_s=60.0, labels=SeriesLabels(), namespaces=("team-a", "team-b"))


def test_there_is_one_for_each_name_that_manifests_may_use() -> None:
    assert set(PRESETS) == set(Preset.__args__)  # type: ignore[attr-defined]
    assert {signal for preset in PRESETS.values() for signal in preset.signals} <= set(SIGNALS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_selector_stays_in_its_scope(name: str) -> None:
    preset = PRESETS[name]
    for term in (preset.alive, *(recipe.term for recipe in preset.signals.values())):
        found = list(selectors_of(parser.parse(term.promql(SCOPE))))
        assert found
        for selector in found:
            matchers = own_matchers(selector)
            assert ("namespace", "=~", "team\\-a|team\\-b") in matchers
            assert ("pod", "!=", "") in matchers


@pytest.mark.parametrize("name", PRESETS)
def test_histograms_have_a_histogram_recipe_and_nothing_else_has(name: str) -> None:
    for signal, recipe in PRESETS[name].signals.items():
        assert recipe.buckets == any(metric.endswith("_bucket") for metric in recipe.term.metrics()), signal
        assert recipe.buckets or recipe.mean or SIGNALS[signal].merge != "histogram", signal


def test_the_window_covers_four_scrapes_and_a_minute() -> None:
    assert ServerSettings(url="http://x").scope("vllm", None).window == "60000ms"
    assert ServerSettings(url="http://x", scrape_interval_s=30).scope("vllm", None).window == "120000ms"
    assert ServerSettings(url="http://x", window_s=20).scope("vllm", None).window == "20000ms"


BUCKETS = {"100": 0.0, "1000": 10.0, "+Inf": 10.0}
SERVERS: list[tuple[str, Written, dict[str, float]]] = [
    (
        "sglang",
        [
            *gauge("sglang:num_queue_reqs", 4, model_name="m"),
            *gauge("sglang:num_queue_reqs", 4, model_name="m", priority="1"),
            *gauge("sglang:num_running_reqs", 6, model_name="m"),
            *gauge("sglang:token_usage", 0.4, model_name="m"),
            *counter("sglang:num_requests_total", 2.0, model_name="m"),
            *counter("sglang:generation_tokens_total", 300.0, model_name="m"),
            *histogram("sglang:queue_time_seconds", {"0.5": 10.0, "1.0": 10.0, "+Inf": 10.0}),
        ],
        {
            "queue": 4,
            "running": 6,
            "kv_cache_utilization": 0.4,
            "demand": 2,
            "throughput": 2,
            "output_tokens": 300,
            "queue_wait_s": 0.4975,
        },
    ),
    (
        "tgi",
        [
            *gauge("tgi_queue_size", 2),
            *gauge("tgi_batch_current_size", 7),
            *counter("tgi_request_count", 3.0),
            *counter("tgi_request_success", 2.5),
            *counter("tgi_request_generated_tokens_sum", 90.0),
            *histogram("tgi_request_duration", {"1.0": 0.0, "2.0": 5.0, "+Inf": 5.0}),
        ],
        {"queue": 2, "running": 7, "demand": 3, "throughput": 2.5, "output_tokens": 90, "latency_s": 1.995},
    ),
    (
        "triton",
        [
            *counter("nv_inference_request_success", 4.0, model="m", version="1"),
            *counter("nv_inference_request_failure", 1.0, model="m", version="1", reason="OTHER"),
            *gauge("nv_inference_pending_request_count", 2, model="m"),
            *counter("nv_inference_request_duration_us", 8e6, model="m"),
            *counter("nv_inference_queue_duration_us", 2e6, model="m"),
            *gauge("nv_gpu_utilization", 0.5, gpu_uuid="g0"),
            *gauge("nv_gpu_utilization", 0.7, gpu_uuid="g1"),
            *gauge("nv_gpu_memory_used_bytes", 30e9, gpu_uuid="g0"),
            *gauge("nv_gpu_memory_total_bytes", 40e9, gpu_uuid="g0"),
            *histogram("nv_inference_first_response_histogram_ms", BUCKETS),
        ],
        {
            "demand": 5,
            "throughput": 4,
            "queue": 2,
            "running": 6,
            "gpu_utilization": 0.6,
            "gpu_memory_utilization": 0.75,
            "latency_s": 2.0,
            "queue_wait_s": 0.5,
            "ttft_s": 0.9955,
        },
    ),
    (
        "torchserve",
        [
            *counter("ts_inference_requests_total", 5.0, model_name="m"),
            *counter("ts_inference_latency_microseconds", 10e6, model_name="m"),
            *counter("ts_queue_latency_microseconds", 4e6, model_name="m"),
            *gauge("GPUUtilization", 55.0, DeviceId="0"),
            *gauge("GPUMemoryUtilization", 80.0, DeviceId="0"),
        ],
        {
            "demand": 5,
            "queue": 4,
            "running": 6,
            "gpu_utilization": 0.55,
            "gpu_memory_utilization": 0.8,
            "latency_s": 2.0,
            "queue_wait_s": 0.8,
        },
    ),
    (
        "tfserving",
        [
            *counter(":tensorflow:serving:request_count", 6.0, model_name="m", status="OK"),
            *counter(":tensorflow:serving:request_latency_sum", 3e6, model_name="m"),
            *histogram(":tensorflow:serving:request_latency", {"100000": 0.0, "1000000": 6.0, "+Inf": 6.0}),
            *counter(":tensorflow:serving:batching_session:queuing_latency_sum", 1e6),
        ],
        {"demand": 6, "throughput": 6, "running": 3, "latency_s": 0.9955, "queue": 1},
    ),
    (
        "kserve",
        [
            *counter("request_predict_seconds_count", 6.0, model_name="m"),
            *counter("request_predict_seconds_sum", 3.0, model_name="m"),
            *histogram("request_predict_seconds", {"0.5": 0.0, "1.0": 6.0, "+Inf": 6.0}),
        ],
        {"demand": 6, "running": 3, "latency_s": 0.9975},
    ),
    ("dcgm", [*gauge("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0.3, gpu="0")], {"gpu_utilization": 0.3}),
]


@pytest.mark.parametrize(("preset", "written", "expected"), SERVERS, ids=[server[0] for server in SERVERS])
async def test_each_server_is_read_in_our_units(preset: str, written: Written, expected: dict[str, float]) -> None:
    async with FakePrometheus() as fake:
        await fake.write(written)
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}))
        fleet = a_fleet([a_service("llama", Signals(presets=[preset]))])  # type: ignore[list-item]
        readings = await source.read(fleet, wanted(fleet, *expected), NOW_S, 10.0)
        await source.close()
    found = {signal: value(readings, signal) for signal in expected}
    assert found == {signal: (pytest.approx(number, rel=1e-3), "KNOWN") for signal, number in expected.items()}


async def test_labels_may_be_called_otherwise_for_one_preset() -> None:
    exported = SeriesLabels(pod="exported_pod", namespace="exported_namespace")
    async with FakePrometheus() as fake:
        labels: dict[str, Any] = {"exported_pod": "a", "exported_namespace": "team"}
        await fake.write(gauge("DCGM_FI_DEV_GPU_UTIL", 50.0, pod="dcgm-x", namespace="gpu-operator", **labels))
        await fake.write(gauge("vllm:num_requests_running", 1.0))
        source = a_source(fake.url, PodsInMemory({("team", "a"): 0}), preset_labels={"dcgm": exported})
        fleet = a_fleet([a_service("llama", Signals(presets=["vllm", "dcgm"]))])
        readings = await source.read(fleet, wanted(fleet, "gpu_utilization", "running"), NOW_S, 10.0)
        await source.close()
    assert value(readings, "gpu_utilization") == (0.5, "KNOWN")
    assert value(readings, "running") == (1.0, "KNOWN")


def test_names_are_written_down_once() -> None:
    for preset in PRESETS.values():
        for recipe in preset.signals.values():
            for metric in recipe.term.metrics():
                assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", metric)
