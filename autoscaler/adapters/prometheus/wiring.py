"""From manifests to what must be asked: which servers, which presets for which rows, which own queries.

Done again only when the fleet changes. Services share what they can: all services of a server and preset share its queries; services with
the same own text in the same namespace share one query.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec
import numpy as np

from autoscaler.adapters.prometheus.credentials import CredentialPlaces, FromSecret, Place, Plain
from autoscaler.adapters.prometheus.gateways import GATEWAYS
from autoscaler.adapters.prometheus.presets import PRESETS, Preset
from autoscaler.adapters.prometheus.promql import ConfinedQuery, QueryRefused, confine
from autoscaler.adapters.prometheus.settings import PrometheusSettings, ServerSettings
from autoscaler.core.model import Bools, Fleet, ScalingSpec
from autoscaler.core.signals import SIGNALS
from autoscaler.errors import AutoscalerError
from autoscaler.spec import Gateway, PrometheusRef, SecretKey, Signals, share_ratio

ServerKey: TypeAlias = tuple[str, ...]
"""Objects with the same key share a connection: () for the default server, (name,) for a named one; own credentials or an own URL are
never shared across namespaces: (namespace, reference as JSON)."""

DERIVED: Final = {"concurrency": ("queue", "running"), "utilization": ("running",)}
"""Signals that are worked out from others where a preset has those and not them."""


@dataclass(slots=True)
class PresetUse:
    """Rows that read a preset from a server: rows[signal] (n,) True where this preset gives the signal."""

    server: ServerKey
    preset: Preset
    namespaces: tuple[str, ...] | None
    rows: dict[str, Bools]


@dataclass(slots=True)
class GatewayUse(PresetUse):
    """A preset of a gateway: rows that read it while nothing is ready. always[signal] (n,): those of them that have the signal from nowhere
    else, and so always read it. named: the rows of each (namespace, name in the gateway); the namespace is the objects' own."""

    always: dict[str, Bools]
    named: dict[tuple[str, str], list[int]]


@dataclass(slots=True)
class OwnUse:
    """Rows of one namespace that share a query: (signal, row) pairs."""

    server: ServerKey
    query: ConfinedQuery
    takers: list[tuple[str, int]]


@dataclass(slots=True)
class Wiring:
    """What a fleet needs. refused: why a signal can't be read, by (signal, row); signal "" stands for all of a row."""

    servers: dict[ServerKey, ServerSettings] = field(default_factory=dict)
    presets: list[PresetUse] = field(default_factory=list)
    gateways: list[GatewayUse] = field(default_factory=list)
    own: list[OwnUse] = field(default_factory=list)
    refused: dict[tuple[str, int], str] = field(default_factory=dict)
    share: dict[int, float] = field(default_factory=dict)
    """Rows that serve a part only of the work that own PromQL and gateways tell of."""
    derived: dict[str, Bools] = field(default_factory=dict)
    """derived[signal] (n,): True where the signal is worked out from others."""

    def from_pods(self, signal: str, rows: int) -> Bools:
        """Rows (n = rows) whose signal comes from pods, straight or worked out."""
        found = self.derived[signal].copy() if signal in self.derived else np.zeros(rows, dtype=np.bool_)
        return _any_of(signal, self.presets, found)

    def from_gateway(self, signal: str, rows: int) -> Bools:
        """Rows (n = rows) whose signal, or a part of it, comes from a gateway, always or while nothing is ready."""
        found = _any_of(signal, self.gateways, np.zeros(rows, dtype=np.bool_))
        if signal in self.derived:
            for part in DERIVED[signal]:
                found |= self.derived[signal] & _any_of(part, self.gateways, np.zeros(rows, dtype=np.bool_))
        return found

    def offered(self, signal: str, rows: int) -> Bools:
        """Rows (n = rows) whose signal comes from anywhere."""
        found = self.from_pods(signal, rows) | self.from_gateway(signal, rows)
        for use in self.own:
            for taken, row in use.takers:
                if taken == signal:
                    found[row] = True
        return found


def _any_of(signal: str, uses: Sequence[PresetUse], found: Bools) -> Bools:
    """`found` with the rows of all uses that give the signal."""
    for use in uses:
        if signal in use.rows:
            found |= use.rows[signal]
    return found


def wire(fleet: Fleet, settings: PrometheusSettings) -> Wiring:
    """Never raises for what a manifest says: what can't be used ends in `refused`."""
    rows = len(fleet)
    wiring = Wiring(derived={signal: np.zeros(rows, dtype=np.bool_) for signal in DERIVED})
    presets: dict[tuple[ServerKey, str], PresetUse] = {}
    gateways: dict[tuple[ServerKey, str], GatewayUse] = {}
    own: dict[tuple[ServerKey, str, str], OwnUse | str] = {}
    resolved: dict[tuple[str, bytes], tuple[ServerKey, ServerSettings] | str] = {}
    default = Signals()
    for row, spec in enumerate(fleet.specs):
        signals = spec.sources if isinstance(spec.sources, Signals) else default
        server = _server(signals.prometheus, spec.namespace, settings, resolved)
        if isinstance(server, str):
            wiring.refused["", row] = server
            continue
        key, server_settings = server
        wiring.servers[key] = server_settings
        if (share := share_of(spec)) != 1.0:
            wiring.share[row] = share
        taken = {query.signal for query in signals.queries}
        for query in signals.queries:
            found = _own_use(key, server_settings, spec.namespace, query.query, own)
            if isinstance(found, str):
                wiring.refused[query.signal, row] = found
            else:
                found.takers.append((query.signal, row))
        offered: set[str] = set(taken)
        # Tenants' own servers are asked for their own namespace only; ours for all that we watch.
        namespaces = (spec.namespace,) if len(key) == 2 else settings.namespaces
        for name in signals.presets:
            use = presets.setdefault((key, name), PresetUse(key, PRESETS[name], namespaces, {}))
            for signal in use.preset.signals:
                if signal not in offered:
                    offered.add(signal)
                    use.rows.setdefault(signal, np.zeros(rows, dtype=np.bool_))[row] = True
        if signals.gateway is not None:
            preset = GATEWAYS[signals.gateway.preset]
            gateway = gateways.setdefault((key, preset.name), GatewayUse(key, preset, namespaces, {}, {}, {}))
            _read_gateway(gateway, row, spec, signals.gateway, taken, offered, rows)
        for signal, parts in DERIVED.items():
            if signal not in offered and offered.issuperset(parts):
                wiring.derived[signal][row] = True
    wiring.presets, wiring.gateways = list(presets.values()), list(gateways.values())
    wiring.own = [use for use in own.values() if isinstance(use, OwnUse)]
    return wiring


def _read_gateway(
    use: GatewayUse, row: int, spec: ScalingSpec, gateway: Gateway, own: Collection[str], offered: set[str], rows: int
) -> None:
    """Notes that a row reads a gateway, of which own PromQL (`own`) has no need; what it alone gives is offered from now on."""
    name = gateway.name or spec.target.partition("/")[2]
    use.named.setdefault((spec.namespace, name), []).append(row)
    for signal in use.preset.signals:
        if signal in own:
            continue
        use.rows.setdefault(signal, np.zeros(rows, dtype=np.bool_))[row] = True
        if signal not in offered:
            offered.add(signal)
            use.always.setdefault(signal, np.zeros(rows, dtype=np.bool_))[row] = True


def share_of(spec: ScalingSpec) -> float:
    """Which part of the work that own PromQL and a gateway tell of is this service's."""
    share = spec.sources.share if isinstance(spec.sources, Signals) else None
    return 1.0 if share is None else share_ratio(share)


def part_of(signal: str, share: float) -> float:
    """What a signal's value counts where a share of the work is a service's: sums are divided, means, quantiles and the like are not."""
    return share if SIGNALS[signal].merge == "sum" else 1.0


def check_signals(signals: Signals, namespace: str, settings: PrometheusSettings | None = None) -> list[tuple[str, str]]:
    """What is wrong with a manifest's `signals`, as (path, words): own PromQL that is refused, servers that aren't there (only where
    `settings` are given: offline nobody knows them)."""
    faults = []
    label = "namespace"
    if settings is not None:
        server = _server(signals.prometheus, namespace, settings, {})
        if isinstance(server, str):
            faults.append(("signals.prometheus", server))
        else:
            label = server[1].confine_label
    for number, query in enumerate(signals.queries):
        try:
            confine(query.query, namespace, label)
        except QueryRefused as error:
            faults.append((f"signals.queries[{number}].query", str(error)))
    return faults


# Parsing takes 0.2 ms: nothing for one query, seconds for ten thousand at every change of the fleet.
_confined = lru_cache(maxsize=32_768)(confine)


def _own_use(
    key: ServerKey, server: ServerSettings, namespace: str, text: str, own: dict[tuple[ServerKey, str, str], OwnUse | str]
) -> OwnUse | str:
    found = own.get((key, namespace, text))
    if found is None:
        try:
            found = OwnUse(key, _confined(text, namespace, server.confine_label), [])
        except QueryRefused as error:
            found = f"own PromQL is refused: {error}"
        own[key, namespace, text] = found
    return found


def _server(
    reference: PrometheusRef | None,
    namespace: str,
    settings: PrometheusSettings,
    resolved: dict[tuple[str, bytes], tuple[ServerKey, ServerSettings] | str],
) -> tuple[ServerKey, ServerSettings] | str:
    """A server's key and settings, or why it can't be used."""
    if reference is None:
        return (), settings.default
    cache_key = (namespace, msgspec.json.encode(reference))
    found = resolved.get(cache_key)
    if found is None:
        try:
            found = _resolve(reference, namespace, cache_key[1].decode(), settings)
        except AutoscalerError as error:
            found = str(error)
        resolved[cache_key] = found
    return found


def _resolve(
    reference: PrometheusRef, namespace: str, encoded: str, settings: PrometheusSettings
) -> tuple[ServerKey, ServerSettings] | str:
    own = _own_credentials(reference, namespace)
    if reference.name is not None:
        server = settings.named.get(reference.name)
        if server is None:
            known = ", ".join(sorted(settings.named)) or "none"
            return f"no Prometheus server is named '{reference.name}'; the controller knows: {known}"
        if own is None:
            return (reference.name,), server
    elif reference.url is not None:
        if not settings.own_urls:
            return "an own Prometheus URL is not allowed here; name a server of the controller's configuration"
        # A URL that a tenant names never sees our credentials.
        server = replace(settings.default, url=reference.url, credentials=CredentialPlaces())
    else:
        server = settings.default
        if own is None:
            return (), server
    faults = own.faults() if own is not None else []
    if faults:
        return "; ".join(faults)
    return (namespace, encoded), (replace(server, credentials=own) if own is not None else server)


def _own_credentials(reference: PrometheusRef, namespace: str) -> CredentialPlaces | None:
    """Where an object's own credentials lie: in Secrets of its own namespace; None where it gives none."""
    if not (reference.bearer_token or reference.basic_auth or reference.tls or reference.headers):
        return None

    def place(secret: SecretKey | None) -> Place | None:
        return FromSecret(namespace, secret.name, secret.key) if secret is not None else None

    headers: dict[str, Place] = {}
    for header in reference.headers:
        headers[header.name] = place(header.value_from) or Plain(header.value or "")
    tls, basic = reference.tls, reference.basic_auth
    return CredentialPlaces(
        bearer_token=place(reference.bearer_token),
        username=basic.username if basic else None,
        password=place(basic.password) if basic else None,
        ca=place(tls.ca) if tls else None,
        cert=place(tls.cert) if tls else None,
        key=place(tls.key) if tls else None,
        server_name=tls.server_name if tls else None,
        headers=headers,
    )
