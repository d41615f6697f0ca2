"""The serving side of TLS: one context for the whole life of the process, whose certificate and client CAs are exchanged while it runs.

The context that the server listens with holds neither. It hands each handshake on to the context of the present pair, which is made anew
for every pair: OpenSSL keeps one certificate for each type of key, so that an RSA pair that was loaded into a context in use would go on
being served beside the ECDSA pair that followed it; and a pair whose key does not fit would already have displaced the good one.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from autoscaler.errors import OutsideError
from autoscaler.pem_file import as_file

_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h), for which Python has no name."""


class ServingTls:
    """TLS ≥ 1.2 that asks for a client certificate without requiring one, so that probes and users with a token still connect.

    What is checked in the handshake: that a certificate that is shown is signed, for client authentication, by a CA that is or was trusted;
    if not, the handshake fails (Python has no way to let it through). What it is good for now, and whether it has expired, is judged with
    each request (``peer.PeerCertificates``), so that those end in a 401 that says so. Sessions are not resumed by ticket. TLS 1.2 clients
    may resume one by its id, which Python can't turn off either: OpenSSL keeps 20,480 of them at most, 6 KiB each with a certificate.

    Until the first pair is there every handshake ends with an alert: connections are refused, not kept waiting.
    """

    def __init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        # PARTIAL_CHAIN: a bundle may hold an intermediate CA alone, as in Go, whose pools Kubernetes' own servers verify against.
        context.verify_flags |= _NO_CHECK_TIME | ssl.VERIFY_X509_PARTIAL_CHAIN
        # A resumed session comes without the chain that was verified. A renegotiation could exchange the certificate that was judged.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        context.sni_callback = self._hand_on  # called with every handshake, with or without a server name
        self.context: Final = context
        self._present: ssl.SSLContext | None = None
        self._pair: tuple[bytes, bytes] | None = None
        self._authorities: list[x509.Certificate] = []

    def use(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Serves this pair to all handshakes from now on; open connections are not touched. certificate_pem: the leaf first, then its
        intermediate CAs. Raises OutsideError where the two are no pair; what was served before then still is."""
        pair = certificate_pem, key_pem
        self._present = _context(pair, self._authorities)
        self._pair = pair

    def trust(self, ca_pems: Iterable[bytes]) -> None:
        """Lets handshakes through with certificates of these CAs from now on. Open connections are not touched. Also of those that were
        given earlier, so that their certificates end in a 401 that says so; but for such as have the name of one that is given now: OpenSSL
        takes the first of a name, unless certificates name their issuer's key. Raises OutsideError where one is no certificate."""
        given = list(dict.fromkeys(_authority(pem) for pem in ca_pems))
        names = {authority.subject for authority in given}
        given += [authority for authority in self._authorities if authority.subject not in names]
        if given != self._authorities:
            self._present = None if self._pair is None else _context(self._pair, given)
            self._authorities = given

    def _hand_on(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        if self._present is None:
            return int(ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)
        connection.context = self._present
        return None


def _context(pair: tuple[bytes, bytes], authorities: Iterable[x509.Certificate]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with as_file(pair[0]) as certificate, as_file(pair[1]) as key:
            # A key under a password would otherwise be asked for at the terminal.
            context.load_cert_chain(certificate, key, password=b"")
    except (ssl.SSLError, ValueError) as fault:
        raise OutsideError(
            f"the serving certificate and its key can't be used: {_words(fault)}. Needed: PEM, the leaf first, and its key without "
            "a password. What was served before, if anything, still is"
        ) from None
    for authority in authorities:
        context.load_verify_locations(cadata=authority.public_bytes(Encoding.DER))
    return context


def _authority(pem: bytes) -> x509.Certificate:
    """After a try whether OpenSSL takes it."""
    try:
        authority = x509.load_pem_x509_certificate(pem)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=authority.public_bytes(Encoding.DER))
    except (ssl.SSLError, ValueError) as fault:
        raise OutsideError(f"a client CA can't be used: {_words(fault)}. Needed: one certificate as PEM") from None
    return authority


def _words(fault: Exception) -> str:
    return getattr(fault, "reason", None) or str(fault) or type(fault).__name__
