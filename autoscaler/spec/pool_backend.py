"""How the size of a pool of nodes is set: one type for each system."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from autoscaler.spec.base import HTTPS_PATTERN, Base, DnsName, Duration

GcpName = Annotated[str, Meta(pattern=r"^[a-z][-a-z0-9:.]{0,98}[a-z0-9]$")]
CloudName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([-_.A-Za-z0-9]{0,88}[-_A-Za-z0-9])?$")]
SetBy = Literal["Size", "Minimum"]
_SET_BY: Final = (
    "Size: the pool's size itself. Minimum: the lower bound of the node autoscaler that owns the size, which so makes nodes earlier and is not "
    "overruled."
)


class ObjectRef(Base):
    """An object of the API server."""

    api_version: Annotated[
        str,
        Meta(
            pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9][a-z0-9]*$",
            max_length=317,
            description="API version, such as karpenter.sh/v1.",
        ),
    ]
    kind: Annotated[
        str, Meta(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63, description="Kind, such as NodePool or MachineDeployment.")
    ]
    name: Annotated[DnsName, Meta(description="Name.")]
    namespace: Annotated[DnsName | None, Meta(description="Namespace, where the kind has one.")] = None


class Toleration(Base):
    """core/v1 Toleration, as pods of the pool's services have it."""

    key: Annotated[str, Meta(max_length=317, description="Taint key; every taint where left out.")] = ""
    operator: Annotated[Literal["Equal", "Exists"], Meta(description="How key and value are compared.")] = "Equal"
    value: Annotated[str, Meta(max_length=63, description="Taint value.")] = ""
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Meta(description="Taint effect; all where left out.")
    ] = None


class Headroom(Base):
    """Room that is kept free on nodes which a node autoscaler owns, so that it makes nodes before replicas need them."""

    namespace: Annotated[
        DnsName, Meta(description="Where the placeholders or the CapacityBuffer are made; best one of their own.")
    ]
    image: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=512,
            pattern=r"^[^\s]+$",
            description="Image of the placeholder pods, which do nothing: a pause image that your nodes can pull.",
        ),
    ]
    method: Annotated[
        Literal["Auto", "CapacityBuffer", "Placeholder"],
        Meta(
            description=(
                "CapacityBuffer: an object that the node autoscaler reads. Placeholder: pods of low priority, one accelerator each, that give way. "
                "Auto: the first where the API server serves it, else the second."
            )
        ),
    ] = "Auto"
    priority_class: Annotated[
        DnsName,
        Meta(description="PriorityClass of the placeholders: below every service's, at least -10 for cluster-autoscaler."),
    ] = "inference-autoscaler-placeholder"
    tolerations: Annotated[list[Toleration], Meta(max_length=16, description="Of the taints that the pool's nodes have.")] = (
        msgspec.field(default_factory=list)
    )


class Gke(Base):
    """A node pool of Google Kubernetes Engine."""

    project: Annotated[GcpName, Meta(description="Project id.")]
    location: Annotated[GcpName, Meta(description="Region or zone of the cluster.")]
    cluster: Annotated[GcpName, Meta(description="Name of the cluster.")]
    node_pool: Annotated[GcpName, Meta(description="Name of the node pool.")]
    set_by: Annotated[SetBy, Meta(description=_SET_BY)] = "Size"


class Eks(Base):
    """A managed node group of Amazon Elastic Kubernetes Service."""

    region: Annotated[
        str, Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$", max_length=32, description="Region, such as eu-central-1.")
    ]
    cluster: Annotated[CloudName, Meta(description="Name of the cluster.")]
    nodegroup: Annotated[CloudName, Meta(description="Name of the managed node group.")]
    set_by: Annotated[SetBy, Meta(description=_SET_BY)] = "Size"


class Aks(Base):
    """A node pool (agent pool) of Azure Kubernetes Service."""

    subscription: Annotated[
        str, Meta(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", description="Subscription id.")
    ]
    resource_group: Annotated[CloudName, Meta(description="Resource group of the cluster.")]
    cluster: Annotated[CloudName, Meta(description="Name of the cluster.")]
    agent_pool: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,11}$", description="Name of the node pool.")]
    cloud: Annotated[Literal["Public", "USGovernment", "China"], Meta(description="Which Azure cloud.")] = "Public"
    set_by: Annotated[SetBy, Meta(description=_SET_BY)] = "Size"


class OwnSecretKey(Base):
    """A key of a Secret in the controller's own namespace: a pool's manifest reads no tenant's."""

    name: Annotated[DnsName, Meta(description="Name of the Secret, in the controller's namespace.")]
    key: Annotated[str, Meta(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253, description="Key within the Secret.")]


class Webhook(Base):
    """A service of your own that sizes the pool (docs/node-pools.md says what it is asked and answers)."""

    url: Annotated[
        str,
        Meta(pattern=HTTPS_PATTERN, max_length=2048, description="Where it is asked; https, no query, no credentials."),
    ]
    bearer_token: Annotated[OwnSecretKey | None, Meta(description="Bearer token to show.")] = None
    ca: Annotated[OwnSecretKey | None, Meta(description="Certificate authority (PEM) to trust instead of the system's.")] = None


class PoolBackend(Base):
    """How the pool's size is set."""

    type: Annotated[
        Literal["DryRun", "Scale", "Headroom", "MinSize", "GKE", "EKS", "AKS", "Webhook"],
        Meta(
            description=(
                "DryRun: show the planned number of nodes, change nothing. Scale: any object with a scale subresource. Headroom: room for a node "
                "autoscaler that owns the nodes. MinSize: cluster-autoscaler's lower bound on Cluster API. GKE, EKS, AKS: the cloud's own node "
                "pool. Webhook: a service of your own."
            )
        ),
    ] = "DryRun"
    scale: Annotated[
        ObjectRef | None,
        Meta(
            description="The object: a static Karpenter NodePool, a MachineDeployment, MachineSet or MachinePool, a kind of your own."
        ),
    ] = None
    headroom: Annotated[Headroom | None, Meta(description="What is made to keep room.")] = None
    min_size: Annotated[ObjectRef | None, Meta(description="The MachineDeployment, MachineSet or MachinePool.")] = None
    gke: Annotated[Gke | None, Meta(description="The node pool.")] = None
    eks: Annotated[Eks | None, Meta(description="The node group.")] = None
    aks: Annotated[Aks | None, Meta(description="The node pool.")] = None
    webhook: Annotated[Webhook | None, Meta(description="The service.")] = None
    max_step: Annotated[
        int,
        Meta(
            ge=1, le=10000, description="The most nodes that may be on their way, or leaving, at a time, whatever the plan says."
        ),
    ] = 10
    cool_down: Annotated[
        Duration,
        Meta(
            description=(
                "So long the plan must have wanted fewer nodes before any is given back, after a restart too: what it takes back meanwhile is not "
                "ordered again. How long spare nodes are worth keeping is the plan's business (waitingCost)."
            )
        ),
    ] = "1m"
    take_ownership: Annotated[
        bool, Meta(description="Write although somebody else is seen to own the number; without it we refuse and say who.")
    ] = False
