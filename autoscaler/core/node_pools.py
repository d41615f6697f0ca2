"""Which service may run on which pool, and what a replica takes there: columns, compiled once for each revision of the fleet and its pools."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints, PoolSpec, ScalingSpec
from autoscaler.core.short import Bounds

NO_BOUND: Final = 1 << 53
ONE_POD_KINDS: Final = frozenset({"Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"})
"""Kinds whose replica is one pod, which must fit on one node (https://kubernetes.io/docs/concepts/workloads/controllers/). A replica of
another kind may be a group of pods, such as LeaderWorkerSet's, and then takes whole nodes where it takes more than one has."""


class PoolTable:
    """Pools as columns (P,), and as columns (J,) the ways in which services may be placed: one for each pool that a service names and that
    a replica of it fits on, by row, and of one row the cheapest first.

    row, pool, size (J,): size is the accelerators that one replica takes there; what spans nodes takes all of each. group (J,): of the same
    namespace on the same pool; its bound and weight are group_most and group_weight (G,). team (J,): of the same
    namespace and priority. several: places of rows that have more than one.
    unplaceable: rows that name pools of which none can take a replica, with the reason in words.
    """

    def __init__(self, specs: Sequence[ScalingSpec], pools: tuple[PoolSpec, ...]) -> None:
        self.pools = pools
        self.names = [pool.name for pool in pools]
        self.per_node: Ints = np.array([pool.accelerators_per_node for pool in pools], dtype=np.int64)
        self.least_nodes: Ints = np.array([pool.min_nodes for pool in pools], dtype=np.int64)
        self.most_nodes: Ints = np.array([pool.most_nodes for pool in pools], dtype=np.int64)
        self.price: Floats = np.array([mean_cost(pool) for pool in pools])
        """Of a node for an hour (P,)."""
        self.keeps_spare: Ints = np.array([place for place, pool in enumerate(pools) if pool.waiting_cost > 0], dtype=np.int64)
        """Pools (numbers) that keep spare nodes by what they are worth."""
        self.unplaceable: dict[int, str] = {}
        number = {name: place for place, name in enumerate(self.names)}
        places: list[tuple[int, int, int]] = []
        rank: list[int] = []
        cost: list[float] = []
        scaled = {(spec.namespace, spec.target) for spec in specs if spec.mode != "Shadow"}
        for row, spec in enumerate(specs):
            if not spec.pool_names or spec.accelerators_per_replica < 1:
                continue
            if spec.mode == "Shadow" and (spec.namespace, spec.target) in scaled:
                continue  # the other one's replicas are the same
            mine = _places_of(spec, pools, number)
            if mine:
                places += [(row, pool, size) for _, pool, size in mine]
                rank += range(len(mine))
                cost += [of_a_request for of_a_request, _, _ in mine]
            elif words := _no_place(spec, pools, number):
                self.unplaceable[row] = words
        columns = np.array(places, dtype=np.int64).reshape(-1, 3)
        self.row: Ints = np.ascontiguousarray(columns[:, 0])
        self.pool: Ints = np.ascontiguousarray(columns[:, 1])
        self.size: Ints = np.ascontiguousarray(columns[:, 2])
        self.rank: Ints = np.array(rank, dtype=np.int64)
        self.cost: Floats = np.array(cost)
        """What a request/s of the service costs an hour on nodes that are full (J,)."""
        self.pooled: Bools | None = np.bincount(self.row, minlength=len(specs)) > 0 if places else None
        """Rows (n,) that have a place; None: there are none."""
        self.priority: Ints = np.array([specs[row].priority for row in self.row.tolist()], dtype=np.int64)
        self.multiple: Ints = np.array([specs[row].replica_multiple for row in self.row.tolist()], dtype=np.int64)
        self.unit: Ints = self.size * self.multiple
        """Accelerators of the fewest replicas that come together."""
        slots = np.maximum(self.per_node[self.pool] // np.maximum(self.size, 1), 1)
        self.room: Ints = np.maximum(self.per_node[self.pool] // slots, self.size) * self.multiple
        """Accelerators of a node that such a unit needs where only its kind is there: 4 of 8 for a replica of 3, of which two fit."""
        self.choices: Ints = np.bincount(self.row, minlength=len(specs))[self.row]
        """How many places each place's row has."""
        self.several: Ints = np.flatnonzero(self.choices > 1)
        self.most_ranks = int(self.rank.max(initial=0)) + 1
        self.sizes: Ints = np.unique(self.size)[::-1]
        """All sizes, the largest first."""
        self.size_number: Ints = len(self.sizes) - 1 - np.searchsorted(self.sizes[::-1], self.size)
        first = [pools[place].min_replicas_first for place in self.pool.tolist()]
        self.minimum_first: Bools = (np.bincount(self.row, first, len(specs)) > 0)[self.row]
        """Where the row's lower bound comes before what higher priorities want beyond theirs: one of its pools says so."""
        self._group([specs[row].namespace for row in self.row.tolist()])
        self.usable: Ints = self._usable()

    def within(self, bounds: Bounds) -> PoolTable:
        """The same with the nodes that may be counted on. What is tried is enough for one replica or group of each service."""
        most = self.most_nodes.copy()
        for place, name in enumerate(self.names):
            most[place] -= min(bounds.ordered_for_lost.get(name, 0), most[place])
            if (bound := bounds.pools.get(name)) is not None:
                mine = self.pool == place
                span = int(-(-self.unit[mine] // max(int(self.per_node[place]), 1)).max(initial=1))
                most[place] = min(most[place], bound.most + bound.trying * (max(span, 1) - 1))
        made = copy.copy(self)
        made.most_nodes = most
        return made

    def by_size(self, replicas: Ints) -> Ints:
        """How many of each size are on each pool (P, S), of the replicas of each place (J,)."""
        kinds = len(self.sizes)
        counts = np.bincount(self.pool * kinds + self.size_number, replicas, len(self.pools) * kinds)
        return counts.astype(np.int64).reshape(len(self.pools), kinds)

    def standing(self, nodes: Mapping[str, int] | None) -> Ints:
        """Nodes (P,) that are there, ready or coming, as far as they may be counted on; none where nobody tells."""
        there = {} if nodes is None else nodes
        return np.minimum(np.array([there.get(name, 0) for name in self.names], dtype=np.int64), self.most_nodes)

    def __bool__(self) -> bool:
        """Whether any service runs on any of the pools."""
        return bool(len(self.row) or self.unplaceable)

    def _group(self, namespaces: Sequence[str]) -> None:
        number: dict[tuple[int, str], int] = {}
        self.group: Ints = np.array(
            [number.setdefault(key, len(number)) for key in zip(self.pool.tolist(), namespaces, strict=True)], dtype=np.int64
        )
        self.group_namespace = [namespace for _, namespace in number]
        teams: dict[tuple[str, int], int] = {}
        self.team: Ints = np.array(
            [teams.setdefault(key, len(teams)) for key in zip(namespaces, self.priority.tolist(), strict=True)], dtype=np.int64
        )
        self.group_most: Ints = np.full(len(number), NO_BOUND, dtype=np.int64)
        self.group_weight: Floats = np.ones(len(number))
        for place, pool in enumerate(self.pools):
            for quota in pool.quotas:
                if (group := number.get((place, quota.namespace))) is not None:
                    self.group_most[group] = NO_BOUND if quota.accelerators is None else quota.accelerators
                    self.group_weight[group] = quota.weight
        self.has_quota = bool((self.group_most < NO_BOUND).any())

    def _usable(self) -> Ints:
        """Accelerators of a node that replicas can fill, at the most: of 8, two of 3 each fill 6."""
        divisor = np.zeros(len(self.pools), dtype=np.int64)
        np.gcd.at(divisor, self.pool, np.minimum(self.size, self.per_node[self.pool]))
        return self.per_node - np.where(divisor > 0, self.per_node % np.maximum(divisor, 1), 0)


def per_s_on(spec: ScalingSpec, pool: str) -> float:
    """Requests/s of a ready replica of the service on the pool: what it gives for it, else its own capacity."""
    does = next((use.per_s for use in spec.pools if use.name == pool), None)
    return spec.capacity.per_s if does is None else does


def _named(spec: ScalingSpec, number: dict[str, int]) -> list[int]:
    """The pools that a service names and that are there."""
    return [number[name] for name in spec.pool_names if name in number]


def _places_of(spec: ScalingSpec, pools: Sequence[PoolSpec], number: dict[str, int]) -> list[tuple[float, int, int]]:
    """(what a request/s costs an hour, pool, accelerators a replica) where a replica fits, the cheapest first; those of one price in the
    manifest's order."""
    found: list[tuple[float, int, int]] = []
    resource = ""
    for place in _named(spec, number):
        pool, accelerators = pools[place], spec.accelerators_per_replica
        resource = resource or pool.resource
        nodes = math.ceil(accelerators / pool.accelerators_per_node)
        if pool.resource != resource or (nodes > 1 and spec.target.partition("/")[0] in ONE_POD_KINDS):
            continue  # one template asks for one resource
        does = per_s_on(spec, pool.name)
        share = nodes if nodes > 1 else 1.0 / (pool.accelerators_per_node // accelerators)
        cost = share * mean_cost(pool) / (does if does > 0 else 1.0)
        found.append((cost, place, nodes * pool.accelerators_per_node if nodes > 1 else accelerators))
    return sorted(found, key=lambda one: one[0])


def _no_place(spec: ScalingSpec, pools: Sequence[PoolSpec], number: dict[str, int]) -> str:
    """Why no pool can take a replica; "" where none of those it names is there: then nobody knows, and nothing is limited."""
    named = _named(spec, number)
    if not named:
        return ""
    pool = pools[named[0]]
    return (
        f"a replica takes {spec.accelerators_per_replica} {pool.resource} and a node of pool {pool.name} has "
        f"{pool.accelerators_per_node}: none can be placed"
    )


def mean_cost(pool: PoolSpec) -> float:
    """Of a node for an hour, with as many spot nodes as the pool may have."""
    return pool.cost_per_hour + pool.spot_ratio * (pool.spot_price - pool.cost_per_hour)
