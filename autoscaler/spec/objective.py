"""What is promised to requests."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from autoscaler.spec.base import BESIDE_PATTERN, TARGET_PATTERN, Base, Share

PromisedSignal = Literal[
    "queue_wait_s",
    "ttft_s",
    "itl_s",
    "latency_s",
    "utilization",
    "gpu_utilization",
    "gpu_memory_utilization",
    "kv_cache_utilization",
]
"""Of which something can be promised to requests."""


class Objective(Base):
    """The promise to keep: the share `promised` of all requests sees `signal` at or below `target`."""

    signal: Annotated[
        PromisedSignal,
        Meta(description="What is promised."),
    ] = "queue_wait_s"
    target: Annotated[
        str,
        Meta(
            pattern=TARGET_PATTERN,
            max_length=32,
            description="A duration for a wait or latency (5s), a percentage for a utilization (70%).",
        ),
    ] = "5s"
    promised: Annotated[Share, Meta(description="Share of the requests for which the target is kept.")] = "99.5%"


class FurtherObjective(Base):
    """What every replica keeps to beside the promise; the most demanding one counts."""

    signal: Annotated[
        Literal[PromisedSignal, "running"],
        Meta(description="What is kept; waits and latencies for the share of requests that is promised, the others on average."),
    ]
    target: Annotated[
        str,
        Meta(
            pattern=BESIDE_PATTERN,
            max_length=32,
            description="A duration for a wait or latency (50ms), a percentage for a utilization (70%), a number for running (24).",
        ),
    ]
