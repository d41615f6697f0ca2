"""What is kept of a pod: a few words of it, since there are tens of thousands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

import msgspec

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.moments import seconds_or_none
from autoscaler.adapters.kubernetes.nodes import is_accelerator, quantity_count

PODS = Resource(group="", version="v1", plural="pods", kind="Pod")
_LONGEST_WORDS = 300
_VERSION_LABELS: Final = (
    "rollouts-pod-template-hash",  # Argo Rollouts
    "leaderworkerset.sigs.k8s.io/template-revision-hash",  # before the StatefulSet's below, which its leaders carry too
    "pod-template-hash",  # Deployment
    "controller-revision-hash",  # StatefulSet
)
"""Labels that controllers put on pods to tell which template they are made of. The same template gets the same text again at a rollback."""
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Of equally ready pods a ReplicaSet removes those with the lowest first; without it a pod's is 0
(k8s.io/api core/v1/annotation_key_constants.go)."""
OUR_COST: Final = "inference-autoscaler.io/pod-deletion-cost"
"""Stands beside it with the same value where we have set it: after a restart as well we know our own costs, and leave others' alone."""


class PodState(IntEnum):
    """How a pod counts for its target. OVER: it has ended (Succeeded, Failed) and counts for nothing."""

    READY = 0
    STARTING = 1
    DRAINING = 2
    OVER = 3


class Pod(msgspec.Struct, frozen=True, gc=False):
    """One pod. Times are Unix seconds, None where it has not come to that.

    unschedulable: the scheduler's words while it finds no node, "" otherwise. waiting: why a container does not start, "" otherwise.
    restarted: some container was started more than once, so a Ready time is not its first. unschedulable_at_s: since when it finds no node.
    started_at_s: when the last of its containers was started, None until all were; their images are there then. node: "" until it has one.
    pending: its phase is Pending. cost: its ``DELETION_COST``, "" without; marked: we have set it. accelerators: how many it asks for.
    """

    state: PodState
    labels: Mapping[str, str]
    created_at_s: float
    scheduled_at_s: float | None
    ready_at_s: float | None
    unschedulable: str
    waiting: str
    restarted: bool
    unschedulable_at_s: float | None = None
    started_at_s: float | None = None
    node: str = ""
    pending: bool = False
    cost: str = ""
    marked: bool = False
    accelerators: int = 0
    resource_version: str = ""

    @property
    def version(self) -> str:
        """Which template it is made of, "" where its controller doesn't say."""
        for label in _VERSION_LABELS:
            if found := self.labels.get(label):
                return found
        return ""


def pod_of(item: Object) -> Pod:
    """The transform of a Pod object."""
    meta, status = item["metadata"], item.get("status") or {}
    ready_at_s = scheduled_at_s = unschedulable_at_s = None
    unschedulable = ""
    for condition in status.get("conditions") or ():
        kind, holds = condition.get("type"), condition.get("status") == "True"
        if kind == "Ready" and holds:
            ready_at_s = seconds_or_none(condition.get("lastTransitionTime"))
        elif kind == "PodScheduled":
            if holds:
                scheduled_at_s = seconds_or_none(condition.get("lastTransitionTime"))
            elif condition.get("reason") == "Unschedulable":
                unschedulable = str(condition.get("message") or "no node fits")[:_LONGEST_WORDS]
                unschedulable_at_s = seconds_or_none(condition.get("lastTransitionTime"))
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
    waiting, restarted, started_at_s = _containers(status)
    annotations = meta.get("annotations") or {}
    return Pod(
        state=_state(str(status.get("phase") or ""), meta.get("deletionTimestamp") is not None, ready),
        # Label names and most values repeat over thousands of pods: one copy of each.
        labels={sys.intern(name): sys.intern(value) for name, value in (meta.get("labels") or {}).items()},
        created_at_s=seconds_or_none(meta.get("creationTimestamp")) or 0.0,
        scheduled_at_s=scheduled_at_s,
        ready_at_s=ready_at_s if ready else None,
        unschedulable=unschedulable,
        waiting="" if ready else waiting,
        restarted=restarted,
        unschedulable_at_s=unschedulable_at_s,
        started_at_s=started_at_s,
        node=sys.intern(str((item.get("spec") or {}).get("nodeName") or "")),
        pending=status.get("phase") == "Pending",
        cost=sys.intern(str(annotations.get(DELETION_COST, ""))),
        marked=DELETION_COST in annotations and annotations.get(OUR_COST) == annotations[DELETION_COST],
        accelerators=_accelerators(item.get("spec") or {}),
        resource_version=str(meta.get("resourceVersion") or ""),
    )


def _state(phase: str, deleted: bool, ready: bool) -> PodState:
    if phase in ("Succeeded", "Failed"):
        return PodState.OVER
    if deleted:
        return PodState.DRAINING
    return PodState.READY if ready else PodState.STARTING


def _accelerators(spec: Object) -> int:
    """What the pod holds on its node: of its containers together, or of one of the init containers, which run one after the other. Extended
    resources stand in limits always; a request of another amount is not allowed."""
    running = sum(_of(container) for container in spec.get("containers") or ())
    return max([running, *(_of(container) for container in spec.get("initContainers") or ())])


def _of(container: Object) -> int:
    limits = (container.get("resources") or {}).get("limits") or {}
    return sum(quantity_count(value) for name, value in limits.items() if is_accelerator(name))


def _containers(status: Object) -> tuple[str, bool, float | None]:
    waiting, restarted = "", False
    started_at_s: float | None = 0.0
    for container in status.get("containerStatuses") or ():
        restarted = restarted or bool(container.get("restartCount"))
        state = container.get("state") or {}
        reason = (state.get("waiting") or {}).get("reason")
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            waiting = str(reason)
        running_at_s = seconds_or_none((state.get("running") or {}).get("startedAt"))
        started_at_s = None if running_at_s is None or started_at_s is None else max(started_at_s, running_at_s)
    return waiting, restarted, started_at_s or None
