"""How long this target's replicas take to become ready, as measured: the last samples, and what to reckon with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from autoscaler.adapters.kubernetes.informer import Key
from autoscaler.adapters.kubernetes.pods import Pod, PodState
from autoscaler.spec import LeadTimeStatus

KEPT = 64
ENOUGH = 3
"""Fewer samples say nothing yet: the manifest's start value is used."""
RECKONED_QUANTILE = 0.9
"""What forecasts look ahead by. The median would be too late for every second replica."""


class LeadTimes:
    """Seconds from a pod's creation to its first Ready, of the last starts of one target.

    The time in which the scheduler found no node is left out: that is the node's time, which another pool or an empty slot spares.
    """

    __slots__ = ("_recent", "changed")

    def __init__(self, recent: Iterable[float] = ()) -> None:
        self._recent: deque[float] = deque((float(value) for value in recent if 0 <= value < 1e6), maxlen=KEPT)
        self.changed = False

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, seconds: float) -> None:
        self._recent.append(round(seconds, 1))
        self.changed = True

    def reckoned_s(self) -> float | None:
        """The lead time to reckon with; None while there are too few samples."""
        return float(np.quantile(list(self._recent), RECKONED_QUANTILE)) if len(self._recent) >= ENOUGH else None

    def status(self) -> LeadTimeStatus | None:
        """For the object's status, from which ``LeadTimes(status.recent)`` goes on after a restart."""
        if not self._recent:
            return None
        p50, p90, p99 = (round(float(value), 1) for value in np.quantile(list(self._recent), (0.5, 0.9, 0.99)))
        return LeadTimeStatus(
            samples=len(self._recent), p50_seconds=p50, p90_seconds=p90, p99_seconds=p99, recent=list(self._recent)
        )


class Starts:
    """Tells which change of a pod is the end of its first start.

    Only starts that we watched count: a pod that was ready when we first saw it, or that becomes ready again after a restart of its
    container or a flapping probe, tells nothing of a first start.
    """

    def __init__(self) -> None:
        self._once_ready: set[Key] = set()
        self._once_unschedulable: set[Key] = set()

    def sample_s(self, key: Key, old: Pod | None, new: Pod | None) -> float | None:
        """Seconds that the start took which this change ends, or None. To be told of every change of every pod."""
        if new is None:
            self._once_ready.discard(key)
            self._once_unschedulable.discard(key)
            return None
        if new.unschedulable:
            self._once_unschedulable.add(key)
        if new.state is not PodState.READY or key in self._once_ready:
            return None
        self._once_ready.add(key)
        if old is None or new.restarted or new.ready_at_s is None or new.created_at_s <= 0:
            return None
        began_s = new.created_at_s
        if key in self._once_unschedulable and new.scheduled_at_s is not None:
            began_s = new.scheduled_at_s
        return max(0.0, new.ready_at_s - began_s)
