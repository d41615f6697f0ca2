"""What the demo puts between the controller and the plant's ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from autoscaler.cli.demo_traffic import past_readings
from autoscaler.core.model import Fleet, Outcome, Pause, Plan, Readings
from autoscaler.ports import Backfill, Cluster, MetricSource


class WithPast:
    """A MetricSource that also knows what made traffic was like before the first second. rows: the services that have such a past."""

    def __init__(self, source: MetricSource, rows: Sequence[int]) -> None:
        self._source = source
        self._rows = rows

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        return await self._source.read(fleet, wanted, at_s, deadline_s)

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        return Backfill(readings=past_readings(fleet, times_s, self._rows) if self._rows else ())


class Switch(Protocol):
    """Somebody who may pause all scaling."""

    @property
    def pause(self) -> Pause | None: ...


class Pausable:
    """A Cluster with the cluster-wide pause that a button sets."""

    def __init__(self, cluster: Cluster, switch: Switch) -> None:
        self._cluster = cluster
        self._switch = switch

    async def observe(self, at_s: float) -> Fleet:
        fleet = await self._cluster.observe(at_s)
        return fleet if self._switch.pause is None else replace(fleet, paused=self._switch.pause)

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        return await self._cluster.act(fleet, plan, deadline_s)
