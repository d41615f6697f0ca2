"""The plant's doors with a test's hand on them: signals as the test gives them, a status that remembers, a pause, a new controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from autoscaler.core.model import Fleet, Memory, Outcome, Pause, Plan, Readings, SignalColumn
from autoscaler.core.short import Short
from autoscaler.core.signals import UNKNOWN
from autoscaler.ports import Backfill, MetricSource
from replay.plant.ports import PlantCluster
from replay.scenario_tests.notation import Series


class ScriptedMetrics:
    """A MetricSource: a signal of the test where it gives one, else the plant's where there is traffic, else unknown."""

    def __init__(
        self,
        plant: MetricSource | None,
        series: Mapping[tuple[str, str], Series],
        row_of: Mapping[str, int],
        start_s: float,
        interval_s: float,
    ) -> None:
        self._plant = plant
        self._start_s = start_s
        self._interval_s = interval_s
        self._n = len(row_of)
        # What is said of one service beats what is said of all.
        self._series = [
            (signal, [row_of[service]] if service else list(range(self._n)), one)
            for (signal, service), one in sorted(series.items(), key=lambda item: item[0][1] != "")
        ]

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        if self._plant is None:
            return self._scripted(Readings(at_s=at_s, signals={}), wanted)
        return self._scripted(await self._plant.read(fleet, wanted, at_s, deadline_s), wanted)

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        """What the series said before, as a Prometheus would remember it."""
        return Backfill(readings=[self._scripted(Readings(at_s=at_s, signals={}), wanted) for at_s in times_s])

    def _scripted(self, readings: Readings, wanted: Mapping[str, Sequence[int]]) -> Readings:
        columns = dict(readings.signals)
        place = int((readings.at_s - self._start_s) // self._interval_s)
        for signal, rows, series in self._series:
            if signal not in wanted:
                continue
            before = columns.get(signal)
            values = np.full(self._n, np.nan) if before is None else before.values.copy()
            ages = np.full(self._n, np.inf) if before is None else before.age_s.copy()
            states = np.full(self._n, UNKNOWN, dtype=np.int8) if before is None else before.state.copy()
            values[rows], states[rows] = series.at(place)
            ages[rows] = np.where(states[rows] == UNKNOWN, np.inf, 0.0)
            columns[signal] = SignalColumn(values=values, age_s=ages, state=states)
        return replace(readings, signals=columns)


class ScriptedCluster:
    """A Cluster over the plant's, with what the objects' status remembers and the cluster-wide pause."""

    def __init__(self, plant: PlantCluster) -> None:
        self._plant = plant
        self.memories: Mapping[str, Memory] = {}
        self.pool_memories: Mapping[str, Short] = {}
        self.paused: Pause | None = None

    async def observe(self, at_s: float) -> Fleet:
        seen = await self._plant.observe(at_s)
        return replace(seen, memories=self.memories, pool_memories=self.pool_memories, paused=self.paused)

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        return await self._plant.act(fleet, plan, deadline_s)
