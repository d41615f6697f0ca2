"""What is wanted of certificates, and what an administrator may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from autoscaler.external_metrics.certificates.authority import Lifetimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is wanted. names: the DNS names of the serving certificate. settle_s: from the caBundle's being written until every API server
    has taken it in. overlap_s: from the switch until every replica, also one that was cut off, serves the new certificate."""

    names: Sequence[str]
    lifetimes: Lifetimes
    settle_s: float = 60.0
    overlap_s: float = 86400.0

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("names must hold one DNS name at least")
        if self.settle_s < 0 or self.overlap_s < 0:
            raise ValueError(f"settle_s and overlap_s must not be negative (are: {self.settle_s:g}, {self.overlap_s:g})")


class Asked(Enum):
    """What an administrator asked for."""

    NOTHING = ""
    LEAVES = "leaf"
    ALL = "now"
