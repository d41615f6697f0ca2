"""SSL contexts made from bytes, so that certificates can come from Secrets as well as from files."""

from __future__ import annotations

import ssl

from autoscaler.adapters.prometheus.problems import CredentialsUnusable
from autoscaler.pem_file import as_file


def tls_context(ca: bytes | None, cert: bytes | None, key: bytes | None) -> ssl.SSLContext:
    """A client context that trusts `ca` (PEM; None: the system's) and shows `cert` with `key` (PEM, both or neither).

    Raises CredentialsUnusable without any of their content."""
    try:
        context = ssl.create_default_context(cadata=ca.decode("ascii") if ca is not None else None)
    except (ssl.SSLError, ValueError):
        raise CredentialsUnusable("the certificate authority is not a PEM certificate") from None
    if cert is not None and key is not None:
        try:
            with as_file(cert + b"\n" + key) as path:
                # An encrypted key would make OpenSSL ask on the terminal; an empty password makes it an error instead.
                context.load_cert_chain(path, password="")
        except (ssl.SSLError, ValueError, OSError):
            raise CredentialsUnusable("the client certificate and key are not a PEM pair that belongs together") from None
    return context
