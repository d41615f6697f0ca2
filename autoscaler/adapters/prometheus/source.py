"""Signals from Prometheus: the ``MetricSource`` of the cluster.

While nothing of a service is ready, its gateway (``gateways``) tells of its requests instead of its pods.

*known*: a fresh, finite, possible value, 0 included. *idle* (value 0): the target has no replicas at all, or the source is alive and each of
the service's work signals that were asked for (demand, queue, running, concurrency) is exactly 0; a latency or wait is idle when no request
finished in the window, so there was nothing to measure. *unknown* (NaN): everything else, with its reason: no series, stale, impossible,
a failed query, ready replicas missing. What each kind of bad data means is written in ``columns`` (presets) and ``own_reader``.

A service without ready pods but with replicas (starting, or all broken) is unknown, not idle: nobody is there to be asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import numpy as np

from autoscaler.adapters.prometheus.client import PrometheusClient
from autoscaler.adapters.prometheus.credentials import Credentials
from autoscaler.adapters.prometheus.own_reader import NOT_ASKED, OwnValue, read_own
from autoscaler.adapters.prometheus.past import FewAtOnce, Past, read_gateway_past, read_past
from autoscaler.adapters.prometheus.preset_reader import PresetReader
from autoscaler.adapters.prometheus.settings import PrometheusSettings, ServerSettings
from autoscaler.adapters.prometheus.wiring import DERIVED, GatewayUse, OwnUse, PresetUse, ServerKey, Wiring, part_of, wire
from autoscaler.adapters.prometheus.words import Reasons
from autoscaler.core.capacity import utilization_at
from autoscaler.core.model import Bools, Fleet, Floats, Readings, SignalColumn
from autoscaler.core.signals import RATES, SignalState
from autoscaler.ports import Backfill, Clock, ReadyPods, SecretReader

log = logging.getLogger(__name__)

WORK: Final = ("demand", "queue", "running", "concurrency")
SHARE_FOR_QUERY: Final = 0.85
SHARE_FOR_QUERIES: Final = 0.9
IN_TIME_S: Final = 5.0
"""Of the tick's deadline, for one query (which then says itself that it was late) and for all; the rest is for adding up what arrived."""


class PrometheusSource:
    """Reads all services' signals.

    queries_last_tick: how many requests the last read sent (constant in the number of services, but for own PromQL).
    warnings: what servers warned of at the last read.
    """

    def __init__(self, settings: PrometheusSettings, pods: ReadyPods, clock: Clock, secrets: SecretReader | None = None) -> None:
        self._settings = settings
        self._pods = pods
        self._clock = clock
        self._secrets = secrets
        self._clients: dict[ServerKey, tuple[ServerSettings, PrometheusClient]] = {}
        self._readers: dict[tuple[ServerKey, str, tuple[str, ...] | None], PresetReader] = {}
        self._wiring = Wiring()
        self._wired_revision: int | None = None
        self._for_past: dict[ServerKey, tuple[PrometheusClient, FewAtOnce]] = {}
        self._spans: dict[str, Floats] = {}
        self._under_way = 0
        self._unwired: list[PrometheusClient] = []
        """Clients that the newest fleet doesn't need; closed once nobody is under way, who may still be asking them."""
        self.queries_last_tick = 0
        self.warnings: tuple[str, ...] = ()

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        """The latest values; see ``autoscaler.ports.MetricSource``."""
        async with self._asking():
            return await self._read(fleet, wanted, at_s, deadline_s)

    async def _read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        wiring = self._wire(fleet)
        spans = self._spans
        asked = asked_rows(len(fleet), wanted, wiring)
        version = (fleet.revision, self._pods.revision)
        rows_by_pod = self._pods.rows_by_pod()
        before = sum(client.queries for _, client in self._clients.values())

        work: list[Coroutine[None, None, None]] = []
        uses: list[tuple[PresetUse, PresetReader, list[str]]] = []
        query_s = SHARE_FOR_QUERY * deadline_s
        for use in wiring.presets:
            reader = self._reader(use)
            signals = [signal for signal, rows in use.rows.items() if signal in asked and (rows & asked[signal]).any()]
            if signals:
                reader.place(rows_by_pod, self._pods.sharing_rows(), version, at_s)
                work += reader.reads(self._clients[use.server][1], signals, at_s, query_s)
                uses.append((use, reader, signals))
        for gateway in wiring.gateways:
            reader = self._reader(gateway)
            signals = [signal for signal, rows in gateway.rows.items() if signal in asked and (rows & asked[signal]).any()]
            if signals:
                # What a pod is elsewhere is a name in the gateway here: always there, of one service or of several that share it.
                first = {name: rows[0] for name, rows in gateway.named.items()}
                sharing = {rows[0]: rows[1:] for rows in gateway.named.values() if len(rows) > 1}
                reader.place(first, sharing, fleet.revision, at_s)
                work += reader.reads(self._clients[gateway.server][1], signals, at_s, query_s)
                uses.append((gateway, reader, signals))
        own: dict[int, OwnValue] = {}
        for number, own_use in enumerate(wiring.own):
            if any(signal in asked and asked[signal][row] for signal, row in own_use.takers):
                own[number] = NOT_ASKED
                work.append(_read_own(self._clients[own_use.server][1], own_use, number, own, at_s, query_s))
        await _within(work, SHARE_FOR_QUERIES * deadline_s)

        self.queries_last_tick = sum(client.queries for _, client in self._clients.values()) - before
        self.warnings = tuple(dict.fromkeys(w for _, client in self._clients.values() for w in client.warnings))
        return _Assembly(fleet, wiring, asked, at_s, spans).readings(uses, own)

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        """Past values; see ``autoscaler.ports.MetricSource`` and ``past``."""
        if not times_s:
            return Backfill()
        async with self._asking():
            return await self._backfill(fleet, wanted, times_s)

    async def _backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        wiring = self._wire(fleet)
        spans = self._spans  # while we wait, a tick may wire a newer fleet
        asked = asked_rows(len(fleet), wanted, wiring)
        anything: Bools = np.logical_or.reduce([np.zeros(len(fleet), dtype=np.bool_), *asked.values()])
        past = Past(fleet, list(times_s), self._pods.rows_by_pod(), anything)
        work: list[Coroutine[None, None, None]] = []
        for use in wiring.presets:
            reader = self._reader(use)
            for signal, rows in use.rows.items():
                if signal in asked and (rows & asked[signal]).any():
                    reads = read_past(past, self._patient(use.server), reader, signal, rows & asked[signal])
                    work.append(past.in_time(reads, np.flatnonzero(rows & asked[signal]).tolist()))
        for gateway in wiring.gateways:
            reader = self._reader(gateway)
            for signal, rows in gateway.rows.items():
                if signal in asked and (rows & asked[signal]).any():
                    reads = read_gateway_past(past, self._patient(gateway.server), reader, signal, gateway.named)
                    work.append(past.in_time(reads, np.flatnonzero(rows & asked[signal]).tolist()))
        for own_use in wiring.own:
            takers = [(signal, row) for signal, row in own_use.takers if signal in asked and asked[signal][row]]
            if takers:
                reads = past.read_own(self._patient(own_use.server), own_use.query, takers)
                work.append(past.in_time(reads, [row for _, row in takers]))
        await _within(work, past.deadline_s + IN_TIME_S)
        return Backfill(readings=past.readings(wiring.derived, spans), failed=past.failed)

    def _patient(self, server: ServerKey) -> FewAtOnce:
        """The server's client, for the past."""
        settings, client = self._clients[server]
        found = self._for_past.get(server)
        if found is None or found[0] is not client:
            found = self._for_past[server] = client, FewAtOnce(client, max(settings.concurrency // 4, 1))
        return found[1]

    async def close(self) -> None:
        """Ends all connections."""
        self._unwired += [client for _, client in self._clients.values()]
        self._clients, self._wired_revision = {}, None
        await self._close_unwired()

    async def _close_unwired(self) -> None:
        while self._unwired:
            await self._unwired.pop().close()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                await self._close_unwired()

    def _wire(self, fleet: Fleet) -> Wiring:
        """What is asked of whom. In one go: whoever comes meanwhile must not find half of it."""
        if self._wired_revision == fleet.revision:
            return self._wiring
        self._wiring = wiring = wire(fleet, self._settings)
        self._wired_revision = fleet.revision
        before, self._clients = self._clients, {}
        for key, server in wiring.servers.items():
            old = before.get(key)
            if old is not None and old[0] == server:
                self._clients[key] = before.pop(key)
            else:
                credentials = Credentials(server.credentials, self._clock, self._secrets)
                client = PrometheusClient(server.url, credentials, concurrency=server.concurrency, max_bytes=server.max_bytes)
                self._clients[key] = (server, client)
        self._unwired += [client for _, client in before.values()]
        live = {(use.server, use.preset.name, use.namespaces) for use in (*wiring.presets, *wiring.gateways)}
        self._readers = {key: reader for key, reader in self._readers.items() if key in live}
        self._spans = self._spans_of(wiring, len(fleet))
        return wiring

    def _spans_of(self, wiring: Wiring, rows: int) -> dict[str, Floats]:
        """Signal → over how many seconds each row's value is a mean (n,), of those where that is known of any."""
        spans: dict[str, Floats] = {}
        for use in (*wiring.gateways, *wiring.presets):
            for signal, taken in use.rows.items():
                if signal in RATES and taken.any():
                    spans.setdefault(signal, np.full(rows, np.nan))[taken] = self._reader(use).span_s(signal)
        for own in wiring.own:
            for signal, row in own.takers:
                if signal in RATES:
                    spans.setdefault(signal, np.full(rows, np.nan))[row] = own.query.span_s
        return {signal: span_s for signal, span_s in spans.items() if np.isfinite(span_s).any()}

    def _reader(self, use: PresetUse) -> PresetReader:
        key = (use.server, use.preset.name, use.namespaces)
        reader = self._readers.get(key)
        if reader is None:
            server = self._clients[use.server][0]
            reader = self._readers[key] = PresetReader(
                use.preset, server.scope(use.preset.name, use.namespaces, use.preset.labels)
            )
        return reader


async def _read_own(
    client: PrometheusClient, use: OwnUse, number: int, own: dict[int, OwnValue], at_s: float, deadline_s: float
) -> None:
    own[number] = await read_own(client, use.query, at_s, deadline_s)


def asked_rows(rows: int, wanted: Mapping[str, Sequence[int]], wiring: Wiring) -> dict[str, Bools]:
    """asked[signal] (n,): rows whose value of the signal is wanted, or needed to work a wanted one out."""
    asked: dict[str, Bools] = {}
    for signal, of_rows in wanted.items():
        asked[signal] = np.zeros(rows, dtype=np.bool_)
        asked[signal][np.asarray(of_rows, dtype=np.int64)] = True
    for signal, parts in DERIVED.items():
        if signal in asked:
            needed = asked[signal] & wiring.derived[signal]
            if needed.any():
                for part in parts:
                    asked[part] = asked[part] | needed if part in asked else needed
    return asked


class _Assembly:
    """One tick's columns."""

    def __init__(
        self, fleet: Fleet, wiring: Wiring, asked: Mapping[str, Bools], at_s: float, spans: Mapping[str, Floats]
    ) -> None:
        rows = len(fleet)
        self._fleet = fleet
        self._wiring = wiring
        self._asked = asked
        self._at_s = at_s
        self._spans = spans
        self._stale_s = np.array([spec.stale_after_s for spec in fleet.specs], dtype=np.float64)
        self._values = {signal: np.full(rows, np.nan) for signal in asked}
        self._age_s = {signal: np.full(rows, np.inf) for signal in asked}
        self._idle = {signal: np.zeros(rows, dtype=np.bool_) for signal in asked}
        self._reasons = Reasons(fleet, wiring, self._values)

    def readings(self, uses: Sequence[tuple[PresetUse, PresetReader, list[str]]], own: Mapping[int, OwnValue]) -> Readings:
        quantile = np.array([spec.objective.promised_ratio for spec in self._fleet.specs], dtype=np.float64)
        for use, reader, signals in uses:
            for signal in signals:
                merged = reader.merged(signal, len(self._fleet), self._at_s, self._stale_s, quantile)
                rows = use.rows[signal] & self._asked[signal]
                if isinstance(use, GatewayUse):
                    none_ready = self._fleet.ready == 0
                    rows &= none_ready | use.always[signal] if signal in use.always else none_ready
                self._values[signal][rows] = merged.values[rows]
                if isinstance(use, GatewayUse):
                    self._take_parts(signal, rows)
                self._age_s[signal][rows] = merged.age_s[rows]
                self._idle[signal][rows] = merged.empty[rows]
                self._reasons.from_preset(signal, rows, reader, merged, gateway=isinstance(use, GatewayUse))
        for number, value in own.items():
            self._take_own(self._wiring.own[number], value)
        self._note_nobody([signal for signal in self._asked if signal not in DERIVED])
        self._derive()
        self._note_nobody([signal for signal in self._asked if signal in DERIVED])
        self._find_idle()
        return Readings(at_s=self._at_s, signals={s: self._column(s) for s in self._asked}, why=self._reasons.why)

    def _take_parts(self, signal: str, rows: Bools) -> None:
        """Whose service does only a part of what a gateway tells of."""
        for row, share in self._wiring.share.items():
            if rows[row]:
                self._values[signal][row] *= part_of(signal, share)

    def _take_own(self, use: OwnUse, found: OwnValue) -> None:
        for signal, row in use.takers:
            if signal not in self._asked:
                continue
            stale = found.age_s > self._stale_s[row]
            why = found.why
            if not why and stale:
                why = f"the newest sample behind the query is {found.age_s:.0f} s old; at most {self._stale_s[row]:.0f} s are allowed"
            if why:
                self._reasons.say(signal, row, why)
            else:
                part = part_of(signal, self._wiring.share.get(row, 1.0))
                self._values[signal][row] = found.value * part
                self._age_s[signal][row] = found.age_s

    def _derive(self) -> None:
        derived = self._wiring.derived
        rows = self._rows("concurrency", derived)
        if rows is not None:
            self._values["concurrency"][rows] = (self._values["queue"] + self._values["running"])[rows]
            self._age_s["concurrency"][rows] = np.maximum(self._age_s["queue"], self._age_s["running"])[rows]
        rows = self._rows("utilization", derived)
        if rows is not None:
            capacity = [spec.capacity for spec in self._fleet.specs]
            slots = np.array([c.slots for c in capacity], dtype=np.float64)
            slowdown = np.array([c.slots_slowdown for c in capacity], dtype=np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                batch = self._values["running"] / self._fleet.ready
                share = utilization_at(batch, slots, slowdown)
            self._values["utilization"][rows] = np.where(self._fleet.ready > 0, share, np.nan)[rows]
            self._age_s["utilization"][rows] = self._age_s["running"][rows]

    def _rows(self, signal: str, derived: Mapping[str, Bools]) -> Bools | None:
        if signal not in self._asked:
            return None
        rows = derived[signal] & self._asked[signal]
        return rows if rows.any() else None

    def _find_idle(self) -> None:
        count = len(self._fleet)
        spoken, busy = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
        work = {signal: self._asked[signal] & self._wiring.offered(signal, count) for signal in WORK if signal in self._asked}
        for signal, rows in work.items():
            spoken |= rows
            # NaN is not 0, so what is unknown keeps a service from being idle; what nothing offers has no say.
            busy |= rows & (self._values[signal] != 0)
        for signal, rows in work.items():
            self._idle[signal] |= rows & spoken & ~busy

    def _note_nobody(self, signals: Sequence[str]) -> None:
        """What comes from pods is nothing where there are none; own PromQL and a gateway go on speaking for themselves."""
        fleet, count = self._fleet, len(self._fleet)
        none = (fleet.current == 0) & (fleet.ready == 0) & (fleet.starting == 0)
        for signal in signals if none.any() else ():
            nobody = none & self._wiring.from_pods(signal, count) & ~self._wiring.from_gateway(signal, count)
            self._values[signal][nobody] = 0.0
            self._age_s[signal][nobody] = 0.0
            self._idle[signal] |= nobody

    def _column(self, signal: str) -> SignalColumn:
        values = self._values[signal]
        unknown = ~np.isfinite(values)
        state = np.where(unknown, SignalState.UNKNOWN, np.where(self._idle[signal], SignalState.IDLE, SignalState.KNOWN))
        age_s: Floats = np.where(unknown, np.inf, self._age_s[signal])
        return SignalColumn(
            values=np.where(unknown, np.nan, values), age_s=age_s, state=state.astype(np.int8), span_s=self._spans.get(signal)
        )


async def _within(work: Sequence[Coroutine[None, None, None]], deadline_s: float) -> None:
    """Runs all at the same time; what isn't done at the deadline is cancelled. A fault of ours in one does not stop the others."""
    if not work:
        return
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, timeout=deadline_s)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            # Its signals stay unknown; everybody else's must not suffer for it.
            log.error("reading a signal failed by a fault of ours", exc_info=result)
