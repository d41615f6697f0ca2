"""By whose capacity a service's traffic is scaled: the roles of a service see the same requests, so one scale is theirs all."""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.core.model import ScalingSpec


def scaled_by_per_s(specs: Sequence[ScalingSpec]) -> list[float]:
    """For each service the capacity (requests/s) of which ``scenario.scale.replicas`` are needed at the trace's peak: its own; of a service of
    several roles that of the role that needs the most replicas, which is the smallest. NaN where it isn't known."""
    smallest: dict[tuple[str, str], float] = {}
    for one in specs:
        if one.role is not None and one.capacity.per_s == one.capacity.per_s:
            service = one.namespace, one.role.service
            smallest[service] = min(smallest.get(service, one.capacity.per_s), one.capacity.per_s)
    return [
        one.capacity.per_s if one.role is None else smallest.get((one.namespace, one.role.service), one.capacity.per_s)
        for one in specs
    ]
