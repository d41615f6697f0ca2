"""Makes backends of manifests, with what they share: one session to the clouds, one credential for each identity, one discovery."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

from autoscaler.adapters.nodepools.aks import MANAGEMENT, Aks
from autoscaler.adapters.nodepools.aws_keys import AwsIdentity, sts_url
from autoscaler.adapters.nodepools.azure_token import AzureToken
from autoscaler.adapters.nodepools.backend import Backend, ReadyNodes
from autoscaler.adapters.nodepools.eks import Eks
from autoscaler.adapters.nodepools.gke import Gke
from autoscaler.adapters.nodepools.google_token import GoogleToken
from autoscaler.adapters.nodepools.headroom import Headroom
from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.kube_objects import KubeObjects
from autoscaler.adapters.nodepools.min_size import MinSize
from autoscaler.adapters.nodepools.scale import Scale
from autoscaler.adapters.nodepools.webhook import Webhook
from autoscaler.core.model import PoolSpec
from autoscaler.ports import Clock, KubernetesRequests, SecretReader
from autoscaler.spec import PoolBackend


class Backends:
    """Use as an async context manager; `make` is what ``BackendPools`` takes. own_namespace: the controller's, where webhooks' Secrets lie.
    ready_nodes: of a pool, by its name, as nodes are watched. environment: where identities are found."""

    def __init__(
        self,
        api: KubernetesRequests,
        secrets: SecretReader,
        clock: Clock,
        own_namespace: str,
        ready_nodes: Callable[[str], int | None],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._http = JsonHttp()
        self._objects = KubeObjects(api, clock.monotonic_s)
        self._secrets = secrets
        self._own_namespace = own_namespace
        self._clock = clock
        self._ready_nodes = ready_nodes
        self._environment = environment
        self._google: GoogleToken | None = None
        self._azure: dict[str, AzureToken] = {}
        self._aws: dict[str, AwsIdentity] = {}

    async def __aenter__(self) -> Backends:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.__aexit__()

    def make(self, pool: PoolSpec, settings: PoolBackend) -> Backend | None:
        """The backend of a pool; None where nothing is to be changed. The manifest is valid: the object of its type is there."""
        # Without labels nobody can tell the pool's nodes from others: then the system's own count is taken, where it has one.
        ready: ReadyNodes = partial(self._ready_nodes, pool.name) if pool.node_selector else _unknown
        match settings:
            case PoolBackend(type="Scale", scale=ref) if ref is not None:
                return Scale(self._objects, ref, ready)
            case PoolBackend(type="Headroom", headroom=room) if room is not None:
                return Headroom(self._objects, pool, room, ready)
            case PoolBackend(type="MinSize", min_size=ref) if ref is not None:
                return MinSize(self._objects, ref, ready)
            case PoolBackend(type="GKE", gke=gke) if gke is not None:
                self._google = self._google or GoogleToken(self._http, self._clock, self._environment)
                return Gke(self._http, self._google, gke, ready)
            case PoolBackend(type="EKS", eks=eks) if eks is not None:
                if eks.region not in self._aws:
                    self._aws[eks.region] = AwsIdentity(self._http, self._clock, sts_url(eks.region), self._environment)
                return Eks(self._http, self._aws[eks.region], self._clock, eks, ready)
            case PoolBackend(type="AKS", aks=aks) if aks is not None:
                if aks.cloud not in self._azure:
                    self._azure[aks.cloud] = AzureToken(self._http, self._clock, MANAGEMENT[aks.cloud], self._environment)
                return Aks(self._http, self._azure[aks.cloud], aks, ready)
            case PoolBackend(type="Webhook", webhook=hook) if hook is not None:
                return Webhook(self._http, self._secrets, self._own_namespace, pool.name, hook)
        return None


def _unknown() -> None:
    return None
