"""From replicas that serve to counts that are ordered, and the count that a warm-up is held at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoscaler.core.model import Floats, Ints
from autoscaler.errors import OutsideError
from replay.optimum.problem import Problem


def ordered(problem: Problem, ready: Ints, held: int) -> Ints:
    """The count to ask for in each tick of the trace, (ticks,). ready: replicas that serve from the first tick on.

    A replica that serves in a tick was ordered ``start`` before it and not taken back since: a scale-down cancels the newest first, so
    as many are ready as the smallest count of the time since then.
    """
    whole = np.concatenate([np.full(problem.first_tick, held, dtype=np.int64), ready])
    ahead = np.concatenate([whole, np.full(problem.start_ticks, whole[-1], dtype=np.int64)])
    orders: Ints = np.lib.stride_tricks.sliding_window_view(ahead, problem.start_ticks + 1).max(axis=1)
    return orders


def held_in_warmup(problem: Problem) -> int:
    """The smallest count that, held from the trace's start, leaves no backlog at the warm-up's end (the largest where none does).

    Where no whole tick of warm-up comes first, the replicas of the trace's start.
    """
    settings = problem.settings
    if problem.first_tick == 0:
        return settings.initial
    counts = problem.counts[problem.counts >= settings.min_replicas]
    arrivals = problem.arrivals[: problem.first_tick * settings.tick_s]
    low, high = 0, len(counts) - 1
    while low < high:
        middle = (low + high) // 2
        if _backlog(arrivals, int(counts[middle]), problem) > 0.0:
            low = middle + 1
        else:
            high = middle
    return int(counts[low])


def _backlog(arrivals: Floats, count: int, problem: Problem) -> float:
    settings = problem.settings
    served = np.full(len(arrivals), settings.capacity_per_s * count)
    served[: settings.start_s] = settings.capacity_per_s * min(count, settings.initial)
    flow = np.cumsum((arrivals - served)[::-1])
    return float(max(flow.max(initial=0.0), 0.0))


def write_orders(path: Path, orders: Ints, tick_s: int) -> None:
    """CSV ``at_s,replicas``: a line a change, at_s in seconds from the trace's start; what the policy `schedule` reads. Raises OutsideError."""
    changes = np.flatnonzero(np.concatenate([[True], orders[1:] != orders[:-1]])).tolist()
    lines = [f"{place * tick_s},{int(orders[place])}\n" for place in changes]
    try:
        path.write_text("at_s,replicas\n" + "".join(lines), encoding="utf-8")
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror}") from None
