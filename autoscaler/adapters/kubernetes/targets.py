"""What is kept of a target (anything with a scale subresource), and who set its replica count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from autoscaler.adapters.kubernetes.access import may
from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.moments import seconds_or_none
from autoscaler.adapters.kubernetes.scale import ScaleState
from autoscaler.adapters.kubernetes.selectors import LabelSelector, parse

CUSTOM_RESOURCES: Final = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    namespaced=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePaths:
    """Where in an object its scale lies; the watch of the object then tells all that GETs of its scale would."""

    replicas: tuple[str, ...] = ("spec", "replicas")
    selector: tuple[str, ...] | None = ("spec", "selector")
    certain: bool = True


BUILT_IN: Final = ScalePaths()
BY_CONVENTION: Final = ScalePaths(selector=("status", "selector"), certain=False)
"""Of custom resources whose definition we may not read; compared with a scale before it is relied on."""


class Target(msgspec.Struct, frozen=True, gc=False):
    """One target. replicas None: its count can't be read. writer: the manager that owns the count in managedFields, "" where none does;
    written_at_s: since when (whole seconds)."""

    uid: str
    resource_version: str
    created_at_s: float
    replicas: int | None
    selector: LabelSelector | None
    writer: str
    written_at_s: float

    def scale_state(self) -> ScaleState:
        return ScaleState(uid=self.uid, resource_version=self.resource_version, replicas=self.replicas or 0)


async def scale_paths(api: KubeApi, resource: Resource, timeout_s: float) -> ScalePaths:
    """The paths of a kind: known for built-in ones, from the definition of a custom resource where we may read it, else the convention.
    Raises ApiError."""
    if resource.group == "apps":
        return BUILT_IN
    wanted = {"group": CUSTOM_RESOURCES.group, "resource": CUSTOM_RESOURCES.plural, "verb": "get", "name": resource.full_name}
    if not await may(api, wanted, timeout_s):
        return BY_CONVENTION
    path = CUSTOM_RESOURCES.path(None, resource.full_name)
    try:
        definition = await api.request("GET", path, timeout_s=timeout_s)
    except ApiError as fault:
        if fault.forbidden or fault.not_found:
            return BY_CONVENTION
        raise
    for version in (definition.get("spec") or {}).get("versions") or ():
        if version.get("name") == resource.version:
            scale = (version.get("subresources") or {}).get("scale") or {}
            selector = scale.get("labelSelectorPath")
            return ScalePaths(
                replicas=_path(scale.get("specReplicasPath") or ".spec.replicas"),
                selector=_path(selector) if selector else None,
            )
    return BY_CONVENTION


def target_transform(paths: ScalePaths) -> Callable[[Object], Target]:
    """The transform for one kind of target."""

    def target_of(item: Object) -> Target:
        meta = item["metadata"]
        replicas = _dig(item, paths.replicas)
        writer, written_at_s = _writer(meta.get("managedFields") or (), paths.replicas)
        try:
            selector = parse(_dig(item, paths.selector)) if paths.selector is not None else None
        except ValueError:
            selector = None
        # A Deployment's count is never absent (the server defaults it), a custom resource's may be: its scale then says 0.
        known = isinstance(replicas, int) and not isinstance(replicas, bool)
        return Target(
            uid=str(meta.get("uid") or ""),
            resource_version=str(meta.get("resourceVersion") or ""),
            created_at_s=seconds_or_none(meta.get("creationTimestamp")) or 0.0,
            replicas=replicas if known else 0 if replicas is None else None,
            selector=selector,
            writer=writer,
            written_at_s=written_at_s,
        )

    return target_of


def _writer(managed_fields: Any, path: tuple[str, ...]) -> tuple[str, float]:
    """Who owns the field at `path`; of several (they set the same value) the latest."""
    found, at_s = "", 0.0
    for entry in managed_fields:
        tree = entry.get("fieldsV1")
        for name in path:
            tree = tree.get(f"f:{name}") if isinstance(tree, dict) else None
        if tree is not None:
            entry_at_s = seconds_or_none(entry.get("time")) or 0.0
            if not found or entry_at_s >= at_s:
                found, at_s = str(entry.get("manager") or "unknown"), entry_at_s
    return found, at_s


def _path(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.strip(".").split(".") if part)


def _dig(item: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return item
