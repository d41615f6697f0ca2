"""Replay: the controller's own decision code on recorded traffic, over a simulated service."""
