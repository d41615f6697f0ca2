"""From the command line and the configuration file to the adapters' settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoscaler.adapters.prometheus.configured import prometheus_settings
from autoscaler.configuration import load_configuration

__all__ = ["known_policies", "load_configuration", "prometheus_settings"]


def known_policies() -> Mapping[str, Any]:
    """The installed policies; a plug-in that can't be loaded is named in the log and left out."""
    import logging

    from autoscaler.plugins import installed

    plugins = installed()
    for name, why in plugins.broken.items():
        logging.getLogger(__name__).error("policy '%s' is left out, its plug-in can't be loaded: %s", name, why)
    return plugins.policies
