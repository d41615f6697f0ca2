"""What is kept in the Secret, and how it is read again whatever became of it.

Keys, all PEM but for the last:

| key | holds |
| --- | --- |
| ``ca.crt`` | every authority that is to be trusted now: what ``APIService.spec.caBundle`` is made from, and what others may mount |
| ``tls.crt``, ``tls.key`` | the serving certificate |
| ``client.crt``, ``client.key`` | the client certificate for upstream adapters |
| ``authority.crt``, ``authority.key`` | the authority that signed these |
| ``next-tls.crt``, ``next-client.crt``, ``next-authority.crt`` and their ``.key`` | during a rotation: the same of the coming authority |
| ``rotation.json`` | ``step`` (Steady, Announced, Overlapping), ``since`` (RFC 3339) and ``why``; only ``since`` is read again |

A part that can't be used is as good as missing, and `faults` says what was wrong with it. The step follows from what is there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import orjson
from cryptography import x509

from autoscaler.adapters.kubernetes.moments import seconds_or_none, time_text
from autoscaler.external_metrics.certificates.authority import Authority, Pair, pem_of
from autoscaler.external_metrics.certificates.reading import certificates_in, is_issued_by, pair_of

BUNDLE: Final = "ca.crt"
ROTATION: Final = "rotation.json"


class Step(Enum):
    """Of a rotation of the authority."""

    STEADY = "Steady"
    ANNOUNCED = "Announced"
    """There is a coming authority, which clients are to learn of."""
    OVERLAPPING = "Overlapping"
    """The coming one has become the current one; those before it are still trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """An authority and what it signed. key_pem: the authority's; None: lost, so that it can't sign any more."""

    ca: x509.Certificate
    key_pem: bytes | None = field(repr=False)
    serving: Pair | None
    client: Pair | None

    @property
    def is_whole(self) -> bool:
        return self.key_pem is not None and self.serving is not None and self.client is not None

    def authority(self) -> Authority:
        """To sign with. Raises ValueError where the key is lost."""
        if self.key_pem is None:
            raise ValueError("the authority's key is lost")
        return Authority(self.ca, self.key_pem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """All of it. bundle: what is to be trusted, `current` and `coming` always among them. since_s: when the last step was taken, Unix
    seconds; None: not told. Both generations None: nothing to go on with."""

    current: Generation | None
    coming: Generation | None = None
    bundle: tuple[x509.Certificate, ...] = ()
    since_s: float | None = None
    why: str = ""
    faults: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        needed = [one.ca for one in (self.coming, self.current) if one is not None]
        object.__setattr__(self, "bundle", tuple(dict.fromkeys((*needed, *self.bundle))))

    @property
    def is_empty(self) -> bool:
        return self.current is None and self.coming is None

    @property
    def is_whole(self) -> bool:
        """Whether nothing needs mending."""
        generations = [one for one in (self.current, self.coming) if one is not None]
        return bool(generations) and all(one.is_whole for one in generations)

    @property
    def step(self) -> Step:
        if self.coming is not None:
            return Step.ANNOUNCED
        return Step.OVERLAPPING if len(self.bundle) > 1 else Step.STEADY

    def without(self, *, current: bool = False, coming: bool = False) -> Stored:
        """Without a generation that is of no use any more, whose authority stays trusted."""
        return replace(self, current=None if current else self.current, coming=None if coming else self.coming)


def data_of(stored: Stored) -> dict[str, str]:
    """The Secret's ``data``."""
    rotation = {
        "step": stored.step.value,
        "since": None if stored.since_s is None else time_text(stored.since_s),
        "why": stored.why,
    }
    parts = {BUNDLE: pem_of(*stored.bundle), ROTATION: orjson.dumps(rotation)}
    for prefix, generation in (("", stored.current), ("next-", stored.coming)):
        if generation is None:
            continue
        parts[f"{prefix}authority.crt"] = pem_of(generation.ca)
        if generation.key_pem is not None:
            parts[f"{prefix}authority.key"] = generation.key_pem
        for name, pair in (("tls", generation.serving), ("client", generation.client)):
            if pair is not None:
                parts[f"{prefix}{name}.crt"], parts[f"{prefix}{name}.key"] = pair.certificate_pem, pair.key_pem
    return {key: base64.b64encode(value).decode() for key, value in parts.items()}


_OF_GENERATION: Final = tuple(f"{name}.{end}" for name in ("authority", "tls", "client") for end in ("crt", "key"))
KEYS: Final = frozenset({BUNDLE, ROTATION, *(f"{prefix}{name}" for prefix in ("", "next-") for name in _OF_GENERATION)})
"""Ours; what else somebody put into the Secret stays."""


def stored_in(data: Mapping[str, Any]) -> Stored:
    """What the Secret's ``data`` says. Never raises."""
    faults: list[str] = []
    parts: dict[str, bytes] = {}
    for key in sorted(KEYS & data.keys()):
        try:
            parts[key] = base64.b64decode(str(data[key]), validate=True)
        except (binascii.Error, ValueError):
            faults.append(f"{key} is not base64")
    coming, current = _generation(parts, "next-", faults), _generation(parts, "", faults)
    if coming is not None and not coming.is_whole:
        # It was written as a whole, and nobody relies on it yet: a new one is made.
        faults.append("the coming authority is not whole")
        coming = None
    since_s, why = _rotation(parts.get(ROTATION), faults)
    bundle = tuple(certificates_in(parts.get(BUNDLE, b"")))
    if any(one is not None and one.ca not in bundle for one in (current, coming)):
        faults.append(f"{BUNDLE} lacks an authority that is in use")
    return Stored(current=current, coming=coming, bundle=bundle, since_s=since_s, why=why, faults=tuple(faults))


def _generation(parts: Mapping[str, bytes], prefix: str, faults: list[str]) -> Generation | None:
    named = f"{prefix}authority.crt"
    found = certificates_in(parts.get(named, b""))
    if not found:
        if not parts.keys().isdisjoint(f"{prefix}{name}" for name in _OF_GENERATION):
            faults.append(f"{named} holds no certificate")
        return None
    ca = found[0]
    key_pem = parts.get(f"{prefix}authority.key")
    if key_pem is None:
        faults.append(f"{prefix}authority.key is missing")
    else:
        try:
            pair_of(pem_of(ca), key_pem)
            Authority(ca, key_pem)
        except ValueError as fault:
            faults.append(f"{prefix}authority.key: {fault}")
            key_pem = None
    pairs: dict[str, Pair | None] = {}
    for name in ("tls", "client"):
        pairs[name] = None
        try:
            pair = pair_of(parts.get(f"{prefix}{name}.crt", b""), parts.get(f"{prefix}{name}.key", b""))
        except ValueError as fault:
            faults.append(f"{prefix}{name}.crt: {fault}")
            continue
        if not is_issued_by(pair.leaf, ca):
            faults.append(f"{prefix}{name}.crt is not signed by {named}")
            continue
        pairs[name] = pair
    return Generation(ca=ca, key_pem=key_pem, serving=pairs["tls"], client=pairs["client"])


def _rotation(text: bytes | None, faults: list[str]) -> tuple[float | None, str]:
    try:
        document = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        faults.append(f"{ROTATION} is no JSON object")
        return None, ""
    return seconds_or_none(document.get("since")), str(document.get("why") or "")
