"""Events on InferenceAutoscalers (events.k8s.io/v1): few, and none twice within a while."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.moments import micro_time_text
from autoscaler.adapters.kubernetes.services import SERVICES, Service
from autoscaler.ports import Clock

log = logging.getLogger(__name__)

EVENTS: Final = Resource(group="events.k8s.io", version="v1", plural="events", kind="Event")
CONTROLLER: Final = "inference-autoscaler.io/controller"
AGAIN_AFTER_S: Final = 600.0
LONGEST_NOTE: Final = 1000
_REMEMBERED: Final = 20_000
_WAITING: Final = 1000


@dataclass(slots=True)
class _Told:
    at_s: float
    withheld: int = 0


class Events:
    """Takes events at once, sends them when asked, within a budget. An event that can't be sent is dropped: the status says it as well."""

    def __init__(self, api: KubeApi, clock: Clock, instance: str) -> None:
        self.dropped = 0
        self._api = api
        self._clock = clock
        self._instance = instance[:128]
        self._waiting: deque[Object] = deque()
        self._told: dict[tuple[str, str, str], _Told] = {}
        self._number = 0

    def add(self, service: Service, kind: Literal["Normal", "Warning"], reason: str, action: str, note: str) -> None:
        """An event to be sent, unless the same was told within the last ten minutes."""
        now_s = self._clock.now_s()
        same = (service.object.uid, reason, note)
        told = self._told.get(same)
        if told is not None and now_s - told.at_s < AGAIN_AFTER_S:
            told.withheld += 1
            return
        if len(self._told) >= _REMEMBERED:
            self._told = {key: told for key, told in self._told.items() if now_s - told.at_s < AGAIN_AFTER_S}
        if told is not None and told.withheld:
            note = f"{note} (and {told.withheld} times before)"
        self._told[same] = _Told(now_s)
        if len(self._waiting) >= _WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(self._event(service, kind, reason, action, note[:LONGEST_NOTE], now_s))

    async def send(self, most: int, timeout_s: float) -> None:
        """Sends up to `most` of those that wait, oldest first."""
        for _ in range(min(most, len(self._waiting))):
            event = self._waiting.popleft()
            try:
                path = EVENTS.path(event["metadata"]["namespace"])
                await self._api.request("POST", path, body=event, timeout_s=timeout_s)
            except asyncio.CancelledError:
                self._waiting.appendleft(event)  # the name makes it the same event, should it have arrived
                raise
            except ApiError as fault:
                if fault.conflict:  # it had arrived before its answer was given up
                    continue
                self.dropped += 1
                log.warning("an event was not sent: %s", fault)
                if fault.throttled or fault.unreachable:
                    return

    def _event(self, service: Service, kind: str, reason: str, action: str, note: str, now_s: float) -> Object:
        namespace, name = service.key
        self._number += 1
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"namespace": namespace, "name": f"{name[:200]}.{int(now_s * 1e6):x}.{self._number:x}"},
            "eventTime": micro_time_text(now_s),
            "type": kind,
            "reason": reason,
            "action": action,
            "note": note,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": SERVICES.api_version,
                "kind": SERVICES.kind,
                "namespace": namespace,
                "name": name,
                "uid": service.object.uid,
                "resourceVersion": service.object.version,
            },
        }
