"""The fleet's columns, changed row by row as news come in, copied once a tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autoscaler.adapters.kubernetes.scale import ScaleState
from autoscaler.adapters.kubernetes.services import Service
from autoscaler.core.model import Fleet, Ints, Memory, Pause, PoolSpec, ScalingSpec


class Columns:
    """Arrays (n,) in the order of the services' rows. decided_on: the version of each target that a decision of now is made on."""

    def __init__(self) -> None:
        self._revision = -1
        self._specs: tuple[ScalingSpec, ...] = ()
        self.resize(0)

    def resize(self, rows: int) -> None:
        """Forgets everything: every row has to be set again."""
        self._current = np.zeros(rows, dtype=np.int64)
        self._ready = np.zeros(rows, dtype=np.int64)
        self._starting = np.zeros(rows, dtype=np.int64)
        self._draining = np.zeros(rows, dtype=np.int64)
        self.unschedulable: Ints = np.zeros(rows, dtype=np.int64)
        self.failing: Ints = np.zeros(rows, dtype=np.int64)
        self._lead_time_s = np.zeros(rows)
        self._node_lead_time_s = np.zeros(rows)
        self._hands_off = np.zeros(rows, dtype=np.bool_)
        self._why: dict[int, str] = {}
        self.decided_on: list[ScaleState | None] = [None] * rows

    def set_row(self, service: Service, state: ScaleState | None, counts: Sequence[int] | None, why: str) -> None:
        """state: the target's scale, None where it isn't known. counts: its pods (``pod_index.Members.counts``), None where they aren't known.
        why: see Fleet.hands_off_why; "" where we may write."""
        assert service.spec is not None
        row = service.row
        current = state.replicas if state is not None else 0
        ready, starting, draining, _, unschedulable, failing = counts if counts is not None else (0, 0, 0, 0, 0, 0)
        self._current[row] = current
        self._ready[row] = ready
        # What was asked for and has no pod yet (just patched, or a quota in the way) is coming capacity as well.
        self._starting[row] = max(starting, current - ready)
        self._draining[row] = draining
        self.unschedulable[row] = unschedulable
        self.failing[row] = failing
        self._lead_time_s[row] = service.lead_time_s()
        self._node_lead_time_s[row] = service.spec.node_lead_time_s
        self._hands_off[row] = bool(why)
        if why:
            self._why[row] = why
        else:
            self._why.pop(row, None)
        self.decided_on[row] = state

    def fleet(
        self,
        *,
        revision: int,
        services: Sequence[Service],
        memories: Mapping[str, Memory],
        pools: tuple[PoolSpec, ...],
        paused: Pause | None,
    ) -> Fleet:
        """A frozen copy."""
        if revision != self._revision:
            self._revision = revision
            self._specs = tuple(service.spec for service in services if service.spec is not None)
        return Fleet(
            revision=revision,
            specs=self._specs,
            current=self._current.copy(),
            ready=self._ready.copy(),
            starting=self._starting.copy(),
            draining=self._draining.copy(),
            lead_time_s=self._lead_time_s.copy(),
            node_lead_time_s=self._node_lead_time_s.copy(),
            hands_off=self._hands_off.copy(),
            hands_off_why=dict(self._why),
            memories=memories,
            pools=pools,
            paused=paused,
        )
