"""Label selectors as they stand in a request: ``app=llama,tier in (a, b),!canary,quantile>0``.

The grammar, and what it lets pass, are those of apimachinery's pkg/labels/selector.go: ``in ()`` means the empty value, ``a=`` too, a
keyword is an ordinary value where a value is expected. Only control characters are refused everywhere: there, a null byte ends the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from autoscaler.published import NAME_LABEL

Operator: TypeAlias = Literal["in", "notin", "exists", "absent", ">", "<"]

LONGEST: Final = 8192
"""Characters. Kubernetes has no limit of its own; what people and HPAs write has a few hundred."""
_LONGEST_REMEMBERED: Final = 512
_REMEMBERED: Final = 16384

_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+))")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,4000}")
_LONGEST_NAME: Final = 63
_LONGEST_PREFIX: Final = 253
_OPERATORS: Final[Mapping[str, Operator]] = {
    "=": "in",
    "==": "in",
    "!=": "notin",
    "in": "in",
    "notin": "notin",
    ">": ">",
    "<": "<",
}


class SelectorError(ValueError):
    """A text that is no label selector: where, what is there, what is allowed."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What is asked of one label. number: of ``>`` and ``<``."""

    label: str
    operator: Operator
    values: frozenset[str] = frozenset()
    number: int = 0

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.label)
        operator = self.operator
        if operator == "in":
            return value in self.values
        if operator == "notin":
            return value is None or value not in self.values
        if operator == "exists":
            return value is not None
        if operator == "absent":
            return value is None
        number = None if value is None else _int64(value)
        return number is not None and (number > self.number if operator == ">" else number < self.number)


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; without any, everything matches.

    name: the one value of NAME_LABEL that a match can have, where the selector says so; what an index can be asked for.
    """

    text: str
    requirements: tuple[Requirement, ...]
    name: str | None

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self.requirements)


def parse(text: str) -> Selector:
    """The selector that `text` means; remembered, as HPAs ask the same again and again. Raises SelectorError."""
    if len(text) > LONGEST:
        raise SelectorError(f"it has {len(text)} characters; at most {LONGEST} are allowed")
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _parsed(text)


def _parsed(text: str) -> Selector:
    requirements = _Parser(text).requirements()
    names = [
        next(iter(requirement.values))
        for requirement in requirements
        if requirement.label == NAME_LABEL and requirement.operator == "in" and len(requirement.values) == 1
    ]
    return Selector(text, requirements, names[0] if names else None)


_remembered: Final[Callable[[str], Selector]] = lru_cache(_REMEMBERED)(_parsed)


@dataclass(frozen=True, slots=True)
class _Token:
    """text: "" at the end. word: whether it is a label, a value or a keyword, and no sign."""

    text: str
    word: bool
    at: int


class _Parser:
    def __init__(self, text: str) -> None:
        if found := _CONTROL.search(text):
            raise SelectorError(
                f"character {found.start() + 1} is a control character (U+{ord(found.group()):04X}), which is not allowed"
            )
        self._text = text
        self._at = 0
        self._next = self._scan()

    def requirements(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        if not self._next.text:
            return ()
        while True:
            found.append(self._requirement())
            token = self._take()
            if not token.text:
                return tuple(found)
            if token.text != ",":
                raise _unexpected(token, "',' or the end")

    def _requirement(self) -> Requirement:
        token = self._take()
        absent = token.text == "!"
        if absent:
            token = self._take()
        if not token.word:
            raise _unexpected(token, "a label" if absent else "a label or '!'")
        label = _label(token)
        if absent:
            return Requirement(label, "absent")
        if self._next.text in ("", ","):
            return Requirement(label, "exists")
        sign = self._take()
        operator = _OPERATORS.get(sign.text)
        if operator is None:
            raise _unexpected(sign, "one of =, ==, !=, in, notin, >, <, ',' or the end")
        if sign.word:
            return Requirement(label, operator, self._values())
        value = self._value()
        if operator not in (">", "<"):
            return Requirement(label, operator, frozenset((value.text,)))
        number = _int64(value.text)
        if number is None:
            raise _unexpected(value, f"a whole number of 64 bits after '{sign.text}'")
        return Requirement(label, operator, frozenset((value.text,)), number)

    def _value(self) -> _Token:
        """The one value after a sign; a missing one is the empty value."""
        if self._next.text in ("", ","):
            return _Token("", True, self._next.at)
        token = self._take()
        if not token.word:
            raise _unexpected(token, "a value")
        return _valid_value(token)

    def _values(self) -> frozenset[str]:
        """The set after ``in`` or ``notin``; where a value is missing (``(a,,b)``, ``()``) the empty one is meant."""
        opening = self._take()
        if opening.text != "(":
            raise _unexpected(opening, "'('")
        values: set[str] = set()
        wanted = True
        while True:
            token = self._take()
            if token.word and wanted:
                values.add(_valid_value(token).text)
                wanted = False
            elif token.text in (",", ")"):
                if wanted:
                    values.add("")
                if token.text == ")":
                    return frozenset(values)
                wanted = True
            else:
                raise _unexpected(token, "a value, ',' or ')'" if wanted else "',' or ')'")

    def _take(self) -> _Token:
        token = self._next
        self._next = self._scan()
        return token

    def _scan(self) -> _Token:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            return _Token("", False, len(self._text))
        self._at = found.end()
        sign, word = found.groups()
        return _Token(word or sign, word is not None, found.start(2 if word else 1))


def _unexpected(token: _Token, allowed: str) -> SelectorError:
    there = f"character {token.at + 1} begins {_shown(token.text)}" if token.text else "it ends"
    return SelectorError(f"{there} where {allowed} is expected")


def _shown(text: str) -> str:
    return f"'{text}'" if len(text) <= 80 else f"'{text[:80]}…'"


def _label(token: _Token) -> str:
    """An optional DNS subdomain and a name (apimachinery, pkg/api/validate/content/kube.go: IsLabelKey)."""
    prefix, slash, name = token.text.rpartition("/")
    if slash and (len(prefix) > _LONGEST_PREFIX or not _SUBDOMAIN.fullmatch(prefix)):
        raise _invalid(token, f"the part of a label before '/' is a DNS subdomain of at most {_LONGEST_PREFIX} characters")
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise _invalid(
            token,
            f"a label's name has 1 to {_LONGEST_NAME} of A-Z a-z 0-9 - _ . and begins and ends with a letter or digit; a DNS subdomain and '/' "
            "may stand before it",
        )
    return token.text


def _valid_value(token: _Token) -> _Token:
    if len(token.text) > _LONGEST_NAME or not _NAME.fullmatch(token.text):
        raise _invalid(
            token,
            f"a label's value is empty, or has up to {_LONGEST_NAME} of A-Z a-z 0-9 - _ . and begins and ends with a letter or digit",
        )
    return token


def _invalid(token: _Token, allowed: str) -> SelectorError:
    return SelectorError(f"{_shown(token.text)} at character {token.at + 1} is not allowed: {allowed}")


def _int64(text: str) -> int | None:
    """As Go's ParseInt(text, 10, 64) does; None where that is an error."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
