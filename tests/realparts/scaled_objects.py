"""Objects that a KEDA user has: a Deployment, and the ScaledObject that scales it by a query of Prometheus."""

from __future__ import annotations

import asyncio

from tests.realparts.api import ApiError, Object
from tests.realparts.control_plane import ControlPlane

SCALED_OBJECT_LABEL = "scaledobject.keda.sh/name"


def deployment(name: str, *, replicas: int = 1) -> Object:
    """Pods that need nothing but to run."""
    container = {"name": "server", "image": "example.invalid/server"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }


def scaled_object(name: str, prometheus_url: str, query: str, *, threshold: float, most: int = 20) -> Object:
    """As many replicas as the query's value ÷ `threshold`, at once in both directions."""
    at_once = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 10000, "periodSeconds": 1}]}
    trigger = {
        "type": "prometheus",
        "metadata": {"serverAddress": prometheus_url, "query": query, "threshold": f"{threshold:g}", "ignoreNullValues": "false"},
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": 1,
            "maxReplicaCount": most,
            "pollingInterval": 1,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": at_once, "scaleDown": at_once}}},
            "triggers": [trigger],
        },
    }


def metric_path(namespace: str, name: str, metric: str = "s0-prometheus") -> str:
    """Where an HPA asks for it."""
    return f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?labelSelector={SCALED_OBJECT_LABEL.replace('/', '%2F')}%3D{name}"


async def until_served(control_plane: ControlPlane, namespace: str, name: str, *, within_s: float = 60.0) -> Object:
    """What the external metrics API says of a ScaledObject, through the aggregator; waits until it says something."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    return await control_plane.api.get(metric_path(namespace, name))
                except ApiError as error:
                    last = error
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {last}") from None
