"""What is wanted of an InferenceAutoscaler."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from autoscaler.spec.base import ROLE_PATTERN, Base, DnsName, Duration, unique_by
from autoscaler.spec.behavior import Behavior, CalendarWindow, Drain, Fallback, Idle, Pause
from autoscaler.spec.capacity import Capacity, LeadTime
from autoscaler.spec.objective import FurtherObjective, Objective
from autoscaler.spec.signals import SignalName, Signals


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
            extra_json_schema=unique_by("to"),
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
            extra_json_schema=unique_by("name"),
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
            extra_json_schema=unique_by("signal"),
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
            extra_json_schema=unique_by("name"),
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
            extra_json_schema=unique_by("name"),
        ),
    ] = msgspec.field(default_factory=list)
    priority: Annotated[
        int, Meta(ge=-1000000, le=1000000, description="Who goes first when changes or GPUs are scarce; higher first.")
    ] = 0
    publish: Annotated[Publish, Meta(description="What the external metrics API serves of it.")] = msgspec.field(
        default_factory=Publish
    )
