"""What is read from a Node object."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.adapters.kubernetes.nodes import node_of
from tests.fakes.kube_store import Object

CREATED = "2026-01-01T00:00:00Z"


def node(name: str = "a", *, ready: bool = True, gpus: object = "8", resource: str = "nvidia.com/gpu", **parts: Any) -> Object:
    """A Node as kubelets write it, as far as we read it."""
    ready_condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": "2026-01-01T00:01:00Z"}
    status = {"conditions": [{"type": "MemoryPressure", "status": "True"}, ready_condition], "allocatable": {"cpu": "63900m"}}
    if gpus is not None:
        status["allocatable"] = {"cpu": "63900m", resource: gpus}
    meta = {
        "name": name,
        "creationTimestamp": CREATED,
        "labels": parts.get("labels", {}),
        "annotations": parts.get("annotations", {}),
    }
    return {"metadata": meta, "spec": parts.get("spec", {}), "status": status}


@pytest.mark.parametrize(
    ("resource", "quantity", "count"),
    [
        ("nvidia.com/gpu", "8", 8),
        ("nvidia.com/gpu.shared", "32", 32),
        ("nvidia.com/mig-1g.10gb", "7", 7),
        ("amd.com/gpu", 4, 4),
        ("aws.amazon.com/neuroncore", "2k", 1),
        ("nvidia.com/hostdev", "8", 0),
        ("example.com/fpga", "8", 0),
    ],
)
def test_accelerators_are_those_of_device_plugins(resource: str, quantity: object, count: int) -> None:
    read = node_of(node(gpus=quantity, resource=resource))
    assert read.accelerators == count
    assert read.advertised == bool(count)


@pytest.mark.parametrize(
    "spec",
    [
        {"unschedulable": True},
        {"taints": [{"key": "karpenter.sh/unregistered", "effect": "NoExecute"}]},
        {"taints": [{"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule"}]},
        {"taints": [{"key": "startup-taint.cluster-autoscaler.kubernetes.io/gpu", "effect": "NoSchedule"}]},
    ],
)
def test_a_node_that_is_held_back_takes_no_pods_yet(spec: Object) -> None:
    assert not node_of(node(spec=spec)).advertised
    dedicated = {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}
    assert node_of(node(spec=dedicated)).advertised, "a taint that replicas tolerate is no start"


def test_whose_node_it_is() -> None:
    assert node_of(node(labels={"karpenter.sh/nodepool": "h100"})).pools == ("h100",)
    assert node_of(node(labels={"eks.amazonaws.com/nodegroup": "h100", "zone": "a"})).pools == ("h100",)
    owned = {"cluster.x-k8s.io/owner-kind": "MachineSet", "cluster.x-k8s.io/owner-name": "gpu-h100-x7k2p"}
    assert node_of(node(annotations=owned)).pools == ("gpu-h100-x7k2p", "gpu-h100")
    assert node_of(node(annotations={**owned, "cluster.x-k8s.io/owner-kind": "MachinePool"})).pools == ("gpu-h100-x7k2p",)
    assert node_of(node()).pools == ()


def test_what_a_bare_node_tells() -> None:
    """Right after its creation, before any kubelet."""
    read = node_of({"metadata": {"name": "a"}})
    assert (read.created_at_s, read.ready_at_s, read.accelerators, read.advertised) == (0.0, None, 0, False)
    assert node_of(node(ready=False)).ready_at_s is None
    assert node_of(node(labels={"kubernetes.io/hostname": "a", "gpu": "h100"})).labels == {"gpu": "h100"}


@pytest.mark.parametrize(
    ("taint", "noticed", "replaced"),
    [
        ("cloud.google.com/impending-node-termination", True, False),
        ("aws-node-termination-handler/spot-itn", True, False),
        ("aws-node-termination-handler/rebalance-recommendation", False, False),
        ("remediator.kubernetes.azure.com/unschedulable", True, False),
        ("kubernetes.azure.com/scalesetpriority", False, False),
        ("node.kubernetes.io/out-of-service", True, False),
        ("karpenter.sh/disrupted", True, True),
        ("ToBeDeletedByClusterAutoscaler", True, True),
        ("DeletionCandidateOfClusterAutoscaler", False, False),
        ("nvidia.com/gpu", False, False),
    ],
)
def test_a_taint_that_says_that_a_node_goes_is_a_notice(taint: str, noticed: bool, replaced: bool) -> None:
    found = node_of(node(spec={"taints": [{"key": "nvidia.com/gpu"}, {"key": taint, "effect": "NoSchedule"}]}))
    assert (found.notice, found.replaced) == (taint if noticed else "", replaced)
    assert found.advertised is not noticed
