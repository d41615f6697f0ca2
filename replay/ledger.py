"""What a replay keeps of every tick: a few numbers a service, for the score, schedule.csv and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Ints, Written
from autoscaler.ports import Tick
from replay.plant.fluid import FluidPlant

COLUMNS: Final = ("desired", "ready", "starting", "draining", "nodes")
_DONE: Final = int(Written.DONE)


class Ledger:
    """A Reporter. Arrays (ticks, n): as they were when the tick decided (`desired`: what it decided; `nodes`: after acting).

    actions, blind_scale_downs (n,): counted from scored_from_s (Unix) on.
    """

    def __init__(self, plant: FluidPlant, ticks: int, scored_from_s: float, *, keep_rows: bool = True) -> None:
        n = len(plant)
        rows = ticks if keep_rows else 0
        self._plant = plant
        self._scored_from_s = scored_from_s
        self._keep = keep_rows
        self.ticks = 0
        self.at_s: npt.NDArray[np.float64] = np.zeros(rows)
        self.desired, self.ready, self.starting, self.draining, self.nodes = (
            np.zeros((rows, n), dtype=np.int32) for _ in COLUMNS
        )
        self.actions: Ints = np.zeros(n, dtype=np.int64)
        self.blind_scale_downs: Ints = np.zeros(n, dtype=np.int64)
        self._changes = -1
        self._nodes: npt.NDArray[np.int32] = np.zeros(n, dtype=np.int32)

    async def report(self, tick: Tick) -> None:
        place = self.ticks
        self.ticks += 1
        fleet, plan = tick.fleet, tick.plan
        if self._keep:
            life = self._plant.life
            if life.changes != self._changes:
                self._changes = life.changes
                self._nodes = np.array([life.nodes(row) for row in range(len(fleet))], dtype=np.int32)
            self.at_s[place] = plan.at_s
            self.desired[place] = plan.replicas
            self.ready[place] = fleet.ready
            self.starting[place] = fleet.starting
            self.draining[place] = fleet.draining
            self.nodes[place] = self._nodes
        if plan.at_s >= self._scored_from_s and np.count_nonzero(tick.outcome.written):
            done = tick.outcome.written == _DONE
            self.actions += done
            unsure = tick.decisions.blind | tick.decisions.partial
            if np.count_nonzero(unsure):
                self.blind_scale_downs += done & unsure & (plan.replicas < fleet.current)


def write_schedule(ledger: Ledger, path: Path, start_s: float, row: int = 0) -> None:
    """``at_s,desired,ready,starting,draining,nodes``, a line a decision; at_s in seconds from the trace's start."""
    table = np.column_stack([getattr(ledger, name)[: ledger.ticks, row] for name in COLUMNS]).tolist()
    times = (ledger.at_s[: ledger.ticks] - start_s).tolist()
    lines = [f"{at_s:g},{','.join(map(str, counts))}\n" for at_s, counts in zip(times, table, strict=True)]
    path.write_text("at_s," + ",".join(COLUMNS) + "\n" + "".join(lines), encoding="utf-8")
