"""Which form of an answer a request's Accept header lets us give. We speak JSON only.

A clause with ``as=`` asks for the same thing in another shape (a Table, an APIGroupDiscoveryList), so that plain JSON isn't what it means.
The HPA controller's ``application/vnd.kubernetes.protobuf, */*`` is served with JSON: client-go decodes by the answer's Content-Type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from autoscaler.external_metrics.answers import RefusedError

_LONGEST: Final = 1024
_ANY: Final = "*/*"
_PLAIN: Final = ("application/json", "application/*", _ANY)


@dataclass(frozen=True, slots=True)
class Clause:
    """One media type of an Accept header (RFC 9110, 12.5.1). kind: ``type/subtype`` in lower case. shape: of ``as=``; "" for plain."""

    kind: str
    shape: str = ""
    group: str = ""
    version: str = ""
    weight: float = 1.0

    @property
    def plain(self) -> bool:
        return self.kind in _PLAIN and not self.shape


def clauses(accept: str) -> tuple[Clause, ...]:
    """The clauses of an Accept header, best first; of equal ones the earlier. Without the header, anything goes. What a client refuses with
    ``q=0`` isn't among them."""
    if not accept.strip():
        return (Clause(_ANY),)
    return _remembered(accept) if len(accept) <= _LONGEST else _parsed(accept)


def need_json(accept: str) -> None:
    """Raises RefusedError (406) where the client wouldn't take plain JSON."""
    if accept not in _PLAIN and not any(clause.plain for clause in clauses(accept)):
        raise not_acceptable(accept)


def not_acceptable(accept: str) -> RefusedError:
    return RefusedError(406, f"Accept: '{accept[:200]}' allows no form that is served here; allow application/json")


def _parsed(accept: str) -> tuple[Clause, ...]:
    found = [clause for part in accept.split(",") if (clause := _clause(part)) is not None]
    return tuple(sorted(found, key=lambda clause: -clause.weight))


_remembered: Final[Callable[[str], tuple[Clause, ...]]] = lru_cache(256)(_parsed)


def _clause(part: str) -> Clause | None:
    kind, *parameters = (word.strip() for word in part.split(";"))
    given = {name.strip().lower(): value.strip().strip('"') for name, _, value in (one.partition("=") for one in parameters)}
    try:
        weight = float(given.get("q", "1"))
    except ValueError:
        return None
    if not kind or not 0 < weight <= 1:
        return None
    return Clause(kind.lower(), given.get("as", ""), given.get("g", ""), given.get("v", ""), weight)
