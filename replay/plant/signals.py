"""The signals that a scrape of the plant shows, and how those that a fluid has not are derived from batch and queue.

With b = running ÷ ready (requests per batch), c a replica's capacity, K its slots, D its slowdown, R the ready replicas:

=========================  =====================================================================================================
``demand``                 arrivals in the window ÷ window
``throughput``             utilization × c × R
``queue, running``         as they are at the scrape; ``concurrency`` is their sum
``utilization``            mean over the window of served ÷ (c × R)
``gpu_utilization``        1 − e^(−b): the share of time with at least one request where b are running on average (Poisson occupancy);
                           near 1 from a few requests on, as real GPUs report it
``gpu_memory_utilization`` 0.9, whatever runs: inference servers reserve their share when they start
``kv_cache_utilization``   b ÷ K: every slot's cache is as large as any other's
``queue_wait_s``           queue ÷ (c × R): how long the newest request will wait
``itl_s``                  S(b) ÷ 200, where S(b) = κ/c × (1 + b/D) is a request's time in service (20 s in the standard scenario at b = 32)
                           and a request makes 200 tokens
``ttft_s``                 queue_wait_s + 10 × itl_s: a prefill takes as long as ten tokens
``latency_s``              queue_wait_s + S(b)
``prompt_tokens``          600 × demand
``output_tokens``          200 × utilization × c × R
=========================  =====================================================================================================

A fluid has no spread: a latency is the same at every quantile. Ratios and latencies of a service without ready replicas are idle where
nothing waits, else unknown: there is nobody who could report them. Latencies are idle without traffic, as an empty histogram is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.capacity import service_s
from autoscaler.core.model import Floats, States
from autoscaler.core.rows import some
from autoscaler.core.signals import IDLE, UNKNOWN

OUTPUT_TOKENS: Final = 200.0
PROMPT_TOKENS: Final = 600.0
PREFILL_TOKENS: Final = 10.0
RESERVED_MEMORY_RATIO: Final = 0.9


@dataclass(slots=True)  # not frozen: one is made every tick, and freezing would double its price
class Scrape:
    """The plant at a scrape, arrays (n,), never changed afterwards. queue, running, ready: at the moment. demand_per_s, utilization: over the
    window; NaN before the first window has passed (not complete)."""

    at_s: int
    queue: Floats
    running: Floats
    ready: Floats
    demand_per_s: Floats
    utilization: Floats
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What one replica of each service can do, (n,)."""

    capacity_per_s: Floats
    slots: Floats
    slowdown: Floats


def _batch(scrape: Scrape) -> Floats:
    return np.divide(scrape.running, scrape.ready, out=np.zeros_like(scrape.running), where=scrape.ready > 0)


def _wait(scrape: Scrape, replica: Replica) -> Floats:
    capacity = replica.capacity_per_s * scrape.ready
    return np.divide(scrape.queue, capacity, out=np.full_like(capacity, np.nan), where=capacity > 0)


def _service(scrape: Scrape, replica: Replica) -> Floats:
    took: Floats = service_s(_batch(scrape), replica.capacity_per_s, replica.slots, replica.slowdown)
    return took


_FORMULAS: Final[Mapping[str, Callable[[Scrape, Replica], Floats]]] = {
    "demand": lambda scrape, _replica: scrape.demand_per_s,
    "throughput": lambda scrape, replica: scrape.utilization * replica.capacity_per_s * scrape.ready,
    "queue": lambda scrape, _replica: scrape.queue,
    "running": lambda scrape, _replica: scrape.running,
    "concurrency": lambda scrape, _replica: scrape.queue + scrape.running,
    "utilization": lambda scrape, _replica: scrape.utilization,
    "gpu_utilization": lambda scrape, _replica: 1.0 - np.exp(-_batch(scrape)),
    "gpu_memory_utilization": lambda scrape, _replica: np.full_like(scrape.queue, RESERVED_MEMORY_RATIO),
    "kv_cache_utilization": lambda scrape, replica: _batch(scrape) / replica.slots,
    "queue_wait_s": _wait,
    "itl_s": lambda scrape, replica: _service(scrape, replica) / OUTPUT_TOKENS,
    "ttft_s": lambda scrape, replica: _wait(scrape, replica) + _service(scrape, replica) * (PREFILL_TOKENS / OUTPUT_TOKENS),
    "latency_s": lambda scrape, replica: _wait(scrape, replica) + _service(scrape, replica),
    "prompt_tokens": lambda scrape, _replica: PROMPT_TOKENS * scrape.demand_per_s,
    "output_tokens": lambda scrape, replica: OUTPUT_TOKENS * scrape.utilization * replica.capacity_per_s * scrape.ready,
}
_OF_WORK: Final = frozenset({"demand", "throughput", "queue", "running", "concurrency"})
_OF_REPLICAS: Final = frozenset({"utilization", "gpu_utilization", "gpu_memory_utilization", "kv_cache_utilization"})
_OF_REQUESTS: Final = frozenset({"queue_wait_s", "itl_s", "ttft_s", "latency_s"})


def signal(name: str, scrape: Scrape, replica: Replica) -> tuple[Floats, States | None]:
    """Values (n,) and states (n,) of one signal in a scrape (None: all known); NaN where unknown or idle without a value."""
    values = _FORMULAS[name](scrape, replica)
    if scrape.complete and name in _OF_WORK:
        return values, None
    state: States = np.zeros(len(values), dtype=np.int8)  # KNOWN
    unknown = values != values
    if name in _OF_REPLICAS or name in _OF_REQUESTS:
        absent = scrape.ready <= 0
        quiet = scrape.queue + scrape.running <= 0
        if some(absent):
            state[absent] = np.where(quiet[absent], IDLE, UNKNOWN)
            values = np.where(absent, np.nan, values)
        if name in _OF_REQUESTS:
            idle = quiet & (scrape.demand_per_s == 0)
            state[idle] = IDLE
            unknown &= ~idle
        unknown &= ~absent
    if some(unknown):
        state[unknown] = UNKNOWN
    return values, state
