"""Whose certificate is at the other end of a connection, and what it is good for now."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.x509.oid import NameOID

from autoscaler.external_metrics.bundle import Period
from autoscaler.external_metrics.trust import Trust

log = logging.getLogger(__name__)

_DER: Final = 2
"""_ssl.ENCODING_DER"""
_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A verified client certificate, judged by one version of the trust.

    name: its common name, "" without one. organizations: in their order. front_proxy, client: when it is one of the request-header CA with
    a name that is allowed, of the client CA. of_front_proxies: whether it is of the request-header CA whatever its name and time.
    """

    name: str
    organizations: tuple[str, ...]
    front_proxy: tuple[Period, ...]
    client: tuple[Period, ...]
    of_front_proxies: bool


class PeerCertificates:
    """Judges a connection's certificate once, and again when the trust has changed: a CA that was taken out of the ConfigMap counts no
    more on connections that are open."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[ssl.SSLObject, tuple[tuple[x509.Certificate, ...], Trust, Peer | None]] = (
            WeakKeyDictionary()
        )
        self._chains: dict[bytes, tuple[bytes, ...]] = {}

    def of(self, transport: asyncio.BaseTransport | None, trust: Trust) -> Peer | None:
        """None where no certificate was shown, or none that can be read."""
        connection: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
        if connection is None:
            return None
        known = self._known.get(connection)
        if known is not None and known[1] is trust:
            return known[2]
        try:
            chain = self._chain(connection) if known is None else known[0]
            peer = judged(chain, trust)
        except Exception as fault:  # a certificate is a stranger's input, and each of its many parts can be broken in its own way
            log.warning("a client's certificate can't be read: %s", fault)
            chain, peer = (), None
        self._known[connection] = chain, trust, peer
        return peer

    def _chain(self, connection: ssl.SSLObject) -> tuple[x509.Certificate, ...]:
        leaf = connection.getpeercert(binary_form=True)
        if leaf is None:
            return ()
        digest = hashlib.sha256(leaf).digest()
        chain = verified_chain(connection)
        if chain:
            while len(self._chains) >= _REMEMBERED:
                del self._chains[next(iter(self._chains))]
            self._chains[digest] = chain
        else:
            # TLS 1.2 resumed a session by its id, which Python can't turn off. Sessions live in this process: their chain was verified here.
            chain = self._chains.get(digest, ())
        return tuple(map(x509.load_der_x509_certificate, chain))


def verified_chain(connection: ssl.SSLObject) -> tuple[bytes, ...]:
    """The chain, as DER, that TLS has verified: leaf first, up to a CA of ours; () where there is none."""
    public: Any = getattr(connection, "get_verified_chain", None)  # Python 3.13 and later
    if public is not None:
        return tuple(public())
    private: Any = connection
    return tuple(certificate.public_bytes(_DER) for certificate in private._sslobj.get_verified_chain() or ())


def judged(chain: tuple[x509.Certificate, ...], trust: Trust) -> Peer | None:
    """What the leaf of `chain`, which TLS has verified, is good for."""
    if not chain:
        return None
    names = _values(chain[0], NameOID.COMMON_NAME)
    name = names[-1] if names else ""  # the last one counts, as for everybody who reads certificates with Go's crypto/x509/pkix
    proxies = trust.front_proxies
    client = trust.clients.periods(chain)
    front_proxy = () if proxies is None else proxies.authorities.periods(chain)
    # Where any name will do, nothing but the CA tells a front proxy from a client: what is of both is a client's.
    allowed = proxies is not None and (name in proxies.names if proxies.names else not client)
    return Peer(
        name=name,
        organizations=tuple(_values(chain[0], NameOID.ORGANIZATION_NAME)),
        front_proxy=front_proxy if allowed else (),
        client=client,
        of_front_proxies=bool(front_proxy),
    )


def within(periods: tuple[Period, ...], now_s: float) -> bool:
    return any(start_s <= now_s <= end_s for start_s, end_s in periods)


def _values(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> list[str]:
    values = (attribute.value for attribute in certificate.subject.get_attributes_for_oid(kind))
    return [value if isinstance(value, str) else value.decode("utf-8") for value in values]
