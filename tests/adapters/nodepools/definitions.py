"""Definitions of kinds that belong to others: the real ones of the newest Karpenter in the Go module cache, else small ones of the same names."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import yaml

from tests.realparts.api import ApiError
from tests.realparts.control_plane import ControlPlane

OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
MODULES = Path(os.environ.get("GOMODCACHE", Path.home() / "go" / "pkg" / "mod"))


def crd(
    group: str,
    version: str,
    plural: str,
    kind: str,
    *,
    scope: str,
    replicas: str = ".spec.replicas",
    status: str = ".status.replicas",
) -> Any:
    """A small definition of a kind that belongs to somebody else."""
    scale = {"specReplicasPath": replicas, "statusReplicasPath": status}
    schema = {"type": "object", "properties": {"spec": OPEN, "status": OPEN}}
    made = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # The groups of kubernetes projects are only taken with a word of approval.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test's own copy"},
        },
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{**made, "subresources": {"status": {}, "scale": scale}}],
        },
    }


def definition(file: str, otherwise: Any) -> Any:
    """The real one, of the newest Karpenter in the module cache."""
    found = sorted(MODULES.glob(f"sigs.k8s.io/karpenter@*/pkg/apis/crds/{file}"))
    return yaml.safe_load(found[-1].read_text()) if found else otherwise


NODE_POOLS = definition(
    "karpenter.sh_nodepools.yaml", crd("karpenter.sh", "v1", "nodepools", "NodePool", scope="Cluster", status=".status.nodes")
)
BUFFERS = definition(
    "autoscaling.x-k8s.io_capacitybuffers.yaml",
    crd("autoscaling.x-k8s.io", "v1beta1", "capacitybuffers", "CapacityBuffer", scope="Namespaced"),
)
MACHINES = crd("cluster.x-k8s.io", "v1beta2", "machinedeployments", "MachineDeployment", scope="Namespaced")
SHELVES = crd("contract.test", "v1", "shelves", "Shelf", scope="Namespaced", replicas=".spec.machines", status=".status.machines")


class Definitions:
    """Puts definitions into the control plane, and takes away those that were not there before."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self._ours: list[str] = []

    async def are_there(self, wanted: Any) -> bool:
        """Whether somebody has put this one in."""
        listed = await self._control_plane.api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        return wanted["metadata"]["name"] in [item["metadata"]["name"] for item in listed["items"]]

    async def serve(self, wanted: Any) -> None:
        """Returns when its objects can be listed."""
        if not await self.are_there(wanted):
            await self._control_plane.apply(wanted)
            self._ours.append(wanted["metadata"]["name"])
        spec = wanted["spec"]
        version = next(one["name"] for one in spec["versions"] if one["served"])
        async with asyncio.timeout(30):
            while True:
                try:
                    await self._control_plane.api.get(f"/apis/{spec['group']}/{version}/{spec['names']['plural']}")
                    # Discovery follows a moment later.
                    served = await self._control_plane.api.get(f"/apis/{spec['group']}/{version}")
                    if spec["names"]["plural"] in [one["name"] for one in served["resources"]]:
                        return
                except ApiError as error:
                    if error.status not in (404, 429, 503):
                        raise
                await asyncio.sleep(0.05)

    async def take_away(self) -> None:
        for name in self._ours:
            await self._control_plane.kubectl("delete", "crd", name, "--ignore-not-found", timeout_s=60)
