"""The metrics that exist. Known before there is any data, the same on every replica, and few: what discovery lists never depends on what is
deployed (listing every series made kubectl slow, kubernetes#98801; an empty list is an error to every client)."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, get_args

from autoscaler.published import DESIRED, FORECAST, QUEUE_PER_REPLICA
from autoscaler.spec import SignalName

METRICS: Final[tuple[str, ...]] = tuple(sorted({DESIRED, QUEUE_PER_REPLICA, FORECAST, *get_args(SignalName)}))
"""In the order in which discovery lists them. Lower case, since client-go asks so whatever is written in an HPA (rest/request.go: URL)."""

_EXISTING: Final = frozenset(METRICS)
_MOST_CLOSE: Final = 3
_MOST_COMPARED: Final = 200


def metric_of(name: str) -> str | None:
    """The metric that is called so, upper and lower case alike; None where there is none."""
    lower = name.lower()
    return lower if lower in _EXISTING else None


def close_to(name: str, existing: Sequence[str]) -> list[str]:
    """Of what exists, what somebody who wrote `name` may have meant; the closest first. Of very many, only those that begin alike are looked
    at: comparing takes tens of microseconds a name, and requests wait meanwhile."""
    if len(existing) > _MOST_COMPARED:
        existing = [one for one in existing if one[:3] == name[:3]][:_MOST_COMPARED]
    return get_close_matches(name[:253], existing, _MOST_CLOSE, cutoff=0.6)
