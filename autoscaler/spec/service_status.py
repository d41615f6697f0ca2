"""What an InferenceAutoscaler's status says."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from autoscaler.spec.base import Base, Moment
from autoscaler.spec.status import Conditions, LeadTimeStatus


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
    conditions: Conditions = msgspec.field(default_factory=list)
