"""From (apiVersion, kind), as people write it, to the resource that the API server serves under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoscaler.adapters.kubernetes.api import KubeApi
from autoscaler.adapters.kubernetes.api_error import ApiError

KEPT_S = 600.0
MISS_FIRST_S = 5.0
MISS_MAX_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of object at the API server. `scale`: whether it has a scale subresource."""

    group: str
    version: str
    plural: str
    kind: str = ""
    namespaced: bool = True
    scale: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """``deployments.apps``; for people and as a key."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of the collection (of one namespace or of all), of an object, or of its subresource."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if namespace is not None and self.namespaced:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


@dataclass(slots=True)
class _Served:
    """What one group version serves, by kind; empty where it isn't served. Misses are asked again with a growing pause."""

    kinds: dict[str, Resource]
    asked_at_s: float
    misses: int = 0


class Discovery:
    """Cached look-ups; one request a group version, again after ten minutes, or on a miss with backoff."""

    def __init__(self, api: KubeApi, monotonic_s: Callable[[], float]) -> None:
        self._api = api
        self._monotonic_s = monotonic_s
        self._served: dict[str, _Served] = {}

    async def resolve(self, api_version: str, kind: str, timeout_s: float) -> Resource | None:
        """The resource, or None where the API server knows no such kind. Raises ApiError where it can't be asked."""
        now_s = self._monotonic_s()
        served = self._served.get(api_version)
        if served is not None:
            found = served.kinds.get(kind)
            wait_s = KEPT_S if found is not None else min(MISS_MAX_S, MISS_FIRST_S * 2.0 ** max(0, served.misses - 1))
            if now_s - served.asked_at_s < wait_s:
                return found
        try:
            kinds = await self._ask(api_version, timeout_s)
        except ApiError:
            if served is not None and kind in served.kinds:
                return served.kinds[kind]  # better an old answer than none
            raise
        misses = 0 if kind in kinds else 1 + (served.misses if served is not None else 0)
        self._served[api_version] = _Served(kinds, now_s, misses)
        return kinds.get(kind)

    async def _ask(self, api_version: str, timeout_s: float) -> dict[str, Resource]:
        group, _, version = api_version.rpartition("/")
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            document = await self._api.request("GET", path, timeout_s=timeout_s)
        except ApiError as fault:
            if fault.not_found:
                return {}
            raise
        listed = document.get("resources") or []
        with_scale = {entry["name"].removesuffix("/scale") for entry in listed if entry.get("name", "").endswith("/scale")}
        return {
            entry["kind"]: Resource(
                group=group,
                version=version,
                plural=entry["name"],
                kind=entry["kind"],
                namespaced=bool(entry.get("namespaced")),
                scale=entry["name"] in with_scale,
            )
            for entry in listed
            if "/" not in entry.get("name", "/")
        }
