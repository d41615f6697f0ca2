"""Which plug-ins are installed: ours and those that others install, found by entry point. A broken one is told and left out, never
fatal; a stranger's takes no name from ours, nor from another stranger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Generic, TypeVar

from autoscaler.core.forecaster import ForecasterType

FORECASTERS: Final = "inference_autoscaler.forecasters"
OURS: Final = "inference-autoscaler"
"""Our own distribution."""
Kind = TypeVar("Kind")


@dataclass(slots=True, kw_only=True)
class Discovered(Generic[Kind]):
    """kinds: what can be used, by name, ours first. packages: which distribution each came from. broken: why an entry point can't be
    used, by its name, and its package too where the name is somebody else's."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def discover(group: str, kind: type[Kind], check: Callable[[Kind, dict[str, Kind]], None] | None = None) -> Discovered[Kind]:
    """All of an entry point group that are of the type `kind`, which has a `name`. check(one, those found so far) raises for what else
    is wrong with one."""
    found: Discovered[Kind] = Discovered()
    for entry in sorted(entry_points(group=group), key=lambda entry: (package_of(entry) != OURS, entry.name, package_of(entry))):
        package = package_of(entry)
        if entry.name in found.kinds:
            if (holder := found.packages[entry.name]) != package:  # the same one twice on the path is the first of them
                found.broken[f"{entry.name} of {package or entry.value}"] = f"the name '{entry.name}' is taken by {holder}"
            continue
        try:
            one = _loaded(entry, kind)
            if check is not None:
                check(one, found.kinds)
        except Exception as fault:  # a stranger's module may raise anything while it is imported
            found.broken[entry.name] = f"{type(fault).__name__}: {fault}"
            continue
        found.kinds[entry.name], found.packages[entry.name] = one, package
    return found


def discover_forecasters() -> Discovered[ForecasterType]:
    """Every forecaster, and what is wrong with those that can't be used."""
    return discover(FORECASTERS, ForecasterType, _check_forecaster)


def package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else ""


def _loaded(entry: EntryPoint, kind: type[Kind]) -> Kind:
    one: Any = entry.load()
    what = kind.__name__.removesuffix("Type").lower()
    if not isinstance(one, kind):
        raise TypeError(f"{entry.value} is no {kind.__name__}")
    name = getattr(one, "name", None)
    if name != entry.name:
        raise ValueError(f"the {what} calls itself '{name}', the entry point '{entry.name}'; both must be the same")
    return one


def _check_forecaster(one: ForecasterType, others: dict[str, ForecasterType]) -> None:
    """Explanations name experts, so a name is one expert's."""
    experts = one.experts
    if not isinstance(experts, tuple) or not experts or not all(isinstance(name, str) and name for name in experts):
        raise ValueError(f"experts is {experts!r}; a tuple with the name of each expert is allowed")
    taken = {name: other.name for other in others.values() for name in other.experts}
    for place, name in enumerate(experts):
        if name in taken:
            raise ValueError(f"its expert '{name}' has the name of one of '{taken[name]}'")
        if name in experts[:place]:
            raise ValueError(f"two of its experts are called '{name}'")
