"""Kubernetes' two spellings of a moment, both UTC: Time (whole seconds) and MicroTime (six digits)."""

from __future__ import annotations

from datetime import UTC, datetime

from autoscaler.spec import moment_s


def time_text(at_s: float) -> str:
    """metav1.Time of Unix seconds, such as ``2026-01-31T06:00:00Z``."""
    return datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time_text(at_s: float) -> str:
    """metav1.MicroTime of Unix seconds, such as ``2026-01-31T06:00:00.000000Z``."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_or_none(text: object) -> float | None:
    """Unix seconds of a Time or MicroTime that the API server gave; None where it is missing or no moment."""
    if not isinstance(text, str) or not text:
        return None
    try:
        # Nearly every moment has this shape; the general parser costs three times as much.
        if len(text) == 20 and text[-1] == "Z":
            return datetime.fromisoformat(text).timestamp()
        return moment_s(text)
    except ValueError:
        return None
