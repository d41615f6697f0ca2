"""How a trace is named on a command line: ``PATH``, or ``PATH:smoothing=15m`` with settings of the scenario for it alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from autoscaler.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceUse:
    """path: the file. settings: scenario settings by dotted path below the scenario's root."""

    path: Path
    settings: dict[str, str] = field(default_factory=dict)


def trace_use(text: str) -> TraceUse:
    """Raises UsageError. A file of that very name wins over settings."""
    if Path(text).exists() or ":" not in text or "=" not in text.rpartition(":")[2]:
        return TraceUse(path=Path(text))
    path, _, given = text.rpartition(":")
    settings = {}
    for setting in given.split(","):
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"-t {text}: write PATH:KEY=VALUE, such as trace.csv:smoothing=15m")
        settings[key.strip().removeprefix("scenario.")] = value.strip()
    return TraceUse(path=Path(path), settings=settings)
