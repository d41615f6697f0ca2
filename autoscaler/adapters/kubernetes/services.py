"""The InferenceAutoscalers that are there, read: each is a service with the core's spec, or an object with a fault."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import orjson

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.informer import Key
from autoscaler.adapters.kubernetes.lead_times import LeadTimes
from autoscaler.adapters.kubernetes.moments import seconds_or_none
from autoscaler.adapters.kubernetes.pod_index import TargetKey
from autoscaler.adapters.kubernetes.target_watch import KindName
from autoscaler.compiled import scaling_spec
from autoscaler.core.model import Ints, LearntMemory, LearntVersion, Memory, PolicyMemory, ScalingSpec
from autoscaler.spec import (
    API_VERSION,
    GROUP,
    LEARNT_SCHEMA,
    VERSION,
    InferenceAutoscaler,
    InferenceAutoscalerStatus,
    LearntCapacity,
)

log = logging.getLogger(__name__)

SERVICES: Final = Resource(group=GROUP, version=VERSION, plural="inferenceautoscalers", kind="InferenceAutoscaler")
POOLS: Final = Resource(group=GROUP, version=VERSION, plural="acceleratorpools", kind="AcceleratorPool", namespaced=False)

Judge: TypeAlias = Callable[[Object], tuple[InferenceAutoscaler | None, str]]
"""Makes the manifest of an object, or says in words what is wrong with it. The two may come together: a manifest with a fault that
only its owner can mend is not scaled."""


class ManifestObject(msgspec.Struct, frozen=True, gc=False):
    """What is kept of an InferenceAutoscaler. spec, status: as JSON, a tenth of what dicts take."""

    uid: str
    version: str
    generation: int
    created_at: str
    spec: bytes
    status: bytes


def manifest_object(item: Object) -> ManifestObject:
    """The transform of an InferenceAutoscaler."""
    meta = item["metadata"]
    return ManifestObject(
        uid=str(meta.get("uid") or ""),
        version=str(meta.get("resourceVersion") or ""),
        generation=int(meta.get("generation") or 0),
        created_at=str(meta.get("creationTimestamp") or ""),
        spec=orjson.dumps(item.get("spec")),
        status=orjson.dumps(item.get("status") or {}),
    )


def decoded(item: Object) -> tuple[InferenceAutoscaler | None, str]:
    """The plainest Judge: what the types themselves refuse."""
    try:
        return msgspec.convert(item, InferenceAutoscaler), ""
    except msgspec.ValidationError as fault:
        return None, str(fault)


class Service:
    """One InferenceAutoscaler. spec is None where `fault` says why it can't be used. target: None while its kind isn't known."""

    __slots__ = (
        "fault", "held", "key", "lead", "looked_at_writer", "manifest", "object", "row", "scaled_at_s", "spec", "target"
    )  # fmt: skip

    def __init__(self, key: Key, item: ManifestObject) -> None:
        self.key = key
        self.object = item
        self.manifest: InferenceAutoscaler | None = None
        self.spec: ScalingSpec | None = None
        self.fault = ""
        self.target: TargetKey | None = None
        self.row = -1
        self.looked_at_writer = False
        self.held = False
        status = self.status()
        self.lead = LeadTimes(None if status is None else status.lead_time)
        self.scaled_at_s = seconds_or_none(status.last_scale_time) if status is not None else None

    @property
    def name(self) -> str:
        """``namespace/name``, the key of the core."""
        return "/".join(self.key)

    @property
    def kind(self) -> KindName:
        assert self.manifest is not None
        ref = self.manifest.spec.scale_target_ref
        return ref.api_version, ref.kind

    @property
    def active(self) -> bool:
        return self.spec is not None and self.spec.mode == "Active"

    @property
    def age(self) -> tuple[str, Key]:
        """The older one comes first."""
        return self.object.created_at, self.key

    def read(self, judge: Judge) -> None:
        """Makes manifest and spec of the object."""
        namespace, name = self.key
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": self.object.uid,
            "generation": self.object.generation,
            "resourceVersion": self.object.version,
            "creationTimestamp": self.object.created_at,
        }
        spec: Any = orjson.loads(self.object.spec)
        self.spec = None
        self.manifest, self.fault = _judged(
            judge, {"apiVersion": API_VERSION, "kind": SERVICES.kind, "metadata": meta, "spec": spec}
        )
        if self.manifest is None or self.fault:
            self.fault = self.fault or "the manifest can't be used"
            return
        try:
            self.spec = scaling_spec(self.manifest)
        except ValueError as fault:
            self.fault = str(fault)

    def lead_time_s(self) -> float:
        """What to reckon with: measured where that is wished for and there is enough, else the manifest's start value."""
        assert self.spec is not None
        assert self.manifest is not None
        measured_s = self.lead.reckoned_s() if self.manifest.spec.lead_time.measured else None
        return self.spec.lead_time_s if measured_s is None else measured_s

    def node_lead_time_s(self, measured_s: float | None) -> float:
        """The same of a node; measured_s: as measured on its pool."""
        assert self.spec is not None
        assert self.manifest is not None
        return self.spec.node_lead_time_s if measured_s is None or not self.manifest.spec.lead_time.measured else measured_s

    def status(self) -> InferenceAutoscalerStatus | None:
        """The status as the API server has it; None where another version of ours wrote something that we can't read."""
        try:
            return msgspec.json.decode(self.object.status, type=InferenceAutoscalerStatus)
        except msgspec.DecodeError:
            return None

    def memory(self) -> Memory | None:
        """What the status remembers of past decisions on the present target. One that was written before targets were named is taken for
        this one's."""
        status = self.status()
        kept = status.memory if status is not None else None
        if kept is None or (self.spec is not None and kept.target not in (None, self.spec.target)):
            return None
        return Memory(
            desired=kept.desired,
            blind_since_s=kept.blind_since,
            idle_s=kept.idle_seconds,
            replaced_at_s=kept.replaced_at,
            recommendations=tuple((entry.at, entry.replicas) for entry in kept.recommendations),
            scale_events=tuple((entry.at, entry.replicas) for entry in kept.scale_events),
            current=None if kept.current is None else (kept.current.at, kept.current.replicas),
            capacity=None if kept.capacity is None else _learnt(kept.capacity),
            learnt={one.policy: PolicyMemory(at_s=one.at, text=one.data) for one in kept.learnt},
        )


def _learnt(kept: LearntCapacity) -> LearntMemory | None:
    if kept.schema != LEARNT_SCHEMA:
        return None
    return LearntMemory(
        per_s=kept.requests_per_second,
        weight=kept.weight,
        seen=kept.seen,
        given_per_s=kept.given,
        slots=kept.concurrency,
        slots_slowdown=kept.slowdown_concurrency,
        version=kept.version or "",
        others=tuple(
            LearntVersion(version=one.version, per_s=one.requests_per_second, weight=one.weight, seen=one.seen)
            for one in kept.versions
        ),
    )


def _judged(judge: Judge, item: Object) -> tuple[InferenceAutoscaler | None, str]:
    try:
        return judge(item)
    except Exception as fault:  # a fault of ours must end at the object that brought it up
        log.exception("an InferenceAutoscaler can't be judged")
        return None, f"internal fault: {fault}"


class Services:
    """All services by key and by target. revision: moves when specs or their order change."""

    def __init__(self, judge: Judge) -> None:
        self.all: dict[Key, Service] = {}
        self.by_target: defaultdict[TargetKey, set[Key]] = defaultdict(set)
        self.rows: tuple[Service, ...] = ()
        self.revision = 0
        self._judge = judge
        self._stale = True

    def take(self, key: Key, new: ManifestObject | None) -> tuple[Service | None, bool]:
        """Takes in a change. (the service, or None if it is gone; whether more than its status changed)"""
        known = self.all.get(key)
        if new is None:
            if known is not None:
                del self.all[key]
                self.aim(known, None)
                self._stale = True
            return None, True
        if known is not None and known.object.uid == new.uid and known.object.spec == new.spec:
            known.object = new
            return known, False
        if known is None or known.object.uid != new.uid:
            if known is not None:
                self.aim(known, None)
            known = self.all[key] = Service(key, new)
        known.object = new
        known.read(self._judge)
        self._stale = True
        return known, True

    def aim(self, service: Service, target: TargetKey | None) -> bool:
        """Notes what the service scales; True where that changed."""
        before = service.target
        if before == target:
            return False
        if before is not None:
            self.by_target[before].discard(service.key)
            if not self.by_target[before]:
                del self.by_target[before]
        if target is not None:
            self.by_target[target].add(service.key)
        service.target = target
        return True

    def on(self, target: TargetKey) -> list[Service]:
        """The services of one target, oldest first."""
        keys = self.by_target.get(target, ())
        found = [self.all[key] for key in keys]
        return found if len(found) < 2 else sorted(found, key=lambda service: service.age)

    def owner(self, target: TargetKey) -> Service | None:
        """The oldest Active one: who may write the count."""
        return next((service for service in self.on(target) if service.active), None)

    def arrange(self) -> Ints | None:
        """Gives each usable service its row. None where nothing has changed since the last time, else the row that each had before
        (-1: none)."""
        if not self._stale:
            return None
        self._stale = False
        self.rows = tuple(service for _, service in sorted(self.all.items()) if service.spec is not None)
        before = np.array([service.row for service in self.rows], dtype=np.int64)
        for service in self.all.values():
            service.row = -1
        for row, service in enumerate(self.rows):
            service.row = row
        self.revision += 1
        return before
