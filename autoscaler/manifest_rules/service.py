"""What holds of an InferenceAutoscaler as a whole: its name, its bounds, its target, its pools."""

from __future__ import annotations

from typing import Final

from autoscaler.manifest_rules.rule import Data, Rule, of_service


def _smallest_multiple(wanted: Data) -> int:
    least, multiple = int(wanted["minReplicas"]), int(wanted["replicaMultiple"])
    return (least + multiple - 1) // multiple * multiple


RULES: Final[tuple[Rule, ...]] = (
    of_service(
        "name-fits-a-label",
        "",
        "metadata.name",
        "size(self.metadata.name) <= 63",
        "metadata.name must have at most 63 characters: the name is the value of a label selector in the external metrics API",
        lambda whole: len(whole["metadata"]["name"]) <= 63,
    ),
    # ------------------------------------------------------------ bounds
    of_service(
        "bounds-in-order",
        "spec",
        "minReplicas",
        "self.minReplicas <= self.maxReplicas",
        "minReplicas must not be greater than maxReplicas",
        lambda wanted: wanted["minReplicas"] <= wanted["maxReplicas"],
    ),
    of_service(
        "multiple-within-bounds",
        "spec",
        "replicaMultiple",
        "self.minReplicas > self.maxReplicas || self.replicaMultiple <= self.maxReplicas && "
        "(self.minReplicas + self.replicaMultiple - 1) / self.replicaMultiple * self.replicaMultiple <= self.maxReplicas",
        "some multiple of replicaMultiple must lie between minReplicas and maxReplicas",
        lambda wanted: (
            wanted["minReplicas"] > wanted["maxReplicas"]
            or (wanted["replicaMultiple"] <= wanted["maxReplicas"] and _smallest_multiple(wanted) <= wanted["maxReplicas"])
        ),
    ),
    of_service(
        "target-is-a-workload",
        "spec.scaleTargetRef",
        "apiVersion",
        "!self.apiVersion.startsWith('inference-autoscaler.io/') && !self.apiVersion.startsWith('autoscaling/')",
        "an autoscaler can't be scaled; name the workload, such as apps/v1 Deployment",
        lambda target: not target["apiVersion"].startswith(("inference-autoscaler.io/", "autoscaling/")),
    ),
    of_service(
        "pool-needs-accelerators",
        "spec",
        "acceleratorsPerReplica",
        "!has(self.nodePool) || self.acceleratorsPerReplica > 0",
        "must be at least 1 where nodePool is given",
        lambda wanted: "nodePool" not in wanted or wanted["acceleratorsPerReplica"] > 0,
    ),
    of_service(
        "one-way-to-name-pools",
        "spec",
        "nodePools",
        "!has(self.nodePools) || !has(self.nodePool) || size(self.nodePools) == 0",
        "only one of nodePool and nodePools is allowed",
        lambda wanted: "nodePool" not in wanted or not wanted.get("nodePools"),
    ),
    of_service(
        "pools-need-accelerators",
        "spec",
        "acceleratorsPerReplica",
        "!has(self.nodePools) || size(self.nodePools) == 0 || self.acceleratorsPerReplica > 0",
        "must be at least 1 where nodePools are given",
        lambda wanted: not wanted.get("nodePools") or wanted["acceleratorsPerReplica"] > 0,
    ),
)
