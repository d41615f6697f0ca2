"""The switch that pauses the whole cluster: a ConfigMap beside the controller, changed with one kubectl command.

``kubectl -n NAMESPACE create configmap inference-autoscaler --from-literal=pause=true``; ``up`` and ``down`` pause one direction,
``false`` or no such ConfigMap: no pause. Optional keys: ``until`` (RFC 3339), ``reason``.
"""

from __future__ import annotations

from typing import Final

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.core.model import Direction, Pause
from autoscaler.spec import moment_s

CONFIG_MAPS: Final = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
SWITCH_NAME: Final = "inference-autoscaler"
_DIRECTIONS: Final[dict[str, Direction]] = {"true": "Both", "both": "Both", "up": "Up", "down": "Down"}


def pause_of(item: Object) -> Pause | None:
    """The transform of the ConfigMap. What can't be understood pauses: whoever wrote it wanted a pause."""
    data = item.get("data") or {}
    word = str(data.get("pause") or "").strip().lower()
    if word in ("", "false"):
        return None
    reason = str(data.get("reason") or "")
    direction = _DIRECTIONS.get(word)
    if direction is None:
        return Pause(direction="Both", until_s=None, reason=f"pause: '{word}' is not true, false, up or down, so all is paused")
    until = str(data.get("until") or "").strip()
    try:
        until_s = moment_s(until) if until else None
    except ValueError as fault:
        return Pause(direction=direction, until_s=None, reason=f"{reason} (without an end: {fault})".strip())
    return Pause(direction=direction, until_s=until_s, reason=reason)
