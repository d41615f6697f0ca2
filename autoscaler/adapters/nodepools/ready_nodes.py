"""How many nodes of a pool are ready: the same way for every backend, from the nodes' own condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoscaler.adapters.nodepools.kube_objects import KubeObjects, dig


class ReadyNodes:
    """Counts nodes by labels."""

    def __init__(self, objects: KubeObjects, selector: Mapping[str, str]) -> None:
        self._objects = objects
        self._selector = ",".join(f"{name}={value}" for name, value in sorted(selector.items()))

    async def count(self, deadline_s: float) -> int | None:
        """Nodes that are Ready and not being deleted; None without a selector. Raises PoolProblem."""
        if not self._selector:
            return None
        # Version 0: from the API server's memory; a moment's age does not matter.
        params = {"labelSelector": self._selector, "resourceVersion": "0"}
        listed = await self._objects.request("GET", "/api/v1/nodes", deadline_s, params=params)
        return sum(map(_ready, listed.get("items") or ()))


def _ready(node: Any) -> bool:
    conditions = dig(node, "status", "conditions") or ()
    return dig(node, "metadata", "deletionTimestamp") is None and any(
        one.get("type") == "Ready" and one.get("status") == "True" for one in conditions
    )
