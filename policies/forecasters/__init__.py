"""Forecasters of demand, one family of experts per file, and how the policy ``predictive`` makes one forecast of them.

The contract is ``autoscaler.core.forecaster``; entry points of ``inference_autoscaler.forecasters`` name what is installed.
"""
