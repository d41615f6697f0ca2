"""Certificates of every kind that a server has to judge, made in memory: what a well-behaved authority would never issue, too."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
HOUR_S = 3600.0


class How(TypedDict, total=False):
    """ca None: no BasicConstraints at all. usages: extended ones; None: not said. from_s, to_s: seconds from now. key: of an earlier
    certificate, to have the same CA under two. extensions: further ones, critical. identified: whether it names its own key and the
    issuer's. signs: whether its key usage allows to sign certificates; as `ca` where not said."""

    organizations: Sequence[str]
    ca: bool | None
    path_length: int | None
    usages: Sequence[x509.ObjectIdentifier] | None
    hosts: Sequence[str]
    from_s: float
    to_s: float
    key: Key
    extensions: Sequence[x509.ExtensionType]
    identified: bool
    signs: bool


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate with its key, and so somebody who can sign others."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def text(self) -> str:
        return self.pem.decode()

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def issue(self, *names: str, **how: Unpack[How]) -> Issued:
        """A certificate by this one's key, of these common names."""
        return _issue(self, names, how)

    def authority(self, name: str, **how: Unpack[How]) -> Issued:
        """An intermediate CA."""
        return _issue(self, (name,), {"ca": True, "usages": None, **how})


def root(name: str, **how: Unpack[How]) -> Issued:
    """A CA that vouches for itself."""
    return _issue(None, (name,), {"ca": True, "usages": None, **how})


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def client_context(server_ca: Issued, shown: Issued | None = None, chain: Sequence[Issued] = ()) -> ssl.SSLContext:
    """For a client that shows this certificate, with these intermediate ones behind it."""
    context = ssl.create_default_context(cadata=server_ca.text)
    if shown is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "pem")
            path.write_bytes(shown.pem + b"".join(issued.pem for issued in chain) + shown.key_pem)
            context.load_cert_chain(path)
    return context


def _issue(issuer: Issued | None, names: Sequence[str], how: How) -> Issued:
    key = how.get("key") or ec.generate_private_key(ec.SECP256R1())
    ca, usages = how.get("ca", False), how.get("usages", CLIENT)
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in how.get("organizations", ())),
            *(x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names),
        ]
    )
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(seconds=how.get("from_s", -HOUR_S)))
        .not_valid_after(now + datetime.timedelta(seconds=how.get("to_s", HOUR_S)))
    )
    if ca is not None:
        built = built.add_extension(x509.BasicConstraints(ca=ca, path_length=how.get("path_length")), critical=True)
    built = built.add_extension(_key_usage(how.get("signs", bool(ca))), critical=True)
    if how.get("identified", True):
        signer = key if issuer is None else issuer.key
        built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    if usages is not None:
        built = built.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if hosts := how.get("hosts"):
        built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
    for extension in how.get("extensions", ()):
        built = built.add_extension(extension, critical=True)
    return Issued(certificate=built.sign(key if issuer is None else issuer.key, hashes.SHA256()), key=key)


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
