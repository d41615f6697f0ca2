"""What is kept of a node: a few words of it, since there are thousands, each with kilobytes of images, addresses and heartbeats."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.moments import seconds_or_none
from autoscaler.pool_labels import AKS_LABEL, EKS_LABEL, GKE_LABEL, KARPENTER_LABEL

NODES: Final = Resource(group="", version="v1", plural="nodes", kind="Node", namespaced=False)

POOL_LABELS: Final = (KARPENTER_LABEL, GKE_LABEL, EKS_LABEL, AKS_LABEL)
"""Labels by which node autoscalers and clouds say of which pool a node is. Cluster API has annotations instead, see ``_pools_of``."""
_OWN_LABELS: Final = frozenset({"kubernetes.io/hostname", "topology.gke.io/hostname", "topology.k8s.aws/network-node-layer-3"})
"""Different on every node, so no pool is found by them, and not kept: so most nodes of a pool have the same labels."""
_ACCELERATORS: Final = (
    "nvidia.com/gpu",  # and nvidia.com/gpu.shared
    "nvidia.com/mig-",
    "amd.com/gpu",
    "gpu.intel.com/",
    "habana.ai/gaudi",
    "aws.amazon.com/neuron",
    "google.com/tpu",
)
"""How extended resources of device plugins for accelerators begin. Network cards and the like have other names."""
_STARTING: Final = (
    "karpenter.sh/unregistered",
    "node.cloudprovider.kubernetes.io/",
    "node.cluster.x-k8s.io/uninitialized",
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/network-unavailable",
    "node.kubernetes.io/unreachable",
    "node.cilium.io/agent-not-ready",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "status-taint.cluster-autoscaler.kubernetes.io/",
)
"""How taints begin that keep pods off a node until it is set up."""
_NOTICES: Final = {
    "cloud.google.com/impending-node-termination": False,
    "aws-node-termination-handler/spot-itn": False,
    "aws-node-termination-handler/asg-lifecycle-termination": False,
    "aws-node-termination-handler/scheduled-maintenance": False,
    "remediator.kubernetes.azure.com/unschedulable": False,
    "node.kubernetes.io/out-of-service": False,
    "karpenter.sh/disrupted": True,
    "karpenter.sh/disruption": True,
    "ToBeDeletedByClusterAutoscaler": True,
}
"""Taints that say that a node goes soon, and whether whoever sets them sees to a replacement by itself.

GKE's maintenance handler (its argument ``--taint``, on spot reclaims and host maintenance); aws-node-termination-handler (pkg/node/node.go; not
its ``rebalance-recommendation``, which is a risk and no end); AKS node auto-drain (learn.microsoft.com, "Node auto-drain"; a spot node's
``kubernetes.azure.com/scalesetpriority`` says what it is, not that it goes); Kubernetes (``node.kubernetes.io/out-of-service``, set by
people on a node that is down); Karpenter (pkg/apis/v1/taints.go; ``disruption`` before 1.0), which keeps its pools' counts by itself;
cluster-autoscaler (utils/taints/taints.go), which takes away only what it needs no longer, and whose pods it has found places for.
"""


class Node(msgspec.Struct, frozen=True, gc=False):
    """One node. Times are Unix seconds, ready_at_s None while it isn't Ready.

    pools: names of node pools that it says it is of. accelerators: how many it advertises in status.allocatable. starting: a taint of its
    start keeps pods away. cordoned: somebody does. notice: the taint that says that it goes soon, "" none; replaced: whoever set it brings
    another one by itself.
    """

    labels: Mapping[str, str]
    pools: tuple[str, ...]
    created_at_s: float
    ready_at_s: float | None
    accelerators: int
    starting: bool
    cordoned: bool
    leaving: bool
    notice: str = ""
    replaced: bool = False

    @property
    def going(self) -> tuple[bool, str, bool]:
        """All that is known of its end: whether it is being deleted, who told it to go, and whether that one replaces it."""
        return self.leaving, self.notice, self.replaced

    @property
    def advertised(self) -> bool:
        """Whether pods that need accelerators can be placed on it."""
        return (
            self.ready_at_s is not None and self.accelerators > 0 and not self.starting and not self.cordoned and not self.notice
        )


def node_of(item: Object) -> Node:
    """The transform of a Node object."""
    meta, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    labels: Mapping[str, str] = meta.get("labels") or {}
    taints = [str(taint.get("key")) for taint in spec.get("taints") or ()]
    notice = next((key for key in taints if key in _NOTICES), "")
    ready_at_s = None
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            ready_at_s = seconds_or_none(condition.get("lastTransitionTime"))
    return Node(
        # Names and most values repeat over all nodes of a pool: one copy of each.
        labels={sys.intern(name): sys.intern(value) for name, value in labels.items() if name not in _OWN_LABELS},
        pools=tuple(dict.fromkeys(sys.intern(name) for name in _pools_of(labels, meta.get("annotations") or {}))),
        created_at_s=seconds_or_none(meta.get("creationTimestamp")) or 0.0,
        ready_at_s=ready_at_s,
        accelerators=sum(
            quantity_count(value) for name, value in (status.get("allocatable") or {}).items() if name.startswith(_ACCELERATORS)
        ),
        starting=any(key.startswith(_STARTING) for key in taints),
        cordoned=bool(spec.get("unschedulable")),
        leaving=meta.get("deletionTimestamp") is not None,
        notice=notice,
        replaced=_NOTICES.get(notice, False),
    )


def is_accelerator(resource: str) -> bool:
    """Whether an extended resource is one of accelerators."""
    return resource.startswith(_ACCELERATORS)


def _pools_of(labels: Mapping[str, str], annotations: Mapping[str, str]) -> Iterator[str]:
    for label in POOL_LABELS:
        if name := labels.get(label):
            yield name
    # Cluster API notes on the node who owns its Machine (api/core/v1beta2/common_types.go): a MachinePool, or the MachineSet of a
    # MachineDeployment, which is called <deployment>-<hash>.
    if owner := annotations.get("cluster.x-k8s.io/owner-name"):
        yield owner
        if annotations.get("cluster.x-k8s.io/owner-kind") == "MachineSet" and "-" in owner:
            yield owner.rpartition("-")[0]


def quantity_count(quantity: Any) -> int:
    """Of an extended resource, which is whole. One in another spelling (`1k`) is at least there."""
    text = str(quantity)
    return int(text) if text.isascii() and text.isdigit() else 1
