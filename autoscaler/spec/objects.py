"""The two custom resources as whole objects."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from autoscaler.spec.base import Base, DnsName
from autoscaler.spec.pool import AcceleratorPoolSpec, AcceleratorPoolStatus
from autoscaler.spec.service import InferenceAutoscalerSpec
from autoscaler.spec.service_status import InferenceAutoscalerStatus


class ObjectMeta(Struct, rename="camel", kw_only=True, omit_defaults=True):
    """The part of metav1.ObjectMeta that we read; other fields are allowed."""

    name: DnsName
    namespace: Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)] = "default"
    generation: int = 0
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class InferenceAutoscaler(Base, tag_field="kind"):
    """Keeps the replicas of one inference service at what its promise needs."""

    spec: InferenceAutoscalerSpec
    metadata: ObjectMeta
    api_version: Literal["inference-autoscaler.io/v1alpha1"] = "inference-autoscaler.io/v1alpha1"
    status: InferenceAutoscalerStatus | None = None


class AcceleratorPool(Base, tag_field="kind"):
    """A pool of GPU nodes that services share."""

    spec: AcceleratorPoolSpec
    metadata: ObjectMeta
    api_version: Literal["inference-autoscaler.io/v1alpha1"] = "inference-autoscaler.io/v1alpha1"
    status: AcceleratorPoolStatus | None = None


Manifest = InferenceAutoscaler | AcceleratorPool
