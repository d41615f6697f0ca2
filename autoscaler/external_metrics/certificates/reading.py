"""What a certificate says, as far as anybody here asks: until when, whose, for which names, and whether a key fits.

What is read may be anybody's (a Secret that somebody edited, a caBundle of another hand): nothing in it is taken for granted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from autoscaler.external_metrics.certificates.authority import Lifetimes, Pair

_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


def certificates_in(pem: bytes) -> list[x509.Certificate]:
    """Those of a bundle that can be read, each once, in their order; text between them and broken ones are passed over."""
    found: dict[x509.Certificate, None] = {}
    for block in _BLOCK.findall(pem):
        try:
            found[x509.load_pem_x509_certificate(block)] = None
        except ValueError:
            continue
    return list(found)


def pair_of(certificate_pem: bytes, key_pem: bytes) -> Pair:
    """Raises ValueError, in words, where either is no PEM or the key isn't the certificate's."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate_pem)[0]
    except ValueError as fault:
        raise ValueError(f"the certificate can't be read: {fault}") from None
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        # Not the library's words: they may go into what is in a key's file.
        raise ValueError(f"the private key can't be read ({type(fault).__name__}): PEM without a passphrase is needed") from None
    try:
        fits = leaf.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise ValueError(f"the certificate's key is of no known kind: {fault}") from None
    if not fits:
        raise ValueError("the private key isn't the certificate's")
    return Pair(certificate_pem, key_pem)


def end_s(certificate: x509.Certificate) -> float:
    """Until when it is valid, Unix seconds."""
    return certificate.not_valid_after_utc.timestamp()


def is_valid(certificate: x509.Certificate, now_s: float) -> bool:
    return certificate.not_valid_before_utc.timestamp() <= now_s < end_s(certificate)


def due_s(certificate: x509.Certificate, lifetimes: Lifetimes) -> float:
    """When it is to be replaced, Unix seconds: at `renew_ratio` of the life that it has from when it was made."""
    begin_s, until_s = certificate.not_valid_before_utc.timestamp(), end_s(certificate)
    made_s = begin_s + lifetimes.backdated_s
    if made_s >= until_s:  # made with other settings
        made_s = begin_s
    return made_s + (until_s - made_s) * lifetimes.renew_ratio


def is_issued_by(leaf: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_trusted(leaf: x509.Certificate, cas: Collection[x509.Certificate], now_s: float) -> bool:
    """Whether a client that trusts `cas` takes it. A certificate that is itself among them is taken, as Go does."""
    return any(is_valid(ca, now_s) and (leaf == ca or is_issued_by(leaf, ca)) for ca in cas)


def dns_names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(names.get_values_for_type(x509.DNSName))


def may_sign_for(ca: x509.Certificate, names: Sequence[str]) -> bool:
    """Whether it is an authority whose name constraints let it sign for all these DNS names (RFC 5280, 4.2.1.10)."""
    try:
        if not ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        permitted = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or ()
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.NameConstraints.oid
    except ValueError:
        return False
    trees = [tree.value for tree in permitted if isinstance(tree, x509.DNSName)]
    return not trees or all(any(name == tree or name.endswith(f".{tree}") for tree in trees) for name in names)
