"""Rules between fields of a manifest, each once in CEL (for the API server) and once in Python (for files), with the same meaning.

The Python predicate sees what CEL sees: plain data with the schema's defaults filled in, optional fields absent where left out. A rule
is looked at only where the data has the schema's types. tests/realparts judge both by the same data on a real API server.

The API server estimates what a rule may cost and refuses expensive ones: every list and text that a rule walks needs a maximum in ``spec``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias

from autoscaler.manifest_rules import behavior, objective, pool, service, signals
from autoscaler.manifest_rules.rule import Data, Rule

Path: TypeAlias = tuple[str | int, ...]

RULES: Final[tuple[Rule, ...]] = (*service.RULES, *objective.RULES, *signals.RULES, *behavior.RULES, *pool.RULES)
"""In the order in which the CRDs and the reference page have them."""


def broken(kind: str, whole: Data, flawed: Collection[Path] = ()) -> Iterator[tuple[Rule, Path]]:
    """The rules that a manifest with defaults breaks, each with the path to blame.

    flawed: paths whose data hasn't the schema's type or range; rules that read them are left out, since they could only guess.
    """
    for rule in RULES:
        if rule.kind == kind:
            for path, data in _places(whole, rule.at):
                if not _reads_any(rule, path, flawed) and not rule.holds(data):
                    yield rule, (*path, *filter(None, rule.field.split(".")))


def _reads_any(rule: Rule, place: Path, flawed: Collection[Path]) -> bool:
    reads = {(*place, field) for field in re.findall(r"self\.([A-Za-z]+)", rule.cel)}
    return any(place[: len(path)] == path or path[: len(place) + 1] in reads for path in flawed)


def _places(data: Any, at: str) -> list[tuple[Path, Data]]:
    """Every object that `at` means here, with its path; none where it was left out."""
    places: list[tuple[Path, Any]] = [((), data)]
    for step in filter(None, at.split(".")):
        name = step.removesuffix("[]")
        places = [((*path, name), value[name]) for path, value in places if isinstance(value, Mapping) and name in value]
        if step.endswith("[]"):
            places = [
                ((*path, index), item) for path, value in places if isinstance(value, list) for index, item in enumerate(value)
            ]
    return [(path, value) for path, value in places if isinstance(value, Mapping)]
