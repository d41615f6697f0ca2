"""Where a service's signals come from: presets, gateways, own queries, and the Prometheus that is asked."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from autoscaler.spec.base import URL_PATTERN, Base, DnsName, Duration, Share, unique_by

SignalName = Literal[
    "demand",
    "throughput",
    "queue",
    "running",
    "concurrency",
    "utilization",
    "gpu_utilization",
    "gpu_memory_utilization",
    "kv_cache_utilization",
    "ttft_s",
    "itl_s",
    "latency_s",
    "queue_wait_s",
    "prompt_tokens",
    "output_tokens",
]
Preset = Literal["vllm", "sglang", "tgi", "triton", "torchserve", "tfserving", "kserve", "dcgm"]
GatewayPreset = Literal["envoy", "istio", "nginx", "endpoint-picker", "knative"]


class SecretKey(Base):
    """A key of a Secret in the object's own namespace."""

    name: Annotated[DnsName, Meta(description="Name of the Secret, in this object's namespace.")]
    key: Annotated[str, Meta(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253, description="Key within the Secret.")]


class BasicAuth(Base):
    """User name and password."""

    username: Annotated[str, Meta(min_length=1, max_length=253, description="User name.")]
    password: Annotated[SecretKey, Meta(description="The password.")]


class ClientTls(Base):
    """Certificates for the connection to Prometheus."""

    ca: Annotated[SecretKey | None, Meta(description="Certificate authority to trust instead of the system's.")] = None
    cert: Annotated[SecretKey | None, Meta(description="Client certificate (mutual TLS).")] = None
    key: Annotated[SecretKey | None, Meta(description="Private key of the client certificate.")] = None
    server_name: Annotated[
        Annotated[str, Meta(max_length=253)] | None, Meta(description="Name to expect in the server's certificate.")
    ] = None


class Header(Base):
    """An extra request header, such as a tenant id for Mimir or Thanos."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$", max_length=128, description="Header name, such as X-Scope-OrgID.")]
    value: Annotated[Annotated[str, Meta(max_length=1024)] | None, Meta(description="Plain value.")] = None
    value_from: Annotated[SecretKey | None, Meta(description="Value from a Secret, instead of a plain one.")] = None


class PrometheusRef(Base):
    """Which Prometheus this object's signals come from: one that the administrator named, or an own URL where the administrator allows it."""

    name: Annotated[DnsName | None, Meta(description="A server from the controller's configuration.")] = None
    url: Annotated[
        Annotated[str, Meta(pattern=URL_PATTERN, max_length=2048)] | None,
        Meta(description="Own URL, without query and credentials."),
    ] = None
    bearer_token: Annotated[SecretKey | None, Meta(description="Bearer token.")] = None
    basic_auth: Annotated[BasicAuth | None, Meta(description="Basic authentication.")] = None
    tls: Annotated[ClientTls | None, Meta(description="Certificates.")] = None
    headers: Annotated[
        list[Header], Meta(max_length=16, description="Extra headers, each name once.", extra_json_schema=unique_by("name"))
    ] = msgspec.field(default_factory=list)


class Query(Base):
    """Every selector in it is confined to the object's namespace."""

    signal: Annotated[SignalName, Meta(description="The signal that the query's value is taken as.")]
    query: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            description="PromQL that gives one number (a scalar or a single series), in the signal's unit.",
        ),
    ]


class Gateway(Base):
    """What sees this service's requests while nothing runs, so that the first one wakes it."""

    preset: Annotated[
        GatewayPreset,
        Meta(description="What stands before the service: the metric names and how they name a service follow from it."),
    ]
    name: Annotated[
        DnsName | None,
        Meta(
            description=(
                "What it calls the service, in this object's namespace: the Service (istio, nginx), HTTPRoute or GRPCRoute (envoy), "
                "InferencePool (endpoint-picker) or Knative configuration (knative); the target's name where left out."
            )
        ),
    ] = None


class Signals(Base):
    """Where the signals come from."""

    presets: Annotated[
        list[Preset],
        Meta(
            max_length=4,
            description="What serves the model and what watches the GPU: the metric names follow from it.",
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = msgspec.field(default_factory=lambda: ["vllm"])
    gateway: Annotated[
        Gateway | None,
        Meta(
            description=(
                "What tells of requests while nothing is ready, and always of what the presets don't give; every request must come through it."
            )
        ),
    ] = None
    queries: Annotated[
        list[Query],
        Meta(
            max_length=16,
            description="Own PromQL, one query a signal; wins over the presets.",
            extra_json_schema=unique_by("signal"),
        ),
    ] = msgspec.field(default_factory=list)
    share: Annotated[
        Share | None,
        Meta(
            description=(
                "Which part of the work that own PromQL and the gateway tell of comes here, where several objects serve it, such as a canary: 10%. "
                "What presets read is of the target's own pods, and taken whole."
            )
        ),
    ] = None
    prometheus: Annotated[PrometheusRef | None, Meta(description="Another Prometheus than the controller's default one.")] = None
    stale_after: Annotated[Duration, Meta(description="A sample older than this is unknown.")] = "60s"
