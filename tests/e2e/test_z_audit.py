"""After all stories: under the rights of deploy/ no request was refused, and no granted verb went unused."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.audit import ours, refused, rights, used
from tests.e2e.node_pools import COMPONENTS, PLACEHOLDERS
from tests.e2e.world import SYSTEM
from tests.realparts.api import Object
from tests.realparts.control_plane import ControlPlane


async def test_no_request_was_refused(control_plane: ControlPlane, deployed: Path) -> None:
    found = refused(ours(control_plane))
    assert not found, "\n".join(found)


async def test_no_granted_verb_went_unused(control_plane: ControlPlane, deployed: Path) -> None:
    unused = {right for role in await roles(control_plane) for right in rights(role)} - used(ours(control_plane))
    assert not unused, "\n".join(map(str, sorted(unused)))


async def roles(control_plane: ControlPlane) -> list[Object]:
    """What is bound to the service account by deploy/ (and by a story, for its kind of target), with the components for node pools that were
    added: in a run without their stories there are none."""
    get = control_plane.api.get
    cluster = await get("/apis/rbac.authorization.k8s.io/v1/clusterroles")
    own = [await get(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/roles") for name in (SYSTEM, PLACEHOLDERS)]
    wanted = (SYSTEM, f"{SYSTEM}-targets", *(f"{SYSTEM}-{component}" for component in COMPONENTS))
    return [role for part in [cluster, *own] for role in part["items"] if role["metadata"]["name"] in wanted]
