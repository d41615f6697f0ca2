"""The services of a fleet whose capacity is learnt: from readings to the ``capacity_per_s`` that policies see.

What policies see moves in steps of ``STEP``, so that noise changes no counts. What was learnt belongs to one target with one given value
and one size of the batch: where its owner changes these, it begins again with what is given. Of each version of the target it is a number of
its own (``learnt_versions``). The past that Prometheus knows teaches
nothing here: it doesn't tell how many replicas were ready then. The status remembers instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from autoscaler.core.capacity_estimate import Estimates
from autoscaler.core.capacity_samples import Look, Sampler
from autoscaler.core.columns import floats, plain, plain_number, rearranged
from autoscaler.core.learnt_versions import LearntVersions
from autoscaler.core.model import Capacity, Fleet, Floats, Ints, LearntMemory, Readings
from autoscaler.core.rows import some
from autoscaler.core.signals import IDLE, UNKNOWN
from autoscaler.core.table import Table
from autoscaler.core.value import maker

SIGNALS: Final = ("demand", "throughput", "running", "queue")
"""What is wanted of services whose capacity is learnt."""
_COUNTED: Final = ("demand", "throughput")
STEP: Final = 0.02
"""Relative difference from which the estimate is told anew."""

_look = maker(Look)


class LearntCapacity:
    """rows (m,): of the fleet, those whose capacity is learnt. `before`: of the last revision; moved (n,): rows that services had then, −1
    for new ones."""

    def __init__(self, table: Table, before: LearntCapacity | None, moved: Ints) -> None:
        learnt = [row for row, spec in enumerate(table.specs) if spec.capacity.learnt]
        capacities = [table.specs[row].capacity for row in learnt]
        self.rows: Ints = np.array(learnt, dtype=np.int64)
        self._keys = [table.keys[row] for row in learnt]
        self._of = [_of(capacity) for capacity in capacities]
        self._place = {row: place for place, row in enumerate(learnt)}
        given = table.given_per_s[self.rows]
        low = floats([capacity.min_per_s for capacity in capacities])
        high = floats([capacity.max_per_s for capacity in capacities])
        self._sampler = Sampler(len(learnt))
        self._versions = LearntVersions(len(learnt))
        self._estimates = Estimates(given, np.where(np.isnan(low), 0.0, low), np.where(np.isnan(high), np.inf, high))
        self._slots, self._slowdown = table.full_slots[self.rows], table.slots_slowdown[self.rows]
        self._told = self._estimates.mean.copy()
        if before is not None:
            self._adopt(before, moved)
        self._tell(table)

    def _adopt(self, before: LearntCapacity, moved: Ints) -> None:
        places = [before._place.get(int(moved[row]), -1) for row in self.rows.tolist()]
        # With another given value or another batch it is another number that was learnt.
        places = [place if place >= 0 and before._of[place] == of else -1 for place, of in zip(places, self._of, strict=True)]
        came_from = np.array(places, dtype=np.int64)
        sampler = before._sampler
        sampler.rearrange(came_from)
        self._sampler = sampler
        self._estimates.adopt(before._estimates, came_from)
        self._versions.adopt(before._versions, places)
        told = np.where(came_from >= 0, rearranged(before._told, came_from), self._told)
        self._told = np.clip(told, self._estimates.low, self._estimates.high)

    # ------------------------------------------------------------ a tick

    def learn(self, table: Table, fleet: Fleet, readings: Readings, interval_s: float) -> None:
        """Learns from a tick's readings, and lets the table tell what is known now."""
        rows = self.rows
        self._versions.look(fleet.versions, rows, self._estimates)
        nothing = np.full(len(rows), np.nan)
        columns = dict.fromkeys(SIGNALS, nothing)
        age_s = span_s = nothing
        for name in SIGNALS:
            column = readings.signals.get(name)
            if column is None:
                continue
            state = column.state[rows]
            values = np.where(state == UNKNOWN, np.nan, column.values[rows])
            columns[name] = np.where(state == IDLE, 0.0, values)
            if name in _COUNTED:
                known = np.isfinite(columns[name])
                age_s = np.where(known, column.age_s[rows], age_s)
                span_s = np.where(known, np.nan if column.span_s is None else column.span_s[rows], span_s)
        look = _look(
            throughput_per_s=columns["throughput"],
            demand_per_s=columns["demand"],
            running=columns["running"],
            queue=columns["queue"],
            age_s=age_s,
            span_s=span_s,
            ready=fleet.ready[rows].astype(np.float64),
            draining=fleet.draining[rows].astype(np.float64),
            slots=self._slots,
            slowdown=self._slowdown,
            mixed=self._versions.mixed,
        )
        with np.errstate(invalid="ignore"):
            self._estimates.learn(self._sampler.take(readings.at_s, interval_s, look))
        self._tell(table)

    def _tell(self, table: Table) -> None:
        mean = self._versions.means(self._estimates)
        moved = ~(np.abs(mean - self._told) <= STEP * self._told) & ~np.isnan(mean)
        if some(moved):
            self._told = np.where(moved, mean, self._told)
        elif table.full_capacity_per_s is not table.given_per_s:
            return  # the same array as long as nothing moves: policies go by that
        self._write(table)

    def _write(self, table: Table) -> None:
        capacity_per_s = table.given_per_s.copy()
        capacity_per_s[self.rows] = self._told
        table.full_capacity_per_s = capacity_per_s

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self._sampler.shift(by_s)

    def confidence(self, services: int) -> Floats:
        """(n,) 0…1 as ``Estimates.confidence``; NaN where the capacity is given."""
        confidence = np.full(services, np.nan)
        confidence[self.rows] = self._estimates.confidence()
        return confidence

    # ------------------------------------------------------------ what survives

    def memory(self, row: int) -> LearntMemory | None:
        """What the status should remember of the fleet's `row`; None where nothing was learnt."""
        place = self._place.get(row)
        if place is None:
            return None
        estimates, others = self._estimates, self._versions.others[place]
        if np.isnan(estimates.mean[place]) or not (estimates.seen[place] > 0.0 or others):
            return None
        given, slots, slowdown = self._of[place]
        return LearntMemory(
            per_s=float(estimates.mean[place]),
            weight=float(estimates.weight[place]),
            seen=float(estimates.seen[place]),
            given_per_s=given,
            slots=slots,
            slots_slowdown=slowdown,
            version=self._versions.version[place],
            others=tuple(others.values()),
        )

    def recall(self, table: Table, memories: Mapping[int, LearntMemory]) -> None:
        """Goes on, by row of the fleet, from what a status remembers, where it is of the same given value and batch."""
        for row, memory in memories.items():
            place = self._place.get(row)
            if place is not None and self._of[place] == (memory.given_per_s, memory.slots, memory.slots_slowdown):
                self._estimates.restore(place, memory.per_s, memory.weight, memory.seen)
                self._versions.recall(place, memory.version, memory.others)
        self._tell(table)

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "schema": 1,
            "services": self._keys,
            "told": plain(self._told),
            "samples": self._sampler.save(),
            "estimates": self._estimates.save(),
            "versions": self._versions.save(),
        }

    def load(self, table: Table, state: Mapping[str, Any]) -> None:
        """What save gave; of another schema or other services it is ignored."""
        if state["schema"] != 1 or state["services"] != self._keys:
            return
        self._told = floats(state["told"])
        self._sampler.load(state["samples"])
        self._estimates.load(state["estimates"])
        if "versions" in state:  # states written before versions were told apart have none
            self._versions.load(state["versions"])
        self._write(table)


def _of(capacity: Capacity) -> tuple[float | None, int, float]:
    return plain_number(capacity.per_s), capacity.slots, capacity.slots_slowdown
