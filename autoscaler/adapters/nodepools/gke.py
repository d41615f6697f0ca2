"""The backend ``GKE``: a node pool of Google Kubernetes Engine.

setSize, setAutoscaling, operations: cloud.google.com/kubernetes-engine/docs/reference/rest/v1/projects.locations.clusters.nodePools. A node
pool does not tell its size; the managed instance groups that it names do (cloud.google.com/compute/docs/reference/rest/v1/
instanceGroupManagers: targetSize, listErrors). setSize counts nodes per zone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from autoscaler.adapters.nodepools.backend import PoolState, ReadyNodes, Sets, Wish
from autoscaler.adapters.nodepools.bearer import Bearer
from autoscaler.adapters.nodepools.google_token import GoogleToken
from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.kube_objects import whole
from autoscaler.adapters.nodepools.operation import Operation
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason, reason_in, shortage
from autoscaler.spec import Gke as Settings

CONTAINER: Final = "https://container.googleapis.com"
COMPUTE: Final = "https://compute.googleapis.com"
_GROUP: Final = re.compile(r"/projects/([^/]+)/zones/([^/]+)/instanceGroupManagers/([^/?]+)$")


class Gke:
    """One node pool. container, compute: the services' addresses."""

    def __init__(
        self,
        http: JsonHttp,
        token: GoogleToken,
        settings: Settings,
        ready: ReadyNodes,
        *,
        container: str = CONTAINER,
        compute: str = COMPUTE,
    ) -> None:
        self._cloud = Bearer(http, token)
        self._minimum = settings.set_by == "Minimum"
        self._ready = ready
        self._compute = compute
        self._location = f"{container}/v1/projects/{settings.project}/locations/{settings.location}"
        self._pool = f"{self._location}/clusters/{settings.cluster}/nodePools/{settings.node_pool}"
        self._operation = Operation()
        self.sets: Sets = "Minimum" if self._minimum else "Nodes"

    async def get(self, deadline_s: float) -> PoolState:
        pool, changing = await asyncio.gather(self._call("GET", self._pool, deadline_s), self._under_way(deadline_s))
        if not pool.get("name"):
            raise PoolProblem(PoolReason.UnexpectedAnswer, "the answer is no node pool")
        scaling: Mapping[str, Any] = pool.get("autoscaling") or {}
        groups = [match.groups() for url in pool.get("instanceGroupUrls") or () if (match := _GROUP.search(str(url)))]
        zones = max(1, len(groups) or len(pool.get("locations") or ()))
        status = str(pool.get("status") or "")
        if not changing and status in ("PROVISIONING", "RECONCILING", "STOPPING"):
            changing = f"the node pool is {status}"
        words = str(pool.get("statusMessage") or "") if status in ("ERROR", "RUNNING_WITH_ERROR") else ""
        if self._minimum:
            target, high = _bounds(scaling, zones)
            multiple, owner = 1 if _over_all_zones(scaling) else zones, ""
        else:
            if not groups:
                raise PoolProblem(PoolReason.UnexpectedAnswer, "the node pool names no instance groups: its size can't be told")
            sizes = await asyncio.gather(*(self._size(group, deadline_s) for group in groups))
            words = words or "; ".join(dict.fromkeys(error for _, error in sizes if error))
            target, high, multiple = sum(size for size, _ in sizes), None, zones
            owner = "GKE's cluster autoscaler (autoscaling.enabled of the node pool)" if scaling.get("enabled") else ""
        words = words or self._operation.failed
        return PoolState(
            target=target,
            ready=self._ready(),
            max_nodes=high,
            multiple=multiple,
            owner=owner,
            changing=changing,
            reason=reason_in(words),
            problem=words,
            version=scaling,
        )

    async def set_target(self, wish: Wish, over: PoolState, deadline_s: float) -> PoolState:
        if over.target == wish.nodes or over.changing:
            return over
        if self._minimum:
            scaling = dict(over.version)
            if _over_all_zones(scaling):
                scaling["totalMinNodeCount"] = wish.nodes
            else:
                scaling["minNodeCount"] = -(-wish.nodes // over.multiple)
            order, body = "setAutoscaling", dict[str, Any](autoscaling=scaling)
        else:
            order, body = "setSize", dict[str, Any](nodeCount=-(-wish.nodes // over.multiple))
        answer = await self._call("POST", f"{self._pool}:{order}", deadline_s, body)
        name = str(answer.get("name") or "")
        self._operation.began(name if re.fullmatch(r"[-A-Za-z0-9]+", name) else None)
        return replace(over, target=wish.nodes, changing=f"operation {name}")

    async def _under_way(self, deadline_s: float) -> str:
        """The operation of our last order, if it goes on still."""
        name = self._operation.name
        if name is None:
            return ""
        try:
            operation = await self._call("GET", f"{self._location}/operations/{name}", deadline_s)
        except PoolProblem as problem:
            if problem.reason != PoolReason.NotFound:
                raise
            operation = {"status": "DONE"}  # operations are forgotten after a while
        if operation.get("status") != "DONE":
            return f"operation {name} is {operation.get('status')}"
        error = operation.get("error")
        words = str(error.get("message") or "") if isinstance(error, dict) else ""
        self._operation.ended(f"operation {name} failed: {words}" if error else "")
        return ""

    async def _size(self, group: tuple[str, ...], deadline_s: float) -> tuple[int, str]:
        """What a managed instance group was asked for, and why it has not all of it."""
        project, zone, name = group
        url = f"{self._compute}/compute/v1/projects/{project}/zones/{zone}/instanceGroupManagers/{name}"
        manager = await self._call("GET", url, deadline_s)
        size = whole(manager.get("targetSize"))
        if size is None:
            raise PoolProblem(PoolReason.UnexpectedAnswer, f"the instance group {name} does not tell its targetSize")
        actions: Mapping[str, Any] = manager.get("currentActions") or {}
        if not actions.get("creating"):
            return size, ""
        listed = await self._call("GET", f"{url}/listErrors?maxResults=1&orderBy=creationTimestamp%20desc", deadline_s)
        for one in listed.get("items") or ():
            error = one.get("error") or {}
            if shortage(f"{error.get('code')} {error.get('message')}"):
                return size, f"{zone}: {error.get('code')}: {error.get('message')}"
        return size, ""

    async def _call(self, method: str, url: str, deadline_s: float, body: Any = None) -> Mapping[str, Any]:
        return (await self._cloud.call(method, url, deadline_s, body)).document


def _over_all_zones(scaling: Mapping[str, Any]) -> bool:
    """Whether its bounds count nodes of all zones together. A bound of 0 is left out of the answer, so either tells."""
    return "totalMinNodeCount" in scaling or "totalMaxNodeCount" in scaling


def _bounds(scaling: Mapping[str, Any], zones: int) -> tuple[int, int | None]:
    """GKE's own lower and upper bound, over all zones."""
    if not scaling.get("enabled"):
        raise PoolProblem(
            PoolReason.NotUsable, "autoscaling is off for this node pool: there is no lower bound to set; take setBy Size"
        )
    if _over_all_zones(scaling):
        return whole(scaling.get("totalMinNodeCount")) or 0, whole(scaling.get("totalMaxNodeCount"))
    most = whole(scaling.get("maxNodeCount"))
    return (whole(scaling.get("minNodeCount")) or 0) * zones, None if most is None else most * zones
