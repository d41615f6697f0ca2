"""Moments on a command line."""

from __future__ import annotations

from autoscaler.errors import UsageError
from autoscaler.spec import duration_s, moment_s


def moment(flag: str, text: str, now_s: float) -> float:
    """Unix seconds of an RFC 3339 moment, of Unix seconds, of ``now``, or of ``-7d`` before now. Raises UsageError."""
    try:
        if text == "now":
            return now_s
        if text.startswith("-"):
            return now_s - duration_s(text[1:])
        return float(text) if text.replace(".", "", 1).isdigit() else moment_s(text)
    except ValueError:
        raise UsageError(
            f"{flag} {text}: is no moment; write 2026-01-31T06:00:00Z, Unix seconds, now, or -7d for seven days ago"
        ) from None
