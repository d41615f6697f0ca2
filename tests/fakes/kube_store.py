"""What a fake API server keeps: objects, one counter of resourceVersions, and a log of changes that can be compacted.

Shares no code with the product, so that one can be judged by the other.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str]


class StoreError(Exception):
    """Becomes a Status answer."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


@dataclass(frozen=True)
class Kind:
    """A resource that is served. replicas, selector: dotted paths of its scale subresource; None: it has none."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    replicas: str | None = None
    selector: str | None = None

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass
class Change:
    """One entry of the log."""

    version: int
    type: str
    item: Object
    old: Object | None


@dataclass
class Table:
    """All objects of one kind."""

    kind: Kind
    items: dict[Key, Object] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)
    compacted_at: int = 0


BUILT_IN = (
    Kind("", "v1", "pods", "Pod", status=True),
    Kind("", "v1", "nodes", "Node", namespaced=False, status=True),
    Kind("", "v1", "namespaces", "Namespace", namespaced=False),
    Kind("", "v1", "configmaps", "ConfigMap"),
    Kind("", "v1", "secrets", "Secret"),
    Kind("apps", "v1", "deployments", "Deployment", status=True, replicas="spec.replicas", selector="spec.selector"),
    Kind("apps", "v1", "statefulsets", "StatefulSet", status=True, replicas="spec.replicas", selector="spec.selector"),
    Kind("apps", "v1", "replicasets", "ReplicaSet", status=True, replicas="spec.replicas", selector="spec.selector"),
    Kind("apps", "v1", "daemonsets", "DaemonSet", status=True),
    Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", status=True),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
    Kind("events.k8s.io", "v1", "events", "Event"),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False),
    Kind("inference-autoscaler.io", "v1alpha1", "inferenceautoscalers", "InferenceAutoscaler", status=True),
    Kind("inference-autoscaler.io", "v1alpha1", "acceleratorpools", "AcceleratorPool", namespaced=False, status=True),
)


class Store:
    """The fake's memory."""

    def __init__(self, kinds: Iterable[Kind] = BUILT_IN) -> None:
        self.version = 100
        self.tables = {(kind.group, kind.version, kind.plural): Table(kind) for kind in kinds}
        self.changed = asyncio.Event()
        self._names = itertools.count(1)

    def serve(self, kind: Kind) -> None:
        """Adds a kind, as a new CustomResourceDefinition does."""
        self.tables[kind.group, kind.version, kind.plural] = Table(kind)

    def table(self, plural: str) -> Table:
        return next(table for table in self.tables.values() if table.kind.plural == plural)

    def create(self, table: Table, namespace: str, item: Object, manager: str = "test") -> Object:
        item = copy.deepcopy(item)
        meta = item.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{next(self._names)}"
        key = (namespace if table.kind.namespaced else "", meta["name"])
        if key in table.items:
            raise StoreError(409, "AlreadyExists", f'{table.kind.plural} "{meta["name"]}" already exists')
        if table.kind.namespaced:
            meta["namespace"] = namespace
        meta.setdefault("uid", str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        meta["generation"] = 1
        item["apiVersion"], item["kind"] = table.kind.api_version, table.kind.kind
        _own_replicas(table.kind, None, item, manager, None)
        return self._put(table, key, "ADDED", item)

    def update(self, table: Table, key: Key, item: Object, *, part: str | None = None, manager: str = "test") -> Object:
        """Replaces the object, or its status only; a resourceVersion or uid that is given must be the present one."""
        old = self.get(table, key)
        given = item.get("metadata") or {}
        self._must_match(table, key, old, given)
        if part == "status":
            new = {**copy.deepcopy(old), "status": copy.deepcopy(item.get("status"))}
        else:
            new = copy.deepcopy(item)
            kept = {name: old["metadata"][name] for name in ("uid", "creationTimestamp", "generation")}
            new["metadata"] = {**new["metadata"], **kept}
            if "managedFields" in old["metadata"]:
                new["metadata"].setdefault("managedFields", old["metadata"]["managedFields"])
            if table.kind.namespaced:
                new["metadata"]["namespace"] = key[0]
            if table.kind.status:
                new.pop("status", None)
                if "status" in old:
                    new["status"] = copy.deepcopy(old["status"])
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] += 1
        _own_replicas(table.kind, old, new, manager, "scale" if part == "scale" else None)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if json.dumps(new, sort_keys=True) == json.dumps(old, sort_keys=True):
            return old  # as the real one: nothing changed, no new version
        return self._put(table, key, "MODIFIED", new)

    def patch(self, table: Table, key: Key, patch: Object, *, part: str | None = None, manager: str = "test") -> Object:
        """RFC 7386."""
        old = self.get(table, key)
        self._must_match(table, key, old, patch.get("metadata") or {})
        merged = _merged(old, patch)
        merged["metadata"].pop("resourceVersion", None)
        return self.update(table, key, merged, part=part, manager=manager)

    def delete(self, table: Table, key: Key) -> Object:
        old = copy.deepcopy(self.get(table, key))
        del table.items[key]
        self.version += 1
        old["metadata"]["resourceVersion"] = str(self.version)
        self._log(table, Change(self.version, "DELETED", old, old))
        return old

    def get(self, table: Table, key: Key) -> Object:
        try:
            return table.items[key]
        except KeyError:
            raise StoreError(404, "NotFound", f'{table.kind.plural} "{key[1]}" not found') from None

    def compact(self) -> None:
        """Forgets all changes so far: whoever watches from before now must list again."""
        for table in self.tables.values():
            table.log.clear()
            table.compacted_at = self.version

    def _put(self, table: Table, key: Key, type_: str, item: Object) -> Object:
        old = table.items.get(key)
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        table.items[key] = item
        self._log(table, Change(self.version, type_, item, old))
        return item

    def _log(self, table: Table, change: Change) -> None:
        table.log.append(change)
        self.changed.set()
        self.changed = asyncio.Event()

    @staticmethod
    def _must_match(table: Table, key: Key, old: Object, given: Object) -> None:
        for name in ("resourceVersion", "uid"):
            if given.get(name) and given[name] != old["metadata"][name]:
                raise StoreError(
                    409,
                    "Conflict",
                    f'Operation cannot be fulfilled on {table.kind.plural} "{key[1]}": the object has been modified',
                )


def dig(item: Object, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = item
    for name in path.strip(".").split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def bury(item: Object, path: str, value: Any) -> None:
    """Sets the value at a dotted path."""
    *parents, last = path.strip(".").split(".")
    for name in parents:
        item = item.setdefault(name, {})
    item[last] = value


def _own_replicas(kind: Kind, old: Object | None, new: Object, manager: str, subresource: str | None) -> None:
    """Notes in managedFields who set the replica count, as server-side field tracking does."""
    if kind.replicas is None or (old is not None and dig(old, kind.replicas) == dig(new, kind.replicas)):
        return
    tree: Any = {}
    for name in reversed(kind.replicas.split(".")):
        tree = {f"f:{name}": tree}
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": kind.api_version,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    }
    if subresource:
        entry["subresource"] = subresource
    new["metadata"]["managedFields"] = [entry]


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(copy.deepcopy(old)) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
