"""The backend ``MinSize``: the lower bound that cluster-autoscaler keeps on Cluster API, so that it makes nodes before pods wait.

cluster-autoscaler owns the size and stays its owner; it fills up to the lower bound only with ``--enforce-node-group-min-size`` (its FAQ,
"How can I enforce the node group's minimum size").
"""

from __future__ import annotations

import re
from dataclasses import replace

from autoscaler.adapters.nodepools.backend import PoolState, ReadyNodes, Sets, Wish
from autoscaler.adapters.nodepools.kube_objects import FIELD_MANAGER, MERGE, KubeObjects, dig, whole
from autoscaler.adapters.nodepools.ownership import other_owner
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from autoscaler.adapters.nodepools.scale import MAX_SIZE, MIN_SIZE
from autoscaler.spec import ObjectRef


class MinSize:
    """One object's annotation."""

    sets: Sets = "Minimum"

    def __init__(self, objects: KubeObjects, ref: ObjectRef, ready: ReadyNodes) -> None:
        self._objects = objects
        self._ref = ref
        self._ready = ready

    async def get(self, deadline_s: float) -> PoolState:
        item = await self._objects.request("GET", await self._path(deadline_s), deadline_s)
        if not dig(item, "metadata", "resourceVersion"):
            raise PoolProblem(PoolReason.UnexpectedAnswer, f"what the API server answered is no {self._ref.kind}")
        annotations = dig(item, "metadata", "annotations") or {}
        if MAX_SIZE not in annotations:
            raise PoolProblem(
                PoolReason.NotUsable,
                f"{self._ref.kind} {self._ref.name} is no node group of cluster-autoscaler: it has no annotation {MAX_SIZE}",
            )
        return PoolState(
            target=_count(annotations.get(MIN_SIZE), MIN_SIZE),
            ready=whole(dig(item, "status", "readyReplicas")) if (seen := self._ready()) is None else seen,
            max_nodes=_count(annotations[MAX_SIZE], MAX_SIZE),
            owner=other_owner(item, ("metadata", "annotations", MIN_SIZE)),
            version=item["metadata"].get("resourceVersion"),
        )

    async def set_target(self, wish: Wish, over: PoolState, deadline_s: float) -> PoolState:
        if over.target == wish.nodes:
            return over
        patch = {"metadata": {"resourceVersion": over.version, "annotations": {MIN_SIZE: str(wish.nodes)}}}
        params = {"fieldManager": FIELD_MANAGER}
        path = await self._path(deadline_s)
        item = await self._objects.request("PATCH", path, deadline_s, params=params, body=patch, content_type=MERGE)
        version = item["metadata"].get("resourceVersion")
        return replace(over, target=wish.nodes, version=version)

    async def _path(self, deadline_s: float) -> str:
        served = await self._objects.must_be_served(self._ref, "minSize", deadline_s)
        return served.path(self._ref.namespace, self._ref.name)


def _count(text: str | None, name: str) -> int:
    if text is None:
        return 0
    if not re.fullmatch("[0-9]{1,9}", text):
        raise PoolProblem(PoolReason.NotUsable, f"the annotation {name} is '{text[:32]}'; a whole number is expected")
    return int(text)
