"""The labels that systems put on a pool's nodes by themselves, so that most manifests need no `nodeSelector`."""

from __future__ import annotations

from typing import Final

from autoscaler.spec import PoolBackend

GKE_LABEL: Final = "cloud.google.com/gke-nodepool"
EKS_LABEL: Final = "eks.amazonaws.com/nodegroup"
AKS_LABEL: Final = "kubernetes.azure.com/agentpool"
KARPENTER_LABEL: Final = "karpenter.sh/nodepool"


def own_labels(settings: PoolBackend) -> dict[str, str]:
    """How the backend's system labels the pool's nodes; {} where it does not, or nobody knows."""
    match settings:
        case PoolBackend(type="GKE", gke=gke) if gke is not None:
            return {GKE_LABEL: gke.node_pool}
        case PoolBackend(type="EKS", eks=eks) if eks is not None:
            return {EKS_LABEL: eks.nodegroup}
        case PoolBackend(type="AKS", aks=aks) if aks is not None:
            return {AKS_LABEL: aks.agent_pool}
        case PoolBackend(type="Scale", scale=ref) if ref is not None and ref.api_version.startswith("karpenter.sh/"):
            return {KARPENTER_LABEL: ref.name}
    return {}
