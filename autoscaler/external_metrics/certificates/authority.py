"""A certificate authority of our own and what it signs: the serving certificate, and the client certificate for upstream adapters.

ECDSA P-256 throughout. The chains hold in OpenSSL's strict mode (Python 3.13's default; RFC 5280 to the letter) and in Go, whose API servers
verify them. The authority is bound by name constraints to what it is for: whoever came by its key could pretend to be this Service, and
no other, even where people trust it for more than the APIService.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT_NAME: Final = "inference-autoscaler-external-metrics"
"""Common name of the client certificate: what an upstream adapter lists as an allowed front proxy."""

_DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long certificates live, in seconds. renew_ratio: the share of its life after which one is replaced. backdated_s: how long before
    it was made one begins to be valid, for clocks that are late."""

    ca_s: float = 3 * 365 * _DAY_S
    leaf_s: float = 90 * _DAY_S
    renew_ratio: float = 2 / 3
    backdated_s: float = 3600.0

    def __post_init__(self) -> None:
        if not 0 < self.leaf_s < self.ca_s:
            raise ValueError(
                f"0 < leaf_s < ca_s must hold, or a leaf outlives its authority (are: {self.leaf_s:g}, {self.ca_s:g})"
            )
        if not 0 < self.renew_ratio < 1:
            raise ValueError(f"renew_ratio must lie between 0 and 1 (is: {self.renew_ratio:g})")
        if self.backdated_s < 0:
            raise ValueError(f"backdated_s must not be negative (is: {self.backdated_s:g})")


@dataclass(frozen=True)
class Pair:
    """A certificate (with what the server sends along, leaf first) and its private key, PEM. The key is never shown or logged."""

    certificate_pem: bytes
    key_pem: bytes

    @cached_property
    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate_pem)

    def __repr__(self) -> str:
        return f"Pair(serial {self.leaf.serial_number:x}, until {self.leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ})"


def service_names(service: str, namespace: str, domain: str = "cluster.local") -> tuple[str, ...]:
    """All names of a Service's DNS; API servers verify ``<service>.<namespace>.svc`` (kube-aggregator, handler_proxy.go)."""
    inside = f"{service}.{namespace}.svc"
    return (inside, f"{inside}.{domain}", f"{service}.{namespace}", service)


class Authority:
    """A CA with its key. `certificate` and `key_pem` are what is kept of it."""

    def __init__(self, certificate: x509.Certificate, key_pem: bytes) -> None:
        """Raises ValueError where the key is none, is of another kind, or isn't the certificate's."""
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"the authority's key is no EC key (is: {type(key).__name__})")
        if key.public_key() != certificate.public_key():
            raise ValueError("the authority's key isn't the one of its certificate")
        self.certificate = certificate
        self.key_pem = key_pem
        self._key = key

    @classmethod
    def new(cls, names: Sequence[str], lifetimes: Lifetimes, now_s: float) -> Authority:
        """A self-signed one that may sign for these DNS names and CLIENT_NAME only."""
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        # Each has a name of its own, so that nobody takes the old one for the new one while both are trusted.
        name = _named(f"{CLIENT_NAME} CA {serial % 2**32:08x}")
        # The client's name is among them since OpenSSL takes a common name for a DNS name where there is no other.
        permitted = [x509.DNSName(one) for one in (*names, CLIENT_NAME)]
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _builder(name, name, serial, now_s - lifetimes.backdated_s, now_s + lifetimes.ca_s)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, _key_pem(key))

    def serving(self, names: Sequence[str], lifetimes: Lifetimes, now_s: float) -> Pair:
        """For a server with these DNS names; the first is the one that it is called by."""
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        return self._leaf(ExtendedKeyUsageOID.SERVER_AUTH, lifetimes, now_s, alternatives)

    def client(self, lifetimes: Lifetimes, now_s: float) -> Pair:
        """For us as a front proxy, towards upstream adapters."""
        return self._leaf(ExtendedKeyUsageOID.CLIENT_AUTH, lifetimes, now_s)

    def _leaf(self, usage: x509.ObjectIdentifier, lifetimes: Lifetimes, now_s: float, *more: x509.ExtensionType) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        # A chain is no longer valid than its shortest part: what a leaf promises beyond that would only mislead.
        end_s = min(now_s + lifetimes.leaf_s, self.certificate.not_valid_after_utc.timestamp())
        begin_s = min(now_s - lifetimes.backdated_s, end_s - 1.0)
        # Not the DNS name as the common name: that may be longer than the 64 characters it may have, and nobody looks there.
        built = (
            _builder(_named(CLIENT_NAME), self.certificate.subject, x509.random_serial_number(), begin_s, end_s)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        )
        for extension in more:
            built = built.add_extension(extension, critical=False)
        return Pair(pem_of(built.sign(self._key, hashes.SHA256())), _key_pem(key))


def pem_of(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, serial: int, begin_s: float, end_s: float) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(int(begin_s), UTC))
        .not_valid_after(datetime.fromtimestamp(int(end_s), UTC))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
