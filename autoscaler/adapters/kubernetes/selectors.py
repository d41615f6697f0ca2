"""Label selectors in both spellings: the object of a Deployment's spec and the text of a scale's status."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Operator: TypeAlias = Literal["In", "NotIn", "Exists", "DoesNotExist"]
_SET: Final = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^)]*)\)$")
_SPLIT: Final = re.compile(r",(?![^()]*\))")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement on one label."""

    label: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.label)
        if self.operator == "In":
            return value is not None and value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        return (value is not None) == (self.operator == "Exists")


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold. Without any it would match everything, which for the pods of a target is never meant: see `parse`."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self.requirements)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The (label, value) pairs that every matching object carries; what an index can be built on."""
        for requirement in self.requirements:
            if requirement.operator == "In" and len(requirement.values) == 1:
                yield requirement.label, next(iter(requirement.values))


def parse(value: Any) -> LabelSelector | None:
    """The selector of a metav1.LabelSelector object or of a text. None where there is none, or an empty one. Raises ValueError."""
    requirements: list[Requirement] = []
    if isinstance(value, str):
        requirements = [_of_text(part.strip()) for part in _SPLIT.split(value) if part.strip()]
    elif isinstance(value, dict):
        for label, wanted in (value.get("matchLabels") or {}).items():
            requirements.append(Requirement(label, "In", frozenset((wanted,))))
        for entry in value.get("matchExpressions") or ():
            operator = entry.get("operator")
            if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
                raise ValueError(f"'{operator}' is no operator of a label selector")
            requirements.append(Requirement(entry["key"], operator, frozenset(entry.get("values") or ())))
    elif value is not None:
        raise ValueError("a label selector is an object or a text")
    return LabelSelector(tuple(requirements)) if requirements else None


def _of_text(part: str) -> Requirement:
    if found := _SET.match(part):
        label, word, values = found.groups()
        return Requirement(label, "In" if word == "in" else "NotIn", frozenset(value.strip() for value in values.split(",")))
    for sign, operator in (("!=", "NotIn"), ("==", "In"), ("=", "In")):
        label, found_sign, wanted = part.partition(sign)
        if found_sign:
            return Requirement(label.strip(), "In" if operator == "In" else "NotIn", frozenset((wanted.strip(),)))
    absent = part.startswith("!")
    label = part.lstrip("!").strip()
    if not label or re.search(r"[\s()<>]", label):
        raise ValueError(f"'{part}' is no label selector")
    return Requirement(label, "DoesNotExist" if absent else "Exists")
