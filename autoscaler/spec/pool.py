"""What is wanted of an AcceleratorPool, and what its status says."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from autoscaler.spec.base import RESOURCE_PATTERN, ROLE_PATTERN, Base, Share, unique_by
from autoscaler.spec.pool_backend import PoolBackend
from autoscaler.spec.status import Conditions, LeadTimeStatus


class PoolZone(Base):
    """A zone that a pool's nodes may be in."""

    name: Annotated[str, Meta(min_length=1, max_length=63, description="As nodes are labelled, such as europe-west4-a.")]
    max_nodes: Annotated[
        Annotated[int, Meta(ge=0, le=100000)] | None, Meta(description="The most nodes there; none but maxNodes where left out.")
    ] = None


class Spot(Base):
    """Nodes that may be taken away at short notice, for less money."""

    share: Annotated[Share, Meta(description="How much of the nodes may be spot.")] = "100%"
    on_demand_nodes: Annotated[int, Meta(ge=0, le=100000, description="The first nodes, which never are.")] = 0
    cost_per_hour: Annotated[
        Annotated[float, Meta(ge=0, le=1e9)] | None,
        Meta(description="Price of one spot node for one hour; the pool's costPerHour where left out."),
    ] = None


class Quota(Base):
    """What one namespace may have of a pool."""

    namespace: Annotated[str, Meta(pattern=ROLE_PATTERN, max_length=63, description="The namespace of the InferenceAutoscalers.")]
    accelerators: Annotated[
        Annotated[int, Meta(ge=0, le=100000000)] | None,
        Meta(description="The most accelerators that its planned replicas take; no bound where left out."),
    ] = None
    weight: Annotated[
        int, Meta(ge=1, le=1000, description="Its share beside others' of the same priority where the pool is full.")
    ] = 1


class AcceleratorPoolSpec(Base):
    """A pool of GPU nodes that services share."""

    max_nodes: Annotated[int, Meta(ge=0, le=100000, description="Upper bound.")]
    accelerators_per_node: Annotated[int, Meta(ge=1, le=1024, description="GPUs of one node.")] = 8
    min_nodes: Annotated[int, Meta(ge=0, le=100000, description="Lower bound.")] = 0
    cost_per_hour: Annotated[float, Meta(ge=0, le=1e9, description="Price of one node for one hour, in any one currency.")] = 0.0
    resource_name: Annotated[
        str,
        Meta(
            pattern=RESOURCE_PATTERN,
            max_length=317,
            description="The extended resource that is counted, such as nvidia.com/gpu, or a MIG profile or shared slice of its own.",
        ),
    ] = "nvidia.com/gpu"
    zones: Annotated[
        list[PoolZone],
        Meta(
            max_length=16,
            description=(
                "Zones of its nodes, each once. Their maxNodes bound the pool, and nodes are to be spread equally within these: records show it, "
                "and of the backends the Webhook alone orders by it."
            ),
            extra_json_schema=unique_by("name"),
        ),
    ] = msgspec.field(default_factory=list)
    spot: Annotated[
        Spot | None,
        Meta(
            description=(
                "How much of it may be spot nodes: counts in the price of a node, records show it, and of the backends the Webhook alone orders by "
                "it. None where left out."
            )
        ),
    ] = None
    quotas: Annotated[
        list[Quota],
        Meta(
            max_length=256,
            description="What namespaces may have of it, each once; others have no bound, and the weight 1.",
            extra_json_schema=unique_by("namespace"),
        ),
    ] = msgspec.field(default_factory=list)
    min_replicas_first: Annotated[
        bool,
        Meta(
            description=(
                "Where it is full: every service's minReplicas come before what higher priorities want beyond theirs. "
                "False: strictly by priority."
            )
        ),
    ] = True
    waiting_cost: Annotated[
        float,
        Meta(
            ge=0,
            le=1000,
            description=(
                "What replicas that wait for a node cost, in the price of that node for the same time. A node that is no longer needed is kept while "
                "as many were needed again within a node's lead time in more than 1 ÷ (1 + this) of the last ones; 0: it goes at once. Not with "
                "backend DryRun."
            ),
        ),
    ] = 1.0
    backend: Annotated[PoolBackend, Meta(description="How its size is set.")] = msgspec.field(default_factory=PoolBackend)
    node_selector: Annotated[
        dict[str, str],
        Meta(
            description="Labels that all its nodes have, and no others: they are counted by them, and placeholders go there. Without any: the "
            "nodes whose own pool label (Karpenter's, GKE's, EKS', AKS', or Cluster API's owner annotation) names this pool.",
        ),
    ] = msgspec.field(default_factory=dict)


class ShortageStatus(Base):
    """That a pool has no more nodes to give, as far as is known; from here a new process goes on."""

    since: Annotated[float, Meta(description="Unix seconds of its beginning.")]
    until: Annotated[
        float, Meta(description="Unix seconds of the end of the pause, or (trying above 0) of the beginning of the attempt.")
    ]
    pause_seconds: Annotated[float, Meta(ge=0, description="The last pause.")]
    there: Annotated[int, Meta(ge=0, description="Nodes that count.")]
    trying: Annotated[int, Meta(ge=0, description="How many more are tried now.")] = 0
    resource: Annotated[str, Meta(max_length=256, description="What is short.")] = ""
    said: Annotated[str, Meta(max_length=1024, description="Who says so.")] = ""


class LossesStatus(Base):
    """Nodes that went though nobody asked them to: what the interruption rate is learnt from."""

    nodes: Annotated[float, Meta(ge=0, description="How many, the older the less.")] = 0.0
    node_hours: Annotated[float, Meta(ge=0, description="Within so many hours of nodes, the older the less.")] = 0.0
    per_node_hour: Annotated[
        float | None, Meta(description="The rate that follows, with what is assumed before anything is seen.")
    ] = None


class AcceleratorPoolStatus(Base):
    """What is seen and planned."""

    observed_generation: Annotated[int | None, Meta(description="The generation that was decided on.")] = None
    nodes: Annotated[int | None, Meta(description="Nodes now.")] = None
    ready_nodes: Annotated[int | None, Meta(description="Of them schedulable, with their accelerators advertised.")] = None
    planned_nodes: Annotated[int | None, Meta(description="Nodes that the services' plan needs.")] = None
    reason: Annotated[Annotated[str, Meta(max_length=4096)] | None, Meta(description="Why this many, in one sentence.")] = None
    asked_nodes: Annotated[int | None, Meta(description="Nodes that the backend's system was last asked for.")] = None
    owner: Annotated[Annotated[str, Meta(max_length=1024)] | None, Meta(description="Who else owns the number of nodes.")] = None
    lead_time: Annotated[
        LeadTimeStatus | None, Meta(description="Measured time from the request of a node to its accelerators.")
    ] = None
    shortage: Annotated[ShortageStatus | None, Meta(description="Where it has no more nodes to give.")] = None
    losses: Annotated[LossesStatus | None, Meta(description="Nodes that were lost.")] = None
    conditions: Conditions = msgspec.field(default_factory=list)
