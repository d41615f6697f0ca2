"""Which forecasters there are: ours and those that others install, found by entry point."""

from __future__ import annotations

import logging
from functools import cache

from autoscaler.core.discovery import discover_forecasters
from autoscaler.core.forecaster import ForecasterType

_log = logging.getLogger(__name__)


@cache
def forecasters() -> tuple[ForecasterType, ...]:
    """Every usable forecaster: ours by name, then those of others. A broken one is reported once and left out: the others forecast
    without it."""
    found = discover_forecasters()
    for name, why in found.broken.items():
        _log.warning("forecaster %s can't be used: %s", name, why)
    return tuple(found.kinds.values())
