"""Reads what the page shows and what manifests publish beside what the policies want: neither must depend on the policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autoscaler.core.model import Fleet, Readings
from autoscaler.ports import Backfill, MetricSource

SHOWN: tuple[str, ...] = ("demand", "queue", "running", "utilization", "gpu_utilization")


class Watched:
    """A MetricSource that also asks `source` for SHOWN, for each service's objective and for what it publishes. What policies see doesn't
    change by it."""

    def __init__(self, source: MetricSource) -> None:
        self._source = source
        self._revision: int | None = None
        self._shown: dict[str, list[int]] = {}
        self._wanted: Mapping[str, Sequence[int]] | None = None
        self._both: Mapping[str, Sequence[int]] = {}

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        if fleet.revision != self._revision:
            self._shown = _shown(fleet)
            self._revision, self._wanted = fleet.revision, None
        if wanted is not self._wanted:
            # The engine hands out the same mapping until the fleet changes.
            self._both = {name: _union(wanted.get(name, ()), self._shown.get(name, ())) for name in {**wanted, **self._shown}}
            self._wanted = wanted
        return await self._source.read(fleet, self._both, at_s, deadline_s)

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        return await self._source.backfill(fleet, wanted, times_s)


def _shown(fleet: Fleet) -> dict[str, list[int]]:
    rows = list(range(len(fleet)))
    shown = dict.fromkeys(SHOWN, rows)
    own: dict[str, list[int]] = {}
    for row, spec in enumerate(fleet.specs):
        for name in {spec.objective.signal, *spec.publication.signals}:
            own.setdefault(name, []).append(row)
    return own | shown


def _union(some: Iterable[int], others: Iterable[int]) -> list[int]:
    return sorted({*some, *others})
