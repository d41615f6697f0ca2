"""What both statuses say: conditions, and measured lead times."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from autoscaler.spec.base import Base, Moment, unique_by


class Condition(Base):
    """metav1.Condition."""

    type: Annotated[str, Meta(max_length=316, description="Which condition.")]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether it holds.")]
    reason: Annotated[str, Meta(max_length=1024, description="One word why.")]
    message: Annotated[str, Meta(max_length=32768, description="In words.")]
    last_transition_time: Annotated[Moment, Meta(description="When its status last changed.")]
    observed_generation: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="The generation it speaks of.")] = None


Conditions = Annotated[list[Condition], Meta(max_length=16, extra_json_schema=unique_by("type"), description="Conditions.")]


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
