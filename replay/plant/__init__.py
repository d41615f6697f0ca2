"""Simulated services: replicas, nodes, queue and batch, and the doors through which the controller sees and scales them."""
