"""A forecast that goes bad loses its vote and earns it back, and everybody who looks is told: condition, metric, page, explanation, record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from autoscaler.adapters.kubernetes.conditions import conditions_of
from autoscaler.adapters.kubernetes.status_of import columns_of
from autoscaler.adapters.telemetry.metrics import Metrics
from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.allocation import ChangeBudget
from autoscaler.core.model import Floats, PolicyRef
from autoscaler.core.trust import trust_of
from autoscaler.dashboard.board import Board
from autoscaler.explanation import explain_record, explain_tick
from autoscaler.ports import Tick
from autoscaler.record import encode, fleet_record, tick_record
from autoscaler.spec import Condition
from replay.plugins import installed
from tests.ticks import MadeCluster, MadeMetrics, a_spec

HOUR = 240
"""Ticks."""


@dataclass
class Seen:
    """What one service's watchers were told at one tick."""

    condition: Condition
    gauge: float
    missed_ratio: float
    on_page: bool | None
    explained: dict[str, Any]
    reason: str


@dataclass
class Watch:
    """A reporter that asks everybody at once."""

    metrics: Metrics = field(default_factory=Metrics)
    board: Board = field(default_factory=Board)
    trusted: list[bool] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    tick: Tick | None = None

    async def report(self, tick: Tick) -> None:
        await self.metrics.report(tick)
        await self.board.report(tick)
        trust = trust_of(tick.decisions)
        assert trust is not None
        self.trusted.append(bool(trust.trusted[0]))
        nobody = np.zeros(1, dtype=np.int64)
        self.columns.append(int(columns_of(tick, nobody, nobody, {}, {})[0, -3]))
        self.tick = tick

    def now(self) -> Seen:
        assert self.tick is not None
        tick = self.tick
        key = tick.fleet.specs[0].key
        (condition,) = [one for one in conditions_of(tick, 0, (), ()) if one.type == "ForecastTrusted"]
        lines = dict(line.rsplit(" ", 1) for line in self.metrics.render().decode().splitlines() if not line.startswith("#"))
        labels = '{namespace="team",name="llama"}'
        page = self.board.service(key)
        assert page is not None
        (told,) = page["explanation"]["forecasts"]
        fleet = fleet_record(
            tick.fleet, at_s=0.0, interval_s=15.0, seed=0, wanted={}, budget=ChangeBudget(), shadow=False, start="cold"
        )
        recorded = explain_record(orjson.loads(encode(fleet)), orjson.loads(encode(tick_record(tick))), 0)
        assert recorded["forecasts"] == explain_tick(tick, 0)["forecasts"], "a record explains as its tick did"
        return Seen(
            condition=condition,
            gauge=float(lines[f"inference_autoscaler_forecast_trusted{labels}"]),
            missed_ratio=float(lines[f"inference_autoscaler_forecast_missed_ratio{labels}"]),
            on_page=page["forecast_trusted"],
            explained=told,
            reason=tick.decisions.reason(0),
        )


def calm_then_wild_then_calm() -> Floats:
    """Nine hours of 20/s; from the fourth hour on half as much again for about forty minutes, twice. Nothing tells beforehand, and replicas
    that take forty minutes to start make each forecast one of the time after the jump."""
    rng = np.random.Generator(np.random.PCG64(7))
    demand = 20.0 + rng.normal(0.0, 0.2, 9 * HOUR)
    for first in (4 * HOUR, 4 * HOUR + 310):
        demand[first : first + 160] *= 1.5
    return demand


async def test_a_forecast_that_goes_bad_is_told_everywhere_and_so_is_its_return() -> None:
    demand = calm_then_wild_then_calm()
    clock, watch, metrics = ManualClock(), Watch(), MadeMetrics({})
    metrics.signals = {"demand": lambda at_s, _row: float(demand[int(at_s // 15)]), "queue": lambda _at_s, _row: 0.0}
    cluster = MadeCluster([a_spec(policies=(PolicyRef(name="predictive"),))], current=15)
    cluster.changes = {"lead_time_s": np.array([2400.0])}
    controller = Controller(
        clock=clock, metrics=metrics, cluster=cluster, policies=installed({"predictive"}), reporters=[watch], waits_for_past=True
    )
    seen = []
    for number in range(len(demand)):
        clock.advance_to(15.0 * number)
        await controller.tick()
        if number in (4 * HOUR - 1, 5 * HOUR, 9 * HOUR - 1):
            seen.append(watch.now())
    assert controller.reporter_failures == 0
    before, fallen, after = seen

    for good in (before, after):
        assert (good.condition.status, good.condition.reason) == ("True", "ForecastHolds")
        assert good.gauge == 1.0
        assert good.missed_ratio < 0.1
        assert good.on_page is True
        assert good.explained["trusted"] is True
        assert good.reason.startswith("predictive: in 2400 s")

    assert (fallen.condition.status, fallen.condition.reason) == ("False", "ForecastMisses")
    assert "nothing has to be done unless this lasts" in fallen.condition.message
    assert f"{fallen.missed_ratio:.0%} of the time" in fallen.condition.message
    assert fallen.gauge == 0.0
    assert fallen.missed_ratio > 0.2
    assert fallen.on_page is False
    assert fallen.explained["trusted"] is False
    assert "it is not trusted and has no vote" in " ".join(fallen.explained["words"])
    assert "so reactive speaks" in fallen.reason

    flips = np.flatnonzero(np.diff(np.array(watch.trusted, dtype=np.int64)))
    assert len(flips) == 2, "it falls once and rises once"
    assert watch.columns == [int(one) for one in watch.trusted], "a status is written again when it flips"
