"""The aggregated API server of ``external.metrics.k8s.io/v1beta1``: a program of its own, which answers from memory.

A request passes ``authentication`` (who asks) and ``authorization`` (may they), then ``server`` finds the values that ``following`` brings
from the controller. Nothing in here ever asks Prometheus.
"""
