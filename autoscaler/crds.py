"""The two CustomResourceDefinitions, made from the types in ``spec`` and the rules between fields that the caller hands in
(``manifest_rules.RULES``).

``autoscaler crds`` prints them; deploy/crds holds what it prints, and a test fails where the two differ.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
import yaml

from autoscaler import spec
from autoscaler.schema import Schema, schema_of

Document = dict[str, Any]

_AGE: Final = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_READY_REASON: Final = '.status.conditions[?(@.type=="Ready")].reason'


def _column(name: str, kind: str, path: str, description: str, *, wide: bool = False) -> Document:
    """A printer column; wide: only shown by ``kubectl get -o wide``."""
    made: Document = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**made, "priority": 1} if wide else made


_SERVICE_COLUMNS: Final = [
    _column("Mode", "string", ".spec.mode", "Shadow, Recommend or Active."),
    _column("Kind", "string", ".spec.scaleTargetRef.kind", "Kind of the target.", wide=True),
    _column("Target", "string", ".spec.scaleTargetRef.name", "What is scaled."),
    _column("Min", "integer", ".spec.minReplicas", "Lower bound.", wide=True),
    _column("Max", "integer", ".spec.maxReplicas", "Upper bound.", wide=True),
    _column("Current", "integer", ".status.currentReplicas", "spec.replicas of the target."),
    _column("Ready", "integer", ".status.readyReplicas", "Ready replicas."),
    _column("Desired", "integer", ".status.desiredReplicas", "Decided number of replicas."),
    _column("Reason", "string", _READY_REASON, "Reason of the condition Ready."),
    _column("Why", "string", ".status.reason", "Why this many, in one sentence.", wide=True),
    _AGE,
]
_POOL_COLUMNS: Final = [
    _column("Backend", "string", ".spec.backend.type", "How the pool's size is set."),
    _column("Min", "integer", ".spec.minNodes", "Lower bound."),
    _column("Max", "integer", ".spec.maxNodes", "Upper bound."),
    _column("Nodes", "integer", ".status.nodes", "Nodes now."),
    _column("Planned", "integer", ".status.plannedNodes", "Nodes that the services' plan needs."),
    _column("Reason", "string", _READY_REASON, "Reason of the condition Ready."),
    _column("Why", "string", ".status.reason", "Why this many, in one sentence.", wide=True),
    _AGE,
]


class Check(Protocol):
    """The part of a rule between fields that a CRD takes (``manifest_rules.Rule``)."""

    @property
    def kind(self) -> str: ...
    @property
    def at(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def cel(self) -> str: ...
    @property
    def message(self) -> str: ...


def crds(checks: Sequence[Check]) -> list[Document]:
    """Both definitions as plain data."""
    return [
        _definition(
            spec.InferenceAutoscaler,
            checks,
            short="ia",
            plural="inferenceautoscalers",
            scope="Namespaced",
            columns=_SERVICE_COLUMNS,
        ),
        _definition(
            spec.AcceleratorPool, checks, short="apool", plural="acceleratorpools", scope="Cluster", columns=_POOL_COLUMNS
        ),
    ]


def as_yaml(document: Document) -> str:
    """A definition as the YAML text that lies in deploy/crds."""
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=140)


def _definition(
    manifest: type[msgspec.Struct], checks: Sequence[Check], *, short: str, plural: str, scope: str, columns: list[Document]
) -> Document:
    kind = manifest.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{spec.GROUP}"},
        "spec": {
            "group": spec.GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["autoscaling"],
            },
            "scope": scope,
            "versions": [
                {
                    "name": spec.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": copy.deepcopy(columns),
                    "schema": {"openAPIV3Schema": _whole_schema(manifest, checks)},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def _whole_schema(manifest: type[msgspec.Struct], checks: Sequence[Check]) -> Schema:
    schema = copy.deepcopy(schema_of(manifest))
    for check in checks:
        if check.kind == manifest.__name__:
            made: Schema = {"rule": check.cel, "message": check.message}
            # At the root only metadata.name is visible, and the API server can't blame a field of metadata.
            if check.field and check.at:
                made["fieldPath"] = f".{check.field}"
            _at(schema, check.at).setdefault("x-kubernetes-validations", []).append(made)
    # The API server has its own schema of these three.
    ours = {name: part for name, part in schema["properties"].items() if name not in ("apiVersion", "kind", "metadata")}
    schema["properties"] = {
        "apiVersion": {"type": "string", "description": f"{spec.API_VERSION}."},
        "kind": {"type": "string", "description": f"{manifest.__name__}."},
        "metadata": {"type": "object"},
        **ours,
    }
    schema["required"] = ["spec"]
    return schema


def _at(schema: Schema, path: str) -> Schema:
    for step in filter(None, path.split(".")):
        schema = schema["properties"][step.removesuffix("[]")]
        if step.endswith("[]"):
            schema = schema["items"]
    return schema


class _Plain(yaml.SafeDumper):
    """YAML as people write it: lists indented below their key, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, indentless=False)
