"""Whom the cluster lets vouch for others: the ConfigMap that every aggregated API server follows, and what stands in it.

kube-apiserver writes kube-system/extension-apiserver-authentication from its own flags (apiserver,
pkg/server/options/authentication_dynamic_request_header.go) and makes it again within a minute where it is deleted. What can't be read
keeps its last good value, and so does everything while the API server is away or the object is gone: trust is taken away by writing it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import orjson
from cryptography.hazmat.primitives.serialization import Encoding

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.informer import DEFAULTS, Informer, InformerSettings, Key
from autoscaler.external_metrics.bundle import Bundle, bundle_of_pem
from autoscaler.ports import Clock

log = logging.getLogger(__name__)

NAMESPACE: Final = "kube-system"
NAME: Final = "extension-apiserver-authentication"
CLIENT_CA: Final = "client-ca-file"
PROXY_CA: Final = "requestheader-client-ca-file"
NAMES: Final = "requestheader-allowed-names"
USER_HEADERS: Final = "requestheader-username-headers"
UID_HEADERS: Final = "requestheader-uid-headers"
GROUP_HEADERS: Final = "requestheader-group-headers"
EXTRA_PREFIXES: Final = "requestheader-extra-headers-prefix"

_CONFIG_MAPS: Final = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110 §5.6.2)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrontProxies:
    """Who may say for whom it asks, and in which headers.

    names: the common names that are allowed; empty: any, of a certificate that is of no client CA. *_headers: names of headers, lower
    case; extra_prefixes: their beginnings.
    """

    authorities: Bundle
    names: frozenset[str]
    user_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trust:
    """One version of the trust; another version is another object. front_proxies: None where nobody is one.

    faults: ConfigMap key → what is wrong with its value and what holds instead, in words."""

    clients: Bundle = field(default_factory=Bundle)
    front_proxies: FrontProxies | None = None
    faults: Mapping[str, str] = field(default_factory=dict)


class _BadValueError(Exception):
    def __init__(self, key: str, what: str) -> None:
        super().__init__(what)
        self.key = key


def trust_of(data: Mapping[str, str], before: Trust) -> Trust:
    """What the ConfigMap's `data` says; where it says nothing that can be understood, what held `before`."""
    faults: dict[str, str] = {}
    clients, proxies = before.clients, before.front_proxies
    try:
        clients = _bundle(data, CLIENT_CA)
    except _BadValueError as fault:
        faults[fault.key] = f"{fault}; the last good client CAs, if there were any, still hold"
    try:
        # Together or not at all: a new CA with the names or headers that an older one was allowed is nobody's wish.
        proxies = _front_proxies(data)
    except _BadValueError as fault:
        faults[fault.key] = f"{fault}; what all requestheader-* keys said last, if they did, still holds"
    if proxies is not None and not proxies.names and proxies.authorities.shares(clients):
        # kube-apiserver itself refuses to start so, since 1.35 (kubernetes/kubernetes#131411).
        faults[NAMES] = (
            "allows any name, while a request-header CA is a client CA as well: each of its clients could say that it is anybody. "
            "No certificate of a client CA counts as a front proxy's until names are given"
        )
    return Trust(clients=clients, front_proxies=proxies, faults=faults)


def _front_proxies(data: Mapping[str, str]) -> FrontProxies | None:
    authorities = _bundle(data, PROXY_CA)
    if not authorities:
        return None
    proxies = FrontProxies(
        authorities=authorities,
        names=frozenset(_strings(data, NAMES)),
        user_headers=_headers(data, USER_HEADERS),
        uid_headers=_headers(data, UID_HEADERS),
        group_headers=_headers(data, GROUP_HEADERS),
        extra_prefixes=_headers(data, EXTRA_PREFIXES),
    )
    if not proxies.user_headers:
        raise _BadValueError(USER_HEADERS, "names no header, so that a front proxy could not say for whom it asks")
    return proxies


def _bundle(data: Mapping[str, str], key: str) -> Bundle:
    text = data.get(key, "").strip()
    if not text:
        return Bundle()
    try:
        return bundle_of_pem(text.encode())
    except Exception as fault:  # foreign bytes: cryptography raises more than it names
        raise _BadValueError(key, f"is no PEM with certificates that can be read ({fault})") from None


def _strings(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    text = data.get(key, "").strip()
    if not text:
        return ()
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise _BadValueError(key, f"is no JSON ({fault}); a list of strings is needed") from None
    if values is None:  # how Go writes an empty list
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _BadValueError(key, f"is {text[:100]!r}; a JSON list of strings is needed")
    return tuple(values)


def _headers(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in _strings(data, key) if name.strip())
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise _BadValueError(key, f"has {name[:100]!r}, which can't be a header's name")
    return names


class TrustWatch:
    """Follows the ConfigMap. Run `run()` as a task; `current` is what holds now: nobody is trusted before `has_synced` is set.

    admit: given all CAs, as PEM, before any of them counts (``ServingTls.trust``).
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        admit: Callable[[Iterable[bytes]], None],
        clock: Clock,
        rng: np.random.Generator,
        settings: InformerSettings = DEFAULTS,
    ) -> None:
        self.current = Trust()
        self._admit = admit
        self._informer: Informer[Mapping[str, str]] = Informer(
            api,
            _CONFIG_MAPS,
            transform=_data,
            on_change=self._change,
            monotonic_s=clock.monotonic_s,
            rng=rng,
            namespace=NAMESPACE,
            # The Role that ships with Kubernetes is limited to this one name, which a list must then name as well.
            field_selector=f"metadata.name={NAME}",
            settings=settings,
        )
        self.has_synced = self._informer.has_synced

    async def run(self) -> None:
        """Never returns; cancel it."""
        await self._informer.run()

    def why_not(self) -> str:
        """Why nobody is trusted yet, in words; "" where the trust is known."""
        if not self.has_synced.is_set():
            return f"ConfigMap {NAMESPACE}/{NAME} was not read yet: {self._informer.last_fault or 'no answer so far'}"
        if not self.current.clients and self.current.front_proxies is None:
            faults = "; ".join(f"{key} {what}" for key, what in self.current.faults.items())
            return f"ConfigMap {NAMESPACE}/{NAME} names no CA: {faults or 'neither ' + CLIENT_CA + ' nor ' + PROXY_CA}"
        return ""

    def _change(self, key: Key, old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> None:
        if new is None:
            log.warning("ConfigMap %s/%s is gone: what it said last still holds", *key)
            return
        trust = trust_of(new, self.current)
        proxies = trust.front_proxies
        bundles = [trust.clients] if proxies is None else [trust.clients, proxies.authorities]
        self._admit([authority.public_bytes(Encoding.PEM) for bundle in bundles for authority in bundle.certificates])
        self.current = trust
        for name, what in trust.faults.items():
            log.warning("ConfigMap %s/%s: %s %s", *key, name, what)
        log.info(
            "trusted from now on: %d client CAs, %d request-header CAs",
            len(trust.clients),
            0 if trust.front_proxies is None else len(trust.front_proxies.authorities),
        )


def _data(item: Object) -> Mapping[str, str]:
    return dict(item.get("data") or {})
