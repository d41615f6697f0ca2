"""What ``predictive`` works out of what an observation says of a replica, of the promise and of what is ready."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.model import Floats, Ints, Observation
from autoscaler.core.policy import Params
from policies.predictive_allowance import SMALLEST_PER_S

FLOOR_RATIO: Final = 0.01
"""A rate below this share of one replica's capacity is as good as none."""
_SMALLEST_PER_S: Final = constant(SMALLEST_PER_S)


class Terms:
    """(n,) each, the same arrays as long as what they follow from stays the same one, which is so in nearly every tick.

    floors: rates below them are as good as none. drains: replicas for each request that waits. allowed_s: the wait that is allowed.
    late_ratio: the share of requests that the promise allows to be late. served_per_s: what is ready serves. bearable: of how many that wait
    the last one waits as long as is allowed."""

    floors: Floats
    drains: Floats
    allowed_s: Floats
    late_ratio: Floats
    served_per_s: Floats
    bearable: Floats

    def __init__(self, params: Params) -> None:
        self._wait_s = params["wait_s"]
        self._drain_per_s: Floats = 1.0 / params["drain_s"]
        self._own: Floats | None = None
        self._target: Floats | None = None
        self._promised: Floats | None = None
        self._ready: Ints | None = None

    def follow(self, observation: Observation) -> None:
        """Takes what the observation says where that is another array than before."""
        own, target, promised = observation.capacity_per_s, observation.objective_target, observation.promised_ratio
        if own is not self._own or target is not self._target or promised is not self._promised:
            self._own, self._target, self._promised, self._ready = own, target, promised, None
            self.floors = np.where(own == own, own, 1.0) * FLOOR_RATIO
            self.drains = self._drain_per_s / own
            self.allowed_s = np.where(self._wait_s > 0, self._wait_s, target)
            self.late_ratio = 1.0 - promised
        ready = observation.ready
        if ready is not self._ready:
            self._ready = ready
            served_per_s = ready * own
            self.bearable = self.allowed_s * served_per_s
            self.served_per_s = np.maximum(served_per_s, _SMALLEST_PER_S)
