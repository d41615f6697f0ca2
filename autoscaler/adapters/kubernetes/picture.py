"""What the informers told, brought together: services, their targets, pods, and who else has a hand in them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import numpy as np

from autoscaler.adapters.kubernetes.api import KubeApi
from autoscaler.adapters.kubernetes.discovery import Discovery
from autoscaler.adapters.kubernetes.foreign_writers import ForeignWriters
from autoscaler.adapters.kubernetes.hpas import HPAS, HpaIndex, Scaled, hpa_of, scaled
from autoscaler.adapters.kubernetes.informer import InformerSettings, Key
from autoscaler.adapters.kubernetes.lead_times import Starts
from autoscaler.adapters.kubernetes.nodes import NODES, node_of
from autoscaler.adapters.kubernetes.pause_switch import CONFIG_MAPS, SWITCH_NAME, pause_of
from autoscaler.adapters.kubernetes.pod_index import PodIndex, TargetKey
from autoscaler.adapters.kubernetes.pods import PODS, Pod, pod_of
from autoscaler.adapters.kubernetes.pool_watch import PoolWatch, pool_of
from autoscaler.adapters.kubernetes.reasons import Reason, because
from autoscaler.adapters.kubernetes.scale import ScaleState
from autoscaler.adapters.kubernetes.services import (
    POOLS,
    SERVICES,
    Judge,
    ManifestObject,
    Service,
    Services,
    manifest_object,
)
from autoscaler.adapters.kubernetes.target_watch import TargetWatch
from autoscaler.adapters.kubernetes.targets import Target
from autoscaler.adapters.kubernetes.watches import Watches
from autoscaler.core.model import Pause
from autoscaler.ports import Clock

log = logging.getLogger(__name__)


class Picture:
    """Kept up to date by its informers while it runs. dirty: services to be looked at again; held: those whose state changes with time.

    wrote: our last write of a target, (version of the target it was over, what it became), until the watch has told of it.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        clock: Clock,
        rng: np.random.Generator,
        own_namespace: str,
        namespaces: Sequence[str],
        judge: Judge,
        informer_settings: InformerSettings,
        foreign_hold_s: float,
    ) -> None:
        self.pods = PodIndex()
        self.services = Services(judge)
        self.foreign = ForeignWriters(foreign_hold_s)
        self.hpas = HpaIndex()
        self.pools = PoolWatch(clock.now_s)
        self.switch: Pause | None = None
        self.dirty: set[Key] = set()
        self.held: set[Key] = set()
        self.wrote: dict[TargetKey, tuple[str, ScaleState]] = {}
        self._clock = clock
        self._starts = Starts()
        self._kinds_changed = False
        self._tasks: list[asyncio.Task[None]] = []
        watches = self.watches = Watches(
            api, namespaces=tuple(namespaces) or (None,), monotonic_s=clock.monotonic_s, rng=rng, settings=informer_settings
        )
        self.targets = TargetWatch(
            api,
            Discovery(api, clock.monotonic_s),
            namespaces=watches.namespaces,
            make_informer=watches.make,
            on_change=self._target_changed,
            on_kind=self._kind_changed,
        )
        watches.add(SERVICES, manifest_object, self._service_changed)
        watches.add(PODS, pod_of, self._pod_changed)
        watches.add(
            CONFIG_MAPS,
            pause_of,
            self._switch_changed,
            namespaces=(own_namespace,),
            field_selector=f"metadata.name={SWITCH_NAME}",
        )
        watches.add(HPAS, hpa_of, self._hpa_changed, required=False)
        watches.add(POOLS, pool_of, self.pools.pool_changed, namespaces=(None,), required=False)
        self._nodes = watches.make(NODES, None, node_of, self.pools.node_changed)

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self.watches.run(), name="watches"),
            asyncio.create_task(self.targets.run(), name="target watches"),
            asyncio.create_task(self.pools.run(self._nodes), name="nodes"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def missing(self) -> list[str]:
        """What has not been listed yet and has to be before anything may be decided, in words. Empty: ready."""
        words = self.watches.missing()
        if not words:
            self.aim_all()
            if not self.targets.synced():
                words.append("the targets of the InferenceAutoscalers")
        return words

    def hands_off(self, service: Service, target: Target | None, at_s: float) -> str:
        """Why the service's target must not be written, "" where it may."""
        service.held = False
        self.held.discard(service.key)
        name = service.spec.target.partition("/")[2] if service.spec is not None else ""
        if service.target is None or target is None:
            return self.targets.why_missing(service.kind, name)
        if target.replicas is None:
            return because(Reason.TargetUnreadable, "the target's replica count is no whole number")
        if target.selector is None:
            return because(
                Reason.TargetUnreadable, "its scale names no pods (no label selector), so nobody can tell which are ready"
            )
        if not service.active:
            return ""  # never writes, so nobody is in its way: a Shadow beside an HPA is how people begin
        owner = self.services.owner(service.target)
        if owner is not None and owner is not service:
            return because(Reason.TargetConflict, f"the older InferenceAutoscaler {owner.name} scales the same target")
        if hpa := self.hpas.on(scaled(service.key[0], *service.kind, name)):
            return because(Reason.HorizontalPodAutoscaler, f"the HorizontalPodAutoscaler {hpa} scales the same target")
        if not service.looked_at_writer:
            service.looked_at_writer = True
            self.foreign.saw_first(service.target, target, service.scaled_at_s)
        if (write := self.foreign.of(service.target, at_s)) is not None:
            service.held = True
            self.held.add(service.key)  # to be looked at again when the time is over
            return write.words()
        return ""

    def replicas(self, target: TargetKey) -> int | None:
        """The target's count, with our own write where the watch has not told of it yet; None where nobody knows."""
        found, wrote = self.targets.objects.get(target), self.wrote.get(target)
        if found is not None and wrote is not None and wrote[0] == found.resource_version:
            return wrote[1].replicas
        return None if found is None else found.replicas

    def service_of(self, pod: Key) -> str | None:
        """Whose replica a pod is (``namespace/name``): its target's owner's, or the oldest service's of it; None: nobody's."""
        for target in self.pods.targets_of(pod):
            if services := self.services.on(target):
                return next((service for service in services if service.active), services[0]).name
        return None

    # ------------------------------------------------------------ what the informers tell

    def _service_changed(self, key: Key, old: ManifestObject | None, new: ManifestObject | None) -> None:
        before = self.services.all.get(key)
        target = before.target if before is not None else None
        service, changed = self.services.take(key, new)
        if not changed:
            return
        self._kinds_changed = True
        if target is not None:
            self.foreign.forgive(target)  # its owner has spoken
            self.dirty |= self.services.by_target.get(target, set())
            self._select(target)
        if service is not None:
            service.looked_at_writer = old is not None
            self.dirty.add(key)

    def aim_all(self) -> None:
        """Finds each service's target by its kind, after manifests or known kinds have changed."""
        if not self._kinds_changed:
            return
        self._kinds_changed = False
        usable = [service for service in self.services.all.values() if service.spec is not None]
        self.targets.want(service.kind for service in usable)
        for service in self.services.all.values():
            before = service.target
            target = None
            if service.spec is not None:
                target = self.targets.key(service.kind, service.key[0], service.spec.target.partition("/")[2])
            if self.services.aim(service, target):
                self.dirty.add(service.key)
                for other in (before, target):
                    if other is not None:
                        self._select(other)
                        self.dirty |= self.services.by_target.get(other, set())

    def take_in_lead_times(self) -> None:
        """Has the services looked at again on whose pool a node was measured."""
        if measured := self.pools.measured:
            rows = self.services.rows
            self.dirty |= {one.key for one in rows if one.spec is not None and not measured.isdisjoint(one.spec.pool_names)}
            measured.clear()

    def _select(self, target: TargetKey) -> None:
        """Keeps the pods of the target together, while somebody scales it."""
        found = self.targets.objects.get(target)
        self.pods.set_target(target, found.selector if found is not None and target in self.services.by_target else None)

    def _target_changed(self, target: TargetKey, old: Target | None, new: Target | None) -> None:
        keys = self.services.by_target.get(target)
        if not keys:
            return
        self.dirty |= keys
        if new is None:
            self.foreign.forgive(target)
        elif old is not None and self.services.owner(target) is not None:
            expected = self.wrote.get(target)
            ours = expected is not None and expected[1].replicas == new.replicas and not new.writer
            if not ours and self.foreign.saw_change(target, old, new, self._clock.now_s()):
                log.warning("%s/%s: %s set its replicas from %s to %s", *target[1:], new.writer, old.replicas, new.replicas)
        if old is None or new is None or old.selector != new.selector:
            self._select(target)

    def _kind_changed(self) -> None:
        self._kinds_changed = True
        self.dirty |= set(self.services.all)

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        self.pods.pod_changed(key, old, new)
        self.pools.pod_changed(old, new)
        ended = self._starts.ended(key, old, new)
        if ended is not None:
            seconds, stages = ended
            for target in self.pods.targets_of(key):
                for service in self.services.by_target.get(target, ()):
                    self.services.all[service].lead.add(seconds)
                    self.services.all[service].lead.add_stages(stages)
                    self.dirty.add(service)

    def _hpa_changed(self, key: Key, old: Scaled | None, new: Scaled | None) -> None:
        if old == new:
            return  # an HPA's status changes all the time
        self.hpas.changed(key, old, new)
        for service in self.services.all.values():
            if service.spec is None or service.key[0] != key[0]:
                continue
            name = service.spec.target.partition("/")[2]
            if scaled(key[0], *service.kind, name) in (old, new):
                self.dirty.add(service.key)
                if new is None and service.target is not None:
                    self.foreign.forgive(service.target)  # its writes were the HPA's, which is gone

    def _switch_changed(self, _key: Key, _old: Pause | None, new: Pause | None) -> None:
        self.switch = new
        log.warning("the cluster's pause switch: %s", "off" if new is None else f"{new.direction} {new.reason}")
