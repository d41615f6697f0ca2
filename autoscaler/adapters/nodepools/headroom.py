"""The backend ``Headroom``: room for a node autoscaler that owns the nodes, so that it makes them before replicas need them.

Of the planned nodes' accelerators, what services' pods ask for already makes nodes by itself; for the rest room is asked: by a CapacityBuffer
(cluster-autoscaler proposals/buffers.md, karpenter designs/capacity-buffer.md) where the API server serves it, else by placeholder pods of low
priority, one accelerator each (cluster-autoscaler FAQ, "How can I configure overprovisioning"). Fewer of them only allow the owner to remove
nodes. How many nodes were asked for stands in an annotation, for who comes after a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from autoscaler.adapters.nodepools.backend import PoolState, ReadyNodes, Sets, Wish
from autoscaler.adapters.nodepools.kube_objects import APPLY, FIELD_MANAGER, KubeObjects, Object, Served, dig, whole
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason, reason_in
from autoscaler.core.model import PoolSpec
from autoscaler.spec import API_VERSION, Toleration
from autoscaler.spec import Headroom as Settings

POOL_LABEL: Final = "inference-autoscaler.io/pool"
TARGET: Final = "inference-autoscaler.io/target-nodes"
BUFFER_VERSIONS: Final = ("autoscaling.x-k8s.io/v1", "autoscaling.x-k8s.io/v1beta1", "autoscaling.x-k8s.io/v1alpha1")
DEPLOYMENTS: Final = Served(api_version="apps/v1", kind="Deployment", plural="deployments", namespaced=True)
POD_TEMPLATES: Final = Served(api_version="v1", kind="PodTemplate", plural="podtemplates", namespaced=True)


class Headroom:
    """The placeholders or the buffer of one pool; what is made goes with the AcceleratorPool when it is deleted."""

    sets: Sets = "Headroom"

    def __init__(self, objects: KubeObjects, pool: PoolSpec, settings: Settings, ready: ReadyNodes) -> None:
        self._objects = objects
        self._settings = settings
        self._node_selector = dict(pool.node_selector)
        self._ready = ready
        self._pool = pool.name
        self._name = f"inference-autoscaler-{pool.name}"
        if len(self._name) > 63:  # the name is a label's value, too
            self._name = f"inference-autoscaler-{hashlib.sha256(pool.name.encode()).hexdigest()[:16]}"
        self._uid = pool.uid
        self._resource = pool.resource
        self._settled = False
        """Whether this process has written it: a manifest that was changed meanwhile is so taken in once, whatever the numbers."""
        self._labels = {"app.kubernetes.io/managed-by": FIELD_MANAGER, POOL_LABEL: self._name}

    async def get(self, deadline_s: float) -> PoolState:
        buffers = await self._buffers(deadline_s)
        found = await self._ours(buffers or DEPLOYMENTS, deadline_s)
        if found is None:
            return PoolState(ready=self._ready(), version=0)
        words = _trouble(found)
        asked = str((dig(found, "metadata", "annotations") or {}).get(TARGET) or "")
        return PoolState(
            target=int(asked) if asked.isdigit() else None,
            ready=self._ready(),
            reason=reason_in(words, PoolReason.Rejected),
            problem=words,
            version=whole(dig(found, "spec", "replicas")) or 0,
        )

    async def set_target(self, wish: Wish, over: PoolState, deadline_s: float) -> PoolState:
        if wish.taken is None:
            # Room for accelerators that are taken already would be twice the nodes.
            raise PoolProblem(
                PoolReason.NotUsable, "the plan does not tell what services' pods take of this pool; no room can be reckoned"
            )
        free = max(0, wish.nodes * wish.per_node - wish.taken)
        same = (over.version, over.target) == (free, wish.nodes) or (free == 0 and over.version == 0 and over.target is None)
        if same and self._settled:
            return over
        buffers = await self._buffers(deadline_s)
        if not self._settled:
            await self._remove_other_way(buffers, deadline_s)
        there = bool(over.version) or over.target is not None
        # A buffer stays, with nothing to keep: Karpenter (1.14) learns of one that is deleted with its next scheduling only, and holds its nodes
        # until then; of one that is empty it learns at once (pkg/controllers/capacitybuffer/controller.go, provisioning/provisioner.go).
        kept = free > 0 or (buffers is not None and there)
        if kept:
            await self._keep(buffers, free, wish.nodes, deadline_s)
        else:
            await self._remove(buffers or DEPLOYMENTS, deadline_s)
        self._settled = True
        return over if same else replace(over, target=wish.nodes if kept else None, version=free)

    async def _keep(self, buffers: Served | None, free: int, nodes: int, deadline_s: float) -> None:
        if buffers:
            # The template first: a buffer that names none is in error until it is there. Killed between the two, the next tick does both.
            await self._apply(POD_TEMPLATES, {"template": self._template()}, {}, deadline_s)
            spec: Object = {"podTemplateRef": {"name": self._name}, "replicas": free}
        else:
            # Placeholders of an older template make room for the new ones at once; beside each other they would ask for twice the room.
            spec = {
                "replicas": free,
                "selector": {"matchLabels": {POOL_LABEL: self._name}},
                "strategy": {"type": "Recreate"},
                "template": self._template(),
            }
        await self._apply(buffers or DEPLOYMENTS, {"spec": spec}, {TARGET: str(nodes)}, deadline_s)

    async def _remove_other_way(self, buffers: Served | None, deadline_s: float) -> None:
        """What is left of a time when room was kept in the other way: both would keep it twice."""
        served = None if buffers else await self._served_buffers(deadline_s)
        for kind in (DEPLOYMENTS,) if buffers else (served, POD_TEMPLATES) if served else ():
            await self._remove(kind, deadline_s)

    async def _buffers(self, deadline_s: float) -> Served | None:
        """CapacityBuffers, where they are to be used."""
        method = self._settings.method
        if method == "Placeholder":
            return None
        served = await self._served_buffers(deadline_s)
        if served is None and method == "CapacityBuffer":
            raise PoolProblem(
                PoolReason.NotUsable, "the API server serves no CapacityBuffer: install its CRD, or use method Placeholder"
            )
        return served

    async def _served_buffers(self, deadline_s: float) -> Served | None:
        for version in BUFFER_VERSIONS:
            if (served := await self._objects.served(version, "CapacityBuffer", deadline_s)) is not None:
                return served
        return None

    async def _ours(self, kind: Served, deadline_s: float) -> Object | None:
        """The object of our name; one that we did not make is nobody's to touch."""
        found = await self._objects.find("GET", kind.path(self._settings.namespace, self._name), deadline_s)
        if found is not None and (dig(found, "metadata", "labels") or {}).get(POOL_LABEL) != self._name:
            raise PoolProblem(
                PoolReason.OwnedElsewhere,
                f"{kind.kind} {self._settings.namespace}/{self._name} is there and was not made by us; remove it or use another namespace",
            )
        return found

    async def _apply(self, kind: Served, content: Mapping[str, Any], annotations: Mapping[str, str], deadline_s: float) -> None:
        owner = {"apiVersion": API_VERSION, "kind": "AcceleratorPool", "name": self._pool, "uid": self._uid}
        metadata = {
            "name": self._name,
            "namespace": self._settings.namespace,
            "labels": self._labels,
            "annotations": annotations,
            "ownerReferences": [owner] if self._uid else [],
        }
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **content}
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        path = kind.path(self._settings.namespace, self._name)
        await self._objects.request("PATCH", path, deadline_s, params=params, body=body, content_type=APPLY)

    async def _remove(self, kind: Served, deadline_s: float) -> None:
        found = await self._ours(kind, deadline_s)
        if found is not None:
            # Only what was just seen to be ours. The placeholders go with their Deployment.
            body = {"preconditions": {"uid": found["metadata"]["uid"]}, "propagationPolicy": "Background"}
            await self._objects.find("DELETE", kind.path(self._settings.namespace, self._name), deadline_s, body=body)

    def _template(self) -> Object:
        settings = self._settings
        one = {self._resource: "1"}
        return {
            "metadata": {"labels": self._labels},
            "spec": {
                "priorityClassName": settings.priority_class,
                "nodeSelector": self._node_selector,
                "tolerations": [_toleration(one) for one in settings.tolerations],
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65534,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "placeholder",
                        "image": settings.image,
                        "resources": {"requests": one, "limits": one},
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            },
        }


def _toleration(one: Toleration) -> dict[str, str]:
    said = {"key": one.key, "operator": one.operator, "value": one.value, "effect": one.effect}
    return {name: value for name, value in said.items() if value}


def _trouble(found: Object) -> str:
    """Why placeholders can't be made (a quota, no such PriorityClass), or why a buffer is not ready."""
    for one in dig(found, "status", "conditions") or ():
        failing = one.get("type") == "ReplicaFailure" and one.get("status") == "True"
        unready = (
            str(one.get("type")).startswith("Ready") and one.get("status") == "False" and found.get("kind") == "CapacityBuffer"
        )
        if (failing or unready) and one.get("message"):
            return f"{one.get('reason') or one['type']}: {one['message']}"
    return ""
