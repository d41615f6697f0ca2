"""The fleet's columns, changed row by row as news come in, copied once a tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from autoscaler.adapters.kubernetes.pod_index import FAILING, UNSCHEDULABLE, Members
from autoscaler.adapters.kubernetes.pods import PodState
from autoscaler.adapters.kubernetes.scale import ScaleState
from autoscaler.adapters.kubernetes.services import Service
from autoscaler.core.model import Bools, Fleet, Floats, Ints, Memory, Pause, PoolSpec, ScalingSpec, Versions
from autoscaler.core.node_facts import PoolFacts, StagesOf, StuckReplicas
from autoscaler.core.seen_nodes import NodesOf
from autoscaler.core.short import Short

N = TypeVar("N", np.int64, np.float64, np.bool_)


@dataclass(frozen=True, slots=True)
class OnPools:
    """Of one service: replicas on the nodes of each pool, those that stay and those that are leaving."""

    staying: dict[str, int]
    draining: dict[str, int]

    def of(self, state: PodState) -> dict[str, int] | None:
        """Those to which a pod in such a state counts."""
        return self.draining if state is PodState.DRAINING else None if state is PodState.OVER else self.staying


@dataclass(frozen=True, slots=True)
class OnLost:
    """Of one service: replicas on nodes that count for nothing. staying: of those that do not leave, the ones on each pool's nodes that nobody
    but us replaces."""

    staying: dict[str, int]
    draining: int


class Columns:
    """Arrays (n,) in the order of the services' rows. decided_on: the version of each target that a decision of now is made on."""

    def __init__(self) -> None:
        self._revision = -1
        self._specs: tuple[ScalingSpec, ...] = ()
        self._current: Ints = np.zeros(0, dtype=np.int64)
        self.ready: Ints = np.zeros(0, dtype=np.int64)
        self._starting: Ints = np.zeros(0, dtype=np.int64)
        self._draining: Ints = np.zeros(0, dtype=np.int64)
        self._surge: Ints = np.zeros(0, dtype=np.int64)
        self._versions: list[Versions] = []
        self._all_versions: tuple[Versions, ...] | None = None
        self.unschedulable: Ints = np.zeros(0, dtype=np.int64)
        self.failing: Ints = np.zeros(0, dtype=np.int64)
        self._lead_time_s: Floats = np.zeros(0)
        self._node_lead_time_s: Floats = np.zeros(0)
        self._hands_off: Bools = np.zeros(0, dtype=np.bool_)
        self._placed: dict[int, OnPools] = {}
        self._lost: dict[int, OnLost] = {}
        self._why: dict[int, str] = {}
        self.decided_on: list[ScaleState | None] = []

    def rearrange(self, before: Ints) -> None:
        """Moves each row to its new place: before (n,) is where it was, -1 for those that have to be set first."""
        known = before >= 0

        def moved(old: npt.NDArray[N]) -> npt.NDArray[N]:
            new = np.zeros(len(before), dtype=old.dtype)
            new[known] = old[before[known]]
            return new

        self._current, self.ready = moved(self._current), moved(self.ready)
        self._starting, self._draining = moved(self._starting), moved(self._draining)
        self._surge = moved(self._surge)
        self.unschedulable, self.failing = moved(self.unschedulable), moved(self.failing)
        self._lead_time_s, self._node_lead_time_s = moved(self._lead_time_s), moved(self._node_lead_time_s)
        self._hands_off = moved(self._hands_off)
        old_why, old_state, old_versions = self._why, self.decided_on, self._versions
        places = list(enumerate(before.tolist()))
        self._why = {row: old_why[place] for row, place in places if place in old_why}
        old_placed = self._placed
        self._placed = {row: old_placed[place] for row, place in places if place in old_placed}
        old_lost = self._lost
        self._lost = {row: old_lost[place] for row, place in places if place in old_lost}
        self.decided_on = [old_state[place] if place >= 0 else None for _, place in places]
        self._versions = [old_versions[place] if place >= 0 else () for _, place in places]
        self._all_versions = None

    def set_row(
        self,
        service: Service,
        state: ScaleState | None,
        members: Members | None,
        why: str,
        node_lead_s: float | None,
        placed: OnPools | None,
        lost: OnLost | None,
    ) -> None:
        """state: the target's scale, members: its pods; None where they aren't known. why: see Fleet.hands_off_why; "" where we may write.
        node_lead_s: of a node of its pool as measured; None where it isn't. placed: its replicas by pool; None where there is only one, or
        nobody can tell. lost: those on nodes that count for nothing; None where there are none, or nobody can tell."""
        assert service.spec is not None
        row = service.row
        current = state.replicas if state is not None else 0
        ready = starting = draining = unschedulable = failing = 0
        versions: Versions = ()
        if members is not None:
            counts, versions = members.counts, members.versions()
            ready, starting, draining = (counts[kind] for kind in (PodState.READY, PodState.STARTING, PodState.DRAINING))
            unschedulable, failing = counts[UNSCHEDULABLE], counts[FAILING]
        self._current[row] = current
        self.ready[row] = ready
        # What was asked for and has no pod yet (just patched, or a quota in the way) is coming capacity as well. What is there beyond the
        # count is not: an update's surge takes the place of others, and what is too many goes.
        self._starting[row] = max(current - ready, 0)
        self._surge[row] = max(ready + starting - current, 0)
        self._draining[row] = draining
        if versions != self._versions[row]:
            self._versions[row] = versions
            self._all_versions = None
        self.unschedulable[row] = unschedulable
        self.failing[row] = failing
        self._lead_time_s[row] = service.lead_time_s()
        self._node_lead_time_s[row] = service.node_lead_time_s(node_lead_s)
        self._hands_off[row] = bool(why)
        if why:
            self._why[row] = why
        else:
            self._why.pop(row, None)
        if placed is None:
            self._placed.pop(row, None)
        else:
            self._placed[row] = placed
        if lost is None:
            self._lost.pop(row, None)
        else:
            self._lost[row] = lost
        self.decided_on[row] = state

    def serves(self, row: int, pool: str) -> bool:
        """Whether replicas of the row, which may run on the pool, are ready; of a row with several pools, some of it being on this one's nodes."""
        placed = self._placed.get(row)
        return bool(self.ready[row]) and (placed is None or placed.staying.get(pool, 0) > 0)

    def fleet(
        self,
        *,
        revision: int,
        services: Sequence[Service],
        memories: Mapping[str, Memory],
        pools: tuple[PoolSpec, ...],
        paused: Pause | None,
        pool_facts: Mapping[str, PoolFacts],
        pool_nodes: Mapping[str, int] | None,
        stuck: Mapping[int, StuckReplicas],
        lead_stages: StagesOf,
        nodes_of: NodesOf,
        pool_memories: Mapping[str, Short],
    ) -> Fleet:
        """A frozen copy."""
        if self._all_versions is None and any(self._versions):
            self._all_versions = tuple(self._versions)
        if revision != self._revision:
            self._revision = revision
            self._specs = tuple(service.spec for service in services if service.spec is not None)
        return Fleet(
            revision=revision,
            specs=self._specs,
            current=self._current.copy(),
            ready=self.ready.copy(),
            starting=self._starting.copy(),
            draining=self._draining.copy(),
            lead_time_s=self._lead_time_s.copy(),
            node_lead_time_s=self._node_lead_time_s.copy(),
            hands_off=self._hands_off.copy(),
            hands_off_why=dict(self._why),
            memories=memories,
            pools=pools,
            paused=paused,
            surge=self._surge.copy() if self._surge.any() else None,
            versions=self._all_versions,
            pool_facts=pool_facts,
            pool_nodes=pool_nodes,
            placed={row: one.staying for row, one in self._placed.items()} or None,
            draining_on={row: one.draining for row, one in self._placed.items()} or None,
            draining_lost={row: one.draining for row, one in self._lost.items() if one.draining},
            staying_lost={row: one.staying for row, one in self._lost.items() if one.staying},
            stuck=stuck,
            lead_stages=lead_stages,
            nodes_of=nodes_of,
            pool_memories=pool_memories,
        )
