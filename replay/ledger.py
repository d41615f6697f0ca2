"""What a replay keeps of every tick: a few numbers a service, for the score, schedule.csv and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Fleet, Floats, Ints, Written
from autoscaler.core.rows import some
from autoscaler.ports import Tick
from replay.cuts import Cuts
from replay.plant.plant import Plant

COLUMNS: Final = ("desired", "ready", "starting", "draining", "nodes")
Counts: TypeAlias = npt.NDArray[np.int32]
_DONE: Final = int(Written.DONE)


class Ledger:
    """A Reporter. desired (ticks, n): what each tick decided. actions, blind_scale_downs (n,), cuts: counted from scored_from_s (Unix) on.

    What a tick saw (ready, starting, draining) and the nodes after it change rarely, so only changes are kept; ``column`` spreads them out.
    """

    def __init__(self, plant: Plant, ticks: int, scored_from_s: float, *, keep_rows: bool = True) -> None:
        n = len(plant)
        rows = ticks if keep_rows else 0
        self._plant = plant
        self._scored_from_s = scored_from_s
        self._keep = keep_rows
        self.ticks = 0
        self.cuts = Cuts(n)
        self.at_s: Floats = np.zeros(rows)
        self.desired: Counts = np.zeros((rows, n), dtype=np.int32)
        self._actions, self._blind_scale_downs = [0] * n, [0] * n
        self._fleet: Fleet | None = None
        # Bare numbers and arrays: pairs of them would be looked through by the garbage collector again and again.
        self._seen_at: list[int] = []
        self._seen: dict[str, list[Ints]] = {"ready": [], "starting": [], "draining": []}
        self._orders = -1
        self._nodes_at: list[int] = []
        self._nodes: list[Counts] = []

    @property
    def actions(self) -> Ints:
        return np.array(self._actions, dtype=np.int64)

    @property
    def blind_scale_downs(self) -> Ints:
        return np.array(self._blind_scale_downs, dtype=np.int64)

    async def report(self, tick: Tick) -> None:
        place = self.ticks
        self.ticks = place + 1
        fleet, plan = tick.fleet, tick.plan
        if self._keep:
            self.at_s[place] = plan.at_s
            self.desired[place] = plan.replicas
            if fleet is not self._fleet:
                self._fleet = fleet
                self._seen_at.append(place)
                for name, columns in self._seen.items():
                    columns.append(getattr(fleet, name))
            life = self._plant.life
            if life.orders.changes != self._orders:
                self._orders = life.orders.changes
                self._nodes_at.append(place)
                self._nodes.append(np.array([life.nodes(row) for row in range(len(fleet))], dtype=np.int32))
        if plan.limits and plan.at_s >= self._scored_from_s:
            self.cuts.add(fleet, plan, tick.interval_s)
        if plan.at_s >= self._scored_from_s and some(plan.act):
            decisions, written = tick.decisions, tick.outcome.written
            for row in plan.act.nonzero()[0].tolist():
                if written.item(row) == _DONE:
                    self._actions[row] += 1
                    if decisions.blind.item(row) or decisions.partial.item(row):
                        self._blind_scale_downs[row] += plan.replicas.item(row) < fleet.current.item(row)

    def column(self, name: str, row: int = 0) -> Counts:
        """One of COLUMNS of a service, (ticks,): as it was when the tick decided; nodes: after it acted."""
        if name == "desired":
            return self.desired[: self.ticks, row]
        places = self._nodes_at if name == "nodes" else self._seen_at
        columns: Sequence[Counts | Ints] = self._nodes if name == "nodes" else self._seen[name]
        values = np.array([column[row] for column in columns], dtype=np.int32)
        return np.repeat(values, np.diff([*places, self.ticks]))


def write_schedule(ledger: Ledger, path: Path, start_s: float, row: int = 0) -> None:
    """``at_s,desired,ready,starting,draining,nodes``, a line a decision; at_s in seconds from the trace's start."""
    table = np.column_stack([ledger.column(name, row) for name in COLUMNS]).tolist()
    times = (ledger.at_s[: ledger.ticks] - start_s).tolist()
    lines = [f"{at_s:g},{','.join(map(str, counts))}\n" for at_s, counts in zip(times, table, strict=True)]
    path.write_text("at_s," + ",".join(COLUMNS) + "\n" + "".join(lines), encoding="utf-8")
