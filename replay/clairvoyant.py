"""The clairvoyant optimum of every service of a manifest on a trace, for comparisons and for ``replay optimum``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from autoscaler import spec
from autoscaler.core.model import ScalingSpec
from autoscaler.spec import duration_s
from replay.optimum.kernels import LONG_TICKS
from replay.optimum.solve import Optimum, optimum
from replay.run import demand_of
from replay.scaling import scaled_by_per_s
from replay.scenario import Scenario
from replay.traces.series import CountSeries
from replay.world import node_pools, services


def optima(
    manifests: Sequence[spec.Manifest],
    scenario: Scenario,
    trace: CountSeries,
    progress: Callable[[float], None] | None = None,
    rows: Sequence[int] | None = None,
) -> list[Optimum]:
    """The optimum of each service, or of those at `rows`, in the manifest's order. Services that are alike but for name and policies
    have the same one, and it is worked out once. Raises UsageError where manifests, scenario and trace don't fit."""
    specs = services(manifests)
    demand = demand_of(specs, scenario, trace)
    wanted = range(len(specs)) if rows is None else rows
    alike = [group for group in alike_rows(manifests, scenario) if set(group) & set(wanted)]
    found: dict[int, Optimum] = {}
    for number, group in enumerate(alike):

        def told(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / len(alike))

        one = optimum(specs[group[0]], node_pools(manifests), scenario, demand[group[0]], told)
        found |= {row: replace(one, key=specs[row].key) for row in group}
    return [found[row] for row in wanted]


def alike_rows(manifests: Sequence[spec.Manifest], scenario: Scenario) -> list[list[int]]:
    """The services' places, those together whose optimum is the same."""

    def question(one: ScalingSpec, scaled_by: float) -> str:
        faults = [fault for fault in scenario.faults if fault.service == one.key]
        counts = (one.min_replicas, one.max_replicas, one.replica_multiple, one.accelerators_per_replica, one.pool)
        # As text, since what is not known is NaN, which equals nothing.
        return repr((one.capacity, scaled_by, one.objective, counts, faults))

    asked: list[str] = []
    groups: list[list[int]] = []
    specs = services(manifests)
    for row, (one, scaled_by) in enumerate(zip(specs, scaled_by_per_s(specs), strict=True)):
        of = question(one, scaled_by)
        if of in asked:
            groups[asked.index(of)].append(row)
        else:
            asked.append(of)
            groups.append([row])
    return groups


def figures(found: Sequence[Optimum]) -> dict[str, Any]:
    """As a score's ``optimum``: hours summed, attainment over all requests."""
    requests = np.array([one.requests for one in found])
    shares = requests / requests.sum() if requests.sum() > 0 else np.full(len(found), 1 / len(found))
    return {
        "replica_hours": round(sum(one.replica_hours for one in found), 6),
        "lower_bound_replica_hours": round(sum(one.lower_bound_replica_hours for one in found), 6),
        "attained_ratio": round(float(shares @ [one.attained_ratio for one in found]), 9),
    }


def slow_hint(played: Iterable[tuple[CountSeries, Scenario]]) -> str | None:
    """What to install where numba is missing and one of the traces is long enough for it to matter; None else. For stderr: it says nothing
    of the outcome, which is the same with and without. Traces are read only where numba is missing, if `played` reads them one by one."""
    if find_spec("numba") is not None:
        return None
    ticks = max((_ticks(trace, scenario) for trace, scenario in played), default=0.0)
    if ticks < LONG_TICKS:
        return None
    return (
        f"the optimum of {ticks:.0f} ticks takes long without numba; the extra `fast` makes it many times faster: "
        "make venv EXTRAS=fast in a clone, else pip install 'inference-autoscaler[fast]'"
    )


def _ticks(trace: CountSeries, scenario: Scenario) -> float:
    played_s = trace.span_s if scenario.length is None else min(trace.span_s, duration_s(scenario.length))
    return played_s / duration_s(scenario.interval)


def notes(scenario: Scenario, *, single_requests: bool) -> list[str]:
    """What the optimum leaves out of a scenario, in words. single_requests: whether the trace holds them."""
    found = []
    if scenario.plant != "fluid":
        found.append(f"the optimum is the fluid plant's; scenario.plant={scenario.plant} is for policies only")
    if single_requests:
        found.append("the trace's single requests are counted by the second; token lengths don't matter to the optimum")
    kinds = sorted({fault.kind for fault in scenario.faults if fault.kind != "Surge"})
    if kinds:
        found.append(f"the optimum knows no faults but surges; without {', '.join(kinds)}")
    return found
