"""The test bed's own certificate authorities, and what they sign: servers, users, the front proxy."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import pathlib
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = (-1 / 24, 7.0)  # before now, for clocks that are behind
_PRIVATE = 0o600


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A certificate and its private key, as PEM files."""

    certificate: pathlib.Path
    key: pathlib.Path


class Authority:
    """A certificate authority of one test run; its own key never leaves memory."""

    def __init__(self, name: str, directory: pathlib.Path) -> None:
        self._directory = directory
        self._name = _distinguished_name(name, ())
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        built = _certificate(self._name, self._name, self._key.public_key())
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        built = built.add_extension(usage, critical=True)
        built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        self.certificate = directory / f"{name}.crt"
        self.certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, file_name: str, *, names: Sequence[str], days: tuple[float, float] = _DAYS, client: bool = False) -> KeyPair:
        """A server's certificate for these DNS names and IP addresses. days: from and to when it is valid, from now. client: whether it
        can be shown as a client's, too."""
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        return self._issue(
            file_name,
            _distinguished_name(file_name, ()),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])]),
            x509.SubjectAlternativeName(alternatives),
            days=days,
        )

    def client(self, file_name: str, *, user: str, groups: Sequence[str] = (), days: tuple[float, float] = _DAYS) -> KeyPair:
        """A client's certificate. Kubernetes takes the common name as the user and each organisation as a group. days: from and to when it
        is valid, from now."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        return self._issue(file_name, _distinguished_name(user, groups), usage, days=days)

    def client_context(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        """For a client that trusts this authority, and shows this certificate if one is given."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    def _issue(self, file_name: str, subject: x509.Name, *extensions: x509.ExtensionType, days: tuple[float, float]) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        built = _certificate(subject, self._name, key.public_key(), days)
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # Without it OpenSSL, told to be strict as Python 3.13 does, refuses the chain.
        built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        for extension in extensions:
            built = built.add_extension(extension, critical=False)
        pair = KeyPair(certificate=self._directory / f"{file_name}.crt", key=self._directory / f"{file_name}.key")
        pair.certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        _write_key(pair.key, key)
        return pair


def service_account_key(path: pathlib.Path) -> pathlib.Path:
    """The RSA key with which the API server signs the tokens of service accounts."""
    _write_key(path, rsa.generate_private_key(public_exponent=65537, key_size=2048))
    return path


def _certificate(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: tuple[float, float] = _DAYS
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
    )


def _distinguished_name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write_key(path: pathlib.Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=_PRIVATE)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem)
