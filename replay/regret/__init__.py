"""Regret: what other policies would have done on the days that a live controller recorded."""
