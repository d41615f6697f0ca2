"""The values in memory, each with its age: what every answer is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Labels: TypeAlias = Mapping[str, str]
Matches: TypeAlias = Callable[[Labels], bool]
"""Whether a label selector matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One metric of one object.

    value: NaN where it is not known; why says why not, in words. at_s: Unix seconds of what it was true for; 0 where unknown. age_s: how long
    ago that is. max_age_s: with a greater age it is an error, not a number. window_s: over how long it is a mean; None: of a moment.
    """

    namespace: str
    object: str
    metric: str
    labels: Labels
    value: float
    at_s: float
    age_s: float
    max_age_s: float
    window_s: float | None = None
    why: str = ""


class Values(Protocol):
    """What the server reads. Every call answers at once, from memory."""

    def has_data(self) -> bool:
        """Whether anything was ever received."""

    def namespaces(self) -> frozenset[str]:
        """In which there are objects."""

    def objects(self, namespace: str) -> Sequence[str]:
        """The names of the objects in it, for messages."""

    def find(self, namespace: str, metric: str, matches: Matches, name: str | None) -> list[Value]:
        """All that match, known or not, in the order of their names. name: where the selector asks for one object by name, that name, so that
        nobody looks through thousands; `matches` still decides."""

    def metrics(self) -> int:
        """How many values there are, known or not; for own metrics."""
