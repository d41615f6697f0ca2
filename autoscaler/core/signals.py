"""The signals a policy may read: names, units, and how a service's value comes from its replicas' values.

Names are spelt as Kubernetes spells them and carry their unit last; those without a suffix are counts or ratios as said.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal


class SignalState(IntEnum):
    """What we know of a signal now. The three must never be mixed up: unknown holds, idle may sleep, zero is a number.

    KNOWN: a fresh, finite, plausible value (0.0 included).
    IDLE: known to be without work: the source is alive and says that nothing arrives and nothing runs.
    UNKNOWN: missing, stale, NaN, infinite or impossible; the value is NaN.
    """

    KNOWN = 0
    IDLE = 1
    UNKNOWN = 2


KNOWN: Final = int(SignalState.KNOWN)
IDLE: Final = int(SignalState.IDLE)
UNKNOWN: Final = int(SignalState.UNKNOWN)
"""The states as plain numbers, to compare arrays with: numpy takes three times as long to compare with an enum's member."""

Merge = Literal["sum", "mean", "max", "histogram"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalType:
    """One signal's meaning.

    merge: how values of several ready replicas become the service's value ("histogram": buckets are added, then a quantile).
    per_replica: True where the service's value is already a mean per replica (a ratio), so a target compares with it directly.
    """

    name: str
    unit: str
    merge: Merge
    per_replica: bool
    description: str


_TYPES = (
    SignalType(name="demand", unit="requests/s", merge="sum", per_replica=False, description="requests arriving"),
    SignalType(name="throughput", unit="requests/s", merge="sum", per_replica=False, description="requests finished"),
    SignalType(name="queue", unit="requests", merge="sum", per_replica=False, description="requests waiting for a replica"),
    SignalType(name="running", unit="requests", merge="sum", per_replica=False, description="requests being served"),
    SignalType(
        name="concurrency",
        unit="requests",
        merge="sum",
        per_replica=False,
        description="requests in flight: queue + running",
    ),
    SignalType(
        name="utilization",
        unit="ratio",
        merge="mean",
        per_replica=True,
        description="share of a replica's full throughput",
    ),
    SignalType(
        name="gpu_utilization",
        unit="ratio",
        merge="mean",
        per_replica=True,
        description="share of time in which a kernel ran; near 1 at one request already",
    ),
    SignalType(
        name="gpu_memory_utilization",
        unit="ratio",
        merge="mean",
        per_replica=True,
        description="GPU memory used ÷ present",
    ),
    SignalType(
        name="kv_cache_utilization",
        unit="ratio",
        merge="mean",
        per_replica=True,
        description="KV cache blocks used ÷ present",
    ),
    SignalType(
        name="ttft_s",
        unit="s",
        merge="histogram",
        per_replica=True,
        description="time to first token, at the objective's quantile",
    ),
    SignalType(
        name="itl_s",
        unit="s",
        merge="histogram",
        per_replica=True,
        description="inter-token latency, at the objective's quantile",
    ),
    SignalType(
        name="latency_s",
        unit="s",
        merge="histogram",
        per_replica=True,
        description="end-to-end latency, at the objective's quantile",
    ),
    SignalType(
        name="queue_wait_s",
        unit="s",
        merge="histogram",
        per_replica=True,
        description="time in the queue, at the objective's quantile",
    ),
    SignalType(name="prompt_tokens", unit="tokens/s", merge="sum", per_replica=False, description="prompt tokens arriving"),
    SignalType(name="output_tokens", unit="tokens/s", merge="sum", per_replica=False, description="output tokens produced"),
)

SIGNALS: Final[dict[str, SignalType]] = {signal.name: signal for signal in _TYPES}
"""Every signal by name; manifests may name only these."""

RATES: Final = frozenset({"demand", "throughput", "prompt_tokens", "output_tokens"})
"""Signals that count what comes or goes in a span of time: what a value means for burstiness depends on how long that span is."""
