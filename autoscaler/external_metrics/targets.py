"""What a request's URL asks for: which path, which metric of which namespace, which of its values.

The path is taken apart before it is decoded, and a part that would then hold a separator, a dot path or a control character is refused: what
is authorized and what is answered is one and the same text, however it was escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, unquote

from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.identity import GROUP, VERSION
from autoscaler.external_metrics.selectors import Selector, SelectorError, parse

LONGEST: Final = 16 * 1024
"""Characters of a whole URL."""
_LONGEST_REMEMBERED: Final = 512
_REMEMBERED: Final = 16384
_MOST_PARAMETERS: Final = 64

_VALUES: Final = ("apis", GROUP, VERSION, "namespaces")
_NEVER_IN_A_PART: Final = re.compile(r"[/%\x00-\x20\x7f\\]")
_NO_QUERY: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Target:
    """path: decoded, without a slash at its end. namespace, metric: where it is values that are asked for; metric in lower case, as client-go
    asks anyway. query: by name. query_string: as it came."""

    path: str
    namespace: str
    metric: str
    query: Mapping[str, str]
    query_string: str


def target_of(url: str) -> Target:
    """Of the request line. Raises RefusedError: 400 for what no client of Kubernetes sends, 414 where it is too long."""
    if len(url) > LONGEST:
        raise RefusedError(414, f"the URL has {len(url)} characters; at most {LONGEST} are allowed")
    return _remembered(url) if len(url) <= _LONGEST_REMEMBERED else _parsed(url)


def selector_of(target: Target) -> Selector:
    """The label selector of a request for values; everything where there is none. Raises RefusedError (400, 405) for what would be another
    question than is answered here: an answer that left a condition out would be a wrong number."""
    query = target.query
    if _is_true(query.get("watch")):
        raise RefusedError(405, "watch: values can't be watched; ask again, they are answered from memory")
    if query.get("fieldSelector"):
        raise RefusedError(400, "fieldSelector: values have no fields to select by; use labelSelector")
    if query.get("continue"):
        raise RefusedError(400, "continue: lists of values are always whole, so that no such token was ever given")
    for name in query:
        if name != "labelSelector" and name.lower().replace("_", "").replace("-", "") in ("labelselector", "labelselectors"):
            raise RefusedError(400, f"{name}: there is no such parameter; it is spelt labelSelector")
    try:
        return parse(query.get("labelSelector", ""))
    except SelectorError as fault:
        raise RefusedError(400, f"labelSelector: unable to parse it: {fault}") from None


def _parsed(url: str) -> Target:
    if not url.isascii():
        raise RefusedError(400, "the URL holds characters that are to be escaped with '%'")
    path, _, query_string = url.partition("?")
    if not path.startswith("/"):
        raise RefusedError(400, "the request's path does not begin with '/'")
    parts = [_part(part) for part in path.removesuffix("/").split("/")[1:]]
    namespace = metric = ""
    if len(parts) == 6 and tuple(parts[:4]) == _VALUES:
        namespace, metric = parts[4], parts[5].lower()
    return Target("/" + "/".join(parts), namespace, metric, _query(query_string), query_string)


_remembered: Final[Callable[[str], Target]] = lru_cache(_REMEMBERED)(_parsed)


def _part(raw: str) -> str:
    part = raw if "%" not in raw else unquote(raw, errors="replace")
    if not part or part in (".", "..") or _NEVER_IN_A_PART.search(part):
        raise RefusedError(
            400,
            "the path has a part that is empty, '.' or '..', or that holds a slash, backslash, percent, space or control character",
        )
    return part


def _query(query_string: str) -> Mapping[str, str]:
    if not query_string:
        return _NO_QUERY
    try:
        pairs = parse_qsl(query_string, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict")
    except ValueError:
        raise RefusedError(400, f"the query is not UTF-8 when decoded, or has more than {_MOST_PARAMETERS} parameters") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        twice = next(name for name, _ in pairs if sum(other == name for other, _ in pairs) > 1)
        raise RefusedError(400, f"{twice[:80]}: it is given more than once")
    return MappingProxyType(query)


def _is_true(text: str | None) -> bool:
    """As apimachinery converts a query's booleans: anything but these (pkg/runtime/conversion.go: Convert_Slice_string_To_bool)."""
    return text is not None and text.lower() not in ("false", "0")
