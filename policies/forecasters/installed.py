"""Which forecasters there are: ours and those that others install, found by entry point."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points
from typing import Final

from autoscaler.core.forecaster import ForecasterType

FORECASTERS: Final = "inference_autoscaler.forecasters"
_log = logging.getLogger(__name__)


@cache
def forecasters() -> tuple[ForecasterType, ...]:
    """Every usable forecaster, by name. A broken one is reported once and left out: the others forecast without it."""
    found = []
    for entry in sorted(entry_points(group=FORECASTERS), key=lambda entry: entry.name):
        try:
            kind = entry.load()
            if not isinstance(kind, ForecasterType):
                raise TypeError(f"{entry.value} is no ForecasterType")
            if kind.name != entry.name:
                raise ValueError(
                    f"the forecaster calls itself '{kind.name}', the entry point '{entry.name}'; both must be the same"
                )
        except Exception as fault:  # a stranger's module may raise anything while it is imported
            _log.warning("forecaster %s can't be used: %s: %s", entry.name, type(fault).__name__, fault)
            continue
        found.append(kind)
    return tuple(found)
