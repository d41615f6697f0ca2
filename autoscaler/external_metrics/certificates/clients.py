"""What the API servers trust when they call us: ``spec.caBundle`` of our APIService, and whether it is ours to write."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from cryptography import x509

from autoscaler.adapters.kubernetes.api import MERGE_PATCH, KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.external_metrics.certificates.authority import pem_of
from autoscaler.external_metrics.certificates.reading import certificates_in
from autoscaler.external_metrics.identity import GROUP, VERSION

API_SERVICES: Final = Resource(
    group="apiregistration.k8s.io", version="v1", plural="apiservices", kind="APIService", namespaced=False
)
NAME: Final = f"{VERSION}.{GROUP}"

INJECTED: Final = (
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
)
"""Annotations that make cert-manager's CA injector write the caBundle (cert-manager, pkg/apis/certmanager/v1/types.go)."""


class Whose(Enum):
    """Who writes the caBundle."""

    OURS = "Ours"
    ABSENT = "Absent"
    """There is no such APIService (yet)."""
    INJECTED = "Injected"
    ANOTHERS = "Anothers"
    """It names another Service: whoever calls it doesn't reach us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """trusted: the caBundle's certificates. verifies: whether clients verify at all. version: the APIService's resourceVersion. why: in words,
    why the caBundle is left alone; "" where it is ours."""

    whose: Whose
    trusted: frozenset[x509.Certificate] = frozenset()
    verifies: bool = True
    version: str = ""
    why: str = ""

    @property
    def reach_us(self) -> bool:
        """Whether anybody comes to us by this APIService: then what it trusts counts."""
        return self.whose in (Whose.OURS, Whose.INJECTED)

    def is_told(self, bundle: Collection[x509.Certificate]) -> bool:
        """Whether the caBundle is just `bundle`, and used."""
        return self.verifies and self.trusted == frozenset(bundle)

    def knows(self, bundle: Collection[x509.Certificate]) -> bool:
        """Whether nobody who comes to us trusts less than `bundle`."""
        return not self.reach_us or not self.verifies or self.trusted >= frozenset(bundle)


ABSENT: Final = Clients(whose=Whose.ABSENT, why=f"there is no APIService {NAME}")


def clients_of(item: Object, namespace: str, service: str) -> Clients:
    """What an APIService object says of us, the Service `namespace`/`service`."""
    meta, spec = item.get("metadata") or {}, item.get("spec") or {}
    named = spec.get("service") or {}
    whose, why = Whose.OURS, ""
    if (named.get("namespace"), named.get("name")) != (namespace, service):
        whose = Whose.ANOTHERS
        other = f"Service {named.get('namespace')}/{named.get('name')}" if named else "no Service"
        why = f"APIService {NAME} belongs to {other}, not to {namespace}/{service}: its caBundle is left alone"
    elif injected := [key for key in INJECTED if key in (meta.get("annotations") or {})]:
        whose = Whose.INJECTED
        why = f"APIService {NAME} is annotated {injected[0]}: its caBundle is cert-manager's to write, and left alone"
    return Clients(
        whose=whose,
        trusted=frozenset(certificates_in(_decoded(spec.get("caBundle")))),
        verifies=not spec.get("insecureSkipTLSVerify"),
        version=str(meta.get("resourceVersion") or ""),
        why=why,
    )


async def read_clients(api: KubeApi, namespace: str, service: str, timeout_s: float) -> Clients:
    """As the APIService is now. Raises ApiError."""
    try:
        item = await api.request("GET", API_SERVICES.path(name=NAME), timeout_s=timeout_s)
    except ApiError as fault:
        if not fault.not_found:
            raise
        return ABSENT
    return clients_of(item, namespace, service)


async def tell_clients(api: KubeApi, seen: Clients, bundle: Collection[x509.Certificate], timeout_s: float) -> None:
    """Writes the caBundle over the one that was seen. Raises ApiError, a conflict where somebody wrote since."""
    patch: dict[str, Any] = {
        "metadata": {"resourceVersion": seen.version},
        # The API server refuses a caBundle beside insecureSkipTLSVerify.
        "spec": {"caBundle": base64.b64encode(pem_of(*bundle)).decode(), "insecureSkipTLSVerify": False},
    }
    await api.request("PATCH", API_SERVICES.path(name=NAME), body=patch, content_type=MERGE_PATCH, timeout_s=timeout_s)


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except (binascii.Error, ValueError):
        return b""
