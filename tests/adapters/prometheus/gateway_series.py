"""What each gateway writes about a service of which nothing runs, for the fake and the real Prometheus alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.adapters.prometheus.worlds import NOW_S, Written, counter, gauge

PROXY: Final[dict[str, Any]] = {"pod": "proxy-1", "namespace": "gateways"}
"""Where the gateway itself runs: in a namespace of its own."""


def envoy(namespace: str, name: str, at_s: float = NOW_S - 2, route: str = "httproute") -> Written:
    """2 requests/s get to a connection that fails, 1/s finds no host, 4 wait; half as many are mirrored elsewhere."""
    written: Written = []
    for cluster, share in ((f"{route}/{namespace}/{name}/rule/0", 1.0), (f"{route}/{namespace}/{name}/rule/0-mirror-0", 0.5)):
        where: dict[str, Any] = {**PROXY, "at_s": at_s, "envoy_cluster_name": cluster}
        written += counter("envoy_cluster_upstream_rq_total", 0.0, **where)
        written += counter("envoy_cluster_upstream_rq_pending_failure_eject", 2.0 * share, **where)
        written += counter("envoy_cluster_upstream_rq_pending_overflow", 0.0, **where)
        written += counter("envoy_cluster_upstream_cx_none_healthy", 1.0 * share, **where)
        written += gauge("envoy_cluster_upstream_rq_pending_active", 4.0 * share, **where)
    return written


def istio(namespace: str, name: str, at_s: float = NOW_S - 2) -> Written:
    """3 requests/s through two proxies; what pods reported themselves is not to be counted."""
    where: dict[str, Any] = {
        "namespace": "gateways",
        "at_s": at_s,
        "destination_service_namespace": namespace,
        "destination_service_name": name,
        "response_code": "503",
    }
    return [
        *counter("istio_requests_total", 1.0, pod="proxy-1", reporter="source", **where),
        *counter("istio_requests_total", 2.0, pod="proxy-2", reporter="source", **where),
        *counter("istio_requests_total", 9.0, pod="proxy-2", reporter="waypoint", **where),
        *counter("istio_requests_total", 7.0, pod="proxy-2", reporter="destination", **where),
    ]


def nginx(namespace: str, name: str, at_s: float = NOW_S - 2) -> Written:
    """3 requests/s, of two kinds; scraped with honorLabels=false."""
    where: dict[str, Any] = {
        **PROXY,
        "at_s": at_s,
        "exported_namespace": namespace,
        "exported_service": name,
        "service": "ingress-metrics",
        "ingress": "all",
    }
    return [
        *counter("nginx_ingress_controller_requests", 1.0, status="503", method="POST", **where),
        *counter("nginx_ingress_controller_requests", 2.0, status="503", method="GET", **where),
    ]


def endpoint_picker(namespace: str, name: str, at_s: float = NOW_S - 2) -> Written:
    """4 wait, of two tenants; under both of its names."""
    where: dict[str, Any] = {"namespace": namespace, "pod": "picker-1", "at_s": at_s, "inference_pool": name}
    return [
        *gauge("llm_d_epp_flow_control_queue_size", 1.0, fairness_id="a", priority="0", **where),
        *gauge("llm_d_epp_flow_control_queue_size", 3.0, fairness_id="b", priority="0", **where),
        *gauge("inference_extension_flow_control_queue_size", 4.0, fairness_id="", priority="0", **where),
        *gauge("llm_d_epp_flow_control_pool_saturation", 1.0, stage="effective", **where),
    ]


def knative(namespace: str, name: str, at_s: float = NOW_S - 2) -> Written:
    """4 wait in two activators, for two revisions."""
    where: dict[str, Any] = {
        "namespace": "gateways",
        "at_s": at_s,
        "k8s_namespace_name": namespace,
        "kn_configuration_name": name,
    }
    return [
        *gauge("kn_revision_request_concurrency", 3.0, pod="activator-1", kn_revision_name=f"{name}-00001", **where),
        *gauge("kn_revision_request_concurrency", 1.0, pod="activator-2", kn_revision_name=f"{name}-00002", **where),
    ]


GATEWAY_SERIES: Final[dict[str, tuple[Callable[..., Written], dict[str, float]]]] = {
    "envoy": (envoy, {"demand": 3.0, "queue": 4.0}),
    "istio": (istio, {"demand": 3.0}),
    "nginx": (nginx, {"demand": 3.0}),
    "endpoint-picker": (endpoint_picker, {"queue": 4.0}),
    "knative": (knative, {"queue": 4.0}),
}
"""By preset: what writes its series for (namespace, name, at_s), and what they say."""
