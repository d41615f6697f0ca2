"""The backend ``Scale``: any object with a scale subresource.

A static Karpenter NodePool (karpenter pkg/apis/v1/nodepool.go: replicas, status.nodes), Cluster API's MachineDeployment, MachineSet and
MachinePool (cluster-api api/core/v1beta2), a kind of one's own. The API server refuses an order where the object was changed since it was read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from autoscaler.adapters.nodepools.backend import PoolState, ReadyNodes, Sets, Wish
from autoscaler.adapters.nodepools.kube_objects import FIELD_MANAGER, KubeObjects, Object, Served, dig, whole
from autoscaler.adapters.nodepools.ownership import other_owner
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason, reason_in
from autoscaler.spec import ObjectRef

MIN_SIZE: Final = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size"
MAX_SIZE: Final = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size"
"""cluster-autoscaler's bounds on Cluster API (cluster-autoscaler/cloudprovider/clusterapi/README.md)."""
MANAGED_BY: Final = "cluster.x-k8s.io/replicas-managed-by"
"""Cluster API's mark of an owner outside (cluster-api api/core/v1beta2/common_types.go)."""


class Scale:
    """One object's count."""

    sets: Sets = "Nodes"

    def __init__(self, objects: KubeObjects, ref: ObjectRef, ready: ReadyNodes) -> None:
        self._objects = objects
        self._ref = ref
        self._ready = ready

    async def get(self, deadline_s: float) -> PoolState:
        served = await self._served(deadline_s)
        name, namespace = self._ref.name, self._ref.namespace
        item = await self._objects.request("GET", served.path(namespace, name), deadline_s)
        # First, since a dynamic pool's scale can't be read: the API server fails where the count is not there.
        _must_be_static(served, item)
        scale = await self._objects.request("GET", served.path(namespace, name, "scale"), deadline_s)
        # A count of 0 is left out of a Scale; without a version it is none at all.
        if not dig(scale, "metadata", "resourceVersion") or not isinstance(item.get("metadata"), dict):
            raise PoolProblem(PoolReason.UnexpectedAnswer, f"what the API server answered is no Scale of {self._ref.name}")
        words = _trouble(item)
        return PoolState(
            target=whole(dig(scale, "spec", "replicas")) or 0,
            ready=_ready_of(item, scale) if (seen := self._ready()) is None else seen,
            max_nodes=_limit(item),
            owner=_owner(item),
            reason=reason_in(words, PoolReason.Scaling),
            problem=words,
            version=scale.get("metadata") or {},
        )

    async def set_target(self, wish: Wish, over: PoolState, deadline_s: float) -> PoolState:
        if over.target == wish.nodes:
            return over
        served = await self._served(deadline_s)
        version = over.version
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {key: version[key] for key in ("name", "namespace", "uid", "resourceVersion") if version.get(key)},
            "spec": {"replicas": wish.nodes},
        }
        path = served.path(self._ref.namespace, self._ref.name, "scale")
        answer = await self._objects.request("PUT", path, deadline_s, params={"fieldManager": FIELD_MANAGER}, body=body)
        return replace(over, target=whole(dig(answer, "spec", "replicas")) or 0, version=answer.get("metadata") or {})

    async def _served(self, deadline_s: float) -> Served:
        return await self._objects.must_be_served(self._ref, "scale", deadline_s, scaled=True)


def _must_be_static(served: Served, item: Object) -> None:
    if served.api_version.startswith("karpenter.sh/") and dig(item, "spec", "replicas") is None:
        raise PoolProblem(
            PoolReason.OwnedElsewhere,
            "Karpenter owns the nodes of a dynamic NodePool (spec.replicas is not set, and can't be set later): take the backend Headroom",
        )


def _owner(item: Object) -> str:
    annotations = dig(item, "metadata", "annotations") or {}
    if bounds := [name for name in (MIN_SIZE, MAX_SIZE) if name in annotations]:
        return f"cluster-autoscaler sizes it (annotation {bounds[0]}); take the backend MinSize or Headroom"
    if manager := annotations.get(MANAGED_BY):
        return f"{manager} (annotation {MANAGED_BY})" if manager != FIELD_MANAGER else ""
    return other_owner(item, ("spec", "replicas"))


def _ready_of(item: Object, scale: Object) -> int | None:
    ready = whole(dig(item, "status", "readyReplicas"))
    return whole(dig(scale, "status", "replicas")) if ready is None else ready


def _limit(item: Object) -> int | None:
    """Karpenter's own bound of a static NodePool (spec.limits.nodes, a quantity)."""
    limit = dig(item, "spec", "limits", "nodes")
    return int(limit) if isinstance(limit, int | str) and str(limit).isdigit() else None


def _trouble(item: Object) -> str:
    """Why it is not ready, in its own words (Karpenter's and Cluster API's condition Ready)."""
    for one in dig(item, "status", "conditions") or ():
        if one.get("type") == "Ready" and one.get("status") == "False" and one.get("message"):
            return f"{one.get('reason') or 'not ready'}: {one['message']}"
    return ""
