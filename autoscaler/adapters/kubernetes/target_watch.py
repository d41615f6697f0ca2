"""Watches the kinds of targets that manifests name, each once it is named, with whatever resource the API server serves it by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Discovery, Resource
from autoscaler.adapters.kubernetes.informer import Informer, Key
from autoscaler.adapters.kubernetes.pod_index import TargetKey
from autoscaler.adapters.kubernetes.reasons import Reason, because
from autoscaler.adapters.kubernetes.scale import ScaleClient
from autoscaler.adapters.kubernetes.targets import Target, scale_paths, target_transform

log = logging.getLogger(__name__)

KindName: TypeAlias = tuple[str, str]
"""(apiVersion, kind) as a manifest spells it."""
CALL_TIMEOUT_S = 10.0
LOOK_AGAIN_S = 5.0

MakeInformer: TypeAlias = Callable[
    [Resource, str | None, Callable[[Object], Target], Callable[[Key, Target | None, Target | None], None]], Informer[Target]
]


@dataclass(slots=True)
class _Watched:
    """A kind that is watched, by one informer per namespace or one for all."""

    resource: Resource
    certain: bool
    """Whether its scale paths are known, or were seen to be right."""
    wrong: bool = False
    """Whether they were seen to be wrong."""
    tried: bool = False
    """Whether they were compared at all; the start does not wait for more, since one tenant's kind must not hold up all others."""
    informers: list[Informer[Target]] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def synced(self) -> bool:
        return all(informer.has_synced.is_set() for informer in self.informers)

    def fault(self) -> ApiError | None:
        return next((informer.last_fault for informer in self.informers if informer.last_fault is not None), None)


class TargetWatch:
    """objects: all targets of the watched kinds. on_change(target, old, new) and on_kind(name) are called synchronously."""

    def __init__(
        self,
        api: KubeApi,
        discovery: Discovery,
        *,
        namespaces: Sequence[str | None],
        make_informer: MakeInformer,
        on_change: Callable[[TargetKey, Target | None, Target | None], None],
        on_kind: Callable[[], None],
    ) -> None:
        self.objects: dict[TargetKey, Target] = {}
        self._api = api
        self._discovery = discovery
        self._namespaces = namespaces
        self._make_informer = make_informer
        self._on_change = on_change
        self._on_kind = on_kind
        self._scales = ScaleClient(api, lambda: False)  # reads only
        self._wanted: frozenset[KindName] = frozenset()
        self._resources: dict[KindName, Resource] = {}
        self._faults: dict[KindName, str] = {}
        self._watched: dict[str, _Watched] = {}
        self._asked = asyncio.Event()
        self._looked = asyncio.Event()

    def want(self, kinds: Iterable[KindName]) -> None:
        """The kinds that manifests name now; what is new is watched soon, what is no longer named is let go."""
        wanted = frozenset(kinds)
        if wanted != self._wanted:
            self._wanted = wanted
            self._looked.clear()
            self._asked.set()

    def resource(self, kind: KindName) -> Resource | None:
        return self._resources.get(kind)

    def key(self, kind: KindName, namespace: str, name: str) -> TargetKey | None:
        """The target's key, None while its kind isn't known."""
        resource = self._resources.get(kind)
        return (
            None if resource is None or not self._watched[resource.full_name].certain else (resource.full_name, namespace, name)
        )

    def synced(self) -> bool:
        """Whether every kind that is wanted was looked at, and every list that can be had was had."""
        listed = all(w.synced or w.fault() is not None for w in self._watched.values())
        return self._looked.is_set() and listed and not any(self._to_prove(w) for w in self._watched.values())

    def _to_prove(self, watched: _Watched) -> bool:
        """Whether a comparison is still to be made that can be made."""
        of_kind = (target for target in self.objects if target[0] == watched.resource.full_name)
        return not (watched.certain or watched.wrong or watched.tried) and next(of_kind, None) is not None

    def why_missing(self, kind: KindName, name: str) -> str:
        """Why there is no target of this name, in the form "Reason: words"."""
        if kind in self._faults:
            return self._faults[kind]
        resource = self._resources.get(kind)
        if resource is None:
            return because(Reason.TargetUnreadable, f"{kind[1]} of {kind[0]} was not looked up yet")
        watched = self._watched.get(resource.full_name)
        if watched is not None and watched.synced and not watched.certain and not watched.wrong and watched.tried:
            return because(Reason.TargetUnreadable, f"where the count of {resource.full_name} lies was not found out yet")
        if watched is None or not watched.synced:
            fault = watched.fault() if watched is not None else None
            return because(Reason.TargetUnreadable, f"{resource.full_name} can't be listed{f': {fault}' if fault else ' yet'}")
        if watched.wrong:
            definition = f"get on the CustomResourceDefinition {resource.full_name}"
            return because(
                Reason.TargetUnreadable, f"the count of {resource.full_name} is not at spec.replicas; permit {definition}"
            )
        return because(Reason.TargetMissing, f"there is no {kind[1]} {name} in this namespace")

    async def run(self) -> None:
        """Never returns; cancel it."""
        try:
            while True:
                self._asked.clear()
                complete = await self._look()
                self._looked.set()
                # Kinds may be installed later than the manifests that name them.
                timeout_s = None if complete else LOOK_AGAIN_S
                # No wait_for: before Python 3.12 it swallows a cancellation that comes together with the event, and who stops us waits forever.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await self._asked.wait()
        finally:
            for name in list(self._watched):
                await self._let_go(name)

    async def _look(self) -> bool:
        """Resolves and watches what is wanted; True when nothing is left to be tried again."""
        complete = True
        for kind in sorted(self._wanted):
            before = self._resources.get(kind), self._faults.get(kind)
            try:
                await self._add(kind)
            except ApiError as fault:
                self._faults[kind] = because(Reason.TargetUnreadable, f"{kind[1]} of {kind[0]} can't be looked up: {fault}")
            except Exception as fault:  # an aggregated API that speaks nonsense must not cost the others their targets
                log.exception("%s of %s can't be looked up", kind[1], kind[0])
                words = f"{kind[1]} of {kind[0]} can't be looked up: its API answers with what nobody can read ({fault!r})"
                self._faults[kind] = because(Reason.TargetUnreadable, words)
            complete = complete and kind not in self._faults
            if before != (self._resources.get(kind), self._faults.get(kind)):
                self._on_kind()
        for kind in [kind for kind in (*self._resources, *self._faults) if kind not in self._wanted]:
            self._resources.pop(kind, None)
            self._faults.pop(kind, None)
        used = {resource.full_name for resource in self._resources.values()}
        for name in [name for name in self._watched if name not in used]:
            await self._let_go(name)
        for watched in self._watched.values():
            if not watched.tried or not (watched.certain or watched.wrong):
                # Known paths are compared once as well: that scales may be read is better found missing now than at the first conflict.
                complete = await self._prove(watched) and complete
        return complete

    async def _add(self, kind: KindName) -> None:
        if kind in self._resources:
            return
        resource = await self._discovery.resolve(*kind, timeout_s=CALL_TIMEOUT_S)
        if resource is None or not resource.namespaced:
            self._faults[kind] = because(Reason.TargetKindUnknown, f"the API server serves no namespaced {kind[1]} of {kind[0]}")
            return
        if not resource.scale:
            self._faults[kind] = because(Reason.NoScaleSubresource, f"{resource.full_name} has no scale subresource")
            return
        if resource.full_name not in self._watched:
            paths = await scale_paths(self._api, resource, CALL_TIMEOUT_S)
            self._watch(resource, target_transform(paths), paths.certain)
        self._faults.pop(kind, None)
        self._resources[kind] = resource

    async def _prove(self, watched: _Watched) -> bool:
        """Compares where we think an object's count lies with what its scale says. True once there is nothing more to compare."""
        of_kind = [(target, found) for target, found in self.objects.items() if target[0] == watched.resource.full_name]
        # The largest count proves the most: where the path is wrong all look like 0.
        target, found = max(of_kind, key=lambda item: item[1].replicas or 0, default=(None, None))
        if target is None or found is None:
            return watched.certain  # asked again as soon as there is one
        watched.tried = True
        try:
            scale = await self._scales.read(watched.resource, target[1], target[2], CALL_TIMEOUT_S)
        except ApiError as fault:
            log.warning(
                "the scale of %s %s/%s can't be read, so a write that meets a conflict can't be repeated: %s", *target, fault
            )
            return watched.certain
        except (TypeError, ValueError, AttributeError):
            log.exception("the scale of %s %s/%s is nothing that one can read", *target)
            return watched.certain
        if watched.certain:
            return True
        if scale.resource_version != found.resource_version:
            return False  # it has moved: compare again
        watched.certain, watched.wrong = scale.replicas == found.replicas, scale.replicas != found.replicas
        self._on_kind()
        return True

    def _watch(self, resource: Resource, transform: Callable[[Object], Target], certain: bool) -> None:
        watched = self._watched[resource.full_name] = _Watched(resource, certain)

        def changed(key: Key, old: Target | None, new: Target | None) -> None:
            target = (resource.full_name, *key)
            if new is None:
                self.objects.pop(target, None)
            else:
                self.objects[target] = new
            self._on_change(target, old, new)
            if not watched.tried or not (watched.certain or watched.wrong):
                self._asked.set()

        for namespace in self._namespaces:
            informer = self._make_informer(resource, namespace, transform, changed)
            watched.informers.append(informer)
            watched.tasks.append(asyncio.create_task(informer.run(), name=f"informer {resource.full_name}"))

    async def _let_go(self, name: str) -> None:
        watched = self._watched.pop(name)
        for task in watched.tasks:
            task.cancel()
        await asyncio.gather(*watched.tasks, return_exceptions=True)
        for target in [target for target in self.objects if target[0] == name]:
            old = self.objects.pop(target)
            self._on_change(target, old, None)
