"""What each inference server exports, in our signals and units. Facts and renames: the servers' own sources and documents, named below.

How *demand* (requests arriving per second) is derived, since most servers count requests when they finish:

- vLLM, SGLang, Triton: completions + the growth of the work inside (queue + running; Triton: queue alone). Exact but for requests that
  arrive and are given up within the window without being counted.
- TGI, TorchServe: counted on arrival.
- TF Serving, KServe: what was served. Under overload that is less than what arrives; it catches up as the backlog is worked off.

*throughput* is what was finished, where that is counted (TorchServe counts arrivals only).

*running* of servers that don't export it is Little's law: seconds of work finished per second = mean number in work. It lags by about
one request's duration.

A *mean* (``mean=True``) stands in for a latency quantile where a server has no histogram; it is lower than any quantile that is usually
promised, so a promise on it is weaker than it looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from autoscaler.adapters.prometheus.terms import (
    Buckets,
    Gauge,
    Growth,
    LastScrape,
    Rate,
    Scaled,
    SeriesLabels,
    Term,
    minus,
    plus,
    preferred,
    ratio,
)

US: Final = 1e-6
MS: Final = 1e-3
PERCENT: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a preset gives one signal.

    term: gives it for each pod in our unit; a Buckets (or several) where `buckets`, whose bounds times `bound_scale` are seconds.
    mean: a mean stands in for a quantile; NaN means that nothing finished in the window. signed: noise may bring it below zero, which
    then is zero (elsewhere a negative value is impossible, so unknown).
    """

    term: Term
    buckets: bool = False
    bound_scale: float = 1.0
    mean: bool = False
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One server's (or gateway's) signals. alive: metrics that it has from its start, by which it is known how old everything else is.
    labels: which labels say whose a series is, where those aren't the server's for pods (an empty one is)."""

    name: str
    title: str
    source: str
    alive: Term
    signals: Mapping[str, Recipe]
    labels: SeriesLabels | None = None


def _value(term: Term, *, signed: bool = False) -> Recipe:
    return Recipe(term=term, signed=signed)


def _seconds(*names: str, scale: float = 1.0) -> Recipe:
    """A histogram under its names, newest first."""
    each = tuple(Buckets(name) for name in names)
    return Recipe(term=each[0] if len(each) == 1 else preferred(*each), buckets=True, bound_scale=scale)


def _mean(total: Term, count: Term, scale: float) -> Recipe:
    return Recipe(term=Scaled(ratio(total, count), scale), mean=True)


_VLLM = Preset(
    name="vllm",
    title="vLLM",
    source="vllm/v1/metrics/loggers.py, docs/design/metrics.md",
    alive=LastScrape(("vllm:num_requests_running",)),
    signals={
        "demand": _value(
            plus(
                Rate("vllm:request_success_total"),
                Growth("vllm:num_requests_running"),
                Growth("vllm:num_requests_waiting"),
            ),
            signed=True,
        ),
        "throughput": _value(Rate("vllm:request_success_total")),
        "queue": _value(Gauge("vllm:num_requests_waiting")),
        "running": _value(Gauge("vllm:num_requests_running")),
        # A ratio despite its name; renamed in 0.9.
        "kv_cache_utilization": _value(
            preferred(Gauge("vllm:kv_cache_usage_perc", "avg"), Gauge("vllm:gpu_cache_usage_perc", "avg"))
        ),
        "ttft_s": _seconds("vllm:time_to_first_token_seconds"),
        # Per output event: under speculative decoding an event carries several tokens.
        "itl_s": _seconds("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
        "latency_s": _seconds("vllm:e2e_request_latency_seconds"),
        "queue_wait_s": _seconds("vllm:request_queue_time_seconds"),
        "prompt_tokens": _value(Rate("vllm:prompt_tokens_total")),
        "output_tokens": _value(Rate("vllm:generation_tokens_total")),
    },
)

# With priority scheduling the gauges have a series per priority beside the total: only the total.
_TOTAL = 'priority=""'

_SGLANG = Preset(
    name="sglang",
    title="SGLang",
    source="python/sglang/srt/observability/metrics_collector.py",
    alive=LastScrape(("sglang:num_running_reqs",)),
    signals={
        "demand": _value(
            plus(
                Rate("sglang:num_requests_total"),
                Growth("sglang:num_running_reqs", _TOTAL),
                Growth("sglang:num_queue_reqs", _TOTAL),
            ),
            signed=True,
        ),
        "throughput": _value(Rate("sglang:num_requests_total")),
        "queue": _value(Gauge("sglang:num_queue_reqs", where=_TOTAL)),
        "running": _value(Gauge("sglang:num_running_reqs", where=_TOTAL)),
        "kv_cache_utilization": _value(Gauge("sglang:token_usage", "max")),
        "ttft_s": _seconds("sglang:time_to_first_token_seconds"),
        "itl_s": _seconds("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
        "latency_s": _seconds("sglang:e2e_request_latency_seconds"),
        "queue_wait_s": _seconds("sglang:queue_time_seconds"),
        "prompt_tokens": _value(Rate("sglang:prompt_tokens_total")),
        "output_tokens": _value(Rate("sglang:generation_tokens_total")),
    },
)

_TGI = Preset(
    name="tgi",
    title="Text Generation Inference",
    source="docs/source/reference/metrics.md",
    alive=LastScrape(("tgi_queue_size", "tgi_request_count")),
    signals={
        "demand": _value(Rate("tgi_request_count")),
        "throughput": _value(Rate("tgi_request_success")),
        "queue": _value(Gauge("tgi_queue_size")),
        "running": _value(Gauge("tgi_batch_current_size")),
        # The histogram is of each request's mean, so its tail is shorter than that of single tokens.
        "itl_s": _seconds("tgi_request_mean_time_per_token_duration"),
        "latency_s": _seconds("tgi_request_duration"),
        "queue_wait_s": _seconds("tgi_request_queue_duration"),
        "prompt_tokens": _value(Rate("tgi_request_input_length_sum")),
        "output_tokens": _value(Rate("tgi_request_generated_tokens_sum")),
    },
)

_TRITON = Preset(
    name="triton",
    title="Triton Inference Server",
    source="server docs/user_guide/metrics.md, core src/metrics.cc; an ensemble counts beside the models it is made of",
    alive=LastScrape(("nv_inference_request_success",)),
    signals={
        "demand": _value(
            preferred(
                plus(
                    Rate("nv_inference_request_success"),
                    Rate("nv_inference_request_failure"),
                    Growth("nv_inference_pending_request_count"),
                ),
                Rate("nv_inference_request_success"),
            ),
            signed=True,
        ),
        "throughput": _value(Rate("nv_inference_request_success")),
        "queue": _value(
            preferred(
                Gauge("nv_trt_llm_request_metrics", where='request_type="waiting"'),
                Gauge("nv_inference_pending_request_count"),
            )
        ),
        "running": _value(
            preferred(
                Gauge("nv_trt_llm_request_metrics", where='request_type="scheduled"'),
                Scaled(minus(Rate("nv_inference_request_duration_us"), Rate("nv_inference_queue_duration_us")), US),
            ),
            signed=True,
        ),
        "kv_cache_utilization": _value(Gauge("nv_trt_llm_kv_cache_block_metrics", "avg", where='kv_cache_block_type="fraction"')),
        "gpu_utilization": _value(Gauge("nv_gpu_utilization", "avg")),
        "gpu_memory_utilization": _value(ratio(Gauge("nv_gpu_memory_used_bytes"), Gauge("nv_gpu_memory_total_bytes"))),
        # Opt-in in the server; in other modes than decoupled it is the whole response.
        "ttft_s": _seconds("nv_inference_first_response_histogram_ms", scale=MS),
        "latency_s": _mean(Rate("nv_inference_request_duration_us"), Rate("nv_inference_request_success"), US),
        "queue_wait_s": _mean(Rate("nv_inference_queue_duration_us"), Rate("nv_inference_request_success"), US),
    },
)

_TORCHSERVE = Preset(
    name="torchserve",
    title="TorchServe",
    source="ts/configs/metrics.yaml (metrics_mode must be prometheus); the latency counter includes the time in the queue",
    alive=LastScrape(("ts_inference_requests_total",)),
    signals={
        "demand": _value(Rate("ts_inference_requests_total")),
        "queue": _value(Scaled(Rate("ts_queue_latency_microseconds"), US)),
        "running": _value(
            Scaled(minus(Rate("ts_inference_latency_microseconds"), Rate("ts_queue_latency_microseconds")), US), signed=True
        ),
        "gpu_utilization": _value(Scaled(Gauge("GPUUtilization", "avg"), PERCENT)),
        "gpu_memory_utilization": _value(Scaled(Gauge("GPUMemoryUtilization", "avg"), PERCENT)),
        "latency_s": _mean(Rate("ts_inference_latency_microseconds"), Rate("ts_inference_requests_total"), US),
        "queue_wait_s": _mean(Rate("ts_queue_latency_microseconds"), Rate("ts_inference_requests_total"), US),
    },
)

_TFSERVING = Preset(
    name="tfserving",
    title="TensorFlow Serving",
    source="servables/tensorflow/util.cc, batching/batching_session.cc; the exporter writes every other sign as a colon",
    alive=LastScrape((":tensorflow:serving:request_count",)),
    signals={
        "demand": _value(Rate(":tensorflow:serving:request_count")),
        "throughput": _value(Rate(":tensorflow:serving:request_count")),
        "queue": _value(Scaled(Rate(":tensorflow:serving:batching_session:queuing_latency_sum"), US)),
        "running": _value(Scaled(Rate(":tensorflow:serving:request_latency_sum"), US)),
        "latency_s": _seconds(":tensorflow:serving:request_latency", scale=US),
        "queue_wait_s": _seconds(":tensorflow:serving:batching_session:queuing_latency", scale=US),
    },
)

_KSERVE = Preset(
    name="kserve",
    title="KServe's Python server",
    source="python/kserve/kserve/metrics.py",
    alive=LastScrape(("request_predict_seconds_count",)),
    signals={
        "demand": _value(Rate("request_predict_seconds_count")),
        "throughput": _value(Rate("request_predict_seconds_count")),
        "running": _value(Rate("request_predict_seconds_sum")),
        "latency_s": _seconds("request_predict_seconds"),
    },
)

_DCGM = Preset(
    name="dcgm",
    title="NVIDIA DCGM exporter",
    source="etc/default-counters.csv; GPU_UTIL is absent on MIG, where the profiling ratio stands in",
    alive=LastScrape(("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE")),
    signals={
        "gpu_utilization": _value(
            preferred(Scaled(Gauge("DCGM_FI_DEV_GPU_UTIL", "avg"), PERCENT), Gauge("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "avg"))
        ),
        "gpu_memory_utilization": _value(
            ratio(Gauge("DCGM_FI_DEV_FB_USED"), plus(Gauge("DCGM_FI_DEV_FB_USED"), Gauge("DCGM_FI_DEV_FB_FREE")))
        ),
    },
)

PRESETS: Final[Mapping[str, Preset]] = {
    preset.name: preset for preset in (_VLLM, _SGLANG, _TGI, _TRITON, _TORCHSERVE, _TFSERVING, _KSERVE, _DCGM)
}
"""Every preset by the name that manifests use."""
