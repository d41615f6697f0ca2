"""How far ``predictive`` believes a forecast, and how that grows with what a service has shown of its own misses."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.model import Floats
from policies.forecasters.outlook import LEARNT

FURTHEST: Final = float(np.log(2.0))
"""A forecast is believed up to twice what was needed at most lately, however restless demand was."""
BELIEVED: Final = 0.5
"""What it puts on top for its errors is believed up to this far (in logs: 65 %) above both what was needed at most lately and what it expects:
after a jump errors look large for a while, since the forecasts made before it all missed the same thing."""
AT_FIRST: Final = 0.14
"""The same of a service without a past. How often its forecasts miss is not known yet, only what those of others did; 15 % on top of the
highest need is half of what filling slots to 0.7 leaves (29 % above the mean), the usual setting of those who don't foretell."""
KNOWN_AFTER_S: Final = 12 * 3600.0
"""From AT_FIRST to BELIEVED, in a straight line over so long a time of forecasts that fell due."""
DRAINS_AT_FIRST: Final = 0.4
"""A service without a past works off a backlog in less than half the time. It begins with a count that nobody foresaw; the sooner that is
mended, the less of its first hour is late. It grows to the whole time as AT_FIRST grows."""


def known_share(seen: Floats, interval_s: float) -> Floats:
    """How far a service's own misses are known, (n,), from 0 without a past to 1. seen (n,): forecasts that were learnt from."""
    return np.minimum(seen * (LEARNT * interval_s / KNOWN_AFTER_S), 1.0)


def highest_log(peak: Floats, centre: Floats, known: Floats) -> Floats:
    """The log of the highest demand (n,) that is believed. peak, centre (n,): logs of what was needed at most lately and of what is as likely
    as not to be needed. known (n,): of ``known_share``."""
    believed = AT_FIRST + (BELIEVED - AT_FIRST) * known
    return np.asarray(np.minimum(peak + FURTHEST, np.fmax(peak, centre) + believed))


def drain_share(known: Floats) -> Floats:
    """In which share of drain_s a backlog is worked off, (n,). known (n,): of ``known_share``."""
    return DRAINS_AT_FIRST + (1.0 - DRAINS_AT_FIRST) * known
