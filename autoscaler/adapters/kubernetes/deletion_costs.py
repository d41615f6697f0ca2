"""Says to the ReplicaSets which pods are to leave first: by an annotation, before the count is lowered. Nothing is evicted or deleted here.

A cost is written over the version of the pod that was decided on, so that one which somebody else sets meanwhile is never overwritten. The count
follows at a later tick, once the informer shows the costs: until then other components may not have seen them either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autoscaler.adapters.kubernetes.access import may
from autoscaler.adapters.kubernetes.api import MERGE_PATCH, KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.emptying import BY_COST, BY_ORDINAL, excess, removal
from autoscaler.adapters.kubernetes.informer import Key
from autoscaler.adapters.kubernetes.pod_index import PodIndex, TargetKey
from autoscaler.adapters.kubernetes.pods import DELETION_COST, OUR_COST, PODS, PodState
from autoscaler.adapters.kubernetes.reasons import Reason, because
from autoscaler.adapters.kubernetes.scale import FIELD_MANAGER

log = logging.getLogger(__name__)

COST: Final = "-1"
"""The least that puts a pod before those that have none, and after those that others gave a lower one."""
PATCHES_PER_TICK: Final = 200
AT_ONCE: Final = 8
CALL_TIMEOUT_S: Final = 3.0
WAITS_TICKS: Final = 4
"""So often a count waits for costs to be shown; then it is lowered with what is there."""
ASK_AGAIN_S: Final = 300.0
"""After so long the API server is asked again whether we may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrinking:
    """A row that is to have fewer replicas, and chooses which go."""

    row: int
    target: TargetKey
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """words: by row, what goes and what that frees, or why nothing is chosen. wait: rows whose count is not to be lowered yet."""

    words: Mapping[int, str]
    wait: frozenset[int]


class DeletionCosts:
    """replicas: the count of a target now, None where nobody knows; may_write: asked right before each write whether this process (still) leads."""

    def __init__(
        self,
        api: KubeApi,
        pods: PodIndex,
        replicas: Callable[[TargetKey], int | None],
        may_write: Callable[[], bool],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._api = api
        self._pods = pods
        self._replicas = replicas
        self._may_write = may_write
        self._monotonic_s = monotonic_s
        self._waited: dict[TargetKey, int] = {}
        self._allowed: dict[str, tuple[float, bool]] = {}
        """By namespace: when it was asked, and the answer."""

    def condition(self, target: TargetKey | None) -> tuple[bool, Reason, str]:
        """(holds, reason, words): whether it can be chosen which of the target's pods leave."""
        if target is not None and target[0] in BY_ORDINAL:
            return (
                False,
                Reason.RemovesByOrdinal,
                "its controller removes the replica with the highest ordinal: there is nothing to choose",
            )
        if target is None or target[0] not in BY_COST:
            return (
                False,
                Reason.UnknownOrder,
                "only ReplicaSets are known to remove pods by controller.kubernetes.io/pod-deletion-cost",
            )
        if not self._may_patch(target[1]):
            return (
                False,
                Reason.PodsNotPatchable,
                f"we may not patch pods in namespace {target[1]} (deploy/components/empty-nodes grants it), so any pods leave",
            )
        return True, Reason.PodsChosen, "of the pods those leave first that free whole nodes"

    async def say(self, shrinking: Sequence[Shrinking], deadline_s: float) -> Said:
        """Names the pods that are to leave of each, and takes back what is no longer meant. Never raises for a fault outside."""
        end_s = self._monotonic_s() + deadline_s
        await self._ask({one.target[1] for one in shrinking if one.target[0] in BY_COST}, end_s)
        words: dict[int, str] = {}
        wait: set[int] = set()
        meant: dict[TargetKey, frozenset[Key]] = {}
        waited: dict[TargetKey, int] = {}
        for one in shrinking:
            holds, reason, why = self.condition(one.target)
            if not holds:
                words[one.row] = because(reason, why)
                continue
            found = removal(self._pods, one.target, one.replicas)
            meant[one.target] = found.marked
            words[one.row] = found.words
            if found.marked <= self._pods.marked:
                continue
            waited[one.target] = self._waited.get(one.target, 0) + 1
            if waited[one.target] > WAITS_TICKS:
                words[one.row] += (
                    f"; not all of their costs could be written in {WAITS_TICKS} ticks, so others may go in their place"
                )
            else:
                wait.add(one.row)
                words[one.row] += "; the count follows as soon as the API server shows their costs"
        self._waited = waited
        await self._patch([*self._to_name(meant), *self._to_take_back(meant)], end_s)
        return Said(words=words, wait=frozenset(wait))

    def _to_name(self, meant: Mapping[TargetKey, frozenset[Key]]) -> Iterable[tuple[Key, str | None]]:
        return ((key, COST) for keys in meant.values() for key in sorted(keys - self._pods.marked))

    def _to_take_back(self, meant: Mapping[TargetKey, frozenset[Key]]) -> Iterable[tuple[Key, str | None]]:
        """Costs of ours on pods that are to stay; not while the controller of the pods has still some to remove."""
        for key in sorted(self._pods.marked):
            if self._pods.pods[key].state not in (PodState.READY, PodState.STARTING):
                continue
            targets = self._pods.targets_of(key)
            if any(key in meant.get(target, ()) for target in targets):
                continue
            known = [(target, self._replicas(target)) for target in targets]
            if not any(replicas is not None and excess(self._pods, target, replicas) for target, replicas in known):
                yield key, None

    async def _patch(self, wishes: Sequence[tuple[Key, str | None]], end_s: float) -> None:
        """The first `PATCHES_PER_TICK` of (pod, its cost or None for none); the rest comes with the next ticks."""
        waiting = iter(wishes[:PATCHES_PER_TICK])

        async def work() -> None:
            for key, cost in waiting:
                timeout_s = min(CALL_TIMEOUT_S, end_s - self._monotonic_s())
                if timeout_s <= 0 or not self._may_write():
                    return
                try:
                    await self._annotate(key, cost, timeout_s)
                except ApiError as fault:
                    if fault.conflict or fault.not_found:
                        continue  # it changed, or is gone: looked at again at the next tick
                    log.warning("the deletion cost of pod %s/%s was not written: %s", *key, fault)
                    if fault.forbidden:
                        self._allowed[key[0]] = self._monotonic_s(), False
                    if fault.throttled or fault.unreachable:
                        return

        if wishes:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(wishes))):
                    group.create_task(work())

    async def _annotate(self, key: Key, cost: str | None, timeout_s: float) -> None:
        pod = self._pods.pods.get(key)
        if pod is None or not self._may_patch(key[0]):
            return
        annotations = {DELETION_COST: cost, OUR_COST: cost}
        body: Object = {"metadata": {"resourceVersion": pod.resource_version, "annotations": annotations}}
        params = {"fieldManager": FIELD_MANAGER}
        await self._api.request("PATCH", PODS.path(*key), params=params, body=body, content_type=MERGE_PATCH, timeout_s=timeout_s)

    def _may_patch(self, namespace: str) -> bool:
        """Whether we may patch its pods, as far as is known; we may until somebody says no."""
        return self._allowed.get(namespace, (0.0, True))[1]

    async def _ask(self, namespaces: Iterable[str], end_s: float) -> None:
        """Whether we may patch their pods, where that was not asked lately."""
        now_s = self._monotonic_s()
        for namespace in sorted(namespaces):
            asked_s, _ = self._allowed.get(namespace, (-ASK_AGAIN_S, False))
            timeout_s = min(CALL_TIMEOUT_S, end_s - self._monotonic_s())
            if now_s - asked_s < ASK_AGAIN_S or timeout_s <= 0:
                continue
            wanted = {"namespace": namespace, "resource": PODS.plural, "verb": "patch"}
            try:
                allowed = await may(self._api, wanted, timeout_s)
            except ApiError as fault:
                log.warning("the API server does not say whether pods of namespace %s may be patched: %s", namespace, fault)
                continue
            self._allowed[namespace] = now_s, allowed
