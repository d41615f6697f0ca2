"""What ``predictive`` works out of what an observation says of a replica, of the promise and of what is ready."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.model import Bools, Floats, Ints, Observation
from autoscaler.core.policy import Params
from policies.predictive_allowance import SMALLEST_PER_S

FLOOR_RATIO: Final = 0.01
"""A rate below this share of one replica's capacity is as good as none."""
POOLED_DRAIN: Final = 0.6
"""On a pool whose nodes the plan sizes a node goes as soon as nothing needs it, so replicas wait for a new one more often, and requests with
them: what waits is worked off in this share of drain_s …"""
POOLED_MISS: Final = 1.15
"""… and pays for a forecast that may be too low in so many times as many minutes. Both measured, docs/policies.md."""
_SMALLEST_PER_S: Final = constant(SMALLEST_PER_S)


class Terms:
    """(n,) each, the same arrays as long as what they follow from stays the same one, which is so in nearly every tick.

    floors: rates below them are as good as none. drains: replicas for each request that waits. allowed_s: the wait that is allowed.
    late_ratio: the share of requests that the promise allows to be late. miss, drain_s: the parameters, as they count for services on pools
    and others. served_per_s: what is ready serves. bearable: of how many that wait the last one waits as long as is allowed."""

    floors: Floats
    drains: Floats
    allowed_s: Floats
    late_ratio: Floats
    served_per_s: Floats
    bearable: Floats

    def __init__(self, params: Params) -> None:
        self._wait_s = params["wait_s"]
        self._params = params
        self._pooled: Bools | None = None
        self.miss, self.drain_s = params["miss"], params["drain_s"]
        self._drain_per_s: Floats = 1.0 / self.drain_s
        self._own: Floats | None = None
        self._target: Floats | None = None
        self._promised: Floats | None = None
        self._ready: Ints | None = None

    def follow(self, observation: Observation) -> None:
        """Takes what the observation says where that is another array than before."""
        if observation.pooled is not self._pooled:
            self._take_pooled(observation.pooled)
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

    def _take_pooled(self, pooled: Bools | None) -> None:
        miss, drain_s = self._params["miss"], self._params["drain_s"]
        self._pooled, self._own = pooled, None
        self.miss = miss if pooled is None else np.where(pooled, POOLED_MISS * miss, miss)
        self.drain_s = drain_s if pooled is None else np.where(pooled, POOLED_DRAIN * drain_s, drain_s)
        self._drain_per_s = 1.0 / self.drain_s
