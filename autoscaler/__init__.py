"""Autoscaler for GPU inference services on Kubernetes."""
