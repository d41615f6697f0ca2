"""A bundle of CA certificates, and the times during which a chain that TLS has verified is of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

E = TypeVar("E", bound=x509.ExtensionType)

Chain: TypeAlias = Sequence[x509.Certificate]
"""Leaf first; each is signed by the next."""

Period: TypeAlias = tuple[float, float]
"""(from, to), Unix seconds, both inclusive."""

_CLIENT: Final = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


class Bundle:
    """CAs, each known by its name and key: what it signed is the same whichever of its certificates (renewed, or signed by another CA) TLS
    happened to build its one chain with (RFC 5280 §6.1.1(d): a trust anchor is a name and a key)."""

    def __init__(self, certificates: Sequence[x509.Certificate] = ()) -> None:
        self.certificates: Final = tuple(certificates)
        self._by_identity: dict[tuple[bytes, bytes], list[x509.Certificate]] = {}
        for certificate in certificates:
            self._by_identity.setdefault(_identity(certificate), []).append(certificate)

    def __len__(self) -> int:
        return len(self.certificates)

    def shares(self, other: Bundle) -> bool:
        """Whether some CA is in both."""
        return not self._by_identity.keys().isdisjoint(other._by_identity)

    def periods(self, chain: Chain) -> tuple[Period, ...]:
        """When the leaf of `chain`, which TLS has verified up to some CA, is a client's certificate of this bundle; () where it never is.

        As Go's Certificate.Verify judges it, from which the leaf's certificates up to the bundle's are looked at and nothing above. Of the
        chains that could be built by way of several intermediate certificates for the same key, only the one that TLS built is judged.
        """
        if not chain or not _allows_clients(chain[0]):
            return ()
        found = []
        for position in range(len(chain)):
            for anchor in self._by_identity.get(_identity(chain[position]), ()):
                if self._anchors(chain, position, anchor):
                    path = [*chain[:position], anchor]
                    found.append((max(map(_not_before_s, path)), min(map(_not_after_s, path))))
        return tuple(found)

    def _anchors(self, chain: Chain, position: int, anchor: x509.Certificate) -> bool:
        """Whether `anchor`, of the bundle and of the same name and key as the chain's certificate at `position`, may vouch for the leaf."""
        if position == 0:
            return anchor == chain[0] and anchor.issuer == anchor.subject
        if anchor != chain[position] and _extension(anchor, x509.NameConstraints) is not None:
            return False  # TLS has checked the names against those of the certificate in the chain only
        # Version 1 is older than the extensions that could say so: whoever trusts such a certificate as a CA has said so (as in Go).
        anchors = anchor.version is x509.Version.v1 or _may_sign(anchor, position - 1)
        return anchors and all(_may_sign(chain[at], at - 1) for at in range(1, position))


def bundle_of_pem(pem: bytes) -> Bundle:
    """Raises ValueError where it is no PEM, holds no certificate, or one that can't be read."""
    certificates = x509.load_pem_x509_certificates(pem)
    for certificate in certificates:
        _may_sign(certificate, 0)  # reads the extensions
    return Bundle(certificates)


def _identity(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return certificate.subject.public_bytes(), key


def _may_sign(certificate: x509.Certificate, below: int) -> bool:
    """Whether it is a CA's, with at most `below` CAs between it and the leaf, for clients' certificates among others."""
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca or (constraints.path_length is not None and below > constraints.path_length):
        return False
    usage = _extension(certificate, x509.KeyUsage)
    return (usage is None or usage.key_cert_sign) and _allows_clients(certificate)


def _allows_clients(certificate: x509.Certificate) -> bool:
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    return usages is None or not _CLIENT.isdisjoint(usages)


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _not_before_s(certificate: x509.Certificate) -> float:
    return _seconds(certificate.not_valid_before_utc)


def _not_after_s(certificate: x509.Certificate) -> float:
    return _seconds(certificate.not_valid_after_utc)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
