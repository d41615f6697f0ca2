"""From a manifest's words to a backend: every type, what it is called, by which labels its nodes are known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.kubernetes.secrets import KubernetesSecrets
from autoscaler.adapters.nodepools.pools import BackendPools
from autoscaler.adapters.nodepools.wiring import Backends
from autoscaler.compiled import pool_spec
from autoscaler.manifests import load_manifests
from autoscaler.pool_labels import own_labels
from autoscaler.ports import NodePools
from autoscaler.spec import AcceleratorPool, PoolBackend
from tests.adapters.nodepools import beds
from tests.conftest import ROOT


def examples(folder: Path) -> list[AcceleratorPool]:
    """Of docs/node-pools.md."""
    found = []
    for number, block in enumerate(
        re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "node-pools.md").read_text(), re.M | re.S)
    ):
        file = folder / f"{number}.yaml"
        file.write_text(block)
        found += [one for one in load_manifests([file]) if isinstance(one, AcceleratorPool)]
    return found


async def test_every_type_has_its_backend(tmp_path: Path) -> None:
    async with (
        beds.around(tmp_path) as base,
        Backends(base.api, KubernetesSecrets(base.api), base.clock, "system", lambda _pool: 2, {}) as backends,
    ):
        made = {}
        for manifest in examples(tmp_path):
            spec = pool_spec(manifest)
            assert isinstance(spec.backend, PoolBackend)
            backend = backends.make(spec, spec.backend)
            assert backend is not None
            made[spec.backend.type] = (type(backend).__name__, backend.sets)
        assert made == {
            "Scale": ("Scale", "Nodes"),
            "Headroom": ("Headroom", "Headroom"),
            "MinSize": ("MinSize", "Minimum"),
            "GKE": ("Gke", "Nodes"),
            "EKS": ("Eks", "Nodes"),
            "AKS": ("Aks", "Minimum"),
            "Webhook": ("Webhook", "Nodes"),
        }
        assert backends.make(spec, PoolBackend()) is None
        pools: NodePools = BackendPools(backends.make, clock=base.clock, rng=np.random.default_rng(1))
        assert pools.told() == {}


@pytest.mark.parametrize(
    ("type_", "labels"),
    [
        ("GKE", {"cloud.google.com/gke-nodepool": "h100"}),
        ("EKS", {"eks.amazonaws.com/nodegroup": "h100"}),
        ("AKS", {"kubernetes.azure.com/agentpool": "h100"}),
        ("Scale", {"karpenter.sh/nodepool": "h100"}),
        ("Webhook", {}),
    ],
)
def test_nodes_are_known_by_the_system_s_own_labels(type_: str, labels: dict[str, Any], tmp_path: Path) -> None:
    (first, *_) = [one for one in examples(tmp_path) if one.spec.backend.type == type_]
    assert own_labels(first.spec.backend) == labels
