"""What sees a service's requests while nothing runs, in our signals and units: gateways, and whatever else stands before the pods.

A gateway's series name the service in their own way (``labels``): the names are looked up together with the object's own namespace, so that
no object reads another namespace's series whatever name it gives. Each gives *demand* (requests/s arriving, those that are refused included)
or *queue* (requests that wait for the first replica), or both.

What is missing is unknown, here as everywhere. Gateways that count from a service's first request on have nothing to show before it; their
first series is that request (``terms.Arrivals``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoscaler.adapters.prometheus.presets import Preset, Recipe
from autoscaler.adapters.prometheus.terms import (
    Arrivals,
    Gauge,
    LastScrape,
    Rate,
    Scaled,
    SeriesLabels,
    Under,
    Within,
    plus,
    preferred,
)

# Docs of Envoy 1.19 (cluster_stats: what each counter counts) and tests of Envoy Gateway 1.x for the clusters' names, httproute/NAMESPACE/NAME/
# rule/NUMBER; what it mirrors (rule/0-mirror-0) is left out. Disjoint ways that a request can go: to a connection, to one that failed or
# was one too many before it got there, or nowhere since there is no host. Envoy has a cluster's counters from its first moment on.
_ENVOY: Final = Preset(
    name="envoy",
    title="Envoy Gateway",
    source="envoy docs/configuration/upstream/cluster_manager/cluster_stats; gateway test/e2e",
    labels=SeriesLabels(
        namespace="route_namespace",
        pod="route_name",
        within=Within(label="envoy_cluster_name", pattern="(?:http|grpc)route/<namespace>/<name>/rule/[0-9]+(?:/.*)?"),
    ),
    alive=LastScrape(("envoy_cluster_upstream_rq_total",)),
    signals={
        "demand": Recipe(
            term=plus(
                Rate("envoy_cluster_upstream_rq_total"),
                Rate("envoy_cluster_upstream_rq_pending_failure_eject"),
                Rate("envoy_cluster_upstream_rq_pending_overflow"),
                Rate("envoy_cluster_upstream_cx_none_healthy"),
            )
        ),
        "queue": Recipe(term=Gauge("envoy_cluster_upstream_rq_pending_active")),
    },
)

# istio.io's standard metrics, 1.18. The sender's side only: a service without pods has no other, and with both each request counts twice. In
# ambient mode it is the waypoint's.
_BY_SENDER: Final = 'reporter="source"'
_BY_WAYPOINT: Final = 'reporter="waypoint"'
_ISTIO: Final = Preset(
    name="istio",
    title="Istio",
    source="istio.io/latest/docs/reference/config/metrics",
    labels=SeriesLabels(namespace="destination_service_namespace", pod="destination_service_name"),
    alive=LastScrape(("istio_requests_total",), 'reporter=~"source|waypoint"'),
    signals={
        "demand": Recipe(
            term=preferred(Arrivals("istio_requests_total", _BY_SENDER), Arrivals("istio_requests_total", _BY_WAYPOINT))
        )
    },
)

# ingress-nginx controller 1.x (038b023dd0). Scraped with honorLabels=false, as Prometheus does unless told otherwise, its own labels
# `namespace` and `service` are exported_…; with honorLabels=true the administrator says so (presetLabels).
_NGINX: Final = Preset(
    name="nginx",
    title="ingress-nginx",
    source="ingress-nginx internal/ingress/metric/collectors/socket.go",
    labels=SeriesLabels(namespace="exported_namespace", pod="exported_service"),
    alive=LastScrape(("nginx_ingress_controller_requests",)),
    signals={"demand": Recipe(term=Arrivals("nginx_ingress_controller_requests"))},
)

# llm-d-router docs/metrics.md (02d6c2ee23), which also has the older names of the Gateway API inference extension 1.x; an endpoint picker runs in
# its pool's namespace. A queue has no series until something waits in it: a pool whose saturation is there has flow control, and none waits.
_SATURATION: Final = (
    "llm_d_epp_flow_control_pool_saturation",
    "inference_extension_flow_control_pool_saturation",
)
_QUEUE: Final = ("llm_d_epp_flow_control_queue_size", "inference_extension_flow_control_queue_size")
_ENDPOINT_PICKER: Final = Preset(
    name="endpoint-picker",
    title="the inference extension's endpoint picker",
    source="llm-d-router docs/metrics.md",
    labels=SeriesLabels(namespace="", pod="inference_pool"),
    alive=LastScrape((*_SATURATION, *_QUEUE)),
    signals={
        "queue": Recipe(
            term=preferred(*(Gauge(name) for name in _QUEUE), *(Scaled(Gauge(name, "max"), 0.0) for name in _SATURATION))
        )
    },
)

# knative serving 1.19 and later (pkg/activator/handler/metrics.go), and the OpenCensus name before. While nothing is ready all that is in
# the activator waits in it; it says 0 once nothing does.
_OPENCENSUS: Final = SeriesLabels(namespace="namespace_name", pod="configuration_name")
_KNATIVE: Final = Preset(
    name="knative",
    title="Knative's activator",
    source="knative serving pkg/activator/handler",
    labels=SeriesLabels(namespace="k8s_namespace_name", pod="kn_configuration_name"),
    alive=preferred(
        LastScrape(("kn_revision_request_concurrency",)), Under(_OPENCENSUS, LastScrape(("activator_request_concurrency",)))
    ),
    signals={
        "queue": Recipe(
            term=preferred(Gauge("kn_revision_request_concurrency"), Under(_OPENCENSUS, Gauge("activator_request_concurrency")))
        )
    },
)

GATEWAYS: Final[Mapping[str, Preset]] = {preset.name: preset for preset in (_ENVOY, _ISTIO, _NGINX, _ENDPOINT_PICKER, _KNATIVE)}
"""Every gateway by the name that manifests use."""
