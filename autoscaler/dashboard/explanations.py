"""Explanations of past ticks: kept where something changed, in all so many, oldest forgotten first."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Any, Final

import numpy as np
import orjson

from autoscaler.core.model import Ints
from autoscaler.explanation import explain_tick
from autoscaler.ports import Tick

KEPT: Final = 20_000
"""About 1.5 kB each: 30 MB at most."""
SMALL_FLEET: Final = 50
"""Up to here every tick of every service is kept; above, only those in which a number changed."""
MOST_PER_TICK: Final = 500
"""An explanation costs some 20 microseconds of words; a tick must not spend more than 10 ms on them."""


class Explanations:
    """By service, the documents of autoscaler.explanation, as JSON bytes."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._by_key: dict[str, deque[tuple[float, bytes]]] = {}
        self._order: deque[str] = deque()
        self._tick: Tick | None = None
        self._rows: dict[str, int] = {}
        self._numbers: dict[str, Ints] = {}

    def add(self, tick: Tick, rows: dict[str, int], fleet_changed: bool) -> None:
        """rows: of this tick's fleet, by key."""
        self._tick, self._rows = tick, rows
        numbers = {"desired": tick.decisions.desired, "planned": tick.plan.replicas, "current": tick.fleet.current}
        if len(rows) <= SMALL_FLEET:
            chosen = range(len(rows))
        elif fleet_changed or not self._numbers:
            chosen = range(0)
        else:
            changed = np.zeros(len(rows), dtype=np.bool_)
            for name, column in numbers.items():
                changed |= column != self._numbers[name]
            chosen = np.flatnonzero(changed)[:MOST_PER_TICK].tolist()
        self._numbers = numbers
        for row in chosen:
            self._keep(tick, row)

    def latest(self, key: str) -> dict[str, Any] | None:
        """The newest tick's explanation; None where there is no such service."""
        row = self._rows.get(key)
        if row is None or self._tick is None:
            return None
        kept = self._by_key.get(key)
        if kept and kept[-1][0] == self._tick.decisions.at_s:
            return _decoded(kept[-1][1])
        return explain_tick(self._tick, row)

    def at(self, key: str, at_s: float) -> dict[str, Any] | None:
        """The newest explanation that is kept from `at_s` or before; None where none is."""
        if self._tick is not None and at_s >= self._tick.decisions.at_s:
            return self.latest(key)
        kept = self._by_key.get(key, ())
        position = bisect_right(kept, at_s, key=lambda entry: entry[0])
        return _decoded(kept[position - 1][1]) if position else None

    def _keep(self, tick: Tick, row: int) -> None:
        key = tick.fleet.specs[row].key
        document = orjson.dumps(explain_tick(tick, row), option=orjson.OPT_SERIALIZE_NUMPY)
        self._by_key.setdefault(key, deque()).append((float(tick.decisions.at_s), document))
        self._order.append(key)
        while len(self._order) > self._kept:
            oldest = self._order.popleft()
            kept = self._by_key[oldest]
            kept.popleft()
            if not kept:
                del self._by_key[oldest]


def _decoded(document: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = orjson.loads(document)
    return decoded
