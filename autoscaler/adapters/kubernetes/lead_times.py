"""How long replicas of a target, or nodes of a pool, take to become ready, as measured: the last samples, and what to reckon with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autoscaler.adapters.kubernetes.informer import Key
from autoscaler.adapters.kubernetes.pods import Pod, PodState
from autoscaler.core.lead_samples import RECKONED_QUANTILE, Samples
from autoscaler.core.node_facts import WHOLE, StageTime
from autoscaler.spec import LeadTimeStatus, StageStatus

KEPT_OF_A_STAGE = 32
"""Stages are looked at, not reckoned with; there are three times as many of them, and ten thousand targets."""


class LeadTimes:
    """The whole, and the stages that it is made of. For replicas the whole goes from a pod's creation to its first Ready.

    The time in which the scheduler found no node is left out there: that is the node's time, which another pool or an empty slot spares.
    """

    __slots__ = ("_stages", "_whole")

    def __init__(self, kept: LeadTimeStatus | None = None) -> None:
        self._whole = Samples(kept.recent if kept is not None else ())
        self._stages: dict[str, Samples] = {}
        for stage in kept.stages if kept is not None else ():
            self._stages[stage.name] = Samples(stage.recent, KEPT_OF_A_STAGE)

    def __len__(self) -> int:
        return len(self._whole)

    def add(self, seconds: float) -> None:
        """A sample of the whole."""
        self._whole.add(seconds)

    def add_stages(self, seconds: Mapping[str, float]) -> None:
        """Samples by stage."""
        for name, value in seconds.items():
            samples = self._stages.get(name)
            if samples is None:
                samples = self._stages[name] = Samples(kept=KEPT_OF_A_STAGE)
            samples.add(value)

    def reckoned_s(self) -> float | None:
        """The lead time to reckon with; None while there are too few samples."""
        return self._whole.quantile_s(RECKONED_QUANTILE)

    def late_s(self) -> float | None:
        """Hardly ever takes longer; None while there are too few samples."""
        return self._whole.quantile_s(0.99)

    def stage_late_s(self, name: str) -> float | None:
        """The same of one stage."""
        samples = self._stages.get(name)
        return None if samples is None else samples.quantile_s(0.99)

    def told(self, order: Iterable[str]) -> tuple[StageTime, ...]:
        """The whole, then the stages in this order; only what was measured."""
        whole = (self._whole.told(WHOLE),) if len(self._whole) else ()
        return *whole, *(self._stages[name].told(name) for name in order if self._stages.get(name))

    def status(self, order: Iterable[str]) -> LeadTimeStatus | None:
        """For the object's status, from which ``LeadTimes(status)`` goes on after a restart. None where nothing was measured."""
        if not self._whole and not self._stages:
            return None
        status = LeadTimeStatus(samples=len(self._whole), recent=self._whole.recent())
        for told in self.told(order):
            if told.name == WHOLE:
                status.p50_seconds, status.p90_seconds, status.p99_seconds = told.p50_s, told.p90_s, told.p99_s
            else:
                recent = self._stages[told.name].recent()
                status.stages.append(
                    StageStatus(
                        name=told.name,
                        samples=told.samples,
                        p50_seconds=told.p50_s,
                        p90_seconds=told.p90_s,
                        p99_seconds=told.p99_s,
                        recent=recent,
                    )
                )
        return status


class Starts:
    """Tells which change of a pod is the end of its first start.

    Only starts that we watched count: a pod that was ready when we first saw it, or that becomes ready again after a restart of its
    container or a flapping probe, tells nothing of a first start.
    """

    def __init__(self) -> None:
        self._once_ready: set[Key] = set()
        self._once_unschedulable: set[Key] = set()

    def ended(self, key: Key, old: Pod | None, new: Pod | None) -> tuple[float, dict[str, float]] | None:
        """(seconds of the start that this change ends, the same by stage as far as the pod tells), or None. To be told of every change of
        every pod."""
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
        began_s, stages = new.created_at_s, {}
        if new.scheduled_at_s is not None:
            if key in self._once_unschedulable:
                began_s = new.scheduled_at_s
            else:
                stages["scheduled"] = new.scheduled_at_s - began_s
            if new.started_at_s is not None:
                # Init containers are counted as part of the image: what they fetch has to be there before a container starts as well.
                stages["image"] = new.started_at_s - new.scheduled_at_s
                stages["model"] = new.ready_at_s - new.started_at_s
        return max(0.0, new.ready_at_s - began_s), {name: max(0.0, seconds) for name, seconds in stages.items()}
