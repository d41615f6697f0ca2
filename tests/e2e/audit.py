"""What the API server's audit log says of the controller: what it was refused, and which of its rights it used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from tests.e2e.world import API_SERVER_STARTS, SYSTEM
from tests.realparts.api import Object
from tests.realparts.control_plane import ControlPlane

WHO = f"system:serviceaccount:{SYSTEM}:{SYSTEM}"
Right: TypeAlias = tuple[str, str, str]
"""(API group, resource with its subresource, verb)."""


def ours(control_plane: ControlPlane) -> list[Object]:
    return [event for event in control_plane.audit_events() if event["user"]["username"] == WHO]


def refused(events: Iterable[Object]) -> list[str]:
    """The requests that were refused, each once; not those while an API server that was crashed did not know its roles yet."""
    found = {
        f"{event['verb']} {event['requestURI']}"
        for event in events
        if event.get("responseStatus", {}).get("code") in (401, 403) and not _api_server_was_starting(event)
    }
    return sorted(found)


def _api_server_was_starting(event: Object) -> bool:
    at_s = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
    return any(began_s <= at_s <= ended_s for began_s, ended_s in API_SERVER_STARTS)


def used(events: Iterable[Object]) -> set[Right]:
    return {
        (ref.get("apiGroup", ""), "/".join(filter(None, (ref["resource"], ref.get("subresource")))), verb)
        for event in events
        if (ref := event.get("objectRef")) and "resource" in ref
        for verb in _verbs(event)
    }


def _verbs(event: Object) -> tuple[str, ...]:
    """What a request needs: an apply of what is not there yet is noted as a patch, and needs the right to create as well."""
    made = event["verb"] == "patch" and event.get("responseStatus", {}).get("code") == 201
    return ("patch", "create") if made else (event["verb"],)


def rights(role: Object) -> Iterator[Right]:
    """What a Role or ClusterRole grants."""
    for rule in role.get("rules") or []:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb
