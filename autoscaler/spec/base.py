"""What all types of the manifests are made of: the API's group and version, texts with a pattern, and their common settings."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

GROUP: Final = "inference-autoscaler.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
SHARE_PATTERN: Final = r"^([0-9]{1,2}(\.[0-9]+)?%|100(\.0+)?%|0(\.[0-9]+)?|1(\.0+)?)$"
TARGET_PATTERN: Final = r"^(([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+|[0-9]+(\.[0-9]+)?%)$"
BESIDE_PATTERN: Final = r"^(([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+|[0-9]+(\.[0-9]+)?%?)$"
DNS_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
ROLE_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
RESOURCE_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
URL_PATTERN: Final = r"^https?://[^\s?#@]+$"
HTTPS_PATTERN: Final = r"^https://[^\s?#@]+$"
NAMESPACES_PATTERN: Final = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$"
CLOCK_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
MOMENT_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
Duration = Annotated[str, Meta(pattern=DURATION_PATTERN, max_length=32)]
Share = Annotated[str, Meta(pattern=SHARE_PATTERN, max_length=16)]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, max_length=40)]
DnsName = Annotated[str, Meta(pattern=DNS_PATTERN, max_length=253)]
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
ClockTime = Annotated[str, Meta(pattern=CLOCK_PATTERN)]


def unique_by(key: str) -> dict[str, Any]:
    """A list whose items are told apart by `key`: the API server refuses two of the same and merges by it on server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class Base(Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Common settings of all manifest types: unknown fields are faults, defaults are left out when written."""
