"""Which series of a file stand for which signal, where the file's names are not ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from autoscaler.core.signals import SIGNALS
from autoscaler.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """by_name: series name → signal; only these are read where any are given. "" names series without a name."""

    by_name: dict[str, str] = field(default_factory=dict)

    def signal(self, name: str) -> str | None:
        """The signal that a series of this name stands for, None for none. Without picks: signals by their own names."""
        if self.by_name:
            return self.by_name.get(name)
        return name if name in SIGNALS else None


def picks(texts: Sequence[str]) -> Picks:
    """From ``NAME=SIGNAL`` or ``NAME`` (of requests, so demand). Raises UsageError."""
    found = {}
    for text in texts:
        name, _, signal = text.rpartition("=") if "=" in text else (text, "", "demand")
        if signal not in SIGNALS:
            raise UsageError(f"--metric {text}: '{signal}' is no signal; allowed are {', '.join(SIGNALS)}")
        found[name.strip()] = signal
    return Picks(by_name=found)
