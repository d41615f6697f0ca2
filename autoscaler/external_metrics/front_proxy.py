"""For whom a front proxy asks: Kubernetes' X-Remote-* headers, or what the cluster calls them.

As apiserver, pkg/authentication/request/headerrequest/requestheader.go, reads them, but where that would pick one of several answers there
is none here. The aggregator hands a client's other headers on as they are: in a cluster that names several headers for one thing, a second
one may be the client's own word for who it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from autoscaler.external_metrics.identity import User
from autoscaler.external_metrics.trust import FrontProxies

_BROKEN: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and what aiohttp makes of bytes that are not UTF-8."""


class AmbiguousError(Exception):
    """The headers do not say who asks in one way only; the text says which."""


def user_of(headers: CIMultiDictProxy[str], proxies: FrontProxies) -> User | None:
    """Who asks, by the headers of a front proxy whose certificate was verified; None where they name nobody. Raises AmbiguousError.

    system:authenticated is not added."""
    names = _values(headers, proxies.user_headers)
    if not names:
        return None
    uids = _values(headers, proxies.uid_headers)
    if len(names) > 1 or len(uids) > 1:
        raise AmbiguousError(f"{'user' if len(names) > 1 else 'uid'} was given several times")
    groups = _values(headers, proxies.group_headers)
    extra = _extra(headers, proxies.extra_prefixes)
    texts = [*names, *uids, *groups]
    for key, values in extra.items():
        texts += (key, *values)
    if _BROKEN.search(" ".join(texts)):
        raise AmbiguousError("control characters or bytes that are not UTF-8 are in the user's name, groups or extra")
    return User(
        name=names[0],
        groups=tuple(groups),
        uid=uids[0] if uids else "",
        extra=tuple((key, tuple(extra[key])) for key in sorted(extra)),
        method="front-proxy",
    )


def _values(headers: CIMultiDictProxy[str], names: tuple[str, ...]) -> list[str]:
    """The values that are not empty, which must all be under one of the names."""
    found: list[str] = []
    for name in names:
        values = [value for value in headers.getall(name, ()) if value]
        if values and found:
            raise AmbiguousError(f"{name} and another header for the same were given")
        found += values
    return found


def _extra(headers: CIMultiDictProxy[str], prefixes: tuple[str, ...]) -> Mapping[str, list[str]]:
    extra: dict[str, list[str]] = {}
    used = ""
    for name, value in headers.items():
        lower = name.lower()
        if not lower.startswith(prefixes):
            continue
        prefix = max((prefix for prefix in prefixes if lower.startswith(prefix)), key=len)
        if used and prefix != used:
            raise AmbiguousError(f"extra was given both with {used} and {prefix}")
        used = prefix
        extra.setdefault(_key(lower[len(prefix) :]), []).append(value)
    return extra


def _key(escaped: str) -> str:
    if "%" not in escaped:
        return escaped
    try:
        return unquote(escaped, errors="strict").lower()
    except UnicodeDecodeError:
        return escaped  # as in Kubernetes: a key that can't be decoded is taken as it stands
