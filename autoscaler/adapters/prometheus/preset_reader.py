"""One preset on one server: a constant number of queries for all services that use it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace

from autoscaler.adapters.prometheus.answers import Data, Sample, Vector
from autoscaler.adapters.prometheus.client import PrometheusClient
from autoscaler.adapters.prometheus.columns import Column, HistogramColumn, Merged
from autoscaler.adapters.prometheus.pods import PodTable
from autoscaler.adapters.prometheus.presets import Preset
from autoscaler.adapters.prometheus.problems import QueryFailed, Unparsable
from autoscaler.adapters.prometheus.terms import Scope
from autoscaler.core.model import Floats
from autoscaler.core.signals import SIGNALS


class PresetReader:
    """Asks, remembers by pod, merges by service.

    failures: what went wrong at the last read, by signal ("" : the ages, which touches all).
    """

    def __init__(self, preset: Preset, scope: Scope) -> None:
        self.preset = preset
        self.scope = scope
        self.table = PodTable(scope.labels)
        self.failures: dict[str, str] = {}
        self._alive = Column()
        self._columns: dict[str, Column | HistogramColumn] = {}
        self._texts: dict[str, str] = {}
        self._placed: object = None

    def place(self, rows_by_pod: Mapping[tuple[str, str], int], version: object, at_s: float) -> None:
        """Takes over which pods are ready, where `version` is another one than last time."""
        if version == self._placed:
            return
        self._placed = version
        if self.table.place(rows_by_pod, at_s):
            for column in (self._alive, *self._columns.values()):
                column.forget()

    def reads(
        self, client: PrometheusClient, signals: Sequence[str], at_s: float, deadline_s: float
    ) -> list[Coroutine[None, None, None]]:
        """What to await, all at the same time: one query for the ages and one for each of `signals`. Each ends well or in `failures`."""
        self.failures = dict.fromkeys(("", *signals), f"{client.url} gave no answer before the tick's deadline")
        aged = asyncio.Event()
        return [
            self._read_alive(client, at_s, deadline_s, aged),
            *(self._read(client, signal, at_s, deadline_s, aged) for signal in signals),
        ]

    def promql(self, signal: str, namespaces: tuple[str, ...] | None = None) -> str:
        """The query of a signal ("": of the ages); of some of the scope's `namespaces` only, where they are given."""
        if namespaces is not None:
            return self.preset.signals[signal].term.promql(replace(self.scope, namespaces=namespaces))
        text = self._texts.get(signal)
        if text is None:
            term = self.preset.signals[signal].term if signal else self.preset.alive
            text = self._texts[signal] = term.promql(self.scope)
        return text

    def merged(self, signal: str, rows: int, now_s: float, stale_s: Floats, quantile: Floats) -> Merged:
        """A signal of all rows (n = rows), as far as it is known now. stale_s, quantile (n,)."""
        column = self._column(signal)
        if isinstance(column, HistogramColumn):
            return column.merged(self.table, rows, now_s, stale_s, quantile)
        return column.merged(self.table, rows, now_s, stale_s, "sum" if SIGNALS[signal].merge == "sum" else "mean")

    async def _read_alive(self, client: PrometheusClient, at_s: float, deadline_s: float, aged: asyncio.Event) -> None:
        try:
            data = await client.query(self.promql(""), at_s, deadline_s)
            self._alive.take(_series(data), self.table, None)
            del self.failures[""]
        except QueryFailed as error:
            self.failures[""] = f"how old its samples are is not known: {error}"
        finally:
            aged.set()

    async def _read(self, client: PrometheusClient, signal: str, at_s: float, deadline_s: float, aged: asyncio.Event) -> None:
        try:
            data = await client.query(self.promql(signal), at_s, deadline_s)
            await aged.wait()
            self._column(signal).take(_series(data), self.table, self._alive.at_s)
            del self.failures[signal]
        except QueryFailed as error:
            self.failures[signal] = str(error)

    def _column(self, signal: str) -> Column | HistogramColumn:
        column = self._columns.get(signal)
        if column is None:
            recipe = self.preset.signals[signal]
            column = (
                HistogramColumn(recipe.bound_scale)
                if recipe.buckets
                else Column(signed=recipe.signed, mean_of_requests=recipe.mean)
            )
            self._columns[signal] = column
        return column


def _series(data: Data) -> list[Sample]:
    if not isinstance(data, Vector):
        raise Unparsable(f"the server answers with a {type(data).__name__.lower()} where an instant vector is asked for")
    return data.result
