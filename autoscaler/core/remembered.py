"""What a service's status remembers of its past decisions (Memory), taken out of histories and put back into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from autoscaler.core.history import History
from autoscaler.core.model import Memory

Entry: TypeAlias = tuple[float, int]
"""(Unix seconds, count)."""


def recall(
    history: History,
    remembered: Sequence[tuple[int, Sequence[Entry]]],
    at_s: float,
    interval_s: float,
    join: Callable[[float, float], float],
) -> None:
    """Puts remembered entries, by row, into a history; a new one gets columns of the very moments that are remembered. join: what becomes of
    two entries of one moment."""
    oldest_s = at_s - history.length * interval_s
    if history.filled == 0:
        moments = {moment for _, entries in remembered for moment, _ in entries if oldest_s <= moment < at_s}
        # More than fit (several leaders took turns): the newest, and what is older counts as of the oldest of them.
        for moment in [*sorted(moments)[1 - history.length :], at_s] if history.length > 1 else [at_s]:
            history.push(moment, np.full(len(history), np.nan))
    for row, entries in remembered:
        for moment, count in entries:
            if moment >= oldest_s:
                history.put(row, moment, count, join)


def entries_of(history: History | None, row: int) -> tuple[Entry, ...]:
    """What is known of a row, oldest first."""
    if history is None:
        return ()
    times, values = history.times_s(history.filled), history.last(history.filled)[row]
    return tuple((float(at_s), int(value)) for at_s, value in zip(times, values, strict=True) if value == value)


def changes_since(memory: Memory, current: int) -> tuple[Entry, ...]:
    """The remembered changes, and what came after them: a tick sees its own write only in the next one, which may not have been."""
    if memory.current is None or memory.current[1] == current:
        return memory.scale_events
    at_s, before = memory.current
    return (*memory.scale_events, (at_s, current - before))


def runs_of(history: History | None, row: int) -> tuple[Entry, ...]:
    """A row's entries without repetitions: of a run of equal ones the last (they leave the window last)."""
    entries = entries_of(history, row)
    return tuple(entry for i, entry in enumerate(entries) if i + 1 == len(entries) or entries[i + 1][1] != entry[1])
