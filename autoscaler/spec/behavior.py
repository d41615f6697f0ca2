"""How the number of replicas may move: rates, calendar, drains, pauses, and what is done when nothing is known or nothing to do."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from autoscaler.spec.base import Base, ClockTime, Duration, Moment, Weekday


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
