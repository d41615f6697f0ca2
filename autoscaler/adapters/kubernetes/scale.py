"""The scale subresource of anything that has one, written only over the state that the decision was made on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.core.model import Written

FIELD_MANAGER: Final = "inference-autoscaler"
"""Our name in an object's managedFields, by which we know our own writes again, after a restart as well."""
CALL_TIMEOUT_S: Final = 3.0
"""Less than lease_s − renew_deadline_s: what was sent by a leader has ended before another one can lead."""
TRIES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleState:
    """A target's scale at one resourceVersion. selector: label selector of its pods, "" where it tells none."""

    uid: str
    resource_version: str
    replicas: int
    selector: str = ""
    status_replicas: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleResult:
    """What became of a write: `state` afterwards where it was done, words where not."""

    written: Written
    state: ScaleState | None = None
    why: str = ""


class ScaleClient:
    """Reads and writes scales. may_write: asked right before each request that writes, whether this process (still) leads."""

    def __init__(self, api: KubeApi, may_write: Callable[[], bool]) -> None:
        self._api = api
        self._may_write = may_write

    async def read(self, resource: Resource, namespace: str, name: str, timeout_s: float) -> ScaleState:
        """The scale now. Raises ApiError."""
        path = resource.path(namespace, name, "scale")
        return _state(await self._api.request("GET", path, timeout_s=timeout_s))

    async def write(
        self, resource: Resource, namespace: str, name: str, *, replicas: int, decided_on: ScaleState, timeout_s: float
    ) -> ScaleResult:
        """Sets spec.replicas, if the object is still what the decision was made on. Never raises for a fault outside.

        The API server compares our resourceVersion with the object's and answers 409 where they differ, so a write that comes late
        (from a leader that was frozen, say) is refused. A Deployment's resourceVersion moves with every pod that becomes ready,
        though, so while a service scales an honest write is often refused, too (seen on a real API server: several in a row, right
        after a change). Then it is tried again, a few times, and each try fences as well as the first: what was decided on (uid and
        spec.replicas) must be unchanged in what we have just read, so nobody else has scaled since; the monotonic clock must say
        that we lead at the instant of sending; and the write carries the version just read, so it is refused again where another
        leader scaled in between.
        """
        state, tries = decided_on, 0
        while True:
            tries += 1
            if not self._may_write():
                return ScaleResult(written=Written.REFUSED, why="this process no longer leads")
            try:
                answer = await self._put(resource, namespace, name, replicas, state, timeout_s)
                return ScaleResult(written=Written.DONE, state=answer)
            except ApiError as fault:
                if not fault.conflict:
                    return ScaleResult(written=Written.FAILED, why=str(fault))
                if tries >= TRIES:
                    return ScaleResult(written=Written.REFUSED, why="the target keeps changing; decided again at the next tick")
            try:
                state = await self.read(resource, namespace, name, timeout_s)
            except ApiError as fault:
                return ScaleResult(written=Written.FAILED, why=str(fault))
            if (state.uid, state.replicas) != (decided_on.uid, decided_on.replicas):
                return ScaleResult(
                    written=Written.REFUSED,
                    why=f"the target went from {decided_on.replicas} to {state.replicas} replicas since it was decided on",
                )

    async def _put(
        self, resource: Resource, namespace: str, name: str, replicas: int, over: ScaleState, timeout_s: float
    ) -> ScaleState:
        body: Object = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": name, "namespace": namespace, "uid": over.uid, "resourceVersion": over.resource_version},
            "spec": {"replicas": replicas},
        }
        path = resource.path(namespace, name, "scale")
        params = {"fieldManager": FIELD_MANAGER}
        return _state(await self._api.request("PUT", path, params=params, body=body, timeout_s=timeout_s))


def _state(scale: Object) -> ScaleState:
    meta, spec, status = scale.get("metadata") or {}, scale.get("spec") or {}, scale.get("status") or {}
    return ScaleState(
        uid=str(meta.get("uid") or ""),
        resource_version=str(meta.get("resourceVersion") or ""),
        replicas=int(spec.get("replicas") or 0),
        selector=str(status.get("selector") or ""),
        status_replicas=int(status.get("replicas") or 0),
    )
