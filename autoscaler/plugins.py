"""Installed policies: ours and those that others install. A broken one is reported and left out, never fatal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from autoscaler.core.discovery import discover
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
    found = discover(POLICIES, PolicyType)
    return Installed(policies=dict(sorted(found.kinds.items())), packages=found.packages, broken=found.broken)
