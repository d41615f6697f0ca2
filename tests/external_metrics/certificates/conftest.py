"""An APIService that is nobody else's during the test, and a session with a keeper's rights."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from autoscaler.external_metrics.certificates import (
    Lifetimes,
    Plan,
    service_names,
)
from tests.external_metrics.certificates.aggregated import API_SERVICE, API_SERVICES, World
from tests.external_metrics.certificates.rights import ACCOUNT, as_keeper, grant
from tests.realparts.api import ApiError
from tests.realparts.control_plane import ControlPlane


@pytest_asyncio.fixture(loop_scope="session")
async def world(control_plane: ControlPlane, namespace: str) -> AsyncIterator[World]:
    """The Service, the APIService (nobody else's during the test), and a session with a keeper's rights."""
    await grant(control_plane, namespace)
    async with as_keeper(control_plane, namespace) as session:
        made = World(control_plane, namespace, session)
        await made.make_api_service()
        try:
            yield made
        finally:
            with contextlib.suppress(ApiError):
                await control_plane.api.delete(f"{API_SERVICES}/{API_SERVICE}")
            for kind in ("clusterrolebindings", "clusterroles"):
                await control_plane.api.delete(f"/apis/rbac.authorization.k8s.io/v1/{kind}/{namespace}-{ACCOUNT}")


@pytest.fixture
def plan() -> Plan:
    return Plan(names=service_names("external-metrics", "metrics"), lifetimes=Lifetimes(), settle_s=60.0, overlap_s=86400.0)
