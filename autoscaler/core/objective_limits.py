"""The services' objectives while they run: what their limits rest on is measured, and policies are handed the most demanding one's limits.

A limit on a time (``itl_s``, ``ttft_s``, ``latency_s``) or on the KV cache rests on an anchor: what it takes, or holds, with one request
alone. It is measured on what runs: a value seen in batches of b is taken back to one request by the batch model, and the geometric mean of
MEMORY_S counts. That is also the correction where the model is off: if what is seen in a batch of b is above the model's, the anchor rises and
the limit falls, slowly, and not below ``objectives.LEAST_THROUGHPUT_RATIO``. Near the limit no extrapolation is left, so the limit settles
where what is seen meets the target (as long as the true slowdown D is at least half of the given one).

Samples are of known signals with something running on ready replicas; times that contain the queue's wait only while next to nothing waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from autoscaler.core.capacity import throughput_per_s
from autoscaler.core.columns import floats, plain
from autoscaler.core.model import Bools, Fleet, Floats, Ints, Objective, Readings
from autoscaler.core.objectives import (
    MEASURED,
    QUEUED,
    TIMED,
    USUAL_WAIT_S,
    alone_s,
    batch_allowed,
    cant_be_kept,
    given_anchor,
    objectives_of,
    wait_allowed_s,
    warnings_of,
    words_of,
)
from autoscaler.core.rows import some
from autoscaler.core.signals import KNOWN
from autoscaler.core.table import Table

MEMORY_S: Final = 600.0
"""Long against the noise of a tail quantile, short against the time in which traffic or model change."""
QUIET_RATIO: Final = 0.1
"""So many waiting for each running one is next to nothing."""


class ObjectiveLimits:
    """The objectives of a table's services, each a use: one entry of the arrays (m,), in the order of rows and, within them, of the manifest.

    before, moved (n,): what was measured under the last revision goes on; rows that were −1 then begin anew."""

    def __init__(self, table: Table, before: ObjectiveLimits | None, moved: Ints) -> None:
        self._table = table
        self._of_row: list[range] = []
        self._objectives: list[Objective] = []
        rows: list[int] = []
        for row, spec in enumerate(table.specs):
            own = objectives_of(spec)
            self._of_row.append(range(len(rows), len(rows) + len(own)))
            self._objectives += own
            rows += [row] * len(own)
        self._rows: Ints = np.array(rows, dtype=np.int64)
        self._uses: dict[str, Ints] = {
            name: np.array([use for use, one in enumerate(self._objectives) if one.signal == name], dtype=np.int64)
            for name in dict.fromkeys(one.signal for one in self._objectives)
        }
        self._measured = {name: uses for name, uses in self._uses.items() if name in MEASURED}
        self._targets: Floats = np.array([one.target for one in self._objectives], dtype=np.float64)
        self._anchors: Floats = np.full(len(rows), np.nan)
        self._spans_s: Floats = np.zeros(len(rows))
        self._anchor(before, moved)
        self._batches: Floats = np.empty(0)
        self.hand_over()

    def _anchor(self, before: ObjectiveLimits | None, moved: Ints) -> None:
        for name, uses in self._measured.items():
            for use in uses.tolist():
                row = int(self._rows[use])
                self._anchors[use] = given_anchor(self._table.specs[row].capacity, name)
                old = -1 if before is None else int(moved[row])
                if before is not None and old >= 0:
                    for known in before._of_row[old]:
                        if before._objectives[known].signal == name and before._spans_s[known] > 0:
                            self._anchors[use], self._spans_s[use] = before._anchors[known], before._spans_s[known]

    @property
    def signals(self) -> Mapping[str, Sequence[int]]:
        """Signal → fleet rows that it is measured of."""
        wanted: dict[str, set[int]] = {}
        for name, uses in self._measured.items():
            rows = self._rows[uses].tolist()
            for needed in (name, "running", *(("queue",) if name in QUEUED else ())):
                wanted.setdefault(needed, set()).update(rows)
        return {name: sorted(rows) for name, rows in wanted.items()}

    # ------------------------------------------------------------ a tick

    def learn(self, fleet: Fleet, readings: Readings, interval_s: float) -> None:
        """Takes a tick's samples in, and hands the table the limits that follow. Costs nothing where no objective is measured and the table's
        full capacity is the same array as before."""
        if self._sample(fleet, readings, interval_s) or self._table.full_capacity_per_s is not self._full_per_s:
            self.hand_over()

    def _sample(self, fleet: Fleet, readings: Readings, interval_s: float) -> bool:
        """Whether anything was learnt."""
        running = readings.signals.get("running") if self._measured else None
        if running is None:
            return False
        learnt = False
        known = (running.state == KNOWN) & (running.values > 0) & (fleet.ready > 0)
        batches = np.divide(running.values, fleet.ready, out=np.zeros(len(fleet)), where=known)
        batches = np.minimum(batches, self._table.full_slots)
        quiet = self._quiet(readings, running.values)
        for name, uses in self._measured.items():
            column = readings.signals.get(name)
            if column is None:
                continue
            rows = self._rows[uses]
            good = known & (column.state == KNOWN) & (column.values > 0)
            if name in QUEUED:
                good &= quiet
            good = good[rows]
            if some(good):
                uses, rows, learnt = uses[good], rows[good], True
                batch, value = batches[rows], column.values[rows]
                sample = (
                    alone_s(value, batch, self._table.slots_slowdown[rows]) if name in TIMED else value / np.maximum(batch, 1.0)
                )
                self._take(uses, sample, interval_s)
        return learnt

    def _quiet(self, readings: Readings, running: Floats) -> Bools:
        queue = readings.signals.get("queue")
        if queue is None:
            return np.zeros(len(running), dtype=np.bool_)
        few: Bools = (queue.state == KNOWN) & (queue.values <= QUIET_RATIO * running)
        return few

    def _take(self, uses: Ints, sample: Floats, interval_s: float) -> None:
        """The geometric mean, over all that was seen at first and over MEMORY_S then. A given start value counts until something is seen, so
        that a restart is back at what was measured within a few ticks."""
        seen_s = np.minimum(self._spans_s[uses] + interval_s, max(MEMORY_S, interval_s))
        weight = interval_s / seen_s
        before = np.where(weight < 1.0, self._anchors[uses], sample)
        self._anchors[uses] = before * (sample / before) ** weight
        self._spans_s[uses] = seen_s

    def hand_over(self) -> None:
        """Tells the table what the objectives allow, with its full capacity as it stands."""
        table, rows = self._table, self._rows
        self._full_per_s = table.full_capacity_per_s
        slots, slowdown = table.full_slots[rows], table.slots_slowdown[rows]
        batches = slots.copy()
        for name, uses in self._uses.items():
            batches[uses] = batch_allowed(name, self._targets[uses], self._anchors[uses], slots[uses], slowdown[uses])
        most = table.full_slots.copy()
        np.minimum.at(most, rows, batches)
        waits = np.full(len(rows), np.inf)
        for name, uses in self._uses.items():
            waits[uses] = wait_allowed_s(name, self._targets[uses], self._anchors[uses], most[rows[uses]], slowdown[uses])
        wait = np.full(len(table), np.inf)
        np.minimum.at(wait, rows, waits)
        self._batches, self._waits = batches, waits
        limited = most < table.full_slots
        if not some(limited):
            most, per_s = table.full_slots, table.full_capacity_per_s
        else:
            per_s = throughput_per_s(most, table.full_capacity_per_s, table.full_slots, table.slots_slowdown)
        table.allow(capacity_per_s=per_s, slots=most, wait_s=np.where(np.isinf(wait), USUAL_WAIT_S, wait))

    # ------------------------------------------------------------ words

    def binding(self, row: int) -> str:
        """The most demanding objective of a row and what it allows, in words; "" where one alone sets no limit but a wait."""
        uses, table = self._of_row[row], self._table
        slots = float(table.full_slots[row])
        use = min(uses, key=lambda one: (float(self._batches[one]), float(self._waits[one])))
        if float(self._batches[use]) < slots:
            own, full = float(table.capacity_per_s[row]), float(table.full_capacity_per_s[row])
            pace = f", {own:.3g}/s a replica instead of {full:.3g}/s" if full == full else ""
            words = words_of(self._objectives[use])
            which = f"the objective {words}" if len(uses) == 1 else f"the most demanding objective, {words},"
            return f"{which} allows {float(self._batches[use]):.3g} of {slots:g} requests at a time{pace}"
        if len(uses) == 1 or not np.isfinite(self._waits[use]):
            return ""
        return f"the most demanding objective, {words_of(self._objectives[use])}, leaves {float(self._waits[use]):.3g} s to wait"

    def warnings(self, row: int) -> Iterator[str]:
        """What must be known of a row's objectives, in words: signals that can't tell load, targets that can't be kept, nothing measured."""
        table = self._table
        spec = table.specs[row]
        static = dict(warnings_of(objectives_of(spec), spec.capacity))
        for place, use in enumerate(self._of_row[row]):
            objective, anchor = self._objectives[use], float(self._anchors[use])
            if objective.signal in ("gpu_utilization", "gpu_memory_utilization"):
                yield f"{words_of(objective)}: {static[place]}"
            elif objective.signal in TIMED and anchor != anchor:
                yield f"{words_of(objective)}: {objective.signal} was not measured yet, so it sets no limit"
            elif words := cant_be_kept(objective, anchor, float(table.full_slots[row]), float(table.slots_slowdown[row])):
                yield words

    # ------------------------------------------------------------ what survives

    def save(self) -> dict[str, Any]:
        return {"anchors": plain(self._anchors), "spans_s": self._spans_s.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes back what save gave, with the same services and objectives."""
        if len(state["anchors"]) == len(self._rows):
            self._anchors = floats(state["anchors"])
            self._spans_s = np.array(state["spans_s"], dtype=np.float64)
            self.hand_over()
