"""Numbers of the texts in manifests."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import Final

from autoscaler.spec.base import BESIDE_PATTERN, CLOCK_PATTERN, DURATION_PATTERN, MOMENT_PATTERN, SHARE_PATTERN

_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_s(text: str) -> float:
    """Seconds of a duration text such as ``90s`` or ``1h30m``. Raises ValueError."""
    # fullmatch, since Python's $ also matches before a last line feed, which the API server's does not.
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"'{text}' is not a duration; write a number and a unit (ms, s, m, h, d), such as 90s or 1h30m")
    return sum(float(number) * _UNIT_S[unit] for number, unit in re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", text))


def share_ratio(text: str) -> float:
    """The ratio (0…1) of a share text such as ``99.5%`` or ``0.995``. Raises ValueError."""
    if not re.fullmatch(SHARE_PATTERN, text):
        raise ValueError(f"'{text}' is not a share; write a percentage from 0% to 100% such as 99.5%, or a ratio such as 0.995")
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def target_value(text: str) -> float:
    """An objective's target: seconds of a duration (``5s``), the ratio of a percentage (``70%``), or a number. Raises ValueError."""
    if not re.fullmatch(BESIDE_PATTERN, text):
        raise ValueError(f"'{text}' is neither a duration such as 5s nor a percentage such as 70%, nor a number such as 24")
    if text[-1].isdigit():
        return float(text)
    return float(text[:-1]) / 100 if text.endswith("%") else duration_s(text)


def moment_s(text: str) -> float:
    """Unix seconds of an RFC 3339 moment such as ``2026-01-31T06:00:00Z``. Raises ValueError."""
    if re.fullmatch(MOMENT_PATTERN, text):
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.fromisoformat(text.upper().replace("Z", "+00:00")).timestamp()
    raise ValueError(f"'{text}' is not an RFC 3339 moment; write one such as 2026-01-31T06:00:00Z or 2026-01-31T07:00:00+01:00")


def clock_minute(text: str) -> int:
    """Minutes since midnight of a clock time such as ``07:30``. Raises ValueError."""
    if not re.fullmatch(CLOCK_PATTERN, text):
        raise ValueError(f"'{text}' is not a time of day; write one from 00:00 to 23:59")
    return int(text[:2]) * 60 + int(text[3:])
