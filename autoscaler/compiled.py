"""From the manifest's words to the core's numbers: texts with units become seconds and ratios, optional parts become what they mean.

The manifest must be valid (``autoscaler.manifests`` or the API server's schema has seen it); what still can't be turned into a number
raises ``ValueError`` with the field's path and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeVar

from autoscaler import spec
from autoscaler.core.model import (
    Capacity,
    Fallback,
    Objective,
    ParamValue,
    Pause,
    PolicyRef,
    PoolSpec,
    PoolUse,
    Publication,
    Quota,
    RatePolicy,
    Ratio,
    Role,
    ScalingRules,
    ScalingSpec,
    Schedule,
    Zone,
)
from autoscaler.pool_labels import own_labels

_T = TypeVar("_T")
LEARNT_WITHIN: Final = 4.0
"""A learnt capacity lies between the given one divided by this and times this, unless the manifest gives bounds. Signals that lie can so
cost, or starve, a service no more than that."""
_DAY: Final = {name: number for number, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))}


def scaling_spec(manifest: spec.InferenceAutoscaler) -> ScalingSpec:
    """One service's configuration in the core's units. Raises ValueError."""
    wanted = manifest.spec
    promise, *further = objectives(wanted)
    return ScalingSpec(
        namespace=manifest.metadata.namespace,
        name=manifest.metadata.name,
        target=f"{wanted.scale_target_ref.kind}/{wanted.scale_target_ref.name}",
        min_replicas=wanted.min_replicas,
        max_replicas=wanted.max_replicas,
        mode=wanted.mode,
        policies=tuple(_policy(index, use) for index, use in enumerate(wanted.policies)),
        objective=promise,
        capacity=capacity(wanted),
        lead_time_s=_at("leadTime.replica", spec.duration_s, wanted.lead_time.replica),
        node_lead_time_s=_at("leadTime.node", spec.duration_s, wanted.lead_time.node),
        scale_up=_rules(wanted.behavior.scale_up),
        scale_down=_rules(wanted.behavior.scale_down),
        fallback=Fallback(
            after_s=_at("fallback.after", spec.duration_s, wanted.fallback.after),
            action=wanted.fallback.action,
            replicas=wanted.fallback.replicas,
        ),
        schedules=tuple(_schedule(f"schedules[{index}]", window) for index, window in enumerate(wanted.schedules)),
        pause=None if wanted.pause is None else _pause(wanted.pause),
        drain_max_at_once=wanted.drain.max_at_once,
        drain_s=_at("drain.time", spec.duration_s, wanted.drain.time),
        drain_whole_nodes=wanted.drain.whole_nodes,
        drain_empties_nodes=wanted.drain.pods == "EmptyNodes",
        replica_multiple=wanted.replica_multiple,
        accelerators_per_replica=wanted.accelerators_per_replica,
        pool=wanted.node_pool,
        pools=_pools(wanted),
        priority=wanted.priority,
        stale_after_s=_at("signals.staleAfter", spec.duration_s, wanted.signals.stale_after),
        idle_after_s=_at("idle.after", spec.duration_s, wanted.idle.after),
        generation=manifest.metadata.generation,
        objectives=tuple(further),
        role=None if wanted.role is None else _role(wanted.role),
        sources=wanted.signals,
        publication=_publication(wanted.publish),
    )


def _pools(wanted: spec.InferenceAutoscalerSpec) -> tuple[PoolUse, ...]:
    given = wanted.capacity.requests_per_second
    reckoned = capacity(wanted).per_s
    # Where less is reckoned with than was given, a pool that says nothing of its own still does what was given.
    usual = given if given is not None and reckoned < given else None
    return tuple(
        PoolUse(name=use.name, per_s=usual if use.requests_per_second is None else use.requests_per_second)
        for use in wanted.node_pools
    )


def _publication(wanted: spec.Publish) -> Publication:
    return Publication(
        signals=tuple(wanted.signals),
        labels=tuple((label.name, label.value) for label in wanted.labels),
        max_age_s=None if wanted.max_age is None else _at("publish.maxAge", spec.duration_s, wanted.max_age),
    )


def objectives(wanted: spec.InferenceAutoscalerSpec) -> tuple[Objective, ...]:
    """The promise, then what is kept beside it. Raises ValueError."""
    promised_ratio = _at("objective.promised", spec.share_ratio, wanted.objective.promised)
    given: list[tuple[str, str, str]] = [("objective", wanted.objective.signal, wanted.objective.target)]
    given += [(f"objectives[{index}]", one.signal, one.target) for index, one in enumerate(wanted.objectives)]
    return tuple(
        Objective(signal=signal, target=_at(f"{path}.target", spec.target_value, target), promised_ratio=promised_ratio)
        for path, signal, target in given
    )


def capacity(wanted: spec.InferenceAutoscalerSpec) -> Capacity:
    """What one ready replica can do. Raises ValueError."""
    given = wanted.capacity
    per_s, learnt = given.requests_per_second, given.mode == "Learnt"
    if per_s is not None and not learnt:
        # Whoever spreads requests gives each replica the same: all of them do what the slowest pool's can.
        per_s = min([per_s, *(use.requests_per_second for use in wanted.node_pools if use.requests_per_second is not None)])
    bounds = given.bounds or spec.CapacityBounds()
    least, most = bounds.min, bounds.max
    if learnt and per_s is not None:
        least = per_s / LEARNT_WITHIN if least is None else least
        most = per_s * LEARNT_WITHIN if most is None else most
    return Capacity(
        per_s=math.nan if per_s is None else per_s,
        slots=given.concurrency,
        slots_slowdown=given.slowdown_concurrency,
        learnt=learnt,
        min_per_s=least,
        max_per_s=most,
        itl_s=_time("capacity.interTokenLatency", given.inter_token_latency),
        prefill_s=_time("capacity.prefill", given.prefill),
    )


def pool_spec(manifest: spec.AcceleratorPool) -> PoolSpec:
    """A node pool's configuration in the core's units. Raises ValueError."""
    wanted, spot = manifest.spec, manifest.spec.spot
    return PoolSpec(
        name=manifest.metadata.name,
        min_nodes=wanted.min_nodes,
        max_nodes=wanted.max_nodes,
        accelerators_per_node=wanted.accelerators_per_node,
        cost_per_hour=wanted.cost_per_hour,
        resource=wanted.resource_name,
        zones=tuple(Zone(name=zone.name, max_nodes=zone.max_nodes) for zone in wanted.zones),
        spot_ratio=0.0 if spot is None else _at("spot.share", spec.share_ratio, spot.share),
        on_demand_nodes=0 if spot is None else spot.on_demand_nodes,
        spot_cost_per_hour=None if spot is None else spot.cost_per_hour,
        quotas=tuple(
            Quota(namespace=quota.namespace, accelerators=quota.accelerators, weight=quota.weight) for quota in wanted.quotas
        ),
        min_replicas_first=wanted.min_replicas_first,
        waiting_cost=0.0 if wanted.backend.type == "DryRun" else wanted.waiting_cost,
        backend=wanted.backend,
        node_selector=tuple(sorted((wanted.node_selector or own_labels(wanted.backend)).items())),
        uid=manifest.metadata.uid,
    )


def _policy(index: int, use: spec.PolicyUse) -> PolicyRef:
    params: dict[str, ParamValue] = {}
    for name, value in use.params.items():
        if not isinstance(value, (bool, int, float, str)):
            raise ValueError(f"spec.policies[{index}].params.{name}: a number, a text, true or false is allowed")
        params[name] = value
    return PolicyRef(name=use.name, params=params)


def _rules(rules: spec.ScaleUp | spec.ScaleDown) -> ScalingRules:
    """An empty list of policies stays empty: no rate limit."""
    return ScalingRules(
        stabilization_s=float(rules.stabilization_window_seconds),
        select=rules.select_policy,
        policies=tuple(RatePolicy(kind=p.type, value=p.value, period_s=float(p.period_seconds)) for p in rules.policies),
    )


def _schedule(path: str, window: spec.CalendarWindow) -> Schedule:
    return Schedule(
        name=window.name,
        timezone=window.timezone,
        days=frozenset(_DAY[day] for day in window.days or _DAY),
        start_minute=spec.clock_minute(window.start),
        end_minute=spec.clock_minute(window.end),
        from_s=None if window.not_before is None else _at(f"{path}.notBefore", spec.moment_s, window.not_before),
        until_s=None if window.not_after is None else _at(f"{path}.notAfter", spec.moment_s, window.not_after),
        min_replicas=window.min_replicas,
        max_replicas=window.max_replicas,
    )


def _role(role: spec.Role) -> Role:
    ratios = tuple(Ratio(to=ratio.to, min=ratio.min, max=ratio.max) for ratio in role.ratios)
    return Role(service=role.service, name=role.name, ratios=ratios)


def _pause(pause: spec.Pause) -> Pause:
    return Pause(
        direction=pause.direction,
        until_s=None if pause.until is None else _at("pause.until", spec.moment_s, pause.until),
        reason=pause.reason,
    )


def _time(path: str, text: str | None) -> float:
    return math.nan if text is None else _at(path, spec.duration_s, text)


def _at(path: str, convert: Callable[[str], _T], text: str) -> _T:
    try:
        return convert(text)
    except ValueError as fault:
        raise ValueError(f"spec.{path}: {fault}") from None
