"""The clairvoyant optimum of every service of a manifest on a trace, for comparisons and for ``replay optimum``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autoscaler import spec
from replay.optimum.solve import Optimum, optimum
from replay.run import demand_of
from replay.scenario import Scenario
from replay.traces.series import CountSeries
from replay.world import node_pools, services


def optima(
    manifests: Sequence[spec.Manifest],
    scenario: Scenario,
    trace: CountSeries,
    progress: Callable[[float], None] | None = None,
) -> list[Optimum]:
    """The optimum of each service, one after the other. Raises UsageError where manifests, scenario and trace don't fit."""
    specs = services(manifests)
    demand = demand_of(specs, scenario, trace)
    found = []
    for row, one in enumerate(specs):

        def told(share: float, row: int = row) -> None:
            if progress is not None:
                progress((row + share) / len(specs))

        found.append(optimum(one, node_pools(manifests), scenario, demand[row], told))
    return found


def figures(found: Sequence[Optimum]) -> dict[str, Any]:
    """As a score's ``optimum``: hours summed, attainment over all requests."""
    requests = np.array([one.requests for one in found])
    shares = requests / requests.sum() if requests.sum() > 0 else np.full(len(found), 1 / len(found))
    return {
        "replica_hours": round(sum(one.replica_hours for one in found), 6),
        "lower_bound_replica_hours": round(sum(one.lower_bound_replica_hours for one in found), 6),
        "attained_ratio": round(float(shares @ [one.attained_ratio for one in found]), 9),
    }


def optimum_of(manifests: Sequence[spec.Manifest], scenario: Scenario, trace: CountSeries) -> dict[str, Any]:
    """``services`` by key and ``fleet``: replica_hours, lower_bound_replica_hours, attained_ratio of each. Raises UsageError."""
    found = optima(manifests, scenario, trace)
    return {"services": {one.key: figures([one]) for one in found}, "fleet": figures(found)}
