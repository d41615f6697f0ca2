"""Pools that have no more nodes to give, and services that find no node where there are some: what may be counted on meanwhile, and when more
is tried again.

A shortage begins with a pause, in which only what is there counts. After it one node (or replica) more is tried: when it comes twice as many
may follow, at once; when it doesn't the next pause is twice as long. So a pool that is empty costs one attempt a pause, and one that has
capacity again is back within a few nodes' lead times. The first and longest pause are cluster-autoscaler's own for a node group that could
not grow (``--initial-node-group-backoff-duration`` 5 min, ``--max-node-group-backoff-duration`` 30 min, cluster-autoscaler FAQ).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from autoscaler.core.model import Fleet, Ints
from autoscaler.core.node_facts import ENOUGH, WHOLE, PoolFacts, late_s, moment, unmeasured_late_s
from autoscaler.core.short import Bound, Bounds, Short

FIRST_PAUSE_S: Final = 300.0
LONGEST_PAUSE_S: Final = 1800.0
RELEASING_KINDS: Final = frozenset({"Deployment", "ReplicaSet", "ReplicationController"})
"""Kinds whose controller removes pods without a node first when the count falls (kubernetes pkg/controller/controller_utils.go,
``ActivePodsWithRanks.Less``). A StatefulSet removes its highest ordinal, whether that runs or not: of such, what is stuck is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAsked:
    """What a pool's system says. asked: nodes that it was asked for, None where nobody knows. short: that it has no capacity or quota for
    them, in words; "" where it does not say so."""

    asked: int | None
    short: str = ""


NOT_TOLD: Final = PoolAsked(asked=None)


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """Since when something is missing without more of it coming."""

    there: int
    since_s: float


@dataclass(slots=True)
class Shortages:
    """What is short, by pool and by service. ``look`` is to be called once a tick."""

    _pools: dict[str, Short] = field(default_factory=dict)
    _services: dict[str, Short] = field(default_factory=dict)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _told_at_try: dict[str, str] = field(default_factory=dict)
    _met: set[str] = field(default_factory=set)
    _again: dict[str, int] = field(default_factory=dict)
    """By pool: nodes to be ordered in the place of those that count for nothing."""
    _revision: int = -1
    _row_of: dict[str, int] = field(default_factory=dict)
    _rows_by_pool: dict[str, Ints] = field(default_factory=dict)

    def look(self, fleet: Fleet, asked: Mapping[str, PoolAsked] | None, planned: Mapping[str, int], at_s: float) -> Bounds | None:
        """The bounds of this tick; None where nothing is bounded. asked: what the pools' systems said at the last tick, by pool; None: somebody
        else leads and hears them, and the pools' status tells what is short. planned: nodes by pool of the last tick's plan."""
        if not fleet.pools:
            return None
        if asked is None:
            self._pools = dict(fleet.pool_memories)
            self._waiting.clear()
        self._meet(fleet)
        self._again = {}
        self._compile(fleet)
        stuck_on = self._stuck_pools(fleet, planned)
        turned_to = self._turned_to(fleet)
        for pool in fleet.pools:
            name = pool.name
            facts = fleet.pool_facts.get(name)
            if facts is None or self._unseen(fleet, name):
                self._pools.pop(name, None)
                continue  # nobody knows what came
            there = facts.usable
            told = NOT_TOLD if asked is None else asked.get(name, NOT_TOLD)
            again = self._again[name] = beyond(facts, planned.get(name, 0) if told.asked is None else told.asked)
            missing = told.asked is not None and told.asked - again > there
            busy = missing or name in stuck_on
            waited_s = self._wait(name, there, busy, at_s)
            limit_s = self._limit_s(fleet, name) if busy else 0.0
            if asked is None:
                continue
            why = ""
            if missing and told.short and told.short != self._told_at_try.get(name):
                why = told.short
            elif missing and waited_s > limit_s:
                why = f"{(told.asked or 0) - again - there} of {told.asked} nodes did not come within {limit_s:.0f} s"
            elif name in stuck_on and waited_s > 0 and (waited_s > limit_s or not (name in self._pools or name in turned_to)):
                why = stuck_on[name]
            self._step(self._pools, name, there=there, why=why, busy=busy, at_s=at_s, resource=pool.resource)
            state = self._pools.get(name)
            if state is None or not state.trying:
                self._told_at_try.pop(name, None)
            else:
                self._told_at_try.setdefault(name, told.short)  # the same words may be those of the attempt before
        for gone in self._pools.keys() - {pool.name for pool in fleet.pools}:
            del self._pools[gone]
        self._look_at_services(fleet, at_s, stuck_on)
        return self._bounds(fleet)

    def shift(self, by_s: float) -> None:
        """The clock by which times were noted was set by so much."""
        for states in (self._pools, self._services):
            for name, state in states.items():
                states[name] = replace(state, since_s=state.since_s + by_s, until_s=state.until_s + by_s)
        for waiting in self._waiting.values():
            waiting.since_s += by_s

    # ------------------------------------------------------------ one state

    def _step(self, states: dict[str, Short], name: str, *, there: int, why: str, busy: bool, at_s: float, resource: str) -> None:
        state = states.get(name)
        if state is None:
            if why:
                states[name] = Short(
                    since_s=at_s,
                    until_s=at_s + FIRST_PAUSE_S,
                    pause_s=FIRST_PAUSE_S,
                    there=there,
                    trying=0,
                    resource=resource,
                    said=why,
                )
            return
        if not state.trying:
            if at_s >= state.until_s:
                states[name] = replace(state, there=there, trying=1, until_s=at_s)
                self._waiting.pop(name, None)
            elif there != state.there:
                # What came by itself is counted at once, and so is what went.
                states[name] = replace(state, there=there)
            return
        if there >= state.there + state.trying:
            states[name] = replace(state, there=there, trying=2 * state.trying, until_s=at_s)
        elif why:
            pause_s = min(2 * state.pause_s, LONGEST_PAUSE_S)
            states[name] = replace(state, there=there, trying=0, pause_s=pause_s, until_s=at_s + pause_s, said=why)
        elif there < state.there:
            states[name] = replace(state, there=there)
        elif not busy and at_s - state.until_s > state.pause_s:
            del states[name]  # as long as the last pause nothing was missing

    def _wait(self, name: str, there: int, missing: bool, at_s: float) -> float:
        """For how long something is missing and nothing more has come."""
        if not missing:
            self._waiting.pop(name, None)
            return 0.0
        waiting = self._waiting.get(name)
        if waiting is None or there > waiting.there:
            waiting = self._waiting[name] = _Waiting(there=there, since_s=at_s)
        waiting.there = there
        return at_s - waiting.since_s

    # ------------------------------------------------------------ who is short

    def _compile(self, fleet: Fleet) -> None:
        """Who runs where, once for each revision of the fleet."""
        if self._revision == fleet.revision and len(self._row_of) == len(fleet):
            return
        self._revision = fleet.revision
        self._row_of = {spec.key: row for row, spec in enumerate(fleet.specs)}
        rows: dict[str, list[int]] = {}
        for row, spec in enumerate(fleet.specs):
            for name in spec.pool_names:
                rows.setdefault(name, []).append(row)
        self._rows_by_pool = {name: np.array(found, dtype=np.int64) for name, found in rows.items()}

    def _meet(self, fleet: Fleet) -> None:
        """Takes up what the status of pools remembers, once."""
        for name, known in fleet.pool_memories.items():
            if name not in self._met:
                self._met.add(name)
                self._pools.setdefault(name, known)

    @staticmethod
    def _stuck_pools(fleet: Fleet, planned: Mapping[str, int]) -> dict[str, str]:
        """Pools that miss nodes for which replicas are stuck, with the words."""
        found: dict[str, str] = {}
        for row, stuck in fleet.stuck.items():
            for name in fleet.specs[row].pool_names:
                facts = fleet.pool_facts.get(name)
                if facts is not None and planned.get(name, 0) - beyond(facts, planned.get(name, 0)) > facts.usable:
                    found.setdefault(name, f"{fleet.specs[row].key}: {stuck.words}")
        return found

    def _turned_to(self, fleet: Fleet) -> set[str]:
        """Pools that stuck replicas are to have nodes on since another one was found short: what they wait for longer than nodes take is that
        one's, and these may have been asked a moment ago."""
        found: set[str] = set()
        for row in fleet.stuck:
            names = fleet.specs[row].pool_names
            if len(names) > 1 and any(name in self._pools for name in names):
                found.update(names)
        return found

    def _look_at_services(self, fleet: Fleet, at_s: float, stuck_on: Mapping[str, str]) -> None:
        """Services of one pool whose replicas are stuck though no node is missing: it fits nowhere, and must not keep others from growing."""
        alone = {
            spec.key: stuck.words
            for row, stuck in fleet.stuck.items()
            if (spec := fleet.specs[row]).pool is not None
            and not stuck_on.keys() & set(spec.pool_names)
            and self._seen(fleet, row)
        }
        for key in dict.fromkeys((*alone, *self._services)):
            row = self._row_of.get(key)
            if row is None:
                del self._services[key]
                continue
            stuck = fleet.stuck.get(row)
            ran = int(fleet.current[row]) - (stuck.replicas if stuck is not None else 0)
            state = self._services.get(key)
            if state is not None and state.trying and key not in alone and fleet.ready[row] < state.there + state.trying:
                ran = min(ran, state.there)  # not yet come
            elif state is not None and not state.trying:
                ran = min(ran, state.there)
            self._step(
                self._services,
                key,
                there=ran,
                why=alone.get(key, ""),
                busy=bool(fleet.current[row] > fleet.ready[row]),
                at_s=at_s,
                resource=stuck.resource if stuck is not None else "",
            )

    def _seen(self, fleet: Fleet, row: int) -> bool:
        names = fleet.specs[row].pool_names
        return bool(names) and all(name in fleet.pool_facts and name not in self._pools for name in names)

    def _unseen(self, fleet: Fleet, pool: str) -> bool:
        """Whether replicas run on the pool and none of its nodes is seen: its nodeSelector finds others, or none."""
        if fleet.pool_facts[pool].nodes or (rows := self._rows_by_pool.get(pool)) is None:
            return False
        return any(fleet.specs[row].pool == pool for row in rows[fleet.ready[rows] > 0].tolist())

    def _limit_s(self, fleet: Fleet, pool: str) -> float:
        """How long a node may take before it is late."""
        whole = next((stage for stage in fleet.pool_facts[pool].stages if stage.name == WHOLE and stage.samples >= ENOUGH), None)
        if whole is not None:
            return late_s(whole.p99_s)
        rows = self._rows_by_pool.get(pool)
        return unmeasured_late_s(0.0 if rows is None else float(fleet.node_lead_time_s[rows].max()))

    # ------------------------------------------------------------ what follows

    def _bounds(self, fleet: Fleet) -> Bounds | None:
        lost = {name: facts.lost for name, facts in fleet.pool_facts.items() if facts.lost}
        again = {name: nodes for name, nodes in self._again.items() if nodes}
        rates = {name: rate for name, facts in fleet.pool_facts.items() if (rate := facts.seen_loss_per_node_hour) is not None}
        if not self._pools and not self._services and not lost and not rates:
            return None
        pools = {name: _bound(f"pool {name}", "nodes", state) for name, state in self._pools.items()}
        services = {self._row_of[key]: _bound(key, "replicas", state) for key, state in self._services.items()}
        released = {
            row: stuck.replicas
            for row, stuck in fleet.stuck.items()
            if fleet.specs[row].target.partition("/")[0] in RELEASING_KINDS
            and (row in services or _all_in(fleet.specs[row].pool_names, pools))
        }
        return Bounds(
            pools=pools, services=services, lost=lost, ordered_for_lost=again, released=released, loss_per_node_hour=rates
        )


def beyond(facts: PoolFacts, target: int) -> int:
    """Nodes that count for nothing, are part of the target, and that nobody but us replaces. One that goes since the target was lowered is no
    part of it: what is told to go then is what we gave back."""
    return min(facts.beyond, max(target - facts.usable, 0))


def _all_in(names: Sequence[str], among: Mapping[str, Bound]) -> bool:
    return bool(names) and all(name in among for name in names)


def _bound(whose: str, what: str, state: Short) -> Bound:
    then = (
        f"{state.trying} more {'is' if state.trying == 1 else 'are'} tried since {moment(state.until_s)}"
        if state.trying
        else f"tried again at {moment(state.until_s)}"
    )
    resource = state.resource or "what it needs"
    words = f"{whose} is short of {resource} since {moment(state.since_s)} ({state.said}): {state.there} {what} count, {then}"
    return Bound(most=state.there + state.trying, trying=state.trying, words=words, state=state)
