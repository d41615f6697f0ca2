"""A keeper's account, with no more rights than documented."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Final

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.external_metrics.certificates import (
    SECRET_NAME,
)
from tests.external_metrics.certificates.aggregated import API_SERVICE
from tests.realparts.api import Object
from tests.realparts.control_plane import ControlPlane

ACCOUNT: Final = "keeper"

ROLE_RULES: Final[list[Object]] = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET_NAME], "verbs": ["get", "list", "watch", "update"]},
]
CLUSTER_RULES: Final[list[Object]] = [
    {
        "apiGroups": ["apiregistration.k8s.io"],
        "resources": ["apiservices"],
        "resourceNames": [API_SERVICE],
        "verbs": ["get", "list", "watch", "patch"],
    },
]
"""All that a keeper may, as the package's docstring says it: every test on the real control plane runs under these."""


async def grant(control_plane: ControlPlane, namespace: str) -> None:
    """A ServiceAccount with ROLE_RULES and CLUSTER_RULES."""
    api, rbac = control_plane.api, "/apis/rbac.authorization.k8s.io/v1"
    version = "rbac.authorization.k8s.io/v1"
    name = f"{namespace}-{ACCOUNT}"
    subjects = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}]

    def reference(kind: str, of: str) -> Mapping[str, str]:
        return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": of}

    within = f"{rbac}/namespaces/{namespace}"
    await api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": ACCOUNT}})
    await api.create(f"{within}/roles", {"apiVersion": version, "metadata": {"name": ACCOUNT}, "rules": ROLE_RULES})
    binding = {"apiVersion": version, "metadata": {"name": ACCOUNT}, "subjects": subjects, "roleRef": reference("Role", ACCOUNT)}
    await api.create(f"{within}/rolebindings", binding)
    await api.create(f"{rbac}/clusterroles", {"apiVersion": version, "metadata": {"name": name}, "rules": CLUSTER_RULES})
    binding = {"apiVersion": version, "metadata": {"name": name}, "subjects": subjects, "roleRef": reference("ClusterRole", name)}
    await api.create(f"{rbac}/clusterrolebindings", binding)
    user = f"system:serviceaccount:{namespace}:{ACCOUNT}"
    await control_plane.until_allowed(user, verb="create", resource="secrets", namespace=namespace)
    await control_plane.until_allowed(
        user, verb="patch", group="apiregistration.k8s.io", resource="apiservices", name=API_SERVICE
    )


@contextlib.asynccontextmanager
async def as_keeper(control_plane: ControlPlane, namespace: str, url: str | None = None) -> AsyncIterator[HttpKubeApi]:
    """A session of that account; through a proxy at `url`, if given."""
    token = await control_plane.service_account_token(namespace, ACCOUNT)

    async def authorization() -> str:
        return f"Bearer {token}"

    credentials = Credentials(
        url or control_plane.url,
        ssl_context=control_plane.authority.client_context(),
        authorization=authorization,
        monotonic_s=time.monotonic,
    )
    async with HttpKubeApi(credentials) as session:
        yield session
