"""The two loops that take the time, for numba (the extra ``fast``). They do what the numpy code beside them does, on the same doubles in the
same order, so the numbers are the same bit by bit; nothing may be reordered or fused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

WORTH_IT: Final = 50_000_000
"""Values (ticks × counts × backlogs × prices) from which on numba's start pays."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """run: as Backward._run. late: as tables._late."""

    run: Callable[..., Any]
    late: Callable[..., Any]


LONG_TICKS: Final = 3000
"""From so many ticks on, people who wait are told of the extra `fast`."""


@functools.cache
def compiled() -> Kernels | None:
    """None where numba isn't installed. Made once a process; the machine code is cached on disk."""
    try:
        import numba
    except ImportError:
        return None
    compile_ = numba.njit(cache=True, fastmath=False)
    return Kernels(run=compile_(_run), late=compile_(_late))


def _run(
    values: Any,
    kept: Any,
    best: Any,
    counts: Any,
    stop_s: Any,
    start_s: Any,
    forbidden_s: float,
    shift: Any,
    base: Any,
    part: Any,
    late: Any,
    costs: Any,
    per_late_s: Any,
    interpolated: Any,
) -> None:
    """values (c, nodes, p): after the block, then before it. kept (b or 0, c, nodes, p). best (c, nodes + 1, p): room to work in.

    stop_s, start_s (b,): of the tick after each; stop_s negative: there is none."""
    ticks, n, nodes = late.shape
    prices = len(per_late_s)
    width = nodes * prices
    flat = values.reshape(n, width)
    chosen = best.reshape(n, width + prices)
    lowest = np.empty(width)
    for tick in range(ticks - 1, -1, -1):
        stop, start = stop_s[tick], start_s[tick]
        if stop < 0.0:
            chosen[:, :width] = flat
        else:
            lowest[:] = np.inf
            for c in range(n):
                cost = counts[c] * stop
                for i in range(width):
                    value = flat[c, i] - cost
                    least = value if value < lowest[i] else lowest[i]
                    lowest[i] = least
                    chosen[c, i] = least + cost
            if start < forbidden_s:
                lowest[:] = np.inf
                for c in range(n - 1, -1, -1):
                    cost = counts[c] * start
                    for i in range(width):
                        value = flat[c, i] + cost
                        least = value if value < lowest[i] else lowest[i]
                        lowest[i] = least
                        value = least - cost
                        chosen[c, i] = value if value < chosen[c, i] else chosen[c, i]
        for c in range(n):
            below = base[tick, c]
            share = part[tick, c]
            for p in range(prices):
                low = best[c, below, p]
                if share > 0.0:
                    low = low + (share * interpolated[p]) * (best[c, below + 1, p] - low)
                best[c, nodes, p] = low
            cost = costs[tick, c]
            moves = shift[tick, c]
            ends = max(1, min(below - moves + 1, nodes))
            inside = max(ends, min(nodes - moves, nodes))
            for j in range(ends):
                found = late[tick, c, j]
                for p in range(prices):
                    values[c, j, p] = (best[c, nodes, p] + found * per_late_s[p]) + cost
            for j in range(ends, inside):
                found = late[tick, c, j]
                for p in range(prices):
                    values[c, j, p] = (best[c, j + moves, p] + found * per_late_s[p]) + cost
            for j in range(inside, nodes):
                found = late[tick, c, j]
                for p in range(prices):
                    values[c, j, p] = (best[c, nodes - 1, p] + found * per_late_s[p]) + cost
        if len(kept):
            kept[tick] = values


def _late(due: Any, recent: Any, moved: Any, gathered: Any, origin: Any, cell: float, always: Any, risen: Any) -> None:
    """Into risen (b, c, nodes). due, recent (b, s); moved, gathered (b, s, c); origin (b,); always (b, c)."""
    ticks, seconds, n = moved.shape
    nodes = risen.shape[2]
    bends = np.empty((4, nodes + 2))
    for tick in range(ticks):
        most = origin[tick] + cell * (nodes - 1)
        for c in range(n):
            bends[:] = 0.0
            for second in range(seconds):
                came = moved[tick, second, c]
                low = max(recent[tick, second] - came, gathered[tick, second, c] - came)
                high = recent[tick, second] - came + due[tick, second]
                if high > low and low < most:
                    for side in range(2):
                        at = ((low if side == 0 else high) - origin[tick]) / cell + 1.0
                        first = int(min(max(np.ceil(at), 1.0), float(nodes)))
                        ahead = first - at
                        if side == 0:
                            bends[0, first] += ahead
                            bends[1, first + 1] += 1.0 - ahead
                        else:
                            bends[2, first] += -ahead
                            bends[3, first + 1] += -(1.0 - ahead)
            slope = total = 0.0
            for j in range(nodes):
                slope += ((bends[0, j] + bends[1, j]) + bends[2, j]) + bends[3, j]
                total += slope
                risen[tick, c, j] = total * cell + always[tick, c]
