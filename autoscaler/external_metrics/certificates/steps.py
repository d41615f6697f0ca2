"""The steps that a rotation is made of. Each says why it is taken, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cryptography import x509

from autoscaler.external_metrics.certificates.stored import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do for `for_s` seconds, unless something changes. why: what hinders, in words; "" where all is well."""

    for_s: float
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Make everything anew. kept: authorities that clients go on trusting meanwhile, since others may serve by them; without any, nobody
    waits for anything, and the new authority is the current one at once."""

    kept: tuple[x509.Certificate, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Write back what is remembered: for clients nothing changes."""

    stored: Stored
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """New serving and client certificates of the current authority."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """A coming authority, and its certificates."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """The caBundle becomes what the Secret lists."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """The coming authority becomes the current one."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The overlap counts from now: when it began isn't known, or lies in what by now is the future."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Only the current authority is left."""

    why: str


Next: TypeAlias = Wait | Begin | Restore | Renew | Announce | Tell | Switch | Restart | Retire
