"""Which replicas find no node for longer than a node takes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autoscaler.adapters.kubernetes.nodes import is_accelerator
from autoscaler.adapters.kubernetes.pods import Pod, PodState
from autoscaler.core.node_facts import StuckReplicas, late_s, unmeasured_late_s

_SHORT = re.compile(r"Insufficient ([A-Za-z0-9](?:[-\w./]*\w)?)")


def stuck_replicas(pods: Iterable[Pod], at_s: float, *, measured_p99_s: float | None, start_s: float) -> StuckReplicas | None:
    """Of one service's pods. measured_p99_s: of a node's lead time, None where too little is known of it; start_s: the manifest's value."""
    limit_s = unmeasured_late_s(start_s) if measured_p99_s is None else late_s(measured_p99_s)
    late = [
        (pod.unschedulable_at_s, pod.unschedulable)
        for pod in pods
        if pod.state is PodState.STARTING
        and pod.unschedulable
        and pod.unschedulable_at_s is not None
        and at_s - pod.unschedulable_at_s > limit_s
    ]
    if not late:
        return None
    since_s, said = min(late)
    return StuckReplicas(
        replicas=len(late), since_s=since_s, limit_s=round(limit_s, 1), resource=_short_resource(said), said=said
    )


def short_resources(said: str) -> list[str]:
    """Those that the scheduler says are short ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", kubernetes
    pkg/scheduler/framework/types.go FitError.Error)."""
    return _SHORT.findall(said)


def _short_resource(said: str) -> str:
    """The one that is told of, an accelerator first; "" where none is named."""
    named = short_resources(said)
    return next((name for name in named if is_accelerator(name)), named[0] if named else "")
