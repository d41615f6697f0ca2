"""OpenAPI v2 and v3 of the group: what ``kubectl explain desired-replicas`` shows, and what the aggregator merges into the cluster's own.

Small and true: one path for each metric, since kubectl finds a kind by its resource's path (kubectl, pkg/explain/v2/templates/plaintext.tmpl),
and the schemas of what is answered there, under their names in k8s.io/metrics. JSON only; who takes nothing but protobuf gets 406, and a
client that can take either gets JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from autoscaler.external_metrics.answers import JSON, RefusedError
from autoscaler.external_metrics.catalogue import METRICS
from autoscaler.external_metrics.discovery import KIND
from autoscaler.external_metrics.documents import Document
from autoscaler.external_metrics.identity import GROUP, GROUP_VERSION, VERSION
from autoscaler.external_metrics.negotiation import need_json

V2_PATH: Final = "/openapi/v2"
V3_PATH: Final = "/openapi/v3"
GROUP_PATH: Final = f"apis/{GROUP_VERSION}"
V3_GROUP_PATH: Final = f"{V3_PATH}/{GROUP_PATH}"

_LIST: Final = f"io.k8s.metrics.pkg.apis.external_metrics.{VERSION}.{KIND}"
_VALUE: Final = f"io.k8s.metrics.pkg.apis.external_metrics.{VERSION}.ExternalMetricValue"
_LIST_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_RESOURCES: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList"
_INFO: Final = {
    "title": "inference-autoscaler external metrics",
    "description": "What each InferenceAutoscaler decided, foresees and sees, for horizontal pod autoscalers.",
    "version": VERSION,
}
_TAGS: Final = ["externalMetrics_v1beta1"]
_KIND_OF_PATH: Final = {"group": GROUP, "version": VERSION, "kind": KIND}


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _schemas(references: str) -> dict[str, Any]:
    """references: where a schema's name is looked up."""
    type_meta = {
        "apiVersion": _text("Group and version of this object's schema."),
        "kind": _text("Which resource this object is."),
    }

    def of(name: str) -> dict[str, str]:
        return {"$ref": f"{references}{name}"}

    return {
        _LIST: {
            "type": "object",
            "description": "The values of one metric in one namespace that a label selector matches. A horizontal pod autoscaler adds them up.",
            "required": ["items"],
            "properties": {
                **type_meta,
                # In v3 a reference has no siblings, so that what it is stands at the schema that is referred to.
                "metadata": of(_LIST_META),
                "items": {
                    "type": "array",
                    "description": "The values, in the order of their objects' names.",
                    "items": of(_VALUE),
                },
            },
            "x-kubernetes-group-version-kind": [_KIND_OF_PATH],
        },
        _VALUE: {
            "type": "object",
            "description": "One value of a metric.",
            "required": ["metricName", "metricLabels", "timestamp", "value"],
            "properties": {
                **type_meta,
                "metricName": _text("The metric's name."),
                "metricLabels": {
                    "type": "object",
                    "description": "What tells this value from others of the metric; what a label selector looks at. "
                    "inference-autoscaler.io/name is always there.",
                    "additionalProperties": {"type": "string", "default": ""},
                },
                "timestamp": _text("What moment the value is of.", format="date-time"),
                "window": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Over how many seconds before the timestamp it is a mean; left out where it is of the moment.",
                },
                "value": _text("The value, as a Kubernetes quantity."),
            },
            "x-kubernetes-group-version-kind": [{**_KIND_OF_PATH, "kind": "ExternalMetricValue"}],
        },
        _LIST_META: {
            "type": "object",
            "description": "Metadata of a list; empty here.",
            "properties": {
                "continue": _text("Never set: the list is whole."),
                "remainingItemCount": {"type": "integer", "format": "int64", "description": "Never set: the list is whole."},
                "resourceVersion": _text("Never set: values can't be watched."),
                "selfLink": _text("Never set."),
            },
        },
        _RESOURCES: {
            "type": "object",
            "description": "The metrics that exist.",
            "required": ["groupVersion", "resources"],
            "properties": {
                **type_meta,
                "groupVersion": _text("The group and version that they are of."),
                "resources": {"type": "array", "description": "One for each metric.", "items": {"type": "object"}},
            },
        },
    }


_NAMESPACE: Final = ("namespace", "path", True, "The namespace of the objects whose values are asked for.")
_SELECTOR: Final = ("labelSelector", "query", False, "Which values are asked for, by their labels; all of them where left out.")


def _paths(v3: bool) -> dict[str, Any]:
    references = "#/components/schemas/" if v3 else "#/definitions/"

    def parameter(name: str, where: str, required: bool, description: str) -> dict[str, Any]:
        kind = {"schema": {"type": "string", "uniqueItems": True}} if v3 else {"type": "string", "uniqueItems": True}
        return {"name": name, "in": where, "description": description, **({"required": True} if required else {}), **kind}

    def answer(schema: str) -> dict[str, Any]:
        said = {"schema": {"$ref": references + schema}}
        return {"200": {"description": "OK", **({"content": {JSON: said}} if v3 else said)}}

    def get(operation: str, description: str, schema: str, **more: Any) -> dict[str, Any]:
        forms = {} if v3 else {"produces": [JSON], "schemes": ["https"]}
        return {"operationId": operation, "description": description, "tags": _TAGS, **forms, "responses": answer(schema), **more}

    paths: dict[str, Any] = {
        f"/{GROUP_PATH}/": {"get": get("getExternalMetricsV1beta1APIResources", "the metrics that exist", _RESOURCES)}
    }
    for metric in METRICS:
        words = "".join(word.capitalize() for word in metric.replace("-", "_").split("_"))
        paths[f"/{GROUP_PATH}/namespaces/{{namespace}}/{metric}"] = {
            "get": get(
                f"listExternalMetricsV1beta1Namespaced{words}",
                f"values of {metric}",
                _LIST,
                **{"x-kubernetes-action": "list", "x-kubernetes-group-version-kind": _KIND_OF_PATH},
            ),
            "parameters": [parameter(*_NAMESPACE), parameter(*_SELECTOR)],
        }
    return paths


V2: Final = Document(
    {"swagger": "2.0", "info": _INFO, "paths": _paths(v3=False), "definitions": _schemas("#/definitions/")},
)
V3_GROUP: Final = Document(
    {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": _paths(v3=True),
        "components": {"schemas": _schemas("#/components/schemas/")},
    },
)
_HASHED: Final = f"{V3_GROUP_PATH}?hash={quote(V3_GROUP.tag)}"
V3: Final = Document({"paths": {GROUP_PATH: {"serverRelativeURL": _HASHED}}})


def v2(accept: str, if_none_match: str | None) -> web.Response:
    need_json(accept)
    return V2.answer(if_none_match)


def v3(accept: str, if_none_match: str | None) -> web.Response:
    need_json(accept)
    return V3.answer(if_none_match)


def v3_group(accept: str, if_none_match: str | None, query: Mapping[str, str], now_s: float) -> web.Response:
    """As kube-openapi's pkg/handler3/handler.go: with the hash of what there is, to be kept for a year; with another, sent on."""
    need_json(accept)
    asked = query.get("hash", "")
    if not asked:
        return V3_GROUP.answer(if_none_match)
    if asked != V3_GROUP.tag:
        return web.Response(status=301, headers={"Location": _HASHED, "Vary": "Accept"})
    expires = datetime.fromtimestamp(now_s, UTC) + timedelta(days=365)
    return V3_GROUP.answer(
        if_none_match, {"Cache-Control": "public, immutable", "Expires": format_datetime(expires, usegmt=True)}
    )


def missing(path: str) -> RefusedError:
    return RefusedError(404, f"{path}: there is no such document; {V3_PATH} lists what there is")
