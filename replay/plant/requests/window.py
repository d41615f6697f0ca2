"""What a scrape of the request-level plant shows: measured on the requests themselves.

With K slots, t(b) the seconds that a token takes each request of a batch b, all over the window where nothing else is said:

=========================  =====================================================================================================
``demand``                 requests that came ÷ window
``throughput``             requests that ended ÷ window
``queue, running``         as they are at the scrape, running on leaving replicas, too; ``concurrency`` is their sum
``utilization``            work done by the serving replicas ÷ what full batches would have done, K ÷ t(K) each
``gpu_utilization``        share of the serving replicas' time with at least one request
``gpu_memory_utilization`` 0.9, whatever runs: inference servers reserve their share when they start
``kv_cache_utilization``   tokens of the running requests (prompt, and output so far) at the scrape ÷ what the caches hold, at most 1
``queue_wait_s``           waits of the requests that started, at the promised quantile; where none did, but some wait: the first one's age
``itl_s``                  mean time of a token: request-seconds ÷ tokens
``ttft_s``                 of the requests whose first token came, at the promised quantile: wait and prefill
``latency_s``              of the requests that ended, at the promised quantile
``prompt_tokens``          of the prompts that were read ÷ window
``output_tokens``          that were written ÷ window
=========================  =====================================================================================================

A wait or latency is idle where no request of its kind is in the window, as an empty histogram is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, States
from autoscaler.core.signals import IDLE, UNKNOWN
from replay.plant.requests.columns import Columns
from replay.plant.requests.kernel import (
    BUSY,
    BY_END,
    BY_FIRST,
    CAME,
    ENDED,
    FIRST,
    HELD,
    OUTPUT,
    PREFILLED,
    STARTED,
    TAKEN,
    WORKED,
)
from replay.plant.requests.station import BORN
from replay.plant.signals import RESERVED_MEMORY_RATIO

_NOTHING: Final = np.empty(0)
TIMED: Final = ("queue_wait_s", "ttft_s", "latency_s")
_OF_WORK: Final = frozenset({"demand", "throughput", "queue", "running", "concurrency", "prompt_tokens", "output_tokens"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Of one replica of each service, (n,): full_work_per_s: token-equivalents a second at the full batch. cache_tokens. prompt_weight:
    work of a prompt token. quantile: the promised one."""

    full_work_per_s: Floats
    cache_tokens: Floats
    prompt_weight: Floats
    quantile: Floats


@dataclass(slots=True, kw_only=True)  # not frozen: that would double its price
class Stretch:
    """A part of a station's `requests` and `noted`, as of the kernel, in which something became known: from…to of those that started, of
    `noted`'s first tokens, of its ends. Nothing is worked out before somebody asks."""

    columns: Columns
    requests: Any
    noted: Any
    began: tuple[int, int]
    first: tuple[int, int]
    ended: tuple[int, int]

    def durations(self, kind: int) -> Floats:
        """Of one of TIMED, (r,)."""
        pick, rows = self.columns.picked, self.requests
        if kind == 0:
            part = slice(*self.began)
            return pick(rows[STARTED], part) - pick(rows[CAME], part)
        jobs = (
            self.columns.listed(self.noted[BY_FIRST], *self.first)
            if kind == 1
            else self.columns.listed(self.noted[BY_END], *self.ended)
        )
        return pick(rows[FIRST if kind == 1 else ENDED], jobs) - pick(rows[BORN], jobs)


@dataclass(slots=True, kw_only=True)
class Period:
    """From one scrape to the next. came, ready_s: (n,) requests, replica-seconds. sums (n, 6): as of the kernel. told: by service."""

    came: Floats
    ready_s: Floats
    sums: Sequence[Sequence[float]]
    told: Sequence[Sequence[Stretch]]


@dataclass(slots=True, kw_only=True)
class Window:
    """The scrape: what is now, (n,), and the periods of its window. complete: they cover the whole window. oldest_s: age of the first in
    the queue, 0 without one."""

    at_s: int
    window_s: int
    queue: Floats
    running: Floats
    ready: Floats
    oldest_s: Floats
    periods: Sequence[Period]
    complete: bool


def signal(name: str, seen: Window, machine: Machine) -> tuple[Floats, States | None]:
    """Values (n,) and states (n,) of one signal (None: all known); NaN where unknown or idle without a value."""
    values = _values(name, seen, machine)
    if seen.complete and name in _OF_WORK:
        return values, None
    state: States = np.zeros(len(values), dtype=np.int8)  # KNOWN
    unknown = values != values
    if name in TIMED or name == "itl_s":
        state[unknown] = IDLE
    elif name not in _OF_WORK:
        absent = seen.ready <= 0
        state[unknown] = UNKNOWN
        state[absent] = np.where((seen.queue + seen.running <= 0)[absent], IDLE, UNKNOWN)
        values = np.where(absent, np.nan, values)
    if not seen.complete and name not in ("queue", "running", "concurrency"):
        values = np.full_like(values, np.nan)
        state[:] = UNKNOWN
    return values, state


def _values(name: str, seen: Window, machine: Machine) -> Floats:
    match name:
        case "queue":
            return seen.queue
        case "running":
            return seen.running
        case "concurrency":
            return seen.queue + seen.running
        case "demand":
            came: Floats = np.sum([one.came for one in seen.periods], axis=0) / seen.window_s
            return came
        case "throughput":
            ended = [[sum(some.ended[1] - some.ended[0] for some in told) for told in one.told] for one in seen.periods]
            total: Floats = np.sum(ended, axis=0, dtype=np.float64)
            return total / seen.window_s
        case "gpu_memory_utilization":
            return np.full_like(seen.queue, RESERVED_MEMORY_RATIO)
        case "kv_cache_utilization":
            return np.minimum(_ratio(np.asarray(seen.periods[-1].sums)[:, HELD], machine.cache_tokens * seen.ready), 1.0)
        case "queue_wait_s" | "ttft_s" | "latency_s":
            return _quantiles(name, seen, machine)
    sums: Floats = np.sum([np.asarray(one.sums) for one in seen.periods], axis=0)
    ready_s: Floats = np.sum([one.ready_s for one in seen.periods], axis=0)
    match name:
        case "utilization":
            return _ratio(sums[:, WORKED], machine.full_work_per_s * ready_s)
        case "gpu_utilization":
            return _ratio(sums[:, BUSY], ready_s)
        case "itl_s":
            return _ratio(sums[:, TAKEN], sums[:, WORKED])
        case "prompt_tokens":
            return sums[:, PREFILLED] / np.where(machine.prompt_weight > 0, machine.prompt_weight, 1.0) / seen.window_s
        case "output_tokens":
            return sums[:, OUTPUT] / seen.window_s
    raise KeyError(name)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _quantiles(name: str, seen: Window, machine: Machine) -> Floats:
    kind = TIMED.index(name)
    found = np.full(len(seen.queue), np.nan)
    for row, quantile in enumerate(machine.quantile.tolist()):
        times = np.concatenate([_NOTHING, *(some.durations(kind) for one in seen.periods for some in one.told[row])])
        if len(times):
            place = max(int(np.ceil(quantile * len(times))), 1) - 1
            found[row] = np.partition(times, place)[place]
        elif kind == 0 and seen.queue[row] > 0:
            found[row] = seen.oldest_s[row]
    return found
