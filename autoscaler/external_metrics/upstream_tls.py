"""The TLS side of an upstream: verified always, with an authority and a client certificate that may change at any time."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias

from autoscaler.external_metrics.reread import RereadFile
from autoscaler.pem_file import as_file

log: Final = logging.getLogger(__name__)

Pair: TypeAlias = tuple[bytes, bytes]
"""A certificate (its chain may follow) and its private key, PEM."""
ClientCertificate: TypeAlias = Callable[[], Pair | None]
"""Gives the one to show now; None while there is none yet."""


class TlsUnusableError(Exception):
    """No connection can be made; why, in words, without any secret."""


class UpstreamTls:
    """`context()` is the one to connect with now. A new one is made when the authority or the client certificate has changed; what is
    connected already stays connected, but no request goes out on it any more."""

    def __init__(self, name: str, authority: RereadFile | str, pair: ClientCertificate | None) -> None:
        self._name = name
        self._authority = authority
        self._pair = pair
        self._made_of: tuple[str, Pair | None] | None = None
        self._refused: tuple[str, Pair | None] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Raises TlsUnusableError where there never was one that can be used."""
        pair = self._pair() if self._pair else None
        if self._pair and pair is None:
            raise TlsUnusableError("there is no client certificate of ours yet")
        try:
            of = (self._authority_pem(), pair)
        except OSError as error:
            raise TlsUnusableError(f"its certificate authority can't be read: {error}") from None
        if of != self._made_of and of != self._refused:
            try:
                self._context, self._made_of, self._refused = _made(*of), of, None
            except TlsUnusableError as error:
                if self._context is None:
                    raise
                self._refused = of  # said once
                log.warning("upstream %s: %s; what was used before goes on being used", self._name, error)
        assert self._context is not None
        return self._context

    def _authority_pem(self) -> str:
        if isinstance(self._authority, str):
            return self._authority
        return self._authority.content().decode("ascii", "replace")


def _made(authority_pem: str, pair: Pair | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authority_pem)
    except (ssl.SSLError, ValueError):
        raise TlsUnusableError("its certificate authority is no PEM certificate") from None
    # Private authorities, those within clusters above all, are often not strict RFC 5280; other Kubernetes clients don't ask for it either.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pair is not None:
        try:
            with as_file(b"\n".join(pair)) as path:
                # An encrypted key would make OpenSSL ask on the terminal; an empty password makes it an error instead.
                context.load_cert_chain(path, password="")
        except (ssl.SSLError, ValueError, OSError):
            raise TlsUnusableError("our client certificate and its key are no PEM pair that belongs together") from None
    return context
