"""How long a service is known to be without work: what lets it go to zero, and what brings it back.

A service *has work* where some signal of work is known and above zero; it is *without work* where the metric source says so (a signal is
idle: everything that tells of work is zero), or where demand and what is in flight are known to be zero. Otherwise nobody can tell. The
clock runs only from one known tick to the next: while nobody can tell, and over ticks that never were, it stands still, and work sets it
back. So what is unknown never completes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.core.columns import floats, number, plain, plain_number, rearranged
from autoscaler.core.model import Bools, Fleet, Floats, Ints, Readings
from autoscaler.core.signals import IDLE, KNOWN

WORK: Final = ("demand", "queue", "running", "concurrency")
"""Signals that tell of work."""
_LEAST: Final[Mapping[str, float]] = {"running": 1e-3, "concurrency": 1e-3}
"""Less is none: what runs is often a mean over seconds, with a tail (Little's law, a plant's first-order lag)."""
_TICKS_SEEN: Final = 2.0
"""Intervals that one tick speaks for at most: one that is late, but not an hour in which the controller stood still."""
_STEPS: Final = 10.0
_SMALLEST_STEP_S: Final = 60.0


@dataclass(slots=True, kw_only=True)  # not frozen: one is made every tick
class Idleness:
    """One tick's answer, (n,) each. arriving: requests come, wait or are in flight: work for whoever isn't there yet. work: arriving, or
    something runs. none: known to be without work. for_s: how long that is known. enough: long enough to go to zero."""

    arriving: Bools
    work: Bools
    none: Bools
    for_s: Floats
    enough: Bools


class IdleClock:
    """The clocks of n services."""

    def __init__(self) -> None:
        self._since_s: Floats = np.empty(0)
        self._was_none: Bools = np.empty(0, dtype=np.bool_)
        self._was_at_zero: Bools = np.empty(0, dtype=np.bool_)
        self._last_at_s = float("nan")

    def look(self, fleet: Fleet, readings: Readings, after_s: Floats, interval_s: float) -> Idleness:
        """Moves the clocks on to the readings' moment. after_s (n,): how long is long enough."""
        at_s = readings.at_s
        arriving, work, none = _seen(readings, len(fleet))
        passed_s = at_s - self._last_at_s if self._last_at_s == self._last_at_s else 0.0
        unseen_s = max(passed_s - _TICKS_SEEN * interval_s, 0.0)
        # Between two known ticks it runs; a stretch that only ends with one doesn't count.
        since_s = self._since_s + np.where(none & self._was_none, unseen_s, passed_s)
        since_s = np.where(none, np.fmin(since_s, at_s), np.minimum(since_s, at_s))
        # Who has just been woken, by a wish or a request that is gone again, is there for a whole idle time at least.
        at_zero = fleet.current == 0
        since_s[self._was_at_zero & ~at_zero] = at_s
        since_s[work] = np.nan
        self._since_s, self._was_none, self._was_at_zero, self._last_at_s = since_s, none, at_zero, at_s
        for_s = self._for_s(at_s)
        return Idleness(arriving=arriving, work=work, none=none, for_s=for_s, enough=none & (for_s >= after_s))

    def _for_s(self, at_s: float) -> Floats:
        return np.where(np.isnan(self._since_s), 0.0, at_s - self._since_s)

    # ------------------------------------------------------------ what survives

    def rearrange(self, rows: Ints) -> None:
        """New row i is the old row rows[i], or a new service where that is −1."""
        self._since_s = rearranged(self._since_s, rows, np.nan)
        self._was_none = rearranged(self._was_none, rows, False)
        self._was_at_zero = rearranged(self._was_at_zero, rows, False)

    def recall(self, row: int, idle_s: float, at_s: float) -> None:
        """What a status remembers; the time since then was seen by nobody and does not count."""
        self._since_s[row] = at_s - idle_s

    def remembered_s(self, after_s: Floats) -> Floats:
        """How long each service was without work, (n,), for its status: in steps and no longer than it needs, so that the status is written
        ten times at most and a restart loses a step and gains nothing; 0 where it wasn't, and at zero, where it counts no more."""
        step_s = np.fmax(after_s / _STEPS, _SMALLEST_STEP_S)
        seen_s = np.fmin(self._for_s(self._last_at_s), after_s)
        return np.where(self._was_at_zero | np.isnan(after_s), 0.0, np.floor(seen_s / step_s) * step_s)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self._since_s = self._since_s + by_s
        self._last_at_s += by_s

    def save(self) -> dict[str, Any]:
        return {
            "since_s": plain(self._since_s),
            "was_none": self._was_none.tolist(),
            "was_at_zero": self._was_at_zero.tolist(),
            "last_at_s": plain_number(self._last_at_s),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes back what `save` gave, for the same rows."""
        self._since_s = floats(state["since_s"])
        self._was_none = np.array(state["was_none"], dtype=np.bool_)
        self._was_at_zero = np.array(state["was_at_zero"], dtype=np.bool_)
        self._last_at_s = number(state["last_at_s"])


def _seen(readings: Readings, services: int) -> tuple[Bools, Bools, Bools]:
    """(arriving, work, none), (n,) each."""
    nobody: Bools = np.zeros(services, dtype=np.bool_)
    some, quiet, said = dict.fromkeys(WORK, nobody), dict.fromkeys(WORK, nobody), nobody
    for name in WORK:
        column = readings.signals.get(name)
        if column is not None:
            known, idle = column.state == KNOWN, column.state == IDLE
            some[name] = known & (column.values > _LEAST.get(name, 0.0))
            quiet[name] = idle | (known & ~some[name])
            said = said | idle
    arriving = some["demand"] | some["queue"] | some["concurrency"]
    work = arriving | some["running"]
    in_flight = (quiet["queue"] & quiet["running"]) | quiet["concurrency"]
    return arriving, work, ~work & (said | (quiet["demand"] & in_flight))
