"""The Cluster port on a real cluster: what is there, from memory, and the hand that scales it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import msgspec
import numpy as np

from autoscaler.adapters.kubernetes.acting import write_all
from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.columns import Columns
from autoscaler.adapters.kubernetes.discovery import Discovery
from autoscaler.adapters.kubernetes.foreign_writers import HOLD_S, ForeignWriters
from autoscaler.adapters.kubernetes.hpas import HPAS, HpaIndex, Scaled, hpa_of, scaled
from autoscaler.adapters.kubernetes.informer import DEFAULTS, InformerSettings, Key
from autoscaler.adapters.kubernetes.lead_times import Starts
from autoscaler.adapters.kubernetes.pause_switch import CONFIG_MAPS, SWITCH_NAME, pause_of
from autoscaler.adapters.kubernetes.pod_index import PodIndex, TargetKey
from autoscaler.adapters.kubernetes.pods import PODS, Pod, PodState, pod_of
from autoscaler.adapters.kubernetes.reasons import Reason, because
from autoscaler.adapters.kubernetes.scale import ScaleClient, ScaleState
from autoscaler.adapters.kubernetes.services import (
    POOLS,
    SERVICES,
    Judge,
    ManifestObject,
    Service,
    Services,
    decoded,
    manifest_object,
)
from autoscaler.adapters.kubernetes.target_watch import TargetWatch
from autoscaler.adapters.kubernetes.targets import Target
from autoscaler.adapters.kubernetes.watches import Watches
from autoscaler.compiled import pool_spec
from autoscaler.core.model import Direction, Fleet, Ints, Memory, Outcome, Pause, Plan, PoolSpec, Written
from autoscaler.errors import OutsideError
from autoscaler.ports import Clock
from autoscaler.spec import AcceleratorPool

log = logging.getLogger(__name__)

STALE_S = 240.0
"""Longer than the longest quiet watch. What has not been heard of for so long must not lead to removing replicas."""


class KubernetesCluster:
    """Implements the ports Cluster and ReadyPods. `async with` runs the informers.

    may_write: asked right before each write whether this process leads. namespaces: those to serve; empty for all.
    own_namespace: where the pause switch lies. judge: makes manifests of objects, see ``services.Judge``.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        clock: Clock,
        rng: np.random.Generator,
        own_namespace: str,
        may_write: Callable[[], bool],
        namespaces: Sequence[str] = (),
        judge: Judge = decoded,
        informer_settings: InformerSettings = DEFAULTS,
        foreign_hold_s: float = HOLD_S,
    ) -> None:
        self.pods = PodIndex()
        self.services = Services(judge)
        self.foreign = ForeignWriters(foreign_hold_s)
        self.hpas = HpaIndex()
        self.may_write = may_write
        self._clock = clock
        self._scales = ScaleClient(api, may_write)
        self._starts = Starts()
        self._pools: dict[str, PoolSpec] = {}
        self._switch: Pause | None = None
        self._columns = Columns()
        self._memories: dict[str, Memory] = {}
        self._met: set[Key] = set()
        self._dirty: set[Key] = set()
        self._held: set[Key] = set()
        self._kinds_changed = False
        self._wrote: dict[TargetKey, tuple[str, ScaleState]] = {}
        self._observed: tuple[Fleet, list[ScaleState | None]] | None = None
        self._ready_rows: tuple[int, dict[Key, int]] = (-1, {})
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
        watches.add(POOLS, _pool_of, self._pool_changed, namespaces=(None,), required=False)

    # ------------------------------------------------------------ running

    async def __aenter__(self) -> KubernetesCluster:
        self._tasks = [
            asyncio.create_task(self.watches.run(), name="watches"),
            asyncio.create_task(self.targets.run(), name="target watches"),
        ]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def missing(self) -> list[str]:
        """What has not been listed yet and has to be before anything may be decided, in words. Empty: ready."""
        words = self.watches.missing()
        if not words:
            self._aim_all()
            if not self.targets.synced():
                words.append("the targets of the InferenceAutoscalers")
        return words

    async def wait_synced(self, timeout_s: float) -> None:
        """Returns once everything has been listed. Raises OutsideError with what is missing, and why, after `timeout_s`."""
        end_s = self._clock.monotonic_s() + timeout_s
        while words := self.missing():
            if self._clock.monotonic_s() > end_s:
                raise OutsideError(f"the API server did not give in {timeout_s:g} s: {', '.join(words)}")
            await asyncio.sleep(0.02)

    # ------------------------------------------------------------ the port: observe

    async def observe(self, at_s: float) -> Fleet:
        self._aim_all()
        services = self.services
        if (before := services.arrange()) is not None:
            self._columns.rearrange(before)
            self._dirty |= {services.rows[row].key for row in np.flatnonzero(before < 0).tolist()}
            self._remember_new()
        for target in self.pods.touched:
            self._dirty |= services.by_target.get(target, set())
        self.pods.touched.clear()
        for key in self._dirty | self._held:
            service = services.all.get(key)
            if service is not None and service.row >= 0:
                self._refresh(service, at_s)
        self._dirty.clear()
        fleet = self._columns.fleet(
            revision=services.revision,
            services=services.rows,
            memories=self._memories,
            pools=tuple(self._pools[name] for name in sorted(self._pools)),
            paused=self._paused(),
        )
        self._observed = fleet, list(self._columns.decided_on)
        return fleet

    def _refresh(self, service: Service, at_s: float) -> None:
        """Brings the service's row up to date."""
        target = self.targets.objects.get(service.target) if service.target is not None else None
        why = self._hands_off(service, target, at_s)
        state = None if target is None or target.replicas is None else target.scale_state()
        if state is not None and service.target in self._wrote:
            # Our own write, while the watch has not yet told of it.
            before, written = self._wrote[service.target]
            if before == state.resource_version:
                state = written
            else:
                del self._wrote[service.target]
        members = self.pods.members(service.target) if service.target is not None else None
        self._columns.set_row(service, state, members.counts if members is not None else None, why)

    def _hands_off(self, service: Service, target: Target | None, at_s: float) -> str:
        """Why the service's target must not be written, "" where it may."""
        service.held = False
        self._held.discard(service.key)
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
            self._held.add(service.key)  # to be looked at again when the time is over
            return write.words()
        return ""

    def _remember_new(self) -> None:
        """What the status remembers of services that nobody has been told of yet."""
        new = [service for service in self.services.rows if service.key not in self._met]
        self._met = {service.key for service in self.services.rows}
        remembered = ((service.name, service.memory()) for service in new)
        self._memories = {name: memory for name, memory in remembered if memory is not None}

    def _paused(self) -> Pause | None:
        # Targets have no say in this: one that isn't known keeps hands off its own row only, and a write over a stale one is refused.
        if missing := self.watches.missing():
            return Pause(direction="Both", until_s=None, reason=f"not listed yet: {', '.join(missing)}")
        stale_s = self.watches.staleness_s()
        if stale_s > STALE_S and (self._switch is None or self._switch.direction == "Up"):
            direction: Direction = "Down" if self._switch is None else "Both"
            return Pause(direction=direction, until_s=None, reason=f"nothing was heard from the API server for {stale_s:.0f} s")
        return self._switch

    def trouble(self) -> tuple[Ints, Ints]:
        """Of the last observed fleet (n,): replicas that find no node, replicas whose containers do not start."""
        return self._columns.unschedulable, self._columns.failing

    def troubled_pods(self, service: Service) -> list[tuple[str, Pod]]:
        """(name, pod) of the service's replicas that find no node or do not start, by name."""
        members = self.pods.members(service.target) if service.target is not None else None
        found = ((key[1], self.pods.pods[key]) for key in (members.pods if members is not None else ()))
        return sorted(
            (f for f in found if f[1].state is PodState.STARTING and (f[1].unschedulable or f[1].waiting)), key=lambda f: f[0]
        )

    # ------------------------------------------------------------ the port: act

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        rows = np.flatnonzero(plan.act).tolist()
        written = np.zeros(len(fleet), dtype=np.int8)
        if not rows:
            return Outcome(written=written)
        if self._observed is None or self._observed[0] is not fleet:
            written[rows] = Written.REFUSED
            return Outcome(written=written, errors=dict.fromkeys(rows, "decided on a fleet that is no longer the latest one"))
        decided_on = self._observed[1]
        services = self.services.rows
        wishes = []
        for row in rows:
            service, state = services[row], decided_on[row]
            resource = self.targets.resource(service.kind)
            if resource is not None and state is not None and service.target is not None:
                wishes.append((row, resource, service.target, int(plan.replicas[row]), state))
        errors = dict.fromkeys(rows, "the target is not known")
        written[rows] = Written.FAILED
        async for row, result in write_all(self._scales, wishes, deadline_s, self._clock.monotonic_s):
            written[row] = result.written
            errors.pop(row, None)
            service = services[row]
            if result.written is Written.DONE and result.state is not None and service.target is not None:
                before = decided_on[row]
                known = self.targets.objects.get(service.target)
                if before is not None and known is not None and known.resource_version == before.resource_version:
                    self._wrote[service.target] = known.resource_version, result.state
                service.scaled_at_s = self._clock.now_s()
                self._dirty.add(service.key)
            else:
                errors[row] = result.why
        return Outcome(written=written, errors=errors)

    # ------------------------------------------------------------ the port: which pods count

    @property
    def revision(self) -> int:
        """ReadyPods: moves when an answer of rows_by_pod may have changed."""
        return self.pods.revision + self.services.revision

    def rows_by_pod(self) -> Mapping[tuple[str, str], int]:
        """ReadyPods: the row that a ready pod counts for: its target's owner, or the oldest service of it."""
        revision = self.revision
        if self._ready_rows[0] != revision:
            rows: dict[Key, int] = {}
            for target in self.services.by_target:
                members = self.pods.members(target)
                service = self.services.owner(target) or next(iter(self.services.on(target)), None)
                if members is None or service is None or service.row < 0:
                    continue
                for key in members.pods:
                    if self.pods.pods[key].state is PodState.READY:
                        rows.setdefault(key, service.row)
            self._ready_rows = revision, rows
        return self._ready_rows[1]

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
            self._dirty |= self.services.by_target.get(target, set())
            self._select(target)
        if service is not None:
            service.looked_at_writer = old is not None
            self._dirty.add(key)

    def _aim_all(self) -> None:
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
                self._dirty.add(service.key)
                for other in (before, target):
                    if other is not None:
                        self._select(other)
                        self._dirty |= self.services.by_target.get(other, set())

    def _select(self, target: TargetKey) -> None:
        """Keeps the pods of the target together, while somebody scales it."""
        found = self.targets.objects.get(target)
        self.pods.set_target(target, found.selector if found is not None and target in self.services.by_target else None)

    def _target_changed(self, target: TargetKey, old: Target | None, new: Target | None) -> None:
        keys = self.services.by_target.get(target)
        if not keys:
            return
        self._dirty |= keys
        if new is None:
            self.foreign.forgive(target)
        elif old is not None and self.services.owner(target) is not None:
            expected = self._wrote.get(target)
            ours = expected is not None and expected[1].replicas == new.replicas and not new.writer
            if not ours and self.foreign.saw_change(target, old, new, self._clock.now_s()):
                log.warning("%s/%s: %s set its replicas from %s to %s", *target[1:], new.writer, old.replicas, new.replicas)
        if old is None or new is None or old.selector != new.selector:
            self._select(target)

    def _kind_changed(self) -> None:
        self._kinds_changed = True
        self._dirty |= set(self.services.all)

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        self.pods.pod_changed(key, old, new)
        seconds = self._starts.sample_s(key, old, new)
        if seconds is not None:
            for target in self.pods.targets_of(key):
                for service in self.services.by_target.get(target, ()):
                    self.services.all[service].lead.add(seconds)
                    self._dirty.add(service)

    def _hpa_changed(self, key: Key, old: Scaled | None, new: Scaled | None) -> None:
        self.hpas.changed(key, old, new)
        self._dirty |= {service for service in self.services.all if service[0] == key[0]}

    def _switch_changed(self, _key: Key, _old: Pause | None, new: Pause | None) -> None:
        self._switch = new
        log.warning("the cluster's pause switch: %s", "off" if new is None else f"{new.direction} {new.reason}")

    def _pool_changed(self, key: Key, _old: PoolSpec | None, new: PoolSpec | None) -> None:
        if new is None:
            self._pools.pop(key[1], None)
        else:
            self._pools[key[1]] = new


def _pool_of(item: Object) -> PoolSpec | None:
    with contextlib.suppress(msgspec.ValidationError, ValueError):
        known = {"apiVersion": POOLS.api_version, "kind": POOLS.kind, "metadata": item["metadata"], "spec": item.get("spec")}
        return pool_spec(msgspec.convert(known, AcceleratorPool))
    log.warning("AcceleratorPool %s can't be used", item["metadata"].get("name"))
    return None
