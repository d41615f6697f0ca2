"""Open loop: a candidate beside the live controller, as in Shadow mode. It sees what was recorded, signals and replicas, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller, nothing_written
from autoscaler.core.model import Fleet, Outcome, Plan, PoolSpec, Readings, ScalingSpec, SignalColumn
from autoscaler.errors import UsageError
from autoscaler.ports import Backfill
from autoscaler.record import decode_column, decode_pause, decode_versions
from replay.plugins import installed
from replay.regret.recorded import RecordedTick, recorded_ticks


@dataclass(slots=True)
class Wishes:
    """What a candidate decided for one service, or what was there. ticks: those that last. replica_s: replicas × time. changes: of the
    count. blind: ticks without a count of its own. missing: signals that it needs and that were never known."""

    ticks: int = 0
    replica_s: float = 0.0
    changes: int = 0
    blind: int = 0
    last: int = -1
    missing: tuple[str, ...] = ()

    def add(self, tick: RecordedTick, count: int, *, blind: bool = False) -> None:
        """One more tick."""
        self.changes += self.last not in (-1, count)
        self.last = count
        if tick.lasts:
            self.ticks += 1
            self.replica_s += count * tick.interval_s
            self.blind += blind


def found_wishes(files: Sequence[Path], keys: Sequence[str]) -> dict[str, Wishes]:
    """What really was asked for, by service, over the same ticks as a candidate's. Raises as ``recorded_ticks`` does."""
    found = {key: Wishes() for key in keys}
    for tick in recorded_ticks(files):
        for column, key in enumerate(tick.keys):
            if key in found:
                found[key].add(tick, tick.record["current"][column])
    return found


def shadow(files: Sequence[Path], specs: Sequence[ScalingSpec], pools: Sequence[PoolSpec]) -> dict[str, Wishes]:
    """By service. specs: the candidate's, with its policy. Raises as ``recorded_ticks`` does, UsageError for a policy that can't be used."""
    return asyncio.run(_shadow(files, specs, pools))


async def _shadow(files: Sequence[Path], specs: Sequence[ScalingSpec], pools: Sequence[PoolSpec]) -> dict[str, Wishes]:
    ends = _Ends(specs, pools)
    wishes = {one.key: Wishes() for one in specs}
    seen: dict[str, set[str]] = {one.key: set() for one in specs}
    wanted: dict[str, set[str]] = {one.key: set() for one in specs}
    controller: Controller | None = None
    clock = ManualClock()
    for tick in recorded_ticks(files):
        ends.show(tick)
        clock.advance_to(tick.record["at_s"])
        if controller is None:
            controller = Controller(
                clock=clock,
                metrics=ends,
                cluster=ends,
                policies=installed({ref.name for one in specs for ref in one.policies}),
                interval_s=tick.interval_s,
                shadow=True,
            )
        made = await controller.tick()
        if controller.engine.faults:
            raise UsageError(next(iter(controller.engine.faults.values())))
        for name, rows in controller.engine.wanted.items():
            column = made.readings.signals.get(name)
            for row in rows:
                key = made.fleet.specs[row].key
                wanted[key].add(name)
                if column is not None and column.state[row] != 2:
                    seen[key].add(name)
        for row, one in enumerate(made.fleet.specs):
            wishes[one.key].add(tick, int(made.plan.replicas[row]), blind=bool(made.decisions.blind[row]))
    for key, wish in wishes.items():
        wish.missing = tuple(sorted(wanted[key] - seen[key]))
    return wishes


class _Ends:
    """MetricSource and Cluster in one: what the current record says was seen of the candidate's services."""

    def __init__(self, specs: Sequence[ScalingSpec], pools: Sequence[PoolSpec]) -> None:
        self._specs = {one.key: one for one in specs}
        self._pools = tuple(pools)
        self._tick: RecordedTick | None = None
        self._columns: list[int] = []
        self._there: tuple[ScalingSpec, ...] = ()
        self._keys: Sequence[str] = ()
        self._revision = 0

    def show(self, tick: RecordedTick) -> None:
        """Moves on to a tick; services come and go as they did."""
        if self._tick is None or list(tick.keys) != list(self._keys):
            self._keys = tick.keys
            self._columns = [column for column, key in enumerate(tick.keys) if key in self._specs]
            self._there = tuple(self._specs[tick.keys[column]] for column in self._columns)
            self._revision += 1
        self._tick = tick

    async def observe(self, at_s: float) -> Fleet:
        assert self._tick is not None
        record = self._tick.record

        def counts(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
            return np.array(record[name], dtype=np.int64)[self._columns]

        versions = decode_versions(record)
        return Fleet(
            revision=self._revision,
            specs=self._there,
            current=counts("current"),
            ready=counts("ready"),
            starting=counts("starting"),
            draining=counts("draining"),
            lead_time_s=np.array(record["lead_time_s"], dtype=np.float64)[self._columns],
            node_lead_time_s=np.array(record["node_lead_time_s"], dtype=np.float64)[self._columns],
            hands_off=np.zeros(len(self._there), dtype=np.bool_),
            pools=self._pools,
            paused=decode_pause(record["paused"]),
            surge=counts("surge") if "surge" in record else None,
            versions=None if versions is None else tuple(versions[column] for column in self._columns),
        )

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        assert self._tick is not None
        signals = self._tick.record["signals"]
        return Readings(
            at_s=at_s, signals={name: self._column(decode_column(signals[name])) for name in wanted if name in signals}
        )

    def _column(self, column: SignalColumn) -> SignalColumn:
        at = self._columns
        span_s = None if column.span_s is None else column.span_s[at]
        return SignalColumn(values=column.values[at], age_s=column.age_s[at], state=column.state[at], span_s=span_s)

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        return Backfill()

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        return nothing_written(fleet)
