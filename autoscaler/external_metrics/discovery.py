"""What clients learn before they ask: the group, its version, its resources. Nothing of it depends on what is deployed.

The aggregator asks for ``/apis`` in its v2 form every minute, older ones in v2beta1, and falls back to the resource list; each of the bodies
below names our group-version with its resources, since one that left it out would be taken for a version without any (kube-aggregator,
handler_discovery.go: syncAPIService). The verb is ``get`` alone: namespace deletion, garbage collection and quota go through what can be
listed, deleted or watched.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from autoscaler.external_metrics.answers import JSON
from autoscaler.external_metrics.catalogue import METRICS
from autoscaler.external_metrics.documents import Document
from autoscaler.external_metrics.identity import GROUP, GROUP_VERSION, VERSION
from autoscaler.external_metrics.negotiation import clauses, not_acceptable

KIND: Final = "ExternalMetricValueList"
_SHAPE: Final = "APIGroupDiscoveryList"
_DISCOVERY: Final = "apidiscovery.k8s.io"

_VERSION_OF_GROUP: Final = {"groupVersion": GROUP_VERSION, "version": VERSION}
_GROUP: Final = {"name": GROUP, "versions": [_VERSION_OF_GROUP], "preferredVersion": _VERSION_OF_GROUP}

GROUP_LIST: Final = Document({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_GROUP]})
GROUP_ALONE: Final = Document({"kind": "APIGroup", "apiVersion": "v1", **_GROUP})
RESOURCES: Final = Document(
    {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": [{"name": name, "singularName": "", "namespaced": True, "kind": KIND, "verbs": ["get"]} for name in METRICS],
    }
)


def _aggregated(version: str) -> Document:
    """k8s.io/api/apidiscovery: v2 and v2beta1 differ in their names only."""
    resources: list[dict[str, Any]] = [
        {
            "resource": name,
            "responseKind": {"group": GROUP, "version": VERSION, "kind": KIND},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": ["get"],
        }
        for name in METRICS
    ]
    return Document(
        {
            "kind": _SHAPE,
            "apiVersion": f"{_DISCOVERY}/{version}",
            "metadata": {},
            "items": [
                {"metadata": {"name": GROUP}, "versions": [{"version": VERSION, "resources": resources, "freshness": "Current"}]}
            ],
        },
        f"{JSON};g={_DISCOVERY};v={version};as={_SHAPE}",
    )


AGGREGATED: Final = {version: _aggregated(version) for version in ("v2", "v2beta1")}


def apis(accept: str, if_none_match: str | None) -> web.Response:
    """``GET /apis``, in the form that the client prefers. Raises RefusedError (406)."""
    for clause in clauses(accept):
        if clause.plain:
            return GROUP_LIST.answer(if_none_match)
        if clause.kind == JSON and clause.group == _DISCOVERY and clause.shape == _SHAPE and clause.version in AGGREGATED:
            return AGGREGATED[clause.version].answer(if_none_match)
    raise not_acceptable(accept)
