"""What KEDA's operator does beside the HPA: polls the triggers, wakes a target from zero (or from its idle count) and puts it to sleep;
and counts a trigger's failures for the fallback.

Source: keda pkg/scaling/executor/scale_scaledobjects.go (RequestScale), pkg/fallback/fallback.go; keda-docs, ScaledObject specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.model import Bools, Floats, Ints, Observation
from autoscaler.core.policy import Params, Saved

_EARLY: Final = 0.1
_STATE: Final = ("created_s", "polled_s", "active_s", "failures")


class Operator:
    """n ScaledObjects. State a row: when it was first seen, last polled, last active (NaN: never), its trigger's failures in a row."""

    def __init__(self, params: Params) -> None:
        n = len(params["threshold"])
        self._columns: dict[str, Floats] = {name: np.full(n, np.nan) for name in _STATE}
        self._columns["failures"][:] = 0.0
        self._take(params)

    def _take(self, params: Params) -> None:
        self._polls_s: Floats = params["polling_interval_s"]
        self._cooldown_s: Floats = params["cooldown_period_s"]
        self._initial_s: Floats = params["initial_cooldown_period_s"]
        self._min: Ints = params["min_replica_count"]
        self._idle: Ints = params["idle_replica_count"]
        self._fallback: Ints = params["fallback_replicas"]
        self._threshold: Ints = params["fallback_failure_threshold"]
        self._behavior = params["fallback_behavior"]

    # ------------------------------------------------------------ a tick

    def min_replica_count(self, observation: Observation) -> Ints:
        """Of each ScaledObject, (n,): its own, or the manifest's minReplicas."""
        return np.where(self._min >= 0, self._min, observation.min_replicas)

    def meet(self, observation: Observation) -> None:
        created_s = self._columns["created_s"]
        self._columns["created_s"] = np.where(np.isnan(created_s), observation.at_s, created_s)

    def falls_back(self, failed: Bools, asked: Bools) -> Bools:
        """Rows (n,) whose trigger has failed more often in a row than its fallback's threshold allows. asked: where the HPA asks for the
        metric, which alone counts failures."""
        before = self._columns["failures"]
        failures = np.where(asked, np.where(failed, before + 1.0, 0.0), before)
        self._columns["failures"] = failures
        return failed & asked & (self._fallback >= 0) & (failures > self._threshold)

    def fallback_replicas(self, current: Ints) -> Floats:
        """The count of the fallback, (n,), by its behavior."""
        replicas, behavior = self._fallback, self._behavior
        higher, lower = np.maximum(replicas, current), np.minimum(replicas, current)
        count = np.where(behavior == "currentReplicas", current, replicas)
        count = np.where(behavior == "currentReplicasIfHigher", higher, count)
        found: Floats = np.where(behavior == "currentReplicasIfLower", lower, count).astype(np.float64)
        return found

    def scale(self, observation: Observation, active: Bools, failed: Bools, known: Bools) -> Floats:
        """The counts that the operator itself sets now, (n,), NaN where it sets none: at a poll, from and to zero (or idle), and up to the
        minimum. active: some trigger is. failed: some trigger is in error. known: rows that are judged at all."""
        at_s, current = observation.at_s, observation.current
        polled_s = self._columns["polled_s"]
        # A tick that comes a little early is the poll's own.
        polls = known & ~(polled_s + self._polls_s > at_s + _EARLY * observation.interval_s)
        none = np.full(len(current), np.nan)
        if not np.count_nonzero(polls):
            return none
        self._columns["polled_s"] = np.where(polls, at_s, polled_s)
        least = self.min_replica_count(observation)
        idles = (self._idle >= 0) & (self._idle < least)
        wakes = polls & active & ((idles & (current < least)) | (current == 0))
        active_s = self._columns["active_s"]
        self._columns["active_s"] = active_s = np.where(wakes | (polls & active & ~failed), at_s, active_s)

        rests = polls & ~active & ~(failed & (self._fallback != 0))
        sleeps = rests & ((idles & (current > self._idle)) | ((current > 0) & (least == 0)))
        cooled = np.where(
            np.isnan(active_s), self._columns["created_s"] + self._initial_s < at_s, active_s + self._cooldown_s < at_s
        )
        low = rests & ~sleeps & ~idles & (current < least)
        counts = np.where(wakes, np.maximum(least, 1), none)
        counts = np.where(sleeps & cooled, np.where(idles, self._idle, least), counts)
        return np.where(low, least, counts)

    # ------------------------------------------------------------ what survives

    def rearrange(self, rows: Ints, params: Params) -> None:
        for name, column in self._columns.items():
            fresh = 0.0 if name == "failures" else np.nan
            self._columns[name] = rearranged(column, rows, fresh)
        self._take(params)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        for name in ("created_s", "polled_s", "active_s"):
            self._columns[name] = self._columns[name] + by_s

    def save(self) -> Saved:
        return {name: plain(column) for name, column in self._columns.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._columns = {name: floats(state[name]) for name in _STATE}
