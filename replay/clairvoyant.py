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
from replay.optimum.nodes import PoolShare, on_its_pool, pool_shares
from replay.optimum.pools import node_optimum
from replay.optimum.solve import Optimum, calm, optimum
from replay.run import demand_of
from replay.scaling import scaled_by_per_s
from replay.scenario import Scenario, whole_s
from replay.traces.series import CountSeries
from replay.world import node_pools, plant_pools, services


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
    shares = _shares(manifests, scenario)
    wanted = range(len(specs)) if rows is None else rows
    alike = [group for group in alike_rows(manifests, scenario) if set(group) & set(wanted)]
    found: dict[int, Optimum] = {}
    for number, group in enumerate(alike):

        def told(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / len(alike))

        one = optimum(specs[group[0]], node_pools(manifests), scenario, demand[group[0]], shares[group[0]], told)
        found |= {row: replace(one, key=specs[row].key, share=shares[row]) for row in group}
    return [found[row] for row in wanted]


def _shares(manifests: Sequence[spec.Manifest], scenario: Scenario) -> list[PoolShare]:
    specs = services(manifests)
    pools, pools_of = plant_pools(specs, node_pools(manifests), scenario.nodes.slots)
    return pool_shares(specs, pools, pools_of, scenario.replicas.initial, whole_s(calm(scenario).nodes.start))


def alike_rows(manifests: Sequence[spec.Manifest], scenario: Scenario) -> list[list[int]]:
    """The services' places, those together whose optimum is the same."""

    def question(one: ScalingSpec, scaled_by: float, share: PoolShare) -> str:
        faults = [fault for fault in scenario.faults if fault.service == one.key]
        counts = (one.min_replicas, one.max_replicas, one.replica_multiple, one.accelerators_per_replica)
        # As text, since what is not known is NaN, which equals nothing. A pool's name makes no difference.
        return repr((on_its_pool(one, share).capacity, scaled_by, one.objective, counts, replace(share, pool=""), faults))

    asked: list[str] = []
    groups: list[list[int]] = []
    specs = services(manifests)
    for row, (one, scaled_by, share) in enumerate(zip(specs, scaled_by_per_s(specs), _shares(manifests, scenario), strict=True)):
        of = question(one, scaled_by, share)
        if of in asked:
            groups[asked.index(of)].append(row)
        else:
            asked.append(of)
            groups.append([row])
    return groups


def figures(found: Sequence[Optimum]) -> dict[str, Any]:
    """As a score's ``optimum``: hours summed, attainment over all requests. Node-slot-hours are null of services that share their pools with
    others than these."""
    requests = np.array([one.requests for one in found])
    shares = requests / requests.sum() if requests.sum() > 0 else np.full(len(found), 1 / len(found))
    nodes = node_optimum(found)
    return {
        "replica_hours": round(sum(one.replica_hours for one in found), 6),
        "lower_bound_replica_hours": round(sum(one.lower_bound_replica_hours for one in found), 6),
        "node_slot_hours": None if nodes is None else round(nodes.slot_hours, 6),
        "lower_bound_node_slot_hours": None if nodes is None else round(nodes.bound_slot_hours, 6),
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


def notes(manifests: Sequence[spec.Manifest], scenario: Scenario, *, single_requests: bool) -> list[str]:
    """What the optimum leaves out of a scenario, in words. single_requests: whether the trace holds them."""
    found = [
        f"{one.key} may run on several pools: the optimum has all its replicas on {share.pool}, where each does the most, however many nodes "
        "that takes; the bound on node-slot-hours counts slots, not whole nodes"
        for one, share in zip(services(manifests), _shares(manifests, scenario), strict=True)
        if share.pool in share.joined and len(one.pool_names) > 1
    ]
    if scenario.plant != "fluid":
        found.append(f"the optimum is the fluid plant's; scenario.plant={scenario.plant} is for policies only")
    if single_requests:
        found.append("the trace's single requests are counted by the second; token lengths don't matter to the optimum")
    kinds = sorted({fault.kind for fault in scenario.faults if fault.kind != "Surge"})
    if kinds:
        found.append(f"the optimum knows no faults but surges; without {', '.join(kinds)}")
    return found
