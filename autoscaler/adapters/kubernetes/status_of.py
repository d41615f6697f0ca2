"""What an object's status says, from one row of a tick, and the numbers by which one sees whether it has to be said again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from autoscaler.adapters.kubernetes.conditions import conditions_of, invalid_conditions
from autoscaler.adapters.kubernetes.moments import seconds_or_none, time_text
from autoscaler.adapters.kubernetes.pods import Pod
from autoscaler.adapters.kubernetes.services import Service
from autoscaler.core.model import Ints, LearntMemory, Limit, Memory, Written
from autoscaler.core.node_facts import POD_STAGES
from autoscaler.core.signals import SignalState
from autoscaler.core.trust import trust_of
from autoscaler.ports import Tick
from autoscaler.spec import (
    LEARNT_SCHEMA,
    CapacityStatus,
    InferenceAutoscalerStatus,
    LearntCapacity,
    LearntVersion,
    LimitStatus,
    MemoryStatus,
    PolicyMemory,
    RoleStatus,
    SignalStatus,
    TimedCount,
)

_STATES: Final = {SignalState.KNOWN: "Known", SignalState.IDLE: "Idle", SignalState.UNKNOWN: "Unknown"}
URGENT: Final = 9
"""So many of the first columns are worth a request as soon as they change."""
COLUMNS: Final = 22


def columns_of(
    tick: Tick, unschedulable: Ints, failing: Ints, shared: Mapping[int, str], emptying: Mapping[int, tuple[bool, str, str]]
) -> Ints:
    """What decides whether a row is written again: numbers only, since words cost time. shared, emptying: see ``status_of``, by row."""
    recommended = tick.decisions.recommended
    failed = (tick.outcome.written == Written.FAILED).astype(np.int64)
    return np.column_stack(
        [
            tick.plan.replicas,
            tick.fleet.current,
            tick.fleet.hands_off.astype(np.int64),
            tick.decisions.blind.astype(np.int64),
            (unschedulable > 0).astype(np.int64),
            (failing > 0).astype(np.int64),
            failed,
            tick.decisions.partial.astype(np.int64),
            _paused(tick),
            tick.decisions.desired,
            tick.fleet.ready,
            tick.fleet.starting,
            np.where(np.isnan(recommended), -1, np.ceil(np.nan_to_num(recommended) - 1e-9)).astype(np.int64),
            _told(tick, tick.unlearnt),
            _told(tick, shared),
            _learnt(tick),
            np.zeros_like(tick.plan.replicas) if tick.decisions.idle_s is None else tick.decisions.idle_s.astype(np.int64),
            *_roles(tick),
            _trusted(tick),
            _stuck(tick),
            _told(tick, {row: reason for row, (_, reason, _) in emptying.items()}),
        ]
    )


def _trusted(tick: Tick) -> Ints:
    """1 trusted, 0 not, −1 where no policy scores its forecast."""
    trust = trust_of(tick.decisions)
    if trust is None:
        return np.full(len(tick.fleet), -1, dtype=np.int64)
    return np.nan_to_num(trust.trusted, nan=-1.0).astype(np.int64)


def _stuck(tick: Tick) -> Ints:
    found = np.zeros(len(tick.fleet), dtype=np.int64)
    for row, stuck in tick.fleet.stuck.items():
        found[row] = stuck.replicas
    return found


def _learnt(tick: Tick) -> Ints:
    """Of a learnt capacity only what is worth a request: 5 % more or less, a tenth of confidence."""
    confidence = tick.decisions.capacity_confidence
    if confidence is None:
        return np.zeros(len(tick.fleet), dtype=np.int64)
    known = ~np.isnan(confidence) & (tick.decisions.capacity_per_s > 0.0)
    steps = np.log(np.where(known, tick.decisions.capacity_per_s, 1.0)) / np.log(1.05)
    return np.where(known, np.round(steps).astype(np.int64) * 100 + np.round(np.nan_to_num(confidence) * 10).astype(np.int64), 0)


def _told(tick: Tick, words_of: Mapping[int, str]) -> Ints:
    """Rows of which something is told; of the words only whether they changed."""
    found = np.zeros(len(tick.fleet), dtype=np.int64)
    for row, words in words_of.items():
        found[row] = hash(words)
    return found


def _roles(tick: Tick) -> tuple[Ints, Ints]:
    """Who is the bottleneck; what is not kept or wrong with a role, of the words only whether they changed."""
    roles = tick.decisions.roles
    if roles is None:
        return np.zeros_like(tick.plan.replicas), np.zeros_like(tick.plan.replicas)
    wrong = roles.unkept.copy()
    for row, words in roles.faults.items():
        wrong[row] = hash(words)
    return roles.bottleneck, wrong


def _paused(tick: Tick) -> Ints:
    at_s, fleet = tick.decisions.at_s, tick.fleet
    rows = [spec.pause is not None and spec.pause.in_force(at_s) for spec in fleet.specs]
    return np.array(rows, dtype=np.int64) + 2 * (fleet.paused is not None and fleet.paused.in_force(at_s))


def invalid_status(service: Service) -> InferenceAutoscalerStatus:
    """The status of an object that can't be used: what was known stays, the conditions say why."""
    status = service.status() or InferenceAutoscalerStatus()
    status.observed_generation = service.object.generation
    status.conditions = invalid_conditions(service.fault, service.object.generation)
    return status


def status_of(
    tick: Tick,
    row: int,
    service: Service,
    troubled: Sequence[tuple[str, Pod]],
    shared: str = "",
    emptying: tuple[bool, str, str] | None = None,
) -> InferenceAutoscalerStatus:
    """The whole status of one row, but for the conditions' transition times. troubled, shared, emptying: see ``troubled_pods``,
    ``shared_demand`` and ``emptying`` of ``KubernetesCluster``."""
    decisions, fleet = tick.decisions, tick.fleet
    recommended = decisions.recommended[row]
    limits = tick.limits(row)
    present = service.status()
    scaled = [seconds_or_none(present.last_scale_time) if present is not None else None, service.scaled_at_s]
    scaled_at_s = max((at_s for at_s in scaled if at_s is not None), default=None)
    return InferenceAutoscalerStatus(
        observed_generation=fleet.specs[row].generation,
        current_replicas=int(fleet.current[row]),
        ready_replicas=int(fleet.ready[row]),
        starting_replicas=int(fleet.starting[row]),
        recommended_replicas=None if np.isnan(recommended) else int(np.ceil(recommended - 1e-9)),
        desired_replicas=int(decisions.desired[row]),
        planned_replicas=int(tick.plan.replicas[row]),
        last_scale_time=None if scaled_at_s is None else time_text(scaled_at_s),
        reason=decisions.reason(row)[:4096],
        limits=[_limit_status(limit) for limit in limits[:32]],
        signals=list(_signals(tick, row))[:32],
        lead_time=service.lead.status(POD_STAGES),
        capacity=_capacity(tick, row),
        role=_role(tick, row),
        memory=_memory_status(fleet.specs[row].target, tick.memory(row)),
        conditions=conditions_of(tick, row, troubled, limits, shared, emptying),
    )


def _limit_status(limit: Limit) -> LimitStatus:
    return LimitStatus(name=limit.name, before=limit.before, after=limit.after, why=limit.why)


def _signals(tick: Tick, row: int) -> Iterator[SignalStatus]:
    for name, column in tick.readings.signals.items():
        state = SignalState(int(column.state[row]))
        why = tick.readings.why(name, row) if state is SignalState.UNKNOWN else ""
        if state is SignalState.UNKNOWN and not why:
            continue  # nobody asked for it
        value, age_s = float(column.values[row]), float(column.age_s[row])
        yield SignalStatus(
            name=name,
            state=_STATES[state],
            value=f"{value:.6g}" if np.isfinite(value) else None,
            age_seconds=int(age_s) if np.isfinite(age_s) else None,
            why=why or None,
        )


def _capacity(tick: Tick, row: int) -> CapacityStatus | None:
    if tick.decisions.capacity_confidence is None or not tick.fleet.specs[row].capacity.learnt:
        return None
    per_s = float(tick.decisions.capacity_per_s[row])
    return CapacityStatus(
        requests_per_second=None if np.isnan(per_s) else float(f"{per_s:.4g}"),
        confidence=f"{tick.decisions.capacity_confidence[row]:.2f}",
    )


def _role(tick: Tick, row: int) -> RoleStatus | None:
    roles = tick.decisions.roles
    if roles is None or tick.fleet.specs[row].role is None:
        return None
    neediest = int(roles.bottleneck[row])
    role = tick.fleet.specs[neediest].role if neediest >= 0 else None
    return RoleStatus(bottleneck=None if role is None else role.name, message=roles.words(row)[:1024] or None)


def _memory_status(target: str, memory: Memory) -> MemoryStatus:
    return MemoryStatus(
        target=target,
        desired=memory.desired,
        blind_since=memory.blind_since_s,
        idle_seconds=memory.idle_s,
        replaced_at=memory.replaced_at_s,
        recommendations=[TimedCount(at=at_s, replicas=replicas) for at_s, replicas in memory.recommendations[-512:]],
        scale_events=[TimedCount(at=at_s, replicas=change) for at_s, change in memory.scale_events[-512:]],
        current=None if memory.current is None else TimedCount(at=memory.current[0], replicas=memory.current[1]),
        capacity=None if memory.capacity is None else _learnt_capacity(memory.capacity),
        learnt=[PolicyMemory(policy=name, at=learnt.at_s, data=learnt.text) for name, learnt in memory.learnt.items()][:16],
    )


def _learnt_capacity(memory: LearntMemory) -> LearntCapacity:
    return LearntCapacity(
        schema=LEARNT_SCHEMA,
        requests_per_second=memory.per_s,
        weight=memory.weight,
        seen=memory.seen,
        given=memory.given_per_s,
        concurrency=memory.slots,
        slowdown_concurrency=memory.slots_slowdown,
        version=memory.version or None,
        versions=[
            LearntVersion(version=one.version, requests_per_second=one.per_s, weight=one.weight, seen=one.seen)
            for one in memory.others
        ],
    )
