"""A trace taken out of a running Prometheus: the signals of one service, as the controller would have read them.

The queries are the controller's own (presets, own PromQL, the same merging over pods), asked over the past with prometheus-api-client, chunk
by chunk. Which pods were the service's then is told by their names. What the controller would have called stale is a gap, and a gap stays
one: Prometheus answers for five minutes after the last sample, a trace must not.

This is the only module of the harness that imports an adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util import Retry

from autoscaler import spec
from autoscaler.adapters.prometheus import (
    PART_LABEL,
    VALUE_PART,
    Credentials,
    FromFile,
    GatewayUse,
    Matrix,
    OwnUse,
    Past,
    PresetReader,
    PresetUse,
    PrometheusSettings,
    Row,
    ServerSettings,
    labels_of,
    prometheus_settings,
    read_gateway_past,
    read_past,
    wire,
)
from autoscaler.clock import SystemClock
from autoscaler.compiled import scaling_spec
from autoscaler.configuration import load_configuration
from autoscaler.core.model import Fleet, Floats, ScalingSpec
from autoscaler.core.signals import SIGNALS
from autoscaler.errors import OutsideError, UsageError
from replay.plan_of_recording import Recording

_TRIES: Final = 3
_QUERY_S: Final = 120.0
_TOO_MUCH: Final = ("too many samples", "timed out", "timeout", "maximum resolution", "exceeded", "too large")


class TooMuchAtOnce(OutsideError):  # noqa: N818 (what happened, not what kind of thing it is)
    """A query that Prometheus would answer for a shorter time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What of a service can be recorded, and from where."""

    spec: ScalingSpec
    server: ServerSettings
    presets: Sequence[PresetUse]
    gateways: Sequence[GatewayUse]
    own: Sequence[OwnUse]
    signals: tuple[str, ...]


def service_of(manifests: Sequence[spec.Manifest], key: str | None) -> ScalingSpec:
    """The service to record: the only one, or the one called `key` (namespace/name). Raises UsageError."""
    services = [scaling_spec(m) for m in manifests if isinstance(m, spec.InferenceAutoscaler)]
    found = {one.key: one for one in services}
    if key is None and len(services) == 1:
        return services[0]
    if key is None or key not in found:
        words = "holds no InferenceAutoscaler" if not found else f"holds {', '.join(found)}; say which with --service"
        raise UsageError(f"the manifest {words}" + (f" (is: {key})" if key is not None else ""))
    return found[key]


def prometheus_of(config: Path | None, url: str | None) -> PrometheusSettings:
    """The administrator's settings, as ``autoscaler run`` has them. Raises UsageError."""
    configuration = load_configuration(config)
    if url is None and configuration.prometheus is None and not configuration.servers:
        raise UsageError("say which Prometheus: --prometheus URL, or --config FILE")
    return prometheus_settings(configuration, url, ())


def sources(service: ScalingSpec, settings: PrometheusSettings) -> Sources:
    """Raises UsageError where the manifest's signals can't be read."""
    wiring = wire(_fleet(service), settings)
    if wiring.refused:
        raise UsageError("; ".join(f"{signal or 'signals'}: {why}" for (signal, _), why in wiring.refused.items()))
    (server,) = wiring.servers.values()
    offered = tuple(name for name in SIGNALS if wiring.offered(name, 1)[0] and not wiring.derived.get(name, [False])[0])
    if not offered:
        raise UsageError(f"{service.key}: its manifest names no presets and no queries, so there is nothing to record")
    return Sources(
        spec=service,
        server=server,
        presets=wiring.presets,
        gateways=wiring.gateways,
        own=wiring.own,
        signals=offered,
    )


def record(found: Sources, recording: Recording, progress: Callable[[float], None] | None = None) -> None:
    """Asks for what `recording` lacks and appends it, chunk by chunk; an interruption loses one chunk at most.

    Raises OutsideError where Prometheus is away, refuses or its credentials can't be read: what was recorded stays, and the next call goes on.
    """
    client = RangeConnection(found.server)
    steps = recording.chunk_steps
    while recording.rows < recording.length:
        if progress is not None:
            progress(recording.rows / recording.length)
        first = recording.rows
        try:
            values = asyncio.run(_chunk(found, client, recording.times_s(first, first + steps)))
        except TooMuchAtOnce:
            if steps == 1:
                raise
            steps = max(1, steps // 2)
            continue
        recording.append(values)
    if progress is not None:
        progress(1.0)


async def _chunk(found: Sources, client: RangeConnection, times_s: list[float]) -> Mapping[str, Floats]:
    """Values (t,) of each signal."""
    # One step more keeps the step known where a chunk is a single moment.
    past = Past(_fleet(found.spec), times_s, {})
    past.step_s = client.step_s = found_step(times_s)
    everything = np.ones(1, dtype=np.bool_)
    for use in (*found.presets, *found.gateways):
        preset, namespaces = use.preset, use.namespaces or (found.spec.namespace,)
        reader = PresetReader(preset, found.server.scope(preset.name, namespaces, preset.labels))
        client.fresh = None
        alive = await past.ask(client, reader.promql(""), (0, len(times_s) - 1))
        client.fresh = Fresh(reader, alive, found.spec.stale_after_s)
        for signal in use.rows:
            if isinstance(use, GatewayUse):
                await read_gateway_past(past, client, reader, signal, use.named)
            else:
                await read_past(past, client, reader, signal, everything)
    past.fill_in()
    client.fresh = None
    for own in found.own:
        values = _own(await past.ask(client, own.query.with_age(), (0, len(times_s) - 1)), past, found.spec.stale_after_s)
        for signal, row in own.takers:
            past.column(signal)[:, row] = values
    return {signal: past.column(signal)[:, 0].astype(np.float64) for signal in found.signals}


def found_step(times_s: Sequence[float]) -> float:
    return times_s[1] - times_s[0] if len(times_s) > 1 else 1.0


def _own(series: Sequence[Row], past: Past, stale_after_s: float) -> Floats:
    """An own query's values (t,), NaN where it gave not exactly one series, and where a sample behind it was stale."""
    length = len(past.times_s)
    values, number, oldest_s = np.full(length, np.nan), np.zeros(length), np.full(length, np.inf)
    for one in series:
        steps, found = past.points(one, (0, length - 1))
        if labels_of(bytes(one.metric)).get(PART_LABEL) == VALUE_PART:
            values[steps] = found
            number[steps] += 1
        else:
            oldest_s[steps] = np.minimum(oldest_s[steps], found)
    usable = (
        (number == 1) & (values >= 0) & (past.times_s - np.where(np.isinf(oldest_s), past.times_s, oldest_s) <= stale_after_s)
    )
    return np.where(usable, values, np.nan)


@dataclass(slots=True)
class Fresh:
    """Which points of a pod's series came from a sample that was fresh then."""

    reader: PresetReader
    alive: Sequence[Row]
    stale_after_s: float
    _times: dict[tuple[str, str], dict[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.alive:
            self._times[self._pod(row)] = {at_s: float(text) for at_s, text in row.values}

    def kept(self, row: Row) -> Row:
        last = self._times.get(self._pod(row), {})
        limit_s = self.stale_after_s
        return Row.of(row.metric, [point for point in row.values if point[0] - last.get(point[0], -np.inf) <= limit_s])

    def _pod(self, row: Row) -> tuple[str, str]:
        labels, names = labels_of(bytes(row.metric)), self.reader.scope.labels
        return labels.get(names.namespace, ""), labels.get(names.pod, "")


class RangeConnection:
    """Range queries by prometheus-api-client, with the credentials of the configuration file.

    fresh: what answers are sifted by. Raises OutsideError, never with a header or a token in its words."""

    def __init__(self, server: ServerSettings) -> None:
        self.url = server.url
        self.fresh: Fresh | None = None
        self.step_s = 1.0
        session = requests.Session()
        # Neither .netrc nor proxies of the environment: they would change who gets which credentials.
        session.trust_env = False
        session.max_redirects = 0
        access = asyncio.run(Credentials(server.credentials, SystemClock()).access())
        places = server.credentials
        if isinstance(places.ca, FromFile):
            session.verify = places.ca.path
        if isinstance(places.cert, FromFile) and isinstance(places.key, FromFile):
            session.cert = (places.cert.path, places.key.path)
        retries = Retry(total=_TRIES, backoff_factor=0.5, status_forcelist=(429, 502, 504), redirect=0, raise_on_status=False)
        self._connection = PrometheusConnect(
            url=server.url, headers=dict(access.revealed_headers()), session=session, retry=retries, timeout=int(_QUERY_S)
        )
        if access.server_name is not None:
            session.mount(server.url, _NamedServer(access.server_name, max_retries=retries))

    async def query_range(self, promql: str, start_s: float, end_s: float, step_s: float, deadline_s: float) -> Matrix:
        """The recorder has time, so `deadline_s` does not count here."""
        try:
            series = self._connection.custom_query_range(
                promql, datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC), f"{self.step_s:g}"
            )
            rows = [_row(one) for one in series]
        except PrometheusApiClientException as fault:
            words = str(fault)[:400]
            if any(text in words.lower() for text in _TOO_MUCH):
                raise TooMuchAtOnce(f"{self.url} can't answer for so long a time: {words}") from None
            raise OutsideError(f"{self.url}: {words}") from None
        except requests.exceptions.ReadTimeout:
            raise TooMuchAtOnce(f"{self.url}: no answer within {_QUERY_S:g} s") from None
        except requests.exceptions.TooManyRedirects:
            raise OutsideError(f"{self.url}: sends elsewhere (a redirect); name the server itself") from None
        except requests.exceptions.RequestException as fault:
            raise OutsideError(f"{self.url}: can't be reached ({type(fault).__name__})") from None
        except (KeyError, TypeError, ValueError):
            raise OutsideError(f"{self.url}: answers with something other than a range query's JSON") from None
        return Matrix(result=[self.fresh.kept(row) for row in rows] if self.fresh is not None else rows)


def _row(series: Mapping[str, Any]) -> Row:
    return Row.of(
        msgspec.Raw(msgspec.json.encode(series["metric"])),
        [(float(at_s), str(value)) for at_s, value in series.get("values", [])],
    )


class _NamedServer(requests.adapters.HTTPAdapter):
    """For a certificate that bears another name than the URL."""

    def __init__(self, name: str, **settings: Any) -> None:
        self._name = name
        super().__init__(**settings)

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        super().init_poolmanager(*arguments, **settings, server_hostname=self._name, assert_hostname=self._name)


def _fleet(service: ScalingSpec) -> Fleet:
    one = np.ones(1, dtype=np.int64)
    zero = np.zeros(1, dtype=np.int64)
    return Fleet(
        revision=1,
        specs=(service,),
        current=one,
        ready=one,
        starting=zero,
        draining=zero,
        lead_time_s=np.array([service.lead_time_s]),
        node_lead_time_s=np.array([service.node_lead_time_s]),
        hands_off=np.zeros(1, dtype=np.bool_),
    )
