"""Columns of times as texts → exact whole seconds and seconds after them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Clock: TypeAlias = Literal["seconds", "milliseconds", "calendar"]
Nanos: TypeAlias = npt.NDArray[np.int64]
ALLOWED: Final = {
    "seconds": "a number of seconds",
    "milliseconds": "a number of milliseconds",
    "calendar": "a moment such as 2023-11-16 18:15:46.68 (UTC unless it says its offset)",
}
_PLAIN: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?")
_NANO: Final = 1_000_000_000
_LARGEST_S: Final = 9e9
"""Of times in seconds: beyond the year 2255 they are something else, and nanoseconds still fit into 64 bits."""


def nanoseconds(texts: Sequence[str], clock: Clock) -> Nanos | None:
    """A column at once; None where it holds anything unusual."""
    try:
        if clock == "calendar":
            if any("+" in text or text.endswith(("Z", "z")) for text in (texts[0], texts[-1])):
                texts = [text.removesuffix("+00:00").removesuffix("Z") for text in texts]
            if not all(map(_PLAIN.fullmatch, texts)):
                return None
            return np.array(texts, dtype="datetime64[ns]").astype(np.int64)
        numbers = np.array(texts, dtype=np.float64)
    except ValueError:
        return None
    scale = 1.0 if clock == "seconds" else 1e-3
    if not (np.abs(numbers * scale) < _LARGEST_S).all():
        return None
    if clock == "milliseconds":
        return np.rint(numbers * 1e6).astype(np.int64)
    whole = np.floor(numbers)
    # Of a Unix time in seconds a float holds a quarter of a microsecond: what is beyond is noise.
    return whole.astype(np.int64) * _NANO + np.rint((numbers - whole) * 1e9).astype(np.int64)


def nanosecond(text: str, clock: Clock) -> int:
    """One of them. Raises ValueError."""
    text = text.strip()
    if clock == "calendar":
        found = datetime.fromisoformat(_at_most_micros(text))
        moment = found if found.tzinfo else found.replace(tzinfo=UTC)
        fraction = re.search(r"[.,](\d{1,9})", text)
        nanos = int(fraction.group(1).ljust(9, "0")) if fraction else 0
        return int(moment.replace(microsecond=0).timestamp()) * _NANO + nanos
    found_one = nanoseconds([text], clock)
    if found_one is None:
        raise ValueError(text)
    return int(found_one[0])


def _at_most_micros(text: str) -> str:
    return re.sub(r"([.,]\d{6})\d+", r"\1", text)


def calendar_text(nanos: int) -> str:
    """``2023-11-16 18:15:46.6805900``: seven digits, as the Azure traces have them."""
    whole, rest = divmod(nanos, _NANO)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%d %H:%M:%S}.{rest // 100:07d}"


def seconds_text(nanos: int) -> str:
    """Seconds without needless digits, exact."""
    whole, rest = divmod(nanos, _NANO)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)


def milliseconds_text(nanos: int) -> str:
    """Whole milliseconds, rounded down: an arrival must not move behind a later one."""
    return str(nanos // 1_000_000)


WRITERS: Final[dict[Clock, Callable[[int], str]]] = {
    "calendar": calendar_text,
    "seconds": seconds_text,
    "milliseconds": milliseconds_text,
}
