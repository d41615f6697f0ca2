"""Plain data against a structural schema: every flaw with its path, and the data with defaults filled in.

msgspec stops at the first flaw; a person who mends a file wants all of them. The answers agree with the API server's, which reads the
same schema: null means "left out", an integer may be written ``3.0``.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from autoscaler import spec
from autoscaler.schema import Schema, at_end_only
from autoscaler.yaml_tree import Path

_WORDS: Final = {"object": "a mapping", "array": "a list", "string": "a text", "integer": "a whole number", "number": "a number"}
_WORDS_OF_PATTERN: Final = {
    spec.DURATION_PATTERN: "a duration such as 90s or 1h30m (units: ms, s, m, h, d)",
    spec.SHARE_PATTERN: "a percentage from 0% to 100% such as 99.5%, or a ratio such as '0.995'",
    spec.TARGET_PATTERN: "a duration such as 5s, or a percentage such as 70%",
    spec.BESIDE_PATTERN: "a duration such as 5s, a percentage such as 70%, or a number such as 24",
    spec.DNS_PATTERN: "a name of lower-case letters, digits, '-' and '.'",
    spec.URL_PATTERN: "an http:// or https:// URL without user name, password, query and fragment",
    spec.HTTPS_PATTERN: "an https:// URL without user name, password, query and fragment",
    spec.NAMESPACES_PATTERN: "a namespace, or '*' for every one,",
    spec.CLOCK_PATTERN: "a time of day from 00:00 to 23:59",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What is wrong at `path`: the value there (None: nothing) and, in words, what is allowed."""

    path: Path
    value: Any
    message: str


def check(schema: Schema, data: Any, path: Path = ()) -> tuple[Any, list[Flaw]]:
    """The data with defaults, and every flaw. Where there are flaws the data is as good as it could be made."""
    flaws: list[Flaw] = []
    return _check(schema, data, path, flaws), flaws


def dotted(path: Path) -> str:
    """A path as Kubernetes writes it: ``spec.policies[0].name``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The rest of a sentence that says a word is unknown: the one that was probably meant, or all there are."""
    names = list(known)
    by_small = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_small, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{by_small[close[0]]}'?"
    return f"allowed: {', '.join(names)}" if names else "none is allowed"


def shown(value: Any) -> str:
    """A value as the file would write it, shortened."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) and (not value or value != value.strip()) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _check(schema: Schema, data: Any, path: Path, flaws: list[Flaw]) -> Any:
    kind = schema.get("type")
    if kind is None:
        return data
    if not _is(kind, data):
        hint = "; write it in quotes" if kind == "string" and isinstance(data, (bool, int, float)) else ""
        flaws.append(Flaw(path=path, value=data, message=f"{_WORDS.get(kind, 'true or false')} is expected{hint}"))
        return data
    match kind:
        case "object":
            return _object(schema, data, path, flaws)
        case "array":
            return _array(schema, data, path, flaws)
        case "string":
            _string(schema, data, path, flaws)
        case "integer" | "number":
            _number(schema, data, path, flaws)
            return int(data) if kind == "integer" else data
    return data


def _is(kind: str, data: Any) -> bool:
    match kind:
        case "object":
            return isinstance(data, Mapping)
        case "array":
            return isinstance(data, list)
        case "string":
            return isinstance(data, str)
        case "boolean":
            return isinstance(data, bool)
        case "integer":
            return not isinstance(data, bool) and (isinstance(data, int) or (isinstance(data, float) and data.is_integer()))
    return not isinstance(data, bool) and isinstance(data, (int, float)) and math.isfinite(data)


def _object(schema: Schema, data: Mapping[str, Any], path: Path, flaws: list[Flaw]) -> dict[str, Any]:
    properties: Schema = schema.get("properties", {})
    free = schema.get("x-kubernetes-preserve-unknown-fields", False)
    made: dict[str, Any] = {}
    for key, value in data.items():
        if key in properties:
            if value is not None:
                made[key] = _check(properties[key], value, (*path, key), flaws)
        elif "additionalProperties" in schema:
            made[key] = _check(schema["additionalProperties"], value, (*path, key), flaws)
        elif free:
            made[key] = value
        else:
            flaws.append(Flaw(path=(*path, key), value=None, message=f"unknown field; {did_you_mean(key, properties)}"))
    for key, part in properties.items():
        if key not in made and "default" in part:
            made[key] = copy.deepcopy(part["default"])
    for key in schema.get("required", ()):
        if key not in made:
            flaws.append(
                Flaw(path=(*path, key), value=None, message=f"needed, but left out. {_described(properties[key])}".strip())
            )
    return made


def _array(schema: Schema, data: list[Any], path: Path, flaws: list[Flaw]) -> list[Any]:
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if not least <= len(data) <= most:
        bounds = f"at least {least}" if most == math.inf else f"{least} to {most}"
        flaws.append(Flaw(path=path, value=f"{len(data)} items", message=f"{bounds} items are allowed"))
    made = [_check(schema["items"], item, (*path, index), flaws) for index, item in enumerate(data)]
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: dict[Any, int] = {}
    if schema.get("x-kubernetes-list-type") in ("map", "set"):
        for index, item in enumerate(made):
            identity = tuple(str(item.get(key)) for key in keys) if isinstance(item, Mapping) else str(item)
            if seen.setdefault(identity, index) != index:
                where = dotted((*path, seen[identity]))
                at = (*path, index, *keys) if isinstance(item, Mapping) else (*path, index)
                flaws.append(Flaw(path=at, value=", ".join(identity) if keys else item, message=f"the same as {where}"))
    return made


def _string(schema: Schema, data: str, path: Path, flaws: list[Flaw]) -> None:
    def flaw(message: str) -> None:
        flaws.append(Flaw(path=path, value=data, message=message))

    if "enum" in schema and data not in schema["enum"]:
        allowed = ", ".join(schema["enum"])
        guess = did_you_mean(data, schema["enum"])
        flaw(f"one of {allowed} is allowed" + (f"; {guess}" if guess.startswith("did") else ""))
        return
    pattern = schema.get("pattern")
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    if not least <= len(data) <= most:
        flaw("must not be empty" if len(data) < least else f"at most {most} characters are allowed")
    elif pattern is not None and not at_end_only(pattern).search(data):
        flaw(f"{_WORDS_OF_PATTERN.get(pattern) or f'a text that matches {pattern}'} is expected")
    elif schema.get("format") == "date-time":
        try:
            spec.moment_s(data)
        except ValueError:
            flaw("an RFC 3339 moment is expected, such as 2026-01-31T06:00:00Z")


def _number(schema: Schema, data: float, path: Path, flaws: list[Flaw]) -> None:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above = schema.get("exclusiveMinimum", False)
    if low <= data <= high and not (above and data == low):
        return
    upper = "" if high == math.inf else f"{high:.10g}"
    bounds = f"more than {low:g}" if above else f"{low:.10g}"
    bounds = f"{bounds} to {upper}" if upper else bounds if above else f"{bounds} or more"
    flaws.append(Flaw(path=path, value=data, message=f"{bounds} is allowed"))


def _described(schema: Schema) -> str:
    return str(schema.get("description", ""))
