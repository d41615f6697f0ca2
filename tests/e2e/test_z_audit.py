"""After all stories: under the rights of deploy/ no request was refused, and no granted verb went unused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tests.e2e.world import API_SERVER_STARTS, SYSTEM
from tests.realparts.api import Object
from tests.realparts.control_plane import ControlPlane

WHO = f"system:serviceaccount:{SYSTEM}:{SYSTEM}"


def ours(control_plane: ControlPlane) -> list[Object]:
    return [event for event in control_plane.audit_events() if event["user"]["username"] == WHO]


async def test_no_request_was_refused(control_plane: ControlPlane, deployed: Path) -> None:
    refused = [
        f"{event['verb']} {event['requestURI']}"
        for event in ours(control_plane)
        if event.get("responseStatus", {}).get("code") in (401, 403) and not api_server_was_starting(event)
    ]
    assert not refused, "\n".join(sorted(set(refused)))


def api_server_was_starting(event: Object) -> bool:
    at_s = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
    return any(began_s <= at_s <= ended_s for began_s, ended_s in API_SERVER_STARTS)


async def test_no_granted_verb_went_unused(control_plane: ControlPlane, deployed: Path) -> None:
    used = {
        (ref.get("apiGroup", ""), "/".join(filter(None, (ref["resource"], ref.get("subresource")))), event["verb"])
        for event in ours(control_plane)
        if (ref := event.get("objectRef")) and "resource" in ref
    }
    unused = {right for role in await roles(control_plane) for right in rights(role)} - used
    assert not unused, "\n".join(map(str, sorted(unused)))


async def roles(control_plane: ControlPlane) -> list[Object]:
    """What is bound to the service account by deploy/ (and by a story, for its kind of target)."""
    get = control_plane.api.get
    cluster = await get("/apis/rbac.authorization.k8s.io/v1/clusterroles")
    own = await get(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SYSTEM}/roles")
    wanted = (SYSTEM, f"{SYSTEM}-targets")
    return [role for role in [*cluster["items"], *own["items"]] if role["metadata"]["name"] in wanted]


def rights(role: Object) -> Iterator[tuple[str, str, str]]:
    for rule in role.get("rules") or []:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb
