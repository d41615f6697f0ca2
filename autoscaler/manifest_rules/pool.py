"""What holds of an AcceleratorPool."""

from __future__ import annotations

from typing import Final

from autoscaler.manifest_rules.rule import Rule

_BACKENDS: Final = (
    ("Scale", "scale"),
    ("Headroom", "headroom"),
    ("MinSize", "minSize"),
    ("GKE", "gke"),
    ("EKS", "eks"),
    ("AKS", "aks"),
    ("Webhook", "webhook"),
)


def _backend(type_: str, field: str) -> Rule:
    """The object of a type is there with that type, and with no other."""
    return Rule(
        name=f"{field}-goes-with-its-type",
        kind="AcceleratorPool",
        at="spec.backend",
        field=field,
        cel=f"(self.type == '{type_}') == has(self.{field})",
        message=f"needed with type {type_} and not allowed with another one: backend.{field}",
        holds=lambda backend: (backend["type"] == type_) == (field in backend),
    )


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="bounds-in-order",
        kind="AcceleratorPool",
        at="spec",
        field="minNodes",
        cel="self.minNodes <= self.maxNodes",
        message="minNodes must not be greater than maxNodes",
        holds=lambda wanted: wanted["minNodes"] <= wanted["maxNodes"],
    ),
    Rule(
        name="zones-hold-the-minimum",
        kind="AcceleratorPool",
        at="spec",
        field="zones",
        cel=(
            "!has(self.zones) || size(self.zones) == 0 || self.zones.exists(z, !has(z.maxNodes)) || "
            "self.zones.map(z, z.maxNodes).sum() >= self.minNodes"
        ),
        message="the zones' maxNodes must add up to minNodes at least",
        holds=lambda wanted: (
            not wanted.get("zones")
            or any("maxNodes" not in zone for zone in wanted["zones"])
            or sum(zone["maxNodes"] for zone in wanted["zones"]) >= wanted["minNodes"]
        ),
    ),
    *(_backend(type_, field) for type_, field in _BACKENDS),
    Rule(
        name="headroom-needs-a-node-selector",
        kind="AcceleratorPool",
        at="spec",
        field="nodeSelector",
        cel="self.backend.type != 'Headroom' || has(self.nodeSelector) && size(self.nodeSelector) > 0",
        message="needed with backend.type Headroom, so that room is kept on this pool's nodes and no others: nodeSelector",
        holds=lambda wanted: wanted["backend"]["type"] != "Headroom" or bool(wanted.get("nodeSelector")),
    ),
)
