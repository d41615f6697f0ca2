"""The backend ``AKS``: a node pool (agent pool) of Azure Kubernetes Service.

GET, then PUT of the whole pool under If-Match, so that nobody's change is written over: learn.microsoft.com/rest/api/aks/agent-pools/
create-or-update. Its operation is followed by the Azure-AsyncOperation header: learn.microsoft.com/azure/azure-resource-manager/management/
async-operations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from autoscaler.adapters.nodepools.azure_token import AzureToken
from autoscaler.adapters.nodepools.backend import PoolState, ReadyNodes, Sets, Wish
from autoscaler.adapters.nodepools.bearer import Bearer
from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.kube_objects import dig, whole
from autoscaler.adapters.nodepools.operation import Operation
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason, reason_in
from autoscaler.spec import Aks as Settings

API_VERSION: Final = "2025-10-01"
MANAGEMENT: Final = {
    "Public": "https://management.azure.com",
    "USGovernment": "https://management.usgovcloudapi.net",
    "China": "https://management.chinacloudapi.cn",
}
_TOLD_ONLY: Final = ("eTag", "provisioningState", "currentOrchestratorVersion", "nodeImageVersion", "status")
_STEADY: Final = ("Succeeded", "Failed", "Canceled", "")


class Aks:
    """One node pool. management: the address of Azure Resource Manager."""

    def __init__(
        self, http: JsonHttp, token: AzureToken, settings: Settings, ready: ReadyNodes, *, management: str | None = None
    ) -> None:
        self._cloud = Bearer(http, token)
        self._minimum = settings.set_by == "Minimum"
        self._ready = ready
        self._management = management or MANAGEMENT[settings.cloud]
        self._pool = (
            f"{self._management}/subscriptions/{settings.subscription}/resourceGroups/{settings.resource_group}/providers/"
            f"Microsoft.ContainerService/managedClusters/{settings.cluster}/agentPools/{settings.agent_pool}?api-version={API_VERSION}"
        )
        self._operation = Operation()
        self.sets: Sets = "Minimum" if self._minimum else "Nodes"

    async def get(self, deadline_s: float) -> PoolState:
        answer, changing = await asyncio.gather(self._cloud.call("GET", self._pool, deadline_s), self._under_way(deadline_s))
        pool = answer.document
        properties = pool.get("properties")
        if not isinstance(properties, dict) or whole(properties.get("count")) is None:
            raise PoolProblem(PoolReason.UnexpectedAnswer, "the agent pool tells no count")
        scaling = bool(properties.get("enableAutoScaling"))
        if self._minimum and not scaling:
            raise PoolProblem(
                PoolReason.NotUsable, "autoscaling is off for this pool: there is no lower bound to set; take setBy Size"
            )
        state = str(properties.get("provisioningState") or "")
        if not changing and state not in _STEADY:
            changing = f"the node pool is {state}"
        words = self._operation.failed
        if state == "Failed" and not words:
            words = "the last operation failed: " + str(
                dig(properties, "status", "provisioningError", "message") or "no reason is told"
            )
        return PoolState(
            target=whole(properties.get("minCount" if self._minimum else "count")) or 0,
            ready=self._ready(),
            max_nodes=whole(properties.get("maxCount")) if scaling else None,
            owner="AKS' cluster autoscaler (enableAutoScaling of the node pool)" if scaling and not self._minimum else "",
            changing=changing,
            reason=reason_in(words),
            problem=words,
            version=pool,
        )

    async def set_target(self, wish: Wish, over: PoolState, deadline_s: float) -> PoolState:
        if over.target == wish.nodes or over.changing:
            return over
        properties = {name: value for name, value in over.version["properties"].items() if name not in _TOLD_ONLY}
        properties["minCount" if self._minimum else "count"] = wish.nodes
        etag = over.version["properties"].get("eTag") or over.version.get("etag")
        headers = {"If-Match": str(etag)} if etag else {}
        answer = await self._cloud.call("PUT", self._pool, deadline_s, {"properties": properties}, headers)
        follow = answer.headers.get("azure-asyncoperation", "")
        # Our token is shown to nobody but the management API, whatever a header says.
        self._operation.began(follow if follow.startswith(self._management + "/") else None)
        return replace(over, target=wish.nodes, changing="the order is under way")

    async def _under_way(self, deadline_s: float) -> str:
        """The operation of our last order, if it goes on still."""
        url = self._operation.name
        if url is None:
            return ""
        try:
            told: Mapping[str, Any] = (await self._cloud.call("GET", url, deadline_s)).document
        except PoolProblem as problem:
            if problem.reason != PoolReason.NotFound:
                raise
            told = {"status": "Succeeded"}
        status = str(told.get("status") or "")
        if status not in ("Succeeded", "Failed", "Canceled"):
            return f"its operation is {status or 'under way'}"
        error = dig(told, "error") or {}
        self._operation.ended(
            "" if status == "Succeeded" else f"its operation {status}: {error.get('code')}: {error.get('message')}"
        )
        return ""
