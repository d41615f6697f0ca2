"""The manifests: types of the two custom resources, the only source of CRD schema, defaults, validation and reference page.

Kubernetes' spelling (camelCase) outside, Python's inside. Durations are texts with a unit as Prometheus writes them (``90s``, ``5m``,
``1h30m``), shares are percentages (``99.5%``) or plain ratios as text, moments are RFC 3339;
fields that copy HPA v2 keep its names and whole seconds.
Constraints that one field can hold lie in its type; those between fields lie in ``autoscaler.manifest_rules`` (each with its CEL text).
"""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

GROUP: Final = "inference-autoscaler.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
SHARE_PATTERN: Final = r"^([0-9]{1,2}(\.[0-9]+)?%|100(\.0+)?%|0(\.[0-9]+)?|1(\.0+)?)$"
TARGET_PATTERN: Final = r"^(([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+|[0-9]+(\.[0-9]+)?%)$"
BESIDE_PATTERN: Final = r"^(([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+|[0-9]+(\.[0-9]+)?%?)$"
DNS_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
ROLE_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
RESOURCE_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
URL_PATTERN: Final = r"^https?://[^\s?#@]+$"
HTTPS_PATTERN: Final = r"^https://[^\s?#@]+$"
NAMESPACES_PATTERN: Final = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$"
CLOCK_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
MOMENT_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
Duration = Annotated[str, Meta(pattern=DURATION_PATTERN, max_length=32)]
Share = Annotated[str, Meta(pattern=SHARE_PATTERN, max_length=16)]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, max_length=40)]
DnsName = Annotated[str, Meta(pattern=DNS_PATTERN, max_length=253)]
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
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
ClockTime = Annotated[str, Meta(pattern=CLOCK_PATTERN)]


def _unique_by(key: str) -> dict[str, Any]:
    """A list whose items are told apart by `key`: the API server refuses two of the same and merges by it on server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class Base(Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Common settings of all manifest types: unknown fields are faults, defaults are left out when written."""


# ---------------------------------------------------------------- InferenceAutoscaler


class ScaleTargetRef(Base):
    """What is scaled: anything in the same namespace that has a scale subresource."""

    kind: Annotated[
        str, Meta(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63, description="Kind of the target, such as Deployment.")
    ]
    name: Annotated[DnsName, Meta(description="Name of the target, in this object's namespace.")]
    api_version: Annotated[
        str,
        Meta(
            pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9][a-z0-9]*$",
            max_length=317,
            description="API version of the target, such as apps/v1.",
        ),
    ] = "apps/v1"


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
        list[Header], Meta(max_length=16, description="Extra headers, each name once.", extra_json_schema=_unique_by("name"))
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
            extra_json_schema=_unique_by("signal"),
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


PromisedSignal = Literal[
    "queue_wait_s",
    "ttft_s",
    "itl_s",
    "latency_s",
    "utilization",
    "gpu_utilization",
    "gpu_memory_utilization",
    "kv_cache_utilization",
]
"""Of which something can be promised to requests."""


class Objective(Base):
    """The promise to keep: the share `promised` of all requests sees `signal` at or below `target`."""

    signal: Annotated[
        PromisedSignal,
        Meta(description="What is promised."),
    ] = "queue_wait_s"
    target: Annotated[
        str,
        Meta(
            pattern=TARGET_PATTERN,
            max_length=32,
            description="A duration for a wait or latency (5s), a percentage for a utilization (70%).",
        ),
    ] = "5s"
    promised: Annotated[Share, Meta(description="Share of the requests for which the target is kept.")] = "99.5%"


class FurtherObjective(Base):
    """What every replica keeps to beside the promise; the most demanding one counts."""

    signal: Annotated[
        Literal[PromisedSignal, "running"],
        Meta(description="What is kept; waits and latencies for the share of requests that is promised, the others on average."),
    ]
    target: Annotated[
        str,
        Meta(
            pattern=BESIDE_PATTERN,
            max_length=32,
            description="A duration for a wait or latency (50ms), a percentage for a utilization (70%), a number for running (24).",
        ),
    ]


class PolicyUse(Base):
    """A policy and its parameters (see `autoscaler policies`)."""

    name: Annotated[str, Meta(min_length=1, max_length=63, description="Name of an installed policy.")]
    params: Annotated[
        dict[str, Any],
        Meta(
            description="Parameters; the rest keep their defaults.",
            extra_json_schema={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = msgspec.field(default_factory=dict)


class CapacityBounds(Base):
    """What a learnt capacity never leaves."""

    min: Annotated[
        Annotated[float, Meta(gt=0, le=1e9)] | None,
        Meta(description="Requests a second. A quarter of requestsPerSecond where left out."),
    ] = None
    max: Annotated[
        Annotated[float, Meta(gt=0, le=1e9)] | None,
        Meta(description="Requests a second. Four times requestsPerSecond where left out."),
    ] = None


class Capacity(Base):
    """What one ready replica can do."""

    mode: Annotated[
        Literal["Given", "Learnt"],
        Meta(
            description=(
                "Given: requestsPerSecond counts as it is. Learnt: it is where learning begins, from throughput, queue and running requests."
            )
        ),
    ] = "Given"
    requests_per_second: Annotated[
        Annotated[float, Meta(gt=0, le=1e9)] | None,
        Meta(description="Requests a second that one replica finishes with a full batch. Unknown where left out."),
    ] = None
    bounds: Annotated[CapacityBounds | None, Meta(description="What a learnt value never leaves; only with mode Learnt.")] = None
    concurrency: Annotated[
        int, Meta(ge=1, le=100000, description="Requests that one replica serves at a time (its batch slots).")
    ] = 32
    slowdown_concurrency: Annotated[
        float,
        Meta(
            gt=0,
            le=1e9,
            description="Batch size at which a token takes twice as long as alone: time per token ∝ 1 + batch ÷ this.",
        ),
    ] = 64.0
    inter_token_latency: Annotated[
        Duration | None,
        Meta(description="Between two tokens in a full batch, for objectives on itl_s: a start value, until it is measured."),
    ] = None
    prefill: Annotated[
        Duration | None,
        Meta(
            description="To the first token in a full batch, without waiting, for objectives on ttft_s: a start value, likewise."
        ),
    ] = None


class LeadTime(Base):
    """How long a new replica takes to become ready: start values, used until it was measured."""

    replica: Annotated[
        Duration, Meta(description="From the patch to ready where a node is at hand: scheduling, image, model load.")
    ] = "120s"
    node: Annotated[Duration, Meta(description="What a new node adds to it.")] = "180s"
    measured: Annotated[bool, Meta(description="Use what was measured on this target once there are samples.")] = True


class ScalingPolicy(Base):
    """A rate limit, as HPA v2's HPAScalingPolicy."""

    type: Annotated[Literal["Pods", "Percent"], Meta(description="Whether value counts pods or percent.")]
    value: Annotated[int, Meta(ge=1, le=100000, description="The most that may change within the period.")]
    period_seconds: Annotated[int, Meta(ge=1, le=1800, description="The period.")]


class ScaleUp(Base):
    """HPA v2's rules for growing."""

    stabilization_window_seconds: Annotated[
        int, Meta(ge=0, le=3600, description="The lowest recommendation of this window counts.")
    ] = 0
    select_policy: Annotated[
        Literal["Max", "Min", "Disabled"], Meta(description="Which of the policies counts; Disabled: never grow.")
    ] = "Max"
    policies: Annotated[
        list[ScalingPolicy],
        Meta(max_length=16, description="Rate limits; an empty list sets none. HPA's defaults where left out."),
    ] = msgspec.field(
        default_factory=lambda: [
            ScalingPolicy(type="Pods", value=4, period_seconds=15),
            ScalingPolicy(type="Percent", value=100, period_seconds=15),
        ]
    )


class ScaleDown(Base):
    """HPA v2's rules for shrinking."""

    stabilization_window_seconds: Annotated[
        int, Meta(ge=0, le=3600, description="The highest recommendation of this window counts.")
    ] = 300
    select_policy: Annotated[
        Literal["Max", "Min", "Disabled"], Meta(description="Which of the policies counts; Disabled: never shrink.")
    ] = "Max"
    policies: Annotated[
        list[ScalingPolicy],
        Meta(max_length=16, description="Rate limits; an empty list sets none. HPA's default where left out."),
    ] = msgspec.field(default_factory=lambda: [ScalingPolicy(type="Percent", value=100, period_seconds=15)])


class Behavior(Base):
    """HPA v2's behavior."""

    scale_up: Annotated[ScaleUp, Meta(description="Window and rate limits for growing, as in HPA v2.")] = msgspec.field(
        default_factory=ScaleUp
    )
    scale_down: Annotated[ScaleDown, Meta(description="Window and rate limits for shrinking, as in HPA v2.")] = msgspec.field(
        default_factory=ScaleDown
    )


class Fallback(Base):
    """What happens while the signals are unknown: first the count is held, then this."""

    after: Annotated[Duration, Meta(description="How long the count is held before the action.")] = "10m"
    action: Annotated[
        Literal["Hold", "AtLeast", "Exactly"],
        Meta(description="Hold: keep holding. AtLeast: raise to replicas, never lower. Exactly: go to replicas, also downwards."),
    ] = "Hold"
    replicas: Annotated[Annotated[int, Meta(ge=0, le=100000)] | None, Meta(description="The count for AtLeast and Exactly.")] = (
        None
    )


class Idle(Base):
    """When an idle service goes to zero, where its lower bound is 0."""

    after: Annotated[
        Duration,
        Meta(
            description=(
                "How long it must be known to be without work before its last replica goes. Time in which that is not known does not count."
            )
        ),
    ] = "10m"


class CalendarWindow(Base):
    """A window of the calendar and the bounds inside it."""

    name: Annotated[str, Meta(min_length=1, max_length=63, description="For explanations.")]
    days: Annotated[
        list[Weekday],
        Meta(
            max_length=7,
            description="Days on which the window starts; every day where left out.",
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = msgspec.field(default_factory=list)
    start: Annotated[ClockTime, Meta(description="Local time at which it starts.")] = "00:00"
    end: Annotated[ClockTime, Meta(description="Local time at which it ends; at or before the start: on the next day.")] = "00:00"
    timezone: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_+/-]+$", max_length=64, description="IANA time zone, such as Europe/Berlin.")
    ] = "UTC"
    not_before: Annotated[Moment | None, Meta(description="Not in force before this moment (RFC 3339).")] = None
    not_after: Annotated[Moment | None, Meta(description="Not in force from this moment on (RFC 3339).")] = None
    min_replicas: Annotated[Annotated[int, Meta(ge=0, le=100000)] | None, Meta(description="Lower bound inside the window.")] = (
        None
    )
    max_replicas: Annotated[Annotated[int, Meta(ge=1, le=100000)] | None, Meta(description="Upper bound inside the window.")] = (
        None
    )


class Drain(Base):
    """How replicas leave."""

    max_at_once: Annotated[
        int, Meta(ge=0, le=100000, description="Replicas that may be draining at the same time; 0 sets no limit.")
    ] = 0
    time: Annotated[Duration, Meta(description="How long a replica is taken to drain.")] = "20s"
    pods: Annotated[
        Literal["Any", "EmptyNodes"],
        Meta(
            description=(
                "Which pods leave: those that the target's controller picks, or (EmptyNodes) those whose leaving frees whole nodes. "
                "For targets whose ReplicaSets remove pods; sets the annotation controller.kubernetes.io/pod-deletion-cost, for which the "
                "controller needs the right to patch pods (deploy/components/empty-nodes)."
            )
        ),
    ] = "Any"
    whole_nodes: Annotated[
        bool,
        Meta(
            description=(
                "Replicas leave only in numbers that empty a node of nodePool; the others of a node stay until it can go. "
                "For a service that shares its nodes with no other."
            )
        ),
    ] = False


class Pause(Base):
    """No changes, in both directions or one, with an expiry."""

    direction: Annotated[Literal["Both", "Up", "Down"], Meta(description="Which changes are stopped.")] = "Both"
    until: Annotated[Moment | None, Meta(description="Expiry (RFC 3339); without it the pause lasts until it is taken away.")] = (
        None
    )
    reason: Annotated[str, Meta(max_length=256, description="Why, for others.")] = ""


class NodePoolUse(Base):
    """One of the pools that replicas may run on."""

    name: Annotated[DnsName, Meta(description="The AcceleratorPool.")]
    requests_per_second: Annotated[
        Annotated[float, Meta(gt=0, le=1e9)] | None,
        Meta(
            description=(
                "What a replica does on its nodes; as capacity.requestsPerSecond where left out. Less than that is reckoned with on all pools, "
                "unless the capacity is learnt."
            )
        ),
    ] = None


RoleName = Annotated[str, Meta(pattern=ROLE_PATTERN, max_length=63)]


class RoleRatio(Base):
    """What this role's replicas may be in relation to those of another role of its service."""

    to: Annotated[RoleName, Meta(description="The other role.")]
    min: Annotated[
        Annotated[float, Meta(ge=0, le=1000)] | None,
        Meta(description="At least so many replicas of this role for each replica of the other, rounded up."),
    ] = None
    max: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(description="At most so many replicas of this role for each replica of the other, rounded up."),
    ] = None


class Role(Base):
    """Which part of a service this object scales, such as its prefill: roles of one service are sized together."""

    service: Annotated[
        RoleName, Meta(description="The service: objects of this namespace that name the same one are its roles, each role once.")
    ]
    name: Annotated[RoleName, Meta(description="This role, such as prefill or decode.")]
    ratios: Annotated[
        list[RoleRatio],
        Meta(
            max_length=16,
            description="Bounds of its replicas ÷ another role's, each other role once; kept by raising, never by taking away.",
            extra_json_schema=_unique_by("to"),
        ),
    ] = msgspec.field(default_factory=list)


LABEL_NAME_PATTERN: Final = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"


class PublishedLabel(Base):
    """A label of served metrics."""

    name: Annotated[
        str, Meta(pattern=LABEL_NAME_PATTERN, max_length=317, description="As Kubernetes spells labels, such as model.")
    ]
    value: Annotated[str, Meta(pattern=LABEL_VALUE_PATTERN, max_length=63, description="Its value.")]


class Publish(Base):
    """What the external metrics API serves of this object beside its decision, forecast and queue per replica."""

    signals: Annotated[
        list[SignalName],
        Meta(
            max_length=16,
            description="Signals to serve under their own names; each is asked for, whether a policy wants it or not.",
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = msgspec.field(default_factory=list)
    labels: Annotated[
        list[PublishedLabel],
        Meta(
            max_length=16,
            description="Labels of all that is served of this object, for selectors, each name once; its name is one in any case.",
            extra_json_schema=_unique_by("name"),
        ),
    ] = msgspec.field(default_factory=list)
    max_age: Annotated[
        Duration | None,
        Meta(
            description=(
                "A value that is older than this is an error, not a number, and an HPA then holds. 60s where left out, or four of the "
                "controller's intervals where those are longer."
            )
        ),
    ] = None


class InferenceAutoscalerSpec(Base):
    """Desired behavior of one service's autoscaling."""

    scale_target_ref: Annotated[ScaleTargetRef, Meta(description="What is scaled.")]
    max_replicas: Annotated[int, Meta(ge=1, le=100000, description="Upper bound.")]
    min_replicas: Annotated[
        int, Meta(ge=0, le=100000, description="Lower bound; 0: to zero when idle, back with the first request.")
    ] = 1
    mode: Annotated[
        Literal["Shadow", "Recommend", "Active"],
        Meta(description="Shadow: decide and show. Recommend: publish for an HPA or people. Active: scale the target."),
    ] = "Shadow"
    signals: Annotated[Signals, Meta(description="Where the signals come from.")] = msgspec.field(default_factory=Signals)
    objective: Annotated[Objective, Meta(description="The promise to keep.")] = msgspec.field(default_factory=Objective)
    objectives: Annotated[
        list[FurtherObjective],
        Meta(
            max_length=8,
            description="Further objectives beside the promise, each signal once; the most demanding one counts.",
            extra_json_schema=_unique_by("signal"),
        ),
    ] = msgspec.field(default_factory=list)
    policies: Annotated[
        list[PolicyUse],
        Meta(min_length=1, max_length=8, description="One or several policies; the highest recommendation counts."),
    ] = msgspec.field(default_factory=lambda: [PolicyUse(name="reactive")])
    capacity: Annotated[Capacity, Meta(description="What one ready replica can do.")] = msgspec.field(default_factory=Capacity)
    lead_time: Annotated[LeadTime, Meta(description="How long a new replica takes.")] = msgspec.field(default_factory=LeadTime)
    behavior: Annotated[Behavior, Meta(description="As in HPA v2: stabilization windows and rate limits, by direction.")] = (
        msgspec.field(default_factory=Behavior)
    )
    fallback: Annotated[Fallback, Meta(description="What happens while the signals are unknown.")] = msgspec.field(
        default_factory=Fallback
    )
    idle: Annotated[Idle, Meta(description="When it goes to zero, where minReplicas is 0.")] = msgspec.field(default_factory=Idle)
    schedules: Annotated[
        list[CalendarWindow],
        Meta(
            max_length=32,
            description="Other bounds by calendar, each name once; the last one in force wins.",
            extra_json_schema=_unique_by("name"),
        ),
    ] = msgspec.field(default_factory=list)
    drain: Annotated[Drain, Meta(description="How replicas leave.")] = msgspec.field(default_factory=Drain)
    pause: Annotated[Pause | None, Meta(description="No changes for now.")] = None
    role: Annotated[
        Role | None,
        Meta(description="Its part in a service of several roles, such as prefill and decode, that are sized together."),
    ] = None
    replica_multiple: Annotated[
        int, Meta(ge=1, le=1024, description="Replicas come in multiples of this (multi-node groups).")
    ] = 1
    accelerators_per_replica: Annotated[int, Meta(ge=0, le=1024, description="GPUs that one replica takes.")] = 1
    node_pool: Annotated[DnsName | None, Meta(description="The AcceleratorPool its replicas run on.")] = None
    node_pools: Annotated[
        list[NodePoolUse],
        Meta(
            max_length=8,
            description=(
                "Several AcceleratorPools that the target's pods may run on, in the place of nodePool, each once: "
                "what is there is used first, then the one whose request costs least."
            ),
            extra_json_schema=_unique_by("name"),
        ),
    ] = msgspec.field(default_factory=list)
    priority: Annotated[
        int, Meta(ge=-1000000, le=1000000, description="Who goes first when changes or GPUs are scarce; higher first.")
    ] = 0
    publish: Annotated[Publish, Meta(description="What the external metrics API serves of it.")] = msgspec.field(
        default_factory=Publish
    )


class SignalStatus(Base):
    """A signal as last seen."""

    name: Annotated[str, Meta(description="Signal.")]
    state: Annotated[str, Meta(description="Known, Idle or Unknown.")]
    value: Annotated[str | None, Meta(description="Latest value, in the signal's unit.")] = None
    age_seconds: Annotated[int | None, Meta(description="How old it was.")] = None
    why: Annotated[str | None, Meta(description="Why it is unknown.")] = None


class LimitStatus(Base):
    """A rule that changed the count."""

    name: Annotated[str, Meta(description="Rule.")]
    before: Annotated[int, Meta(description="Count before it.")]
    after: Annotated[int, Meta(description="Count after it.")]
    why: Annotated[str, Meta(description="In words.")]


class Condition(Base):
    """metav1.Condition."""

    type: Annotated[str, Meta(max_length=316, description="Which condition.")]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether it holds.")]
    reason: Annotated[str, Meta(max_length=1024, description="One word why.")]
    message: Annotated[str, Meta(max_length=32768, description="In words.")]
    last_transition_time: Annotated[Moment, Meta(description="When its status last changed.")]
    observed_generation: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="The generation it speaks of.")] = None


class StageStatus(Base):
    """One stage of a lead time, in seconds."""

    name: Annotated[
        str,
        Meta(
            max_length=63,
            description="Of a replica: scheduled (where room was at hand), image (to containers that run), model (to Ready). Of a node: "
            "provisioned (from the request to the Node object), ready, advertised (to accelerators in status.allocatable).",
        ),
    ]
    samples: Annotated[int, Meta(ge=0, description="How many were measured.")] = 0
    p50_seconds: Annotated[float | None, Meta(description="Median.")] = None
    p90_seconds: Annotated[float | None, Meta(description="90 % quantile.")] = None
    p99_seconds: Annotated[float | None, Meta(description="99 % quantile.")] = None
    recent: Annotated[list[float], Meta(max_length=64, description="The last samples, oldest first.")] = msgspec.field(
        default_factory=list
    )


class LeadTimeStatus(Base):
    """A measured lead time, in seconds: of a target's replicas from creation to Ready, of a pool's nodes from the request to accelerators."""

    samples: Annotated[int, Meta(ge=0, description="How many starts were measured.")] = 0
    p50_seconds: Annotated[float | None, Meta(description="Median.")] = None
    p90_seconds: Annotated[float | None, Meta(description="90 % quantile.")] = None
    p99_seconds: Annotated[float | None, Meta(description="99 % quantile.")] = None
    recent: Annotated[list[float], Meta(max_length=64, description="The last samples, oldest first.")] = msgspec.field(
        default_factory=list
    )
    stages: Annotated[list[StageStatus], Meta(max_length=8, description="What it is made of.")] = msgspec.field(
        default_factory=list
    )


class TimedCount(Base):
    """A count, or a signed change of it, at a moment."""

    at: Annotated[float, Meta(description="Unix seconds.")]
    replicas: Annotated[int, Meta(description="The count or change.")]


class CapacityStatus(Base):
    """What one ready replica is taken to do, where that is learnt."""

    requests_per_second: Annotated[float | None, Meta(description="What is reckoned with; absent while nothing is known.")] = None
    confidence: Annotated[
        str | None, Meta(description="0.00: all that is known was given in the manifest; 1.00: nothing is left of that.")
    ] = None


LEARNT_SCHEMA: Final = 1


class LearntVersion(Base):
    """What was learnt of a version of the target that runs no longer."""

    version: Annotated[str, Meta(max_length=253, description="The hash of its template, as its pods were labelled.")]
    requests_per_second: Annotated[float, Meta(description="The estimate.")]
    weight: Annotated[float, Meta(description="Requests that it is worth.")]
    seen: Annotated[float, Meta(description="How many of them were seen.")]


class LearntCapacity(Base):
    """A learnt capacity, and of what it is."""

    schema: Annotated[int, Meta(description="Of this part; one of another version is not taken over.")]
    requests_per_second: Annotated[float, Meta(description="The estimate.")]
    weight: Annotated[float, Meta(description="Requests that it is worth.")]
    seen: Annotated[float, Meta(description="How many of them were seen.")]
    concurrency: Annotated[int, Meta(description="capacity.concurrency of the manifest it was learnt with.")]
    slowdown_concurrency: Annotated[float, Meta(description="Its slowdownConcurrency.")]
    given: Annotated[float | None, Meta(description="Its requestsPerSecond.")] = None
    version: Annotated[Annotated[str, Meta(max_length=253)] | None, Meta(description="The target's version that it is of.")] = (
        None
    )
    versions: Annotated[
        list[LearntVersion], Meta(max_length=8, description="What is kept of versions before, for a rollback.")
    ] = msgspec.field(default_factory=list)


class RoleStatus(Base):
    """A service of several roles, as this one sees it."""

    bottleneck: Annotated[
        str | None,
        Meta(description="The role that is most in need of more: its policies' wish ÷ its ready replicas is the largest."),
    ] = None
    message: Annotated[
        Annotated[str, Meta(max_length=1024)] | None,
        Meta(description="The bottleneck in numbers, ratios that are not kept and why, and roles that don't follow."),
    ] = None


class PolicyMemory(Base):
    """What a policy has learnt of this object over days."""

    policy: Annotated[str, Meta(description="Its name.")]
    at: Annotated[float, Meta(description="Unix seconds by which it was learnt.")]
    data: Annotated[str, Meta(max_length=16384, description="In its own, versioned form.")]


class MemoryStatus(Base):
    """What no query can bring back after a restart."""

    target: Annotated[
        Annotated[str, Meta(max_length=317)] | None,
        Meta(description="Of which target it is, kind/name: another one begins anew."),
    ] = None
    desired: Annotated[int | None, Meta(description="Last decision.")] = None
    blind_since: Annotated[float | None, Meta(description="Unix seconds since when the signals are unknown.")] = None
    idle_seconds: Annotated[float | None, Meta(description="How long the service was known to be without work.")] = None
    replaced_at: Annotated[
        float | None,
        Meta(description="Unix seconds when a replica was replaced by one of another version, where that holds the count."),
    ] = None
    recommendations: Annotated[list[TimedCount], Meta(max_length=512, description="Within the stabilization windows.")] = (
        msgspec.field(default_factory=list)
    )
    scale_events: Annotated[list[TimedCount], Meta(max_length=512, description="Within the rate limits' periods.")] = (
        msgspec.field(default_factory=list)
    )
    current: Annotated[
        TimedCount | None, Meta(description="The target's count as last seen; what changed later is found by it.")
    ] = None
    capacity: Annotated[LearntCapacity | None, Meta(description="What was learnt of its replicas.")] = None
    learnt: Annotated[list[PolicyMemory], Meta(max_length=16, description="What policies have learnt over long.")] = (
        msgspec.field(default_factory=list)
    )


class InferenceAutoscalerStatus(Base):
    """What is seen and decided."""

    observed_generation: Annotated[int | None, Meta(description="The generation that was decided on.")] = None
    current_replicas: Annotated[int | None, Meta(description="spec.replicas of the target.")] = None
    ready_replicas: Annotated[int | None, Meta(description="Ready replicas.")] = None
    starting_replicas: Annotated[int | None, Meta(description="Created, not ready.")] = None
    recommended_replicas: Annotated[int | None, Meta(description="The policies' wish.")] = None
    desired_replicas: Annotated[int | None, Meta(description="After the constraints.")] = None
    planned_replicas: Annotated[int | None, Meta(description="After sharing budgets with the others.")] = None
    last_scale_time: Annotated[Moment | None, Meta(description="When the target was last scaled by us.")] = None
    reason: Annotated[Annotated[str, Meta(max_length=4096)] | None, Meta(description="Why this many, in one sentence.")] = None
    limits: Annotated[list[LimitStatus], Meta(max_length=32, description="Rules that changed the count.")] = msgspec.field(
        default_factory=list
    )
    signals: Annotated[list[SignalStatus], Meta(max_length=32, description="Signals as last seen.")] = msgspec.field(
        default_factory=list
    )
    lead_time: Annotated[LeadTimeStatus | None, Meta(description="Measured time to ready.")] = None
    capacity: Annotated[CapacityStatus | None, Meta(description="What a replica was seen to do, with capacity.mode Learnt.")] = (
        None
    )
    role: Annotated[RoleStatus | None, Meta(description="The service whose role this is.")] = None
    memory: Annotated[MemoryStatus | None, Meta(description="For restarts; not an interface.")] = None
    conditions: Annotated[
        list[Condition],
        Meta(
            max_length=16,
            extra_json_schema=_unique_by("type"),
            description="Conditions.",
        ),
    ] = msgspec.field(default_factory=list)


# ---------------------------------------------------------------- AcceleratorPool


GcpName = Annotated[str, Meta(pattern=r"^[a-z][-a-z0-9:.]{0,98}[a-z0-9]$")]
CloudName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([-_.A-Za-z0-9]{0,88}[-_A-Za-z0-9])?$")]
SetBy = Literal["Size", "Minimum"]
_SET_BY: Final = (
    "Size: the pool's size itself. Minimum: the lower bound of the node autoscaler that owns the size, which so makes nodes earlier and is not "
    "overruled."
)


class ObjectRef(Base):
    """An object of the API server."""

    api_version: Annotated[
        str,
        Meta(
            pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9][a-z0-9]*$",
            max_length=317,
            description="API version, such as karpenter.sh/v1.",
        ),
    ]
    kind: Annotated[
        str, Meta(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63, description="Kind, such as NodePool or MachineDeployment.")
    ]
    name: Annotated[DnsName, Meta(description="Name.")]
    namespace: Annotated[DnsName | None, Meta(description="Namespace, where the kind has one.")] = None


class Toleration(Base):
    """core/v1 Toleration, as pods of the pool's services have it."""

    key: Annotated[str, Meta(max_length=317, description="Taint key; every taint where left out.")] = ""
    operator: Annotated[Literal["Equal", "Exists"], Meta(description="How key and value are compared.")] = "Equal"
    value: Annotated[str, Meta(max_length=63, description="Taint value.")] = ""
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Meta(description="Taint effect; all where left out.")
    ] = None


class Headroom(Base):
    """Room that is kept free on nodes which a node autoscaler owns, so that it makes nodes before replicas need them."""

    namespace: Annotated[
        DnsName, Meta(description="Where the placeholders or the CapacityBuffer are made; best one of their own.")
    ]
    image: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=512,
            pattern=r"^[^\s]+$",
            description="Image of the placeholder pods, which do nothing: a pause image that your nodes can pull.",
        ),
    ]
    method: Annotated[
        Literal["Auto", "CapacityBuffer", "Placeholder"],
        Meta(
            description=(
                "CapacityBuffer: an object that the node autoscaler reads. Placeholder: pods of low priority, one accelerator each, that give way. "
                "Auto: the first where the API server serves it, else the second."
            )
        ),
    ] = "Auto"
    priority_class: Annotated[
        DnsName,
        Meta(description="PriorityClass of the placeholders: below every service's, at least -10 for cluster-autoscaler."),
    ] = "inference-autoscaler-placeholder"
    tolerations: Annotated[list[Toleration], Meta(max_length=16, description="Of the taints that the pool's nodes have.")] = (
        msgspec.field(default_factory=list)
    )


class Gke(Base):
    """A node pool of Google Kubernetes Engine."""

    project: Annotated[GcpName, Meta(description="Project id.")]
    location: Annotated[GcpName, Meta(description="Region or zone of the cluster.")]
    cluster: Annotated[GcpName, Meta(description="Name of the cluster.")]
    node_pool: Annotated[GcpName, Meta(description="Name of the node pool.")]
    set_by: Annotated[SetBy, Meta(description=_SET_BY)] = "Size"


class Eks(Base):
    """A managed node group of Amazon Elastic Kubernetes Service."""

    region: Annotated[
        str, Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$", max_length=32, description="Region, such as eu-central-1.")
    ]
    cluster: Annotated[CloudName, Meta(description="Name of the cluster.")]
    nodegroup: Annotated[CloudName, Meta(description="Name of the managed node group.")]
    set_by: Annotated[SetBy, Meta(description=_SET_BY)] = "Size"


class Aks(Base):
    """A node pool (agent pool) of Azure Kubernetes Service."""

    subscription: Annotated[
        str, Meta(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", description="Subscription id.")
    ]
    resource_group: Annotated[CloudName, Meta(description="Resource group of the cluster.")]
    cluster: Annotated[CloudName, Meta(description="Name of the cluster.")]
    agent_pool: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,11}$", description="Name of the node pool.")]
    cloud: Annotated[Literal["Public", "USGovernment", "China"], Meta(description="Which Azure cloud.")] = "Public"
    set_by: Annotated[SetBy, Meta(description=_SET_BY)] = "Size"


class OwnSecretKey(Base):
    """A key of a Secret in the controller's own namespace: a pool's manifest reads no tenant's."""

    name: Annotated[DnsName, Meta(description="Name of the Secret, in the controller's namespace.")]
    key: Annotated[str, Meta(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253, description="Key within the Secret.")]


class Webhook(Base):
    """A service of your own that sizes the pool (docs/node-pools.md says what it is asked and answers)."""

    url: Annotated[
        str,
        Meta(pattern=r"^https://[^\s?#@]+$", max_length=2048, description="Where it is asked; https, no query, no credentials."),
    ]
    bearer_token: Annotated[OwnSecretKey | None, Meta(description="Bearer token to show.")] = None
    ca: Annotated[OwnSecretKey | None, Meta(description="Certificate authority (PEM) to trust instead of the system's.")] = None


class PoolBackend(Base):
    """How the pool's size is set."""

    type: Annotated[
        Literal["DryRun", "Scale", "Headroom", "MinSize", "GKE", "EKS", "AKS", "Webhook"],
        Meta(
            description=(
                "DryRun: show the planned number of nodes, change nothing. Scale: any object with a scale subresource. Headroom: room for a node "
                "autoscaler that owns the nodes. MinSize: cluster-autoscaler's lower bound on Cluster API. GKE, EKS, AKS: the cloud's own node "
                "pool. Webhook: a service of your own."
            )
        ),
    ] = "DryRun"
    scale: Annotated[
        ObjectRef | None,
        Meta(
            description="The object: a static Karpenter NodePool, a MachineDeployment, MachineSet or MachinePool, a kind of your own."
        ),
    ] = None
    headroom: Annotated[Headroom | None, Meta(description="What is made to keep room.")] = None
    min_size: Annotated[ObjectRef | None, Meta(description="The MachineDeployment, MachineSet or MachinePool.")] = None
    gke: Annotated[Gke | None, Meta(description="The node pool.")] = None
    eks: Annotated[Eks | None, Meta(description="The node group.")] = None
    aks: Annotated[Aks | None, Meta(description="The node pool.")] = None
    webhook: Annotated[Webhook | None, Meta(description="The service.")] = None
    max_step: Annotated[
        int,
        Meta(
            ge=1, le=10000, description="The most nodes that may be on their way, or leaving, at a time, whatever the plan says."
        ),
    ] = 10
    cool_down: Annotated[
        Duration,
        Meta(
            description=(
                "So long the plan must have wanted fewer nodes before any is given back, after a restart too: what it takes back meanwhile is not "
                "ordered again. How long spare nodes are worth keeping is the plan's business (waitingCost)."
            )
        ),
    ] = "1m"
    take_ownership: Annotated[
        bool, Meta(description="Write although somebody else is seen to own the number; without it we refuse and say who.")
    ] = False


class PoolZone(Base):
    """A zone that a pool's nodes may be in."""

    name: Annotated[str, Meta(min_length=1, max_length=63, description="As nodes are labelled, such as europe-west4-a.")]
    max_nodes: Annotated[
        Annotated[int, Meta(ge=0, le=100000)] | None, Meta(description="The most nodes there; none but maxNodes where left out.")
    ] = None


class Spot(Base):
    """Nodes that may be taken away at short notice, for less money."""

    share: Annotated[Share, Meta(description="How much of the nodes may be spot.")] = "100%"
    on_demand_nodes: Annotated[int, Meta(ge=0, le=100000, description="The first nodes, which never are.")] = 0
    cost_per_hour: Annotated[
        Annotated[float, Meta(ge=0, le=1e9)] | None,
        Meta(description="Price of one spot node for one hour; the pool's costPerHour where left out."),
    ] = None


class Quota(Base):
    """What one namespace may have of a pool."""

    namespace: Annotated[str, Meta(pattern=ROLE_PATTERN, max_length=63, description="The namespace of the InferenceAutoscalers.")]
    accelerators: Annotated[
        Annotated[int, Meta(ge=0, le=100000000)] | None,
        Meta(description="The most accelerators that its planned replicas take; no bound where left out."),
    ] = None
    weight: Annotated[
        int, Meta(ge=1, le=1000, description="Its share beside others' of the same priority where the pool is full.")
    ] = 1


class AcceleratorPoolSpec(Base):
    """A pool of GPU nodes that services share."""

    max_nodes: Annotated[int, Meta(ge=0, le=100000, description="Upper bound.")]
    accelerators_per_node: Annotated[int, Meta(ge=1, le=1024, description="GPUs of one node.")] = 8
    min_nodes: Annotated[int, Meta(ge=0, le=100000, description="Lower bound.")] = 0
    cost_per_hour: Annotated[float, Meta(ge=0, le=1e9, description="Price of one node for one hour, in any one currency.")] = 0.0
    resource_name: Annotated[
        str,
        Meta(
            pattern=RESOURCE_PATTERN,
            max_length=317,
            description="The extended resource that is counted, such as nvidia.com/gpu, or a MIG profile or shared slice of its own.",
        ),
    ] = "nvidia.com/gpu"
    zones: Annotated[
        list[PoolZone],
        Meta(
            max_length=16,
            description=(
                "Zones of its nodes, each once. Nothing is ordered by it: their maxNodes bound the pool, and records show an equal spread."
            ),
            extra_json_schema=_unique_by("name"),
        ),
    ] = msgspec.field(default_factory=list)
    spot: Annotated[
        Spot | None,
        Meta(description="How much of it is spot nodes, for the price of a node; nothing is ordered by it. None where left out."),
    ] = None
    quotas: Annotated[
        list[Quota],
        Meta(
            max_length=256,
            description="What namespaces may have of it, each once; others have no bound, and the weight 1.",
            extra_json_schema=_unique_by("namespace"),
        ),
    ] = msgspec.field(default_factory=list)
    min_replicas_first: Annotated[
        bool,
        Meta(
            description=(
                "Where it is full: every service's minReplicas come before what higher priorities want beyond theirs. "
                "False: strictly by priority."
            )
        ),
    ] = True
    waiting_cost: Annotated[
        float,
        Meta(
            ge=0,
            le=1000,
            description=(
                "What replicas that wait for a node cost, in the price of that node for the same time. A node that is no longer needed is kept while "
                "as many were needed again within a node's lead time in more than 1 ÷ (1 + this) of the last ones; 0: it goes at once. Not with "
                "backend DryRun."
            ),
        ),
    ] = 1.0
    backend: Annotated[PoolBackend, Meta(description="How its size is set.")] = msgspec.field(default_factory=PoolBackend)
    node_selector: Annotated[
        dict[str, str],
        Meta(
            description="Labels that all its nodes have, and no others: they are counted by them, and placeholders go there. Without any: the "
            "nodes whose own pool label (Karpenter's, GKE's, EKS', AKS', or Cluster API's owner annotation) names this pool.",
        ),
    ] = msgspec.field(default_factory=dict)


class ShortageStatus(Base):
    """That a pool has no more nodes to give, as far as is known; from here a new process goes on."""

    since: Annotated[float, Meta(description="Unix seconds of its beginning.")]
    until: Annotated[
        float, Meta(description="Unix seconds of the end of the pause, or (trying above 0) of the beginning of the attempt.")
    ]
    pause_seconds: Annotated[float, Meta(ge=0, description="The last pause.")]
    there: Annotated[int, Meta(ge=0, description="Nodes that count.")]
    trying: Annotated[int, Meta(ge=0, description="How many more are tried now.")] = 0
    resource: Annotated[str, Meta(max_length=256, description="What is short.")] = ""
    said: Annotated[str, Meta(max_length=1024, description="Who says so.")] = ""


class LossesStatus(Base):
    """Nodes that went though nobody asked them to: what the interruption rate is learnt from."""

    nodes: Annotated[float, Meta(ge=0, description="How many, the older the less.")] = 0.0
    node_hours: Annotated[float, Meta(ge=0, description="Within so many hours of nodes, the older the less.")] = 0.0
    per_node_hour: Annotated[
        float | None, Meta(description="The rate that follows, with what is assumed before anything is seen.")
    ] = None


class AcceleratorPoolStatus(Base):
    """What is seen and planned."""

    observed_generation: Annotated[int | None, Meta(description="The generation that was decided on.")] = None
    nodes: Annotated[int | None, Meta(description="Nodes now.")] = None
    ready_nodes: Annotated[int | None, Meta(description="Of them schedulable, with their accelerators advertised.")] = None
    planned_nodes: Annotated[int | None, Meta(description="Nodes that the services' plan needs.")] = None
    reason: Annotated[Annotated[str, Meta(max_length=4096)] | None, Meta(description="Why this many, in one sentence.")] = None
    asked_nodes: Annotated[int | None, Meta(description="Nodes that the backend's system was last asked for.")] = None
    owner: Annotated[Annotated[str, Meta(max_length=1024)] | None, Meta(description="Who else owns the number of nodes.")] = None
    lead_time: Annotated[
        LeadTimeStatus | None, Meta(description="Measured time from the request of a node to its accelerators.")
    ] = None
    shortage: Annotated[ShortageStatus | None, Meta(description="Where it has no more nodes to give.")] = None
    losses: Annotated[LossesStatus | None, Meta(description="Nodes that were lost.")] = None
    conditions: Annotated[
        list[Condition],
        Meta(
            max_length=16,
            extra_json_schema=_unique_by("type"),
            description="Conditions.",
        ),
    ] = msgspec.field(default_factory=list)


# ---------------------------------------------------------------- whole objects


class ObjectMeta(Struct, rename="camel", kw_only=True, omit_defaults=True):
    """The part of metav1.ObjectMeta that we read; other fields are allowed."""

    name: DnsName
    namespace: Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)] = "default"
    generation: int = 0
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class InferenceAutoscaler(Base, tag_field="kind"):
    """Keeps the replicas of one inference service at what its promise needs."""

    spec: InferenceAutoscalerSpec
    metadata: ObjectMeta
    api_version: Literal["inference-autoscaler.io/v1alpha1"] = "inference-autoscaler.io/v1alpha1"
    status: InferenceAutoscalerStatus | None = None


class AcceleratorPool(Base, tag_field="kind"):
    """A pool of GPU nodes that services share."""

    spec: AcceleratorPoolSpec
    metadata: ObjectMeta
    api_version: Literal["inference-autoscaler.io/v1alpha1"] = "inference-autoscaler.io/v1alpha1"
    status: AcceleratorPoolStatus | None = None


Manifest = InferenceAutoscaler | AcceleratorPool

# ---------------------------------------------------------------- texts to numbers

_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_s(text: str) -> float:
    """Seconds of a duration text such as ``90s`` or ``1h30m``. Raises ValueError."""
    # fullmatch, since Python's $ also matches before a last line feed, which the API server's does not.
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"'{text}' is not a duration; write a number and a unit (ms, s, m, h, d), such as 90s or 1h30m")
    return sum(float(number) * _UNIT_S[unit] for number, unit in re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", text))


def share_ratio(text: str) -> float:
    """The ratio (0…1) of a share text such as ``99.5%`` or ``0.995``. Raises ValueError."""
    if not re.fullmatch(SHARE_PATTERN, text):
        raise ValueError(f"'{text}' is not a share; write a percentage from 0% to 100% such as 99.5%, or a ratio such as 0.995")
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def target_value(text: str) -> float:
    """An objective's target: seconds of a duration (``5s``), the ratio of a percentage (``70%``), or a number. Raises ValueError."""
    if not re.fullmatch(BESIDE_PATTERN, text):
        raise ValueError(f"'{text}' is neither a duration such as 5s nor a percentage such as 70%, nor a number such as 24")
    if text[-1].isdigit():
        return float(text)
    return float(text[:-1]) / 100 if text.endswith("%") else duration_s(text)


def moment_s(text: str) -> float:
    """Unix seconds of an RFC 3339 moment such as ``2026-01-31T06:00:00Z``. Raises ValueError."""
    if re.fullmatch(MOMENT_PATTERN, text):
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.fromisoformat(text.upper().replace("Z", "+00:00")).timestamp()
    raise ValueError(f"'{text}' is not an RFC 3339 moment; write one such as 2026-01-31T06:00:00Z or 2026-01-31T07:00:00+01:00")


def clock_minute(text: str) -> int:
    """Minutes since midnight of a clock time such as ``07:30``. Raises ValueError."""
    if not re.fullmatch(CLOCK_PATTERN, text):
        raise ValueError(f"'{text}' is not a time of day; write one from 00:00 to 23:59")
    return int(text[:2]) * 60 + int(text[3:])
