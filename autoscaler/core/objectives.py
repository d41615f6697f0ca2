"""What each kind of objective allows one ready replica: how many requests at a time, and how long they may wait.

Everything follows from the batch model of ``core.capacity``: whatever a request is being done, it is done at the pace of its batch, so each
time in service is ``alone × (1 + b ÷ D)`` in a batch of b, where `alone` is what it takes a lone request. With K slots, target X:

======================== ================================================================================================
queue_wait_s             waits up to X, any batch: waiting requests are in no batch yet
itl_s                    the largest b with alone × (1 + b ÷ D) ≤ X, that is D × (X ÷ alone − 1)
ttft_s, latency_s        the same with what X leaves beside WAIT_SHARE of it, which is kept for the queue: wait + time in service ≤ X.
                         Where the full batch leaves more than that share, all of it may be waited
utilization              the batch that gives the share X of the full throughput (``capacity.batch_at``)
gpu_utilization          as utilization: what the signal shows tells no load (see ``warnings_of``)
gpu_memory_utilization   nothing: inference servers take their memory when they start
kv_cache_utilization     X ÷ the share of a replica's cache that a running request holds; 1 ÷ K of it until that was measured
running                  b = X
======================== ================================================================================================

A replica that may take b ≤ K requests is a replica with b slots: it finishes ``throughput(b)`` requests/s (``capacity.throughput_per_s``),
and all that policies work out from slots and capacity stays right. Of several objectives the smallest batch and the shortest wait count.

Sources: token time linear in the batch, see ``core.capacity``; TTFT = queue wait + prefill, end to end = that + output tokens × ITL (vLLM,
docs/design/metrics.md); GPU utilization near 100 % at one request: NVIDIA dcgm-exporter issues 301 and 341.
All functions take scalars or arrays that broadcast; NaN in gives NaN out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from autoscaler.core.capacity import batch_at, effective_slots
from autoscaler.core.model import Capacity, Floats, Objective, ScalingSpec

Numbers: TypeAlias = Floats | float

WAIT_SHARE: Final = 0.25
"""Of a promised time to the first token or to the end, this much is kept for the queue: less would need much idle capacity (the margin of
``core.sizing`` grows with 1 ÷ wait), more would need small batches."""
USUAL_WAIT_S: Final = 5.0
"""The wait that is provided for where no objective speaks of one."""
LEAST_THROUGHPUT_RATIO: Final = 0.25
"""A time that was measured or given never takes more than three quarters of a replica's throughput: a wrong one must not multiply a fleet by
its slots. Where that is not enough, the objective can't be kept by more replicas, and that is said."""

TIMED: Final = frozenset({"itl_s", "ttft_s", "latency_s"})
"""Objectives on what takes longer in a fuller batch."""
QUEUED: Final = frozenset({"ttft_s", "latency_s"})
"""Those of them that contain the wait in the queue."""
MEASURED: Final = TIMED | {"kv_cache_utilization"}
"""Objectives whose limit rests on a measurement."""
SHARES: Final = frozenset({"utilization", "gpu_utilization"})


def time_in_batch_s(batch: Numbers, alone_s: Numbers, slowdown: Numbers) -> Any:
    """Seconds in a batch of what takes a lone request `alone_s`."""
    return alone_s * (1.0 + batch / slowdown)


def alone_s(seen_s: Numbers, batch: Numbers, slowdown: Numbers) -> Any:
    """The inverse: what would take a lone request, if it takes `seen_s` in a batch of that size."""
    return seen_s / (1.0 + batch / slowdown)


def batch_within(limit_s: Numbers, alone_s: Numbers, slowdown: Numbers) -> Any:
    """The largest batch in which that stays within `limit_s`; negative where even a lone request takes longer."""
    return slowdown * (limit_s / alone_s - 1.0)


def least_batch(slots: Numbers, slowdown: Numbers) -> Any:
    """The batch of LEAST_THROUGHPUT_RATIO: 5.8 of 32 slots with D = 64."""
    return batch_at(LEAST_THROUGHPUT_RATIO, slots, slowdown)


def served_within_s(signal: str, target_s: Numbers) -> Any:
    """What a time objective leaves for the service itself."""
    return target_s * (1.0 - WAIT_SHARE) if signal in QUEUED else target_s


def batch_allowed(signal: str, target: Numbers, anchor: Numbers, slots: Numbers, slowdown: Numbers) -> Any:
    """The largest batch that an objective allows; `slots` where it sets no limit.

    anchor: of TIMED signals what takes a lone request (seconds, at the promised quantile), of kv_cache_utilization the share of a cache
    that one running request holds; NaN: not known, so that no limit can be told. Others don't read it."""
    if signal in TIMED:
        found = batch_within(served_within_s(signal, target), anchor, slowdown)
        found = np.maximum(found, least_batch(slots, slowdown))
    elif signal == "kv_cache_utilization":
        found = np.maximum(np.divide(target, anchor), least_batch(slots, slowdown))
    elif signal in SHARES:
        found = batch_at(target, slots, slowdown)
    elif signal == "running":
        found = target
    else:
        found = slots
    return np.fmin(found, slots)


def wait_allowed_s(signal: str, target: Numbers, anchor: Numbers, batch: Numbers, slowdown: Numbers) -> Any:
    """The longest queue wait that an objective leaves in a batch of that size; infinite where it speaks of none."""
    if signal == "queue_wait_s":
        return target
    if signal in QUEUED:
        left = np.maximum(target - time_in_batch_s(batch, anchor, slowdown), WAIT_SHARE * target)
        return np.where(np.isnan(anchor), target, left)
    return np.inf


def objectives_of(spec: ScalingSpec) -> tuple[Objective, ...]:
    """All objectives of a service: the promise and those beside it."""
    return (spec.objective, *spec.objectives)


def given_anchor(capacity: Capacity, signal: str) -> float:
    """What the manifest says of an objective's anchor (see ``batch_allowed``); NaN where it says nothing.

    The mean request's time in service follows from capacity alone: κ ÷ c (``capacity.service_s``)."""
    slots, slowdown = float(capacity.slots), capacity.slots_slowdown
    match signal:
        case "itl_s":
            return float(alone_s(capacity.itl_s, slots, slowdown))
        case "ttft_s":
            return float(alone_s(capacity.prefill_s, slots, slowdown))
        case "latency_s":
            return float(effective_slots(slots, slowdown)) / capacity.per_s
        case "kv_cache_utilization":
            return 1.0 / slots
    return float("nan")


def cant_be_kept(objective: Objective, anchor: float, slots: float, slowdown: float) -> str:
    """In words, why more replicas can't keep a time objective; "" where they can, or where nothing is known."""
    if objective.signal not in TIMED:
        return ""
    least = float(least_batch(slots, slowdown))
    if not batch_within(served_within_s(objective.signal, objective.target), anchor, slowdown) < least:
        return ""
    took = float(time_in_batch_s(least, anchor, slowdown))
    room = f" and {WAIT_SHARE:.0%} of it are for the queue" if objective.signal in QUEUED else ""
    return (
        f"{words_of(objective)} can't be kept by more replicas: in a batch of {least:.3g} it takes {took:.3g} s already{room}. "
        f"Emptier batches are provided for only where an objective on running asks for them"
    )


def words_of(objective: Objective) -> str:
    """``itl_s ≤ 0.04 s``, ``utilization ≤ 70%``, ``running ≤ 12``."""
    signal, target = objective.signal, objective.target
    if signal.endswith("utilization"):
        return f"{signal} ≤ {target:.4g}" if target > 1 else f"{signal} ≤ {100 * target:.4g}%"
    return f"{signal} ≤ {target:.4g}{' s' if signal.endswith('_s') else ''}"


def warnings_of(objectives: Sequence[Objective], capacity: Capacity) -> Iterator[tuple[int, str]]:
    """What the manifest alone lets one warn of: (place in `objectives`, words)."""
    for place, objective in enumerate(objectives):
        match objective.signal:
            case "gpu_utilization":
                yield (
                    place,
                    "the signal can't tell load: it is the share of time in which any kernel ran, near 100 % at one request already. The "
                    "target is taken as that share of a replica's throughput, as utilization is; prefer utilization, running or a latency",
                )
            case "gpu_memory_utilization":
                yield (
                    place,
                    "the signal can't tell load: inference servers take their memory when they start, whatever runs. It sets no limit; "
                    "prefer kv_cache_utilization",
                )
        anchor = given_anchor(capacity, objective.signal)
        words = cant_be_kept(objective, anchor, float(capacity.slots), capacity.slots_slowdown)
        if words:
            yield place, words
