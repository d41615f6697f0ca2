"""What the plots show: bounded rings of columns, every tick for the last hours and thinned for the last day.

A service has a *slot*, kept while the service is there, so that a changed fleet moves nothing. One tick is one contiguous block of
memory (columns × slots), because writing happens every tick for all services and reading rarely and for one.

float32 is plenty for a plot (seven digits) and halves the memory. With 14 columns and a budget of 128 MiB, up to 2,500 services have the
full span (480 ticks + 288 thinned points = 43 kB each); 10,000 services keep the newest 119 ticks and 71 thinned points. Shorter plots
are the right thing to give up: the records hold everything for ever.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats32: TypeAlias = npt.NDArray[np.float32]

COLUMNS: Final = (
    "demand",
    "queue",
    "objective",
    "gpu_utilization",
    "utilization",
    "current",
    "ready",
    "starting",
    "draining",
    "recommended",
    "desired",
    "planned",
    "forecast_low",
    "forecast_high",
)
"""Kept of every service; ``objective`` is the value of the signal that its objective names, the forecasts are those that were made for
this moment. NaN: not known."""

_PEAKS: Final = np.array([name in ("queue", "objective") for name in COLUMNS])
"""Thinned by their maximum, since a mean would hide the very moments that people look for; the others by their mean."""

FULL_TICKS: Final = 480
"""Two hours of ticks of 15 s."""
THINNED_POINTS: Final = 288
TICKS_PER_POINT: Final = 20
"""Five minutes of ticks of 15 s, so that the thinned points span a day."""
BUDGET_BYTES: Final = 128 * 1024 * 1024
_FEWEST: Final = 34
"""Points kept however many services there are."""


class Ring:
    """The last `length` blocks (columns, slots), oldest overwritten first."""

    def __init__(self, length: int, slots: int) -> None:
        self.length = length
        self._blocks: Floats32 = np.empty((length, len(COLUMNS), slots), dtype=np.float32)
        self._times_s = np.full(length, np.nan)
        self._next = 0
        self.filled = 0

    def push(self, at_s: float, block: Floats32) -> None:
        self._blocks[self._next] = block
        self._times_s[self._next] = at_s
        self._next = (self._next + 1) % self.length
        self.filled = min(self.filled + 1, self.length)

    def order(self, newest: int | None = None) -> npt.NDArray[np.int64]:
        """Indices of the newest blocks, oldest first."""
        count = self.filled if newest is None else min(newest, self.filled)
        return (self._next - count + np.arange(count)) % self.length

    def times_s(self) -> npt.NDArray[np.float64]:
        return self._times_s[self.order()]

    def blocks(self, newest: int) -> Floats32:
        """A copy (k, columns, slots)."""
        return self._blocks[self.order(newest)]

    def of(self, slot: int, since_s: float = -np.inf) -> tuple[npt.NDArray[np.float64], Floats32]:
        """Times (k,) later than `since_s` and the slot's values (k, columns)."""
        order = self.order()
        times = self._times_s[order]
        first = int(np.searchsorted(times, since_s, side="right"))
        return times[first:], self._blocks[order[first:], :, slot]

    def forget(self, slot: int) -> None:
        self._blocks[:, :, slot] = np.nan

    def resized(self, length: int, slots: int) -> Ring:
        """The newest blocks in a ring of another size; new slots are empty."""
        other = Ring(length, slots)
        old_slots = self._blocks.shape[2]
        block = np.full((len(COLUMNS), slots), np.nan, dtype=np.float32)
        for index in self.order(length):
            block[:, :old_slots] = self._blocks[index]
            other.push(float(self._times_s[index]), block)
        return other


class Rings:
    """Both rings and who has which slot."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._capacity = 16
        full, thinned = self._lengths()
        self._full = Ring(full, self._capacity)
        self._thinned = Ring(thinned, self._capacity)
        self._since_point = 0

    def slots_of(self, keys: list[str]) -> npt.NDArray[np.int64]:
        """The slots of exactly these services; those that are gone give theirs back. Called when the fleet changes."""
        wanted = set(keys)
        for key in [key for key in self._slots if key not in wanted]:
            self._free.append(self._slots.pop(key))
        for key in keys:
            if key not in self._slots:
                if self._free:
                    slot = self._free.pop()
                    self._full.forget(slot)
                    self._thinned.forget(slot)
                else:
                    slot = len(self._slots)
                    if slot >= self._capacity:
                        self._grow(len(wanted))
                self._slots[key] = slot
        return np.array([self._slots[key] for key in keys], dtype=np.int64)

    def push(self, at_s: float, slots: npt.NDArray[np.int64], columns: npt.NDArray[Any]) -> None:
        """One tick: columns (columns, n) in the order of `slots`."""
        block = np.full((len(COLUMNS), self._capacity), np.nan, dtype=np.float32)
        block[:, slots] = columns
        self._full.push(at_s, block)
        self._since_point += 1
        if self._since_point >= TICKS_PER_POINT:
            self._since_point = 0
            self._thinned.push(at_s, _thinned(self._full.blocks(TICKS_PER_POINT)))

    def history(self, key: str, since_s: float = -np.inf) -> dict[str, Any]:
        """A service's columns, oldest first: thinned points up to where the full ticks begin, then those. Unknown values are None."""
        slot = self._slots[key]
        times, values = self._full.of(slot, since_s)
        begins_s = float(self._full.times_s()[0]) if self._full.filled else np.inf
        old_times, old_values = self._thinned.of(slot, since_s)
        earlier = old_times < begins_s
        times = np.concatenate([old_times[earlier], times])
        values = np.concatenate([old_values[earlier], values])
        empty: npt.NDArray[np.bool_] = np.asarray(np.isnan(values).all(axis=1))
        first = int(np.argmin(empty)) if len(empty) and not empty.all() else len(empty)
        return {
            "times_s": times[first:].tolist(),
            "thinned": int(max(earlier.sum() - first, 0)),
            "columns": {name: _plain(values[first:, index]) for index, name in enumerate(COLUMNS)},
        }

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return sum(ring._blocks.nbytes for ring in (self._full, self._thinned))

    def _lengths(self) -> tuple[int, int]:
        points = self._budget_bytes // (self._capacity * len(COLUMNS) * 4)
        share = min(1.0, points / (FULL_TICKS + THINNED_POINTS))
        return max(int(FULL_TICKS * share), _FEWEST), max(int(THINNED_POINTS * share), _FEWEST)

    def _grow(self, services: int) -> None:
        # A quarter more than needed: growing copies everything, and fleets grow one by one.
        self._capacity = max(services + services // 4, self._capacity * 2 if self._capacity < 64 else 0)
        full, thinned = self._lengths()
        self._full = self._full.resized(full, self._capacity)
        self._thinned = self._thinned.resized(thinned, self._capacity)


def _thinned(blocks: Floats32) -> Floats32:
    """(k, columns, slots) → (columns, slots): peaks or means of what is known."""
    known = ~np.isnan(blocks)
    count = known.sum(axis=0)
    filled = np.where(known, blocks, 0.0)
    mean = filled.sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    peak = filled.max(axis=0)
    return np.where(count > 0, np.where(_PEAKS[:, None], peak, mean), np.nan).astype(np.float32)


def _plain(values: Floats32) -> list[float | None]:
    # Rounded to what float32 holds, so that 0.1 doesn't become 0.10000000149 on the wire.
    return [None if value != value else float(f"{value:.7g}") for value in values.tolist()]
