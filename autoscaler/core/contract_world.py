"""Made observations for judging a policy: services with different loads, gaps, idle hours and states, read-only and without chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from autoscaler.core.history import History
from autoscaler.core.model import Floats, Observation, Signal
from autoscaler.core.signals import SIGNALS, SignalState

INTERVAL_S = 15.0
START_S = 1_750_000_000.0
"""A Sunday afternoon in June 2025, UTC."""

What: TypeAlias = Literal["usual", "gaps", "idle", "unknown", "absent"]
"""usual: all signals known. gaps: each row misses each signal now and then. idle: known to be without work. unknown: nothing was ever
known. absent: the observation has no signals at all."""


def _level(name: str) -> float:
    """A value of the signal that is usual for one replica."""
    unit = SIGNALS[name].unit
    return {"ratio": 0.5, "s": 1.0, "requests/s": 1.2, "tokens/s": 300.0}.get(unit, 12.0)


def _values(name: str, rows: Sequence[int], tick: int) -> Floats:
    """A wave of its own for each row (a row is known by its number, whatever stands beside it)."""
    shape = np.array([1.0 + 0.5 * np.sin(0.21 * tick * (1 + row % 3) + row + len(name)) for row in rows], dtype=np.float64)
    size = np.array([1.0 if SIGNALS[name].per_replica else 1.0 + 2.5 * row for row in rows], dtype=np.float64)
    return _level(name) * shape * size


class World:
    """Observations of `rows` tick after tick. Row r looks the same in every world that has it, at every place.

    lookback_s: how far the histories reach. Everything handed out is read-only.
    """

    def __init__(
        self,
        names: Sequence[str],
        rows: Sequence[int],
        lookback_s: float,
        what: What = "usual",
        first_tick: int = 0,
    ) -> None:
        self.rows = tuple(rows)
        self._names = () if what == "absent" else tuple(names)
        self._what = what
        self._tick = first_tick
        self._set_by_s = 0.0
        length = int(np.ceil(lookback_s / INTERVAL_S)) + 1
        self._histories = {name: History(len(self.rows), length) for name in self._names}

    def ticks(self, count: int) -> Iterator[Observation]:
        """The next `count` observations, made one by one (histories go on while they are read)."""
        for _ in range(count):
            yield self._observation()
            self._tick += 1

    def rearranged(self, places: Sequence[int], new_row: int) -> World:
        """The world that goes on with the rows at `places`; −1 is the service `new_row`, whose past nobody knows."""
        rows = [self.rows[place] if place >= 0 else new_row for place in places]
        other = World(self._names, rows, 0.0, self._what, self._tick)
        moved = np.array(places, dtype=np.int64)
        other._set_by_s = self._set_by_s
        other._histories = {name: history.rearranged(moved) for name, history in self._histories.items()}
        return other

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`; what happens goes on as it would have."""
        self._set_by_s += by_s
        for history in self._histories.values():
            history.shift(by_s)

    def _observation(self) -> Observation:
        rows, tick = self.rows, self._tick
        at_s = START_S + INTERVAL_S * tick + self._set_by_s
        number = np.array(rows, dtype=np.int64)
        ready = 2 + 2 * number + tick % 2
        starting = (number + tick) % 3
        signals = {name: self._signal(name, at_s) for name in self._names}
        columns: dict[str, Any] = {
            "capacity_per_s": 1.6 + 0.1 * number,
            "slots": np.full(len(rows), 32.0),
            "slots_slowdown": np.full(len(rows), 64.0),
            "lead_time_s": 60.0 + 30.0 * number,
            "node_lead_time_s": np.full(len(rows), 180.0),
            "objective_target": np.full(len(rows), 5.0),
            "promised_ratio": np.full(len(rows), 0.995),
        }
        counts: dict[str, Any] = {
            "current": ready + starting,
            "ready": ready,
            "starting": starting,
            "min_replicas": np.zeros(len(rows), dtype=np.int64),
            "max_replicas": np.full(len(rows), 100, dtype=np.int64),
        }
        for array in (*columns.values(), *counts.values()):
            array.flags.writeable = False
        return Observation(at_s=at_s, interval_s=INTERVAL_S, signals=signals, **columns, **counts)

    def _signal(self, name: str, at_s: float) -> Signal:
        rows, tick = self.rows, self._tick
        values = _values(name, rows, tick)
        state = np.full(len(rows), SignalState.KNOWN, dtype=np.int8)
        if self._what == "idle":
            values[:], state[:] = 0.0, SignalState.IDLE
        elif self._what == "unknown":
            values[:], state[:] = np.nan, SignalState.UNKNOWN
        elif self._what == "gaps":
            missing = np.array([(tick + 2 * row + len(name)) % 5 == 0 for row in rows], dtype=np.bool_)
            values[missing], state[missing] = np.nan, SignalState.UNKNOWN
        history = self._histories[name]
        history.push(at_s, values)
        age_s = np.where(np.isnan(values), np.inf, 1.0)
        for array in (values, state, age_s):
            array.flags.writeable = False
        return Signal(values=values, age_s=age_s, state=state, history=ReadOnlyHistory(history))


class ReadOnlyHistory(History):
    """A history whose windows can't be written to, so that a policy that does is found."""

    def __init__(self, history: History) -> None:
        for name in History.__slots__:
            setattr(self, name, getattr(history, name))
        self._values = self._values.view()
        self._times_s = self._times_s.view()
        self._values.flags.writeable = False
        self._times_s.flags.writeable = False
