"""The one list of reasons: every condition and event says one of these words, and what it means is written here."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a condition is as it is. Words that HPA has are HPA's."""

    # Ready
    Reconciled = "Reconciled"
    """Everything is as it should be."""
    LearningPast = "LearningPast"
    """Decided on as always, but what Prometheus knows of the past isn't learnt yet; the message says why."""
    SharedDemand = "SharedDemand"
    """Decided on, but another object reads the very same work, and each is sized for all of it; the message says what to write."""
    ObjectiveWarning = "ObjectiveWarning"
    """Decided on, but an objective's signal can't tell load, was not measured yet, or can't be kept; the message says which and why."""
    InvalidSpec = "InvalidSpec"
    """The manifest has a fault that the schema could not see."""
    RoleFault = "RoleFault"
    """Decided on, but its role or ratios do not fit the other roles of its service; the message says how, and what that means."""
    Unschedulable = "Unschedulable"
    """Replicas wait for a node: some resource is short."""
    ScaleUpStuck = "ScaleUpStuck"
    """Replicas wait for a node for longer than nodes take, or were given up for now since nobody brings one: the message says when more is
    tried."""
    ReplicasFailing = "ReplicasFailing"
    """Containers of some replicas do not start (image, crash)."""

    # AbleToScale
    ReadyForNewScale = "ReadyForNewScale"
    SucceededRescale = "SucceededRescale"
    FailedUpdateScale = "FailedUpdateScale"
    """The API server refused the last write, or did not answer."""
    NotActive = "NotActive"
    """Mode Shadow or Recommend: we never write."""
    TargetMissing = "TargetMissing"
    """There is no such object in this namespace."""
    TargetKindUnknown = "TargetKindUnknown"
    """The API server knows no such kind."""
    NoScaleSubresource = "NoScaleSubresource"
    """The target's kind can't be scaled."""
    TargetUnreadable = "TargetUnreadable"
    """The target's replica count can't be read (not permitted, or not there)."""
    TargetConflict = "TargetConflict"
    """An older InferenceAutoscaler scales the same target."""
    HorizontalPodAutoscaler = "HorizontalPodAutoscaler"
    """A HorizontalPodAutoscaler scales the same target."""
    ForeignWriter = "ForeignWriter"
    """Somebody else set the target's replica count; we keep off for a while."""

    # ScalingActive
    SignalsKnown = "SignalsKnown"
    SignalsPartial = "SignalsPartial"
    """Some needed signal is unknown: growing is possible, shrinking is not."""
    SignalsUnknown = "SignalsUnknown"
    """No policy can tell: the count is held, then the stated fallback applies."""
    ScalingPaused = "ScalingPaused"
    """Paused by the manifest or for the whole cluster."""

    # ScalingLimited
    DesiredWithinRange = "DesiredWithinRange"

    # ForecastTrusted (only where a policy scores its forecast)
    ForecastHolds = "ForecastHolds"
    """Demand exceeds the forecast about as seldom as it says."""
    ForecastMisses = "ForecastMisses"
    """Demand exceeded the forecast far more often than it says: it has no vote, and replicas follow what is seen now until it holds again."""

    # EmptiesNodes (only where drain.pods says so)
    PodsChosen = "PodsChosen"
    """Of the pods those leave first that free whole nodes."""
    PodsNotPatchable = "PodsNotPatchable"
    """The controller may not set the annotation that says so; replicas leave as without it."""
    RemovesByOrdinal = "RemovesByOrdinal"
    """The target's controller removes the replica with the highest ordinal."""
    UnknownOrder = "UnknownOrder"
    """It isn't known by what the target's controller chooses."""

    # AcceleratorsAdvertised (of an AcceleratorPool whose nodes can be seen)
    AllAdvertised = "AllAdvertised"
    """No node is Ready without accelerators for longer than it takes."""
    DevicePluginSilent = "DevicePluginSilent"
    """Some nodes are: their driver or device plugin doesn't come up."""

    # Events only
    SuccessfulRescale = "SuccessfulRescale"
    FailedRescale = "FailedRescale"


def because(reason: Reason, words: str) -> str:
    """``Reason: words``, as the fleet carries it."""
    return f"{reason.value}: {words}"
