"""Objects of the API server that backends read and write: where a kind is served, and how its requests are told when they fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason, problem_of
from autoscaler.errors import RequestFailed
from autoscaler.ports import KubernetesRequests
from autoscaler.spec import ObjectRef

FIELD_MANAGER: Final = "inference-autoscaler"
"""Our name in managedFields; the kubernetes adapter writes scales under the same."""
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
KEPT_S: Final = 600.0
MISSED_S: Final = 60.0
Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A kind as the API server serves it. scale: whether it has a scale subresource."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    scale: bool = False

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        group = "/apis/" if "/" in self.api_version else "/api/"
        parts = [group + self.api_version]
        if self.namespaced:
            parts.append(f"namespaces/{namespace}")
        return "/".join([*parts, self.plural, *filter(None, (name, subresource))])


class KubeObjects:
    """Requests through the port, with discovery that is kept for a while. Raises PoolProblem where a request fails."""

    def __init__(self, api: KubernetesRequests, monotonic_s: Callable[[], float]) -> None:
        self._api = api
        self._monotonic_s = monotonic_s
        self._kinds: dict[str, tuple[float, dict[str, Served]]] = {}

    async def served(self, api_version: str, kind: str, deadline_s: float) -> Served | None:
        """The kind, or None where there is none such. An answer is kept for ten minutes, a miss for one."""
        now_s = self._monotonic_s()
        at_s, kinds = self._kinds.get(api_version, (float("-inf"), {}))
        if now_s - at_s >= (KEPT_S if kind in kinds else MISSED_S):
            path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            listed = (await self.find("GET", path, deadline_s) or {}).get("resources") or []
            scaled = {str(one.get("name")).removesuffix("/scale") for one in listed if str(one.get("name")).endswith("/scale")}
            kinds = {
                str(one["kind"]): Served(
                    api_version=api_version,
                    kind=str(one["kind"]),
                    plural=str(one["name"]),
                    namespaced=bool(one.get("namespaced")),
                    scale=one["name"] in scaled,
                )
                for one in listed
                if "/" not in one.get("name", "/")
            }
            self._kinds[api_version] = (now_s, kinds)
        return kinds.get(kind)

    async def must_be_served(self, ref: ObjectRef, field: str, deadline_s: float, *, scaled: bool = False) -> Served:
        """The kind of the object that a manifest names in `field` of its backend. scaled: it must have a scale subresource."""
        served = await self.served(ref.api_version, ref.kind, deadline_s)
        if served is None:
            raise PoolProblem(
                PoolReason.NotUsable, f"the API server knows no {ref.kind} of {ref.api_version}; is its CRD installed?"
            )
        if scaled and not served.scale:
            raise PoolProblem(PoolReason.NotUsable, f"{ref.kind} of {ref.api_version} has no scale subresource")
        if served.namespaced and ref.namespace is None:
            raise PoolProblem(PoolReason.NotUsable, f"{ref.kind} is namespaced: {field}.namespace must say where {ref.name} is")
        return served

    async def request(
        self,
        method: str,
        path: str,
        deadline_s: float,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        try:
            return await self._api.request(
                method, path, params=params, body=body, content_type=content_type, timeout_s=deadline_s
            )
        except RequestFailed as fault:
            raise problem_of(fault) from None

    async def find(self, method: str, path: str, deadline_s: float, *, body: Any = None) -> Object | None:
        """As `request`; None where there is no such object."""
        try:
            return await self._api.request(method, path, body=body, timeout_s=deadline_s)
        except RequestFailed as fault:
            if fault.status == 404:
                return None
            raise problem_of(fault) from None


def dig(item: Any, *path: str) -> Any:
    """The value at a path; None where there is none."""
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return item


def whole(value: Any) -> int | None:
    """A count; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
