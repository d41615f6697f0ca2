"""Finds one tick in recorded files (docs/records.md) without decoding all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from autoscaler.errors import OutsideError, UsageError

_HEAD: Final = re.compile(rb'"kind":"(fleet|tick)"')
_AT: Final = re.compile(rb'"at_s":(-?[0-9.eE+-]+)')
_HEAD_BYTES: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTick:
    """A tick record, and the fleet record whose columns it has."""

    fleet: dict[str, Any]
    tick: dict[str, Any]

    def row(self, key: str) -> int | None:
        """The column of a service; None where it was not there."""
        return next((row for row, service in enumerate(self.fleet["services"]) if key_of(service) == key), None)


def moment(at_s: float) -> str:
    """Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def key_of(service: dict[str, Any]) -> str:
    """``namespace/name`` of a service of a fleet record."""
    return f"{service['namespace']}/{service['name']}"


def files(place: Path) -> list[Path]:
    """The record files of a folder, oldest first, or the one file that is named. Raises UsageError where there is none."""
    if place.is_file():
        return [place]
    found = sorted(place.glob("records*.jsonl"))
    if not found:
        raise UsageError(f"{place}: " + ("no records*.jsonl in it" if place.is_dir() else "no such folder or file"))
    return found


def latest(place: Path, at_s: float = math.inf) -> RecordedTick:
    """The last tick at or before `at_s` (Unix seconds). Raises UsageError where there is none, OutsideError for a broken file."""
    first_s = math.inf
    for file in reversed(files(place)):
        fleet = chosen = None
        chosen_fleet = b""
        for kind, line_at_s, line in _lines(file):
            if kind == b"fleet":
                fleet = line
                continue
            first_s = min(first_s, line_at_s)
            if line_at_s > at_s:
                break
            if fleet is not None:
                chosen, chosen_fleet = line, fleet
        if chosen is not None:
            return RecordedTick(fleet=_decoded(file, chosen_fleet), tick=_decoded(file, chosen))
    if math.isfinite(first_s):
        raise UsageError(f"{place}: no tick was recorded at that time or before; the first one is at {moment(first_s)}")
    raise UsageError(f"{place}: holds no tick yet")


def _lines(file: Path) -> Iterator[tuple[bytes, float, bytes]]:
    """(kind, time, line) of each whole record; a last line that is still being written is left out."""
    try:
        with file.open("rb") as lines:
            for line in lines:
                head = line[:_HEAD_BYTES]
                kind, at = _HEAD.search(head), _AT.search(head)
                if kind and at and line.endswith(b"\n"):
                    yield kind[1], float(at[1]), line
    except OSError as fault:
        raise OutsideError(f"{file}: {fault.strerror}") from None


def _decoded(file: Path, line: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        raise OutsideError(f"{file}: a record is not JSON: {fault}") from None
    return record
