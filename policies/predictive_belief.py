"""How far ``predictive`` believes a forecast, and how that grows with what a service has shown of its own misses."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.model import Bools, Floats
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
_FURTHEST: Final = constant(FURTHEST)


class Belief:
    """What follows from how far each service's own misses are known, (n,) each. begun: whose first forecast fell due. believed: how far above
    what was needed at most lately a forecast is believed, in logs. drain_share: in which share of drain_s a backlog is worked off. All of it
    moves only when forecasts are learnt from."""

    begun: Bools
    believed: Floats
    drain_share: Floats

    def __init__(self) -> None:
        self._seen: Floats | None = None
        self._interval_s = 0.0

    def follow(self, seen: Floats, interval_s: float) -> None:
        """seen (n,): how many forecasts were learnt from, one in LEARNT intervals; the same array as long as these stay the same."""
        if seen is self._seen and interval_s == self._interval_s:
            return
        self._seen, self._interval_s = seen, interval_s
        known = np.minimum(seen * (LEARNT * interval_s / KNOWN_AFTER_S), 1.0)
        self.begun = seen > 0
        self.believed = AT_FIRST + (BELIEVED - AT_FIRST) * known
        self.drain_share = DRAINS_AT_FIRST + (1.0 - DRAINS_AT_FIRST) * known

    def forget(self) -> None:
        """What was seen is another thing now, in the same array."""
        self._seen = None

    def highest_log(self, peak: Floats, centre: Floats) -> Floats:
        """The log of the highest demand (n,) that is believed. peak, centre (n,): logs of what was needed at most lately and of what is as
        likely as not to be needed."""
        return np.minimum(peak + _FURTHEST, np.fmax(peak, centre) + self.believed)
