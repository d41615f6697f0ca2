"""What a page of many runs has room for, so that it stays under 2 MB: how many services of each run, and how finely they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_SERVICES: Final = 8
_MOST_BUCKETS: Final = 700
_FEWEST_BUCKETS: Final = 60
"""Coarser curves tell little: fewer services are shown first."""
DETAIL_BUCKETS: Final = 120
"""Into how many buckets the worst ten minutes are cut at the most."""
_BYTES: Final = 1_750_000
"""For all runs; the rest is the plots' library and the page itself. The figures below are what the noisiest curves take."""
_BYTES_A_RUN: Final = 1_500
_BYTES_A_PICTURE: Final = 4_500
"""What was said in the worst minutes, mostly."""
_BYTES_A_BUCKET: Final = 78
_BYTES_A_DETAIL_BUCKET: Final = 54


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """services: the most that are drawn of one run. buckets: into how many each curve is cut, with two points each."""

    services: int
    buckets: int


def room_for(runs: int, services: int) -> Room:
    """runs: policies × traces. services: of the manifest. Beyond some 300 runs a page grows with their number, not with their length."""
    bytes_a_run = _BYTES / max(runs, 1) - _BYTES_A_RUN
    for shown in range(max(min(services, MOST_SERVICES), 1), 0, -1):
        buckets = _buckets(bytes_a_run / shown - _BYTES_A_PICTURE)
        if buckets >= _FEWEST_BUCKETS:
            return Room(services=shown, buckets=min(buckets, _MOST_BUCKETS))
    return Room(services=1, buckets=_FEWEST_BUCKETS // 3)


def _buckets(bytes_a_picture: float) -> int:
    if bytes_a_picture <= DETAIL_BUCKETS * (_BYTES_A_BUCKET + _BYTES_A_DETAIL_BUCKET):
        return int(bytes_a_picture // (_BYTES_A_BUCKET + _BYTES_A_DETAIL_BUCKET))
    return int((bytes_a_picture - DETAIL_BUCKETS * _BYTES_A_DETAIL_BUCKET) // _BYTES_A_BUCKET)
