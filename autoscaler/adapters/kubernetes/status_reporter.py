"""Writes what was seen and decided into the objects' status: only what changed, and only so much a tick."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import numpy as np
import orjson

from autoscaler import tick_budget
from autoscaler.adapters.kubernetes.api import MERGE_PATCH, KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.conditions import merged
from autoscaler.adapters.kubernetes.events import Events
from autoscaler.adapters.kubernetes.informer import Key
from autoscaler.adapters.kubernetes.reasons import Reason
from autoscaler.adapters.kubernetes.services import SERVICES, Service
from autoscaler.adapters.kubernetes.status_of import COLUMNS, URGENT, columns_of, invalid_status, status_of
from autoscaler.core.model import Ints, Written
from autoscaler.ports import Clock, Tick
from autoscaler.spec import Condition, InferenceAutoscalerStatus

log = logging.getLogger(__name__)

_NEVER: Final = -(2**62)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings:
    """requests_per_tick, events_per_tick: the most that are sent; what is left comes with the next ticks, what was tried longest ago first.
    refresh_s: words and signals of a service whose numbers stay the same are written again after so long. share, events_share: of the
    tick's interval, for statuses and for events."""

    requests_per_tick: int = 200
    events_per_tick: int = 20
    at_once: int = 8
    refresh_s: float = 600.0
    call_timeout_s: float = 5.0
    share: float = tick_budget.STATUS
    events_share: float = tick_budget.EVENTS


class StatusReporter:
    """A Reporter that keeps the API server's idea of each service up to date, while this process leads.

    instance: who we are, for events (name of the pod).
    """

    def __init__(
        self,
        api: KubeApi,
        cluster: KubernetesCluster,
        clock: Clock,
        *,
        instance: str = "inference-autoscaler",
        settings: StatusSettings | None = None,
    ) -> None:
        self.events = Events(api, clock, instance)
        self._api = api
        self._cluster = cluster
        self._clock = clock
        self._settings = settings or StatusSettings()
        self._services: tuple[Service, ...] = ()
        self._specs: tuple[object, ...] = ()
        self._revision = -1
        self._sent: Ints = np.zeros((0, COLUMNS), dtype=np.int64)
        self._tried_at_s: np.ndarray[Any, np.dtype[np.float64]] = np.zeros(0)
        self._sent_invalid: dict[Key, str] = {}
        self._tried_invalid_at_s: dict[Key, float] = {}

    async def report(self, tick: Tick) -> None:
        if not tick.leading:
            self._revision = -1  # another one writes: whatever we knew to be written may no longer be
            return
        self._arrange(tick)
        self._tell_of_writes(tick)
        settings = self._settings
        try:
            async with asyncio.timeout(settings.share * tick.interval_s):
                await self._write(self._work(tick))
        except TimeoutError:
            log.warning("not every status was written in time; the rest comes with the next ticks")
        # Time of their own: what takes all its time for statuses is just what events should tell of.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.events_share * tick.interval_s):
                await self.events.send(settings.events_per_tick, settings.call_timeout_s)

    # ------------------------------------------------------------ what has to be written

    def _arrange(self, tick: Tick) -> None:
        """Keeps what is known of each service when rows move."""
        if tick.fleet.revision == self._revision:
            return
        known = {} if self._revision < 0 else {(s.key, spec): row for row, (s, spec) in enumerate(self._known())}
        sent, tried_at_s = self._sent, self._tried_at_s
        self._services, self._specs = self._cluster.services.rows, tick.fleet.specs
        self._revision = tick.fleet.revision
        n = len(tick.fleet)
        self._sent = np.full((n, COLUMNS), _NEVER, dtype=np.int64)
        self._tried_at_s = np.full(n, -np.inf)
        for row, (service, spec) in enumerate(self._known()):
            before = known.get((service.key, spec))
            if before is not None:
                self._sent[row], self._tried_at_s[row] = sent[before], tried_at_s[before]

    def _known(self) -> Iterator[tuple[Service, int]]:
        return ((service, id(spec)) for service, spec in zip(self._services, self._specs, strict=True))

    def _work(self, tick: Tick) -> Iterator[tuple[Service, InferenceAutoscalerStatus, int]]:
        """(service, its status as it should be, its row or -1), the most urgent first, of them what was tried longest ago: what the API
        server refuses again and again must not keep the others waiting."""
        invalid = [service for service in self._cluster.services.all.values() if service.row < 0 and service.fault]
        for known in (self._sent_invalid, self._tried_invalid_at_s):
            for key in known.keys() - {service.key for service in invalid}:
                del known[key]
        invalid = [service for service in invalid if self._sent_invalid.get(service.key) != service.object.version]
        shared = self._cluster.shared_demand()
        emptying = self._cluster.emptying()
        columns = columns_of(tick, *self._cluster.trouble(), shared, emptying)
        different = columns != self._sent
        now_s = self._clock.now_s()
        changed = different.any(axis=1)
        rows = np.flatnonzero(changed | (now_s - self._tried_at_s > self._settings.refresh_s))
        tried_at_s = [self._tried_invalid_at_s.get(service.key, -np.inf) for service in invalid]
        urgent = np.concatenate([np.ones(len(invalid), dtype=np.bool_), different[rows, :URGENT].any(axis=1)])
        for place in np.lexsort((np.concatenate([tried_at_s, self._tried_at_s[rows]]), ~urgent)).tolist():
            if place < len(invalid):
                service = invalid[place]
                self._tried_invalid_at_s[service.key] = now_s
                yield service, invalid_status(service), -1
            else:
                row = int(rows[place - len(invalid)])
                service = self._services[row]
                self._sent[row], self._tried_at_s[row] = columns[row], now_s
                troubled = self._cluster.troubled_pods(service)
                yield service, status_of(tick, row, service, troubled, shared.get(row, ""), emptying.get(row)), row

    # ------------------------------------------------------------ writing

    async def _write(self, work: Iterator[tuple[Service, InferenceAutoscalerStatus, int]]) -> None:
        budget = [self._settings.requests_per_tick]
        looks = [8 * self._settings.requests_per_tick]  # comparing costs time, too

        async def worker() -> None:
            # Asked each time: a leader that was frozen since the tick began must not write an old tick's words over new ones.
            while budget[0] > 0 and looks[0] > 0 and self._cluster.may_write():
                found = next(work, None)
                if found is None:
                    return
                looks[0] -= 1
                service, wanted, row = found
                patch = self._patch(service, wanted)
                if not patch:
                    continue
                budget[0] -= 1
                try:
                    await self._send(service, patch)
                except ApiError as fault:
                    self._unsent(service, row)
                    if fault.not_found:
                        continue  # deleted meanwhile
                    log.warning("status of %s was not written: %s", service.name, fault)
                    if fault.throttled or fault.unreachable:
                        budget[0] = 0
                except asyncio.CancelledError:
                    self._unsent(service, row)
                    raise

        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.at_once):
                group.create_task(worker())

    async def _send(self, service: Service, patch: Object) -> None:
        path = SERVICES.path(*service.key, "status")
        answer = await self._api.request(
            "PATCH", path, body={"status": patch}, content_type=MERGE_PATCH, timeout_s=self._settings.call_timeout_s
        )
        if service.row < 0:
            self._sent_invalid[service.key] = str(answer["metadata"]["resourceVersion"])

    def _unsent(self, service: Service, row: int) -> None:
        if row >= 0 and row < len(self._services) and self._services[row] is service:
            self._sent[row] = _NEVER

    def _patch(self, service: Service, wanted: InferenceAutoscalerStatus) -> Object:
        """What of the status differs from what the API server has; also tells of conditions that flipped."""
        present = service.status()
        before = present.conditions if present is not None else []
        wanted.conditions = merged(wanted.conditions, before, self._clock.now_s())
        self._tell_of_flips(service, before, wanted.conditions)
        have: Object = orjson.loads(service.object.status)
        want: Object = msgspec.to_builtins(wanted)
        patch = merge_patch(have, want)
        if service.row < 0 and not patch:
            self._sent_invalid[service.key] = service.object.version
        return patch

    # ------------------------------------------------------------ events

    def _tell_of_writes(self, tick: Tick) -> None:
        for row in np.flatnonzero(tick.outcome.written).tolist():
            service, planned = self._services[row], int(tick.plan.replicas[row])
            if tick.outcome.written[row] == Written.DONE:
                note = f"New size: {planned}, was {int(tick.fleet.current[row])}; reason: {tick.decisions.reason(row)}"
                self.events.add(service, "Normal", Reason.SuccessfulRescale, "Rescale", note)
            elif tick.outcome.written[row] == Written.FAILED:
                note = f"New size: {planned}; error: {tick.outcome.errors.get(row, '')}"
                self.events.add(service, "Warning", Reason.FailedRescale, "Rescale", note)

    def _tell_of_flips(self, service: Service, before: Sequence[Condition], after: Sequence[Condition]) -> None:
        known = {condition.type: condition.status for condition in before}
        for condition in after:
            if condition.type == "ScalingLimited" or known.get(condition.type) == condition.status:
                continue  # limits come and go with every peak; the status shows them
            if condition.reason == Reason.NotActive or (condition.type not in known and condition.status == "True"):
                continue
            kind: Literal["Normal", "Warning"] = "Normal" if condition.status == "True" else "Warning"
            self.events.add(service, kind, condition.reason, "Reconcile", f"{condition.type}: {condition.message}")


def merge_patch(have: Object, want: Object) -> Object:
    """What makes `want` of `have` as an RFC 7386 merge patch, which keeps what it doesn't name: what is to go is named with null, in
    objects within objects as well."""
    patch: Object = {name: None for name in have if name not in want}
    for name, value in want.items():
        before = have.get(name)
        if before != value:
            patch[name] = merge_patch(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return patch
