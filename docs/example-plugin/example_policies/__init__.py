"""Policies and a forecaster of a package of its own, beside inference-autoscaler."""
