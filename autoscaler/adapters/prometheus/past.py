"""Past values for services that are new, by range queries: one query for each signal and stretch of time, whatever the number of services.

Which pods were a service's in the past is told by their names (``pod_names``), because Kubernetes has forgotten them. Pods that were not
ready then can't be told any more; they had hardly any work. A stretch that fails is halved (``stretches``); what fails for good stays
unknown, and the services that it tells of are named, so that somebody may ask again.

Where few services are asked for, the queries are narrowed to their namespaces: what one new service costs must not grow with the fleet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from typing import Final, Protocol, overload

import numpy as np
import numpy.typing as npt

from autoscaler.adapters.prometheus.answers import Data, Matrix, Row, labels_of, numbers
from autoscaler.adapters.prometheus.pod_names import PodNames
from autoscaler.adapters.prometheus.preset_reader import PresetReader
from autoscaler.adapters.prometheus.problems import Unparsable
from autoscaler.adapters.prometheus.promql import ConfinedQuery
from autoscaler.adapters.prometheus.quantiles import quantiles
from autoscaler.adapters.prometheus.stretches import Stretch, each_stretch
from autoscaler.adapters.prometheus.wiring import part_of, share_of
from autoscaler.core.model import Bools, Fleet, Floats, Readings, SignalColumn
from autoscaler.core.signals import KNOWN, SIGNALS, UNKNOWN

MAX_POINTS: Final = 10_000
"""Steps in one range query; Prometheus refuses more than 11,000."""
MAX_SAMPLES: Final = 1_000_000
"""Samples that one answer is expected to hold at most: about 25 MB of JSON."""
SAMPLES_AT_ONCE: Final = 10_000
"""Samples that are taken in before others get their turn."""
SAMPLE_BYTES: Final = 20
MAX_STRETCHES: Final = 256
"""Queries for one signal; what lies further back stays unknown."""
QUERY_S: Final = 30.0
ALL_S: Final = 90.0
BUCKETS_EXPECTED: Final = 20
MOST_NAMESPACES: Final = 50
"""Queries are narrowed to at most so many: a longer text costs the server more than it spares."""


class RangeClient(Protocol):
    """Who asks: the controller's own client, or the recorder's."""

    async def query_range(self, promql: str, start_s: float, end_s: float, step_s: float, deadline_s: float) -> Data:
        """Raises a QueryFailed."""


class FewAtOnce:
    """A client that is asked for the past beside the ticks: most of its connections stay free for these."""

    def __init__(self, client: RangeClient, most: int) -> None:
        self._client = client
        self._free = asyncio.Semaphore(most)

    async def query_range(self, promql: str, start_s: float, end_s: float, step_s: float, deadline_s: float) -> Data:
        async with self._free:
            return await self._client.query_range(promql, start_s, end_s, step_s, deadline_s)


class Past:
    """Values of `times_s` (t,) rising, evenly spaced, of the rows that are `asked` for (bools (n,)); kept as float32, since a fortnight of
    thousands of services is much. failed: of which rows something could not be read, in words."""

    deadline_s = ALL_S

    def __init__(
        self, fleet: Fleet, times_s: list[float], rows_by_pod: Mapping[tuple[str, str], int], asked: Bools | None = None
    ) -> None:
        self.fleet = fleet
        self.rows = np.arange(len(fleet)) if asked is None else np.flatnonzero(asked)
        self.index = {row: place for place, row in enumerate(self.rows.tolist())}
        """Where a row stands in `rows`."""
        first: dict[tuple[str, str], int] = {}
        self.twins: list[tuple[int, int]] = []
        """(place, place of the first row with the same target): pods count for both."""
        for row, place in self.index.items():
            target = fleet.specs[row].namespace, fleet.specs[row].target
            if first.setdefault(target, place) != place:
                self.twins.append((place, first[target]))
        self.place: npt.NDArray[np.int64] = np.array(
            [first.get((s.namespace, s.target), -1) for s in fleet.specs], dtype=np.int64
        )
        """(n,): where a row's pods are added up, -1 where nobody asked."""
        self.times_s = np.array(times_s)
        self.step_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else 15.0
        self.names = PodNames(fleet, rows_by_pod)
        found = sorted({fleet.specs[row].namespace for row in self.rows.tolist()})
        self.namespaces = tuple(found) if len(found) <= MOST_NAMESPACES and len(self.rows) < len(fleet) else None
        """What queries may be narrowed to; None: nothing."""
        here = None if self.namespaces is None else frozenset(self.namespaces)
        self.pods = sum(here is None or namespace in here for namespace, _ in rows_by_pod)
        self.values: dict[str, npt.NDArray[np.float32]] = {}
        self._at_gateways: dict[str, npt.NDArray[np.float32]] = {}
        self.failed: dict[int, str] = {}

    def column(self, signal: str) -> npt.NDArray[np.float32]:
        """Values (t, rows asked for) of a signal, NaN where unknown."""
        return self.values.setdefault(signal, self._unknown())

    def at_gateways(self, signal: str) -> npt.NDArray[np.float32]:
        """The same as gateways saw it, which counts where nothing else is known: then nothing ran."""
        return self._at_gateways.setdefault(signal, self._unknown())

    def _unknown(self) -> npt.NDArray[np.float32]:
        return np.full((len(self.times_s), len(self.rows)), np.nan, dtype=np.float32)

    def fail(self, rows: Iterable[int], why: str) -> None:
        """Notes that something of these rows could not be read."""
        for row in rows:
            self.failed.setdefault(row, why)

    def stretches(self, series: int) -> list[Stretch]:
        """First and last step of each range query for about `series` series, newest first."""
        length = max(1, min(MAX_POINTS, MAX_SAMPLES // max(series, 1)))
        found = [(max(last - length + 1, 0), last) for last in range(len(self.times_s) - 1, -1, -length)]
        return found[:MAX_STRETCHES]

    async def in_time(self, reads: Awaitable[None], rows: Sequence[int]) -> None:
        """Awaits the reads of `rows` for as long as all may take; what isn't there then has failed."""
        try:
            async with asyncio.timeout(self.deadline_s):
                await reads
        except TimeoutError:
            self.fail(rows, f"not all of it came within {self.deadline_s:g} s")
        except Exception as fault:  # of ours: who began the round logs it, but nothing that was asked for counts as known
            self.fail(rows, f"internal fault: {fault}")
            raise

    async def ask(self, client: RangeClient, promql: str, stretch: Stretch) -> list[Row]:
        """The series of one stretch. Raises a QueryFailed."""
        start_s, end_s = self.times_s[stretch[0]], self.times_s[stretch[1]]
        return _rows(await client.query_range(promql, float(start_s), float(end_s), self.step_s, QUERY_S))

    async def read_own(self, client: RangeClient, query: ConfinedQuery, takers: Sequence[tuple[str, int]]) -> None:
        """An own query's past; only where it gave exactly one series."""

        async def read(stretch: Stretch) -> None:
            series = await self.ask(client, query.promql, stretch)
            if len(series) != 1:
                return
            steps, values = self.points(series[0], stretch)
            for signal, row in takers:
                part = part_of(signal, share_of(self.fleet.specs[row]))
                self.column(signal)[steps, self.index[row]] = np.where(values >= 0, values * part, np.nan)

        why = await each_stretch(self.stretches(1), read)
        if why:
            self.fail([row for _, row in takers], why)

    def points(self, series: Row, stretch: Stretch) -> tuple[npt.NDArray[np.int64], Floats]:
        """(steps, values) of a series; what is not finite or outside the stretch is left out. Raises Unparsable."""
        at_s = np.array([point[0] for point in series.values], dtype=np.float64)
        values = numbers([point[1] for point in series.values])
        steps = np.rint((at_s - self.times_s[0]) / self.step_s).astype(np.int64)
        inside = (steps >= stretch[0]) & (steps <= stretch[1]) & np.isfinite(values)
        return steps[inside], values[inside]

    def readings(self, derived: Mapping[str, Bools], spans: Mapping[str, Floats]) -> Sequence[Readings]:
        """One for each time, made when looked at."""
        self.fill_in()
        # Of the derived signals, utilization has no past: how many replicas were ready then is not known.
        rows = derived["concurrency"][self.rows]
        if rows.any() and "queue" in self.values and "running" in self.values:
            self.column("concurrency")[:, rows] = (self.values["queue"] + self.values["running"])[:, rows]
        return _PastReadings(self, spans)

    def fill_in(self) -> None:
        """What gateways saw, where nothing else is known."""
        for signal, seen in self._at_gateways.items():
            column = self.column(signal)
            np.copyto(column, seen, where=np.isnan(column))


async def read_gateway_past(
    past: Past, client: RangeClient, reader: PresetReader, signal: str, named: Mapping[tuple[str, str], Sequence[int]]
) -> None:
    """The past of a gateway's signal. named: the rows of each (namespace, name) in it. Never raises for a fault outside."""
    names = reader.scope.labels
    into = past.at_gateways(signal)

    async def read(stretch: Stretch) -> None:
        async for one in _ticks_first(await past.ask(client, reader.promql(signal, past.namespaces), stretch)):
            labels = labels_of(bytes(one.metric))
            steps, values = past.points(one, stretch)
            for row in named.get((labels.get(names.namespace, ""), labels.get(names.pod, "")), ()):
                if row in past.index:
                    part = part_of(signal, share_of(past.fleet.specs[row]))
                    into[steps, past.index[row]] = np.where(values >= 0, values * part, np.nan)

    why = await each_stretch(past.stretches(len(named)), read)
    if why:
        past.fail([row for rows in named.values() for row in rows if row in past.index], f"{signal}: {why}")


async def read_past(past: Past, client: RangeClient, reader: PresetReader, signal: str, rows: Bools) -> None:
    """The past of a preset's signal for `rows` (n,). Never raises for a fault outside."""
    buckets = reader.preset.signals[signal].buckets
    taken = rows[past.rows]

    async def read(stretch: Stretch) -> None:
        answer = await past.ask(client, reader.promql(signal, past.namespaces), stretch)
        values = await (_quantiles if buckets else _sums)(past, reader, signal, answer, stretch)
        past.column(signal)[stretch[0] : stretch[1] + 1, taken] = values[:, taken]

    # A service without pods has columns all the same.
    series = max(past.pods, len(past.rows)) * (BUCKETS_EXPECTED if buckets else 1)
    why = await each_stretch(past.stretches(series), read)
    if why:
        past.fail(np.flatnonzero(rows).tolist(), f"{signal}: {why}")


async def _ticks_first(series: Sequence[Row]) -> AsyncIterator[Row]:
    """The series; others of the event loop get their turn after every `SAMPLES_AT_ONCE`."""
    taken = 0
    for one in series:
        yield one
        taken += len(one.points) // SAMPLE_BYTES
        if taken >= SAMPLES_AT_ONCE:
            taken = 0
            await asyncio.sleep(0)


async def _sums(past: Past, reader: PresetReader, signal: str, series: Sequence[Row], stretch: Stretch) -> Floats:
    """Sums or means (t, rows asked for)."""
    services, length = len(past.rows), stretch[1] - stretch[0] + 1
    signed = reader.preset.signals[signal].signed
    cells, found = [], []
    async for one in _ticks_first(series):
        row = _row_of(past, reader, one)[0]
        if row >= 0:
            steps, values = past.points(one, stretch)
            usable = slice(None) if signed else values >= 0
            cells.append((steps[usable] - stretch[0]) * services + row)
            found.append(np.maximum(values[usable], 0.0))
    if not cells:
        return np.full((length, services), np.nan)
    cell = np.concatenate(cells)
    total = np.bincount(cell, weights=np.concatenate(found), minlength=length * services)
    count = np.bincount(cell, minlength=length * services)
    for place, twin in past.twins:
        total[place::services], count[place::services] = total[twin::services], count[twin::services]
    with np.errstate(divide="ignore", invalid="ignore"):
        merged = total if SIGNALS[signal].merge == "sum" else total / count
    return np.where(count > 0, merged, np.nan).reshape(length, services)


async def _quantiles(past: Past, reader: PresetReader, signal: str, series: Sequence[Row], stretch: Stretch) -> Floats:
    """Quantiles (t, rows asked for); NaN where no request finished."""
    services, length = len(past.rows), stretch[1] - stretch[0] + 1
    scale = reader.preset.signals[signal].bound_scale
    by_bound: dict[float, Floats] = {}
    async for one in _ticks_first(series):
        row, bound_text = _row_of(past, reader, one)
        if row < 0 or not bound_text:
            continue
        try:
            bound = float(bound_text) * scale
        except ValueError:
            continue
        steps, values = past.points(one, stretch)
        counts = by_bound.setdefault(bound, np.zeros((length, services)))
        np.add.at(counts[:, row], steps - stretch[0], values)
    for counts in by_bound.values():
        for place, twin in past.twins:
            counts[:, place] = counts[:, twin]
    bounds = np.array(sorted(by_bound))
    if not len(bounds):
        return np.full((length, services), np.nan)
    counts = np.stack([by_bound[bound] for bound in bounds.tolist()], axis=-1).reshape(length * services, len(bounds))
    wanted = np.tile([past.fleet.specs[row].objective.promised_ratio for row in past.rows.tolist()], length)
    return quantiles(bounds, counts, wanted).reshape(length, services)


def _row_of(past: Past, reader: PresetReader, series: Row) -> tuple[int, str]:
    """(place among the rows asked for or -1, bucket bound) of a series."""
    labels = labels_of(bytes(series.metric))
    names = reader.scope.labels
    row = past.names.row(labels.get(names.namespace, ""), labels.get(names.pod, ""))
    return int(past.place[row]) if row >= 0 else -1, labels.get("le", "")


class _PastReadings(Sequence[Readings]):
    def __init__(self, past: Past, spans: Mapping[str, Floats]) -> None:
        self._spans = spans
        self._times_s = past.times_s
        self._values = past.values
        self._rows, self._services = past.rows, len(past.fleet)

    def __len__(self) -> int:
        return len(self._times_s)

    @overload
    def __getitem__(self, index: int) -> Readings: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Readings]: ...
    def __getitem__(self, index: int | slice) -> Readings | Sequence[Readings]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return Readings(
            at_s=float(self._times_s[index]),
            signals={signal: self._column(signal, values[index]) for signal, values in self._values.items()},
        )

    def _column(self, signal: str, values: npt.NDArray[np.float32]) -> SignalColumn:
        exact = np.full(self._services, np.nan)
        exact[self._rows] = values
        unknown = np.isnan(exact)
        return SignalColumn(
            values=exact,
            age_s=np.where(unknown, np.inf, 0.0),
            state=np.where(unknown, UNKNOWN, KNOWN).astype(np.int8),
            span_s=self._spans.get(signal),
        )


def _rows(data: Data) -> list[Row]:
    if not isinstance(data, Matrix):
        raise Unparsable(f"the server answers with a {type(data).__name__.lower()} where series over time are asked for")
    return data.result
