"""The services' configuration as columns, compiled once for each revision of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from autoscaler.core.calendar import Calendar
from autoscaler.core.model import Bools, Fleet, Floats, Ints, Pause, PoolSpec, ScalingRules, ScalingSpec
from autoscaler.core.node_pools import PoolTable
from autoscaler.core.roles import roles_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesGroup:
    """Rows that share one set of HPA v2 rules; rows None means all of them, which spares the indexing."""

    rules: ScalingRules
    rows: Ints | None


def _grouped(specs: Sequence[ScalingSpec], of: Callable[[ScalingSpec], ScalingRules]) -> tuple[RulesGroup, ...]:
    groups: dict[ScalingRules, list[int]] = {}
    for row, spec in enumerate(specs):
        groups.setdefault(of(spec), []).append(row)
    if len(groups) == 1:
        return (RulesGroup(rules=next(iter(groups)), rows=None),)
    return tuple(RulesGroup(rules=rules, rows=np.array(rows)) for rules, rows in groups.items())


def _floats(values: Sequence[float | None], missing: float = np.nan) -> Floats:
    return np.array([missing if value is None else value for value in values], dtype=np.float64)


def _ints(specs: Sequence[ScalingSpec], name: str) -> Ints:
    return np.array([getattr(spec, name) for spec in specs], dtype=np.int64)


@dataclass(slots=True, kw_only=True)
class _Coming:
    """What ``Table.coming_min`` found, and from when until when it holds for lead times such as these."""

    begins_s: float
    ends_s: float
    ahead_s: Floats
    highest: Ints
    pooled: Bools | None = None
    minimum: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class Table:
    """Columns (n,) of a fleet's specs. Constant for one revision, but for the bounds, which schedules move, and for
    `capacity_per_s` where it is learnt: another array each time that something in it changes."""

    def __init__(self, fleet: Fleet) -> None:
        specs = fleet.specs
        self.revision = fleet.revision
        self.specs = specs
        self.keys = tuple(spec.key for spec in specs)
        self.row_of = {key: row for row, key in enumerate(self.keys)}
        self.own_min: Ints = _ints(specs, "min_replicas")
        self._own_max: Ints = _ints(specs, "max_replicas")
        self.min_replicas, self.max_replicas = self.own_min, self._own_max
        self.multiple: Ints = _ints(specs, "replica_multiple")
        self.priority: Ints = _ints(specs, "priority")
        self.accelerators: Ints = _ints(specs, "accelerators_per_replica")
        self.drain_max: Ints = _ints(specs, "drain_max_at_once")
        self.active: Bools = np.array([spec.mode == "Active" for spec in specs], dtype=np.bool_)
        self.claims: Bools = np.array([spec.mode != "Shadow" for spec in specs], dtype=np.bool_)
        """Whose counts somebody follows: we, or an HPA that follows what is published."""
        self.may_shrink: Bools = np.array([spec.scale_down.select != "Disabled" for spec in specs], dtype=np.bool_)
        self.given_per_s = _floats([spec.capacity.per_s for spec in specs])
        self.learns_capacity = any(spec.capacity.learnt for spec in specs)
        # Of a replica that nobody limits; replaced by another array where it changes, never written to.
        self.full_capacity_per_s = self.given_per_s
        self.full_slots = _floats([spec.capacity.slots for spec in specs])
        self.slots_slowdown = _floats([spec.capacity.slots_slowdown for spec in specs])
        self.promised_ratio = _floats([spec.objective.promised_ratio for spec in specs])
        self.allow(
            capacity_per_s=self.full_capacity_per_s,
            slots=self.full_slots,
            wait_s=_floats([spec.objective.target for spec in specs]),
        )
        self.fallback_after_s = _floats([spec.fallback.after_s for spec in specs])
        self.idle_after_s = _floats([spec.idle_after_s for spec in specs])
        self.up = _grouped(specs, lambda spec: spec.scale_up)
        self.down = _grouped(specs, lambda spec: spec.scale_down)
        self.pauses: dict[int, Pause] = {row: spec.pause for row, spec in enumerate(specs) if spec.pause is not None}
        self._calendar = Calendar(specs)
        self._bounds_hold_s = np.inf, np.inf
        self._window: Ints = np.full(len(specs), -1, dtype=np.int64)
        self._coming: _Coming | None = None
        self._fleet: Fleet | None = None
        self._writable: Bools = self.active
        self.no_wish: Floats = np.full(len(specs), np.nan)
        self.zeros: Floats = np.zeros(len(specs))
        self.nothing: Ints = np.zeros(len(specs), dtype=np.int64)
        self.nowhere: Bools = np.zeros(len(specs), dtype=np.bool_)
        self.has_multiple = bool((self.multiple > 1).any())
        self.has_drain_limit = bool((self.drain_max > 0).any())
        self._by_node = [(row, spec) for row, spec in enumerate(specs) if spec.drain_whole_nodes and spec.pool is not None]
        self.empties_nodes = bool(self._by_node)
        self._pools: tuple[PoolSpec, ...] = ()
        self._node_pools: PoolTable | None = None
        self._per_node: Ints = np.ones(len(specs), dtype=np.int64)
        self.may_be_zero: Bools = np.array([spec.lowest_min == 0 for spec in specs], dtype=np.bool_)
        """Where the lower bound is 0, always or in a window of the calendar."""
        self.sleeps: Bools = self.may_be_zero & ~np.isnan(self.idle_after_s)
        """Those of them whose idle time says when they go to zero, and whose work brings them back."""
        self.wakes: Bools = self.sleeps & np.array([spec.scale_up.select != "Disabled" for spec in specs], dtype=np.bool_)
        self.any_sleeps = bool(self.sleeps.any())
        self.has_zero_guard = not bool(self.may_be_zero.all())
        self.roles = roles_of(specs)
        self.longest_window_s = max((g.rules.stabilization_s for g in (*self.up, *self.down)), default=0.0)
        self.longest_period_s = max((p.period_s for g in (*self.up, *self.down) for p in g.rules.policies), default=0.0)
        self.stabilizes = self.longest_window_s > 0
        self.limits_rate = any(g.rules.policies or g.rules.select == "Disabled" for g in (*self.up, *self.down))

    def __len__(self) -> int:
        return len(self.specs)

    def allow(self, *, capacity_per_s: Floats, slots: Floats, wait_s: Floats) -> None:
        """What the objectives allow a ready replica, (n,): requests/s, requests at a time, seconds that these may wait."""
        self.capacity_per_s, self.slots = capacity_per_s, slots
        self.replica: tuple[Floats, ...] = (
            capacity_per_s,
            slots,
            self.slots_slowdown,
            wait_s,
            self.promised_ratio,
            self.full_slots,
        )
        """What policies are told of a replica: the same tuple as long as nothing in it changes."""

    def writable(self, fleet: Fleet) -> Bools:
        """Where counts may be written, (n,): Active, and nobody else's number."""
        if fleet is not self._fleet:
            self._fleet, self._writable = fleet, self.active & ~fleet.hands_off
        return self._writable

    def per_node(self, pools: tuple[PoolSpec, ...]) -> Ints:
        """Replicas that leave a node together, (n,): as many as fit on one where the service empties whole nodes, else 1."""
        if pools != self._pools:
            self._pools = pools
            each = {pool.name: pool.accelerators_per_node for pool in pools}
            self._per_node = np.ones(len(self.specs), dtype=np.int64)
            for row, spec in self._by_node:
                if spec.accelerators_per_replica:
                    self._per_node[row] = max(each.get(spec.pool or "", 0) // spec.accelerators_per_replica, 1)
        return self._per_node

    def pooled(self, pools: tuple[PoolSpec, ...]) -> Bools | None:
        """Rows (n,) that run on a pool, the same array for the same pools; None: there are none."""
        return self.node_pools(pools).pooled if pools else None

    def node_pools(self, pools: tuple[PoolSpec, ...]) -> PoolTable:
        """Who may run where, compiled once for the same pools."""
        if self._node_pools is None or self._node_pools.pools != pools:
            self._node_pools = PoolTable(self.specs, pools)
        return self._node_pools

    def move_bounds(self, at_s: float) -> None:
        """Applies the schedules in force at `at_s`; of several the last one in the manifest wins, bound by bound."""
        if not self._calendar or self._bounds_hold_s[0] <= at_s < self._bounds_hold_s[1]:
            return
        self._bounds_hold_s = at_s, self._calendar.next_turn_s(at_s)
        rows = self._calendar.rows
        low, high = self.own_min.copy(), self._own_max.copy()
        low[rows], high[rows], self._window[rows] = self._calendar.bounds(at_s)
        self.min_replicas, self.max_replicas = np.minimum(low, high), high

    def schedule_in_force(self, row: int) -> str:
        """The last schedule in force; "" where none is."""
        return self._calendar.name(int(self._window[row])) if self._window[row] >= 0 else ""

    def coming_min(self, at_s: float, fleet: Fleet, interval_s: float) -> Ints:
        """The highest lower bounds (n,) from `at_s` until a node that is ordered at the next tick is there, of services on pools that schedules
        move; 0 of all others. What begins and ends within that time counts: its nodes are ordered and kept until it begins."""
        pooled = self.pooled(fleet.pools) if self._calendar else None
        if pooled is None:
            return self.nothing
        rows = self._calendar.rows
        ahead_s = interval_s + fleet.node_lead_time_s[rows]
        known = self._coming
        if known is None or not known.begins_s <= at_s < known.ends_s or not np.array_equal(known.ahead_s, ahead_s):
            highest, ends_s = self._calendar.highest_min(at_s, ahead_s)
            known = self._coming = _Coming(begins_s=at_s, ends_s=ends_s, ahead_s=ahead_s, highest=highest)
        if known.pooled is not pooled:
            known.pooled, known.minimum = pooled, np.zeros(len(self), dtype=np.int64)
            known.minimum[rows] = np.where(pooled[rows], known.highest, 0)
        return known.minimum
