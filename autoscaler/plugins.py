"""Installed policies: ours and those that others install, found by entry point. A broken one is reported and left out, never fatal."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from autoscaler.core.policy import PolicyType

POLICIES: Final = "inference_autoscaler.policies"


@dataclass(slots=True, kw_only=True)
class Installed:
    """policies by name; packages: which distribution each came from; broken: entry point → why it can't be used."""

    policies: dict[str, PolicyType] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def load_policies() -> dict[str, PolicyType]:
    """Every usable policy by name."""
    return installed().policies


def installed() -> Installed:
    """Every policy, and what is wrong with those that can't be used."""
    found = Installed()
    for entry in sorted(entry_points(group=POLICIES), key=lambda entry: entry.name):
        try:
            policy = _loaded(entry)
        except Exception as fault:  # a stranger's module may raise anything while it is imported
            found.broken[entry.name] = f"{type(fault).__name__}: {fault}"
            continue
        found.policies[entry.name] = policy
        found.packages[entry.name] = entry.dist.name if entry.dist else ""
    return found


def _loaded(entry: EntryPoint) -> PolicyType:
    policy = entry.load()
    if not isinstance(policy, PolicyType):
        raise TypeError(f"{entry.value} is no PolicyType")
    if policy.name != entry.name:
        raise ValueError(f"the policy calls itself '{policy.name}', the entry point '{entry.name}'; both must be the same")
    return policy
