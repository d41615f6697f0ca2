"""The HorizontalPodAutoscalers that are there, by what they scale."""

from __future__ import annotations

from collections import defaultdict
from typing import TypeAlias

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.informer import Key

HPAS = Resource(group="autoscaling", version="v2", plural="horizontalpodautoscalers", kind="HorizontalPodAutoscaler")
Scaled: TypeAlias = tuple[str, str, str, str]
"""(namespace, API group, kind, name) of what is scaled; versions of one group name the same object."""


def scaled(namespace: str, api_version: str, kind: str, name: str) -> Scaled:
    return (namespace, api_version.rpartition("/")[0], kind, name)


def hpa_of(item: Object) -> Scaled:
    """The transform of an HPA."""
    ref = item["spec"]["scaleTargetRef"]
    return scaled(str(item["metadata"]["namespace"]), str(ref.get("apiVersion") or ""), str(ref["kind"]), str(ref["name"]))


class HpaIndex:
    """HPAs by target."""

    def __init__(self) -> None:
        self._by_target: defaultdict[Scaled, set[str]] = defaultdict(set)

    def changed(self, key: Key, old: Scaled | None, new: Scaled | None) -> None:
        if old is not None:
            self._by_target[old].discard(key[1])
            if not self._by_target[old]:
                del self._by_target[old]
        if new is not None:
            self._by_target[new].add(key[1])

    def on(self, target: Scaled) -> str:
        """Name of an HPA that scales the target, "" where none does."""
        return min(self._by_target.get(target, ("",)))
