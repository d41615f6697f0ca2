"""Whether we may do something, before it is tried: an installation that does not grant it shall not find refused requests in its audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoscaler.adapters.kubernetes.api import KubeApi
from autoscaler.adapters.kubernetes.discovery import Resource

ACCESS_REVIEWS: Final = Resource(
    group="authorization.k8s.io",
    version="v1",
    plural="selfsubjectaccessreviews",
    kind="SelfSubjectAccessReview",
    namespaced=False,
)


async def may(api: KubeApi, wanted: Mapping[str, str], timeout_s: float) -> bool:
    """Asks the API server, which everybody may. wanted: resourceAttributes of a SelfSubjectAccessReview. Raises ApiError."""
    body = {"apiVersion": ACCESS_REVIEWS.api_version, "kind": ACCESS_REVIEWS.kind, "spec": {"resourceAttributes": wanted}}
    answer = await api.request("POST", ACCESS_REVIEWS.path(), body=body, timeout_s=timeout_s)
    return bool((answer.get("status") or {}).get("allowed"))
