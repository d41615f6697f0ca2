"""Fleets on pools, and plans of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.model import Decisions, Fleet, Plan, PoolSpec, ScalingSpec
from autoscaler.core.table import Table
from tests.ticks import a_spec


def a_pool(name: str = "h100", max_nodes: int = 2, **changes: Any) -> PoolSpec:
    """Nodes of eight."""
    given: dict[str, Any] = {"min_nodes": 0, "accelerators_per_node": 8, **changes}
    return PoolSpec(name=name, max_nodes=max_nodes, **given)


def a_service(name: str, pool: str = "h100", namespace: str = "team", **changes: Any) -> ScalingSpec:
    return a_spec(name, namespace, **{"pool": pool, "min_replicas": 0, "max_replicas": 100_000, **changes})


def fleet_of(specs: Sequence[ScalingSpec], current: Sequence[int], **changes: Any) -> Fleet:
    n = len(specs)
    columns: dict[str, Any] = {
        "ready": np.array(current, dtype=np.int64),
        "starting": np.zeros(n, dtype=np.int64),
        "draining": np.zeros(n, dtype=np.int64),
        "hands_off": np.zeros(n, dtype=np.bool_),
    }
    return Fleet(
        revision=1,
        specs=tuple(specs),
        current=np.array(current, dtype=np.int64),
        lead_time_s=np.full(n, 120.0),
        node_lead_time_s=np.full(n, 180.0),
        **{**columns, **changes},
    )


def decided(desired: Sequence[int], headroom: Sequence[int] | None = None, **changes: Any) -> Decisions:
    n = len(desired)
    columns: dict[str, Any] = {"blind": np.zeros(n, dtype=np.bool_), "partial": np.zeros(n, dtype=np.bool_), **changes}
    return Decisions(
        at_s=0.0,
        recommended=np.array(desired, dtype=np.float64),
        desired=np.array(desired, dtype=np.int64),
        headroom=np.array(headroom or [0] * n, dtype=np.int64),
        capacity_per_s=np.full(n, np.nan),
        limits=lambda _row: (),
        reason=lambda _row: "",
        **columns,
    )


def plan_of(
    specs: Sequence[ScalingSpec],
    current: Sequence[int],
    desired: Sequence[int],
    budget: ChangeBudget | None = None,
    *,
    headroom: Sequence[int] | None = None,
    blind: Sequence[bool] | None = None,
    **changes: Any,
) -> Plan:
    fleet = fleet_of(specs, current, **changes)
    told = {} if blind is None else {"blind": np.array(blind)}
    return allocate(Table(fleet), fleet, decided(desired, headroom, **told), budget or ChangeBudget())
