"""What holds of how the number of replicas may move: fallback, draining, pauses, the calendar, roles."""

from __future__ import annotations

from typing import Final

from autoscaler import spec
from autoscaler.manifest_rules.rule import Data, Rule, of_service


def _in_our_time(data: Data, field: str) -> bool:
    return field not in data or spec.moment_s(data[field]) > 0


RULES: Final[tuple[Rule, ...]] = (
    # ------------------------------------------------------------ fallback
    of_service(
        "fallback-needs-a-count",
        "spec.fallback",
        "replicas",
        "(self.action == 'Hold') != has(self.replicas)",
        "needed with AtLeast and Exactly, not allowed with Hold",
        lambda fallback: (fallback["action"] == "Hold") != ("replicas" in fallback),
    ),
    of_service(
        "fallback-within-bounds",
        "spec",
        "fallback.replicas",
        "!has(self.fallback.replicas) || (self.minReplicas <= self.fallback.replicas && self.fallback.replicas <= self.maxReplicas)",
        "the fallback must lie between minReplicas and maxReplicas",
        lambda wanted: (
            "replicas" not in wanted["fallback"]
            or wanted["minReplicas"] <= wanted["fallback"]["replicas"] <= wanted["maxReplicas"]
        ),
    ),
    of_service(
        "whole-nodes-are-of-a-pool",
        "spec",
        "drain.wholeNodes",
        "!has(self.drain) || !has(self.drain.wholeNodes) || !self.drain.wholeNodes || has(self.nodePool)",
        "is allowed only with a nodePool, whose acceleratorsPerNode says how many replicas fill a node",
        lambda wanted: not wanted.get("drain", {}).get("wholeNodes", False) or "nodePool" in wanted,
    ),
    # ------------------------------------------------------------ moments
    # Also because the API server lets a list pass where a format is given (kube-openapi's type check); a rule that reads it does not.
    of_service(
        "pause-ends-in-our-time",
        "spec.pause",
        "until",
        "!has(self.until) || self.until > timestamp('1970-01-01T00:00:00Z')",
        "until must be a moment after 1970",
        lambda pause: _in_our_time(pause, "until"),
    ),
    of_service(
        "window-lies-in-our-time",
        "spec.schedules[]",
        "notBefore",
        "(!has(self.notBefore) || self.notBefore > timestamp('1970-01-01T00:00:00Z')) && "
        "(!has(self.notAfter) || self.notAfter > timestamp('1970-01-01T00:00:00Z'))",
        "notBefore and notAfter must be moments after 1970",
        lambda window: _in_our_time(window, "notBefore") and _in_our_time(window, "notAfter"),
    ),
    # ------------------------------------------------------------ schedules
    of_service(
        "window-has-a-bound",
        "spec.schedules[]",
        "",
        "has(self.minReplicas) || has(self.maxReplicas)",
        "minReplicas, maxReplicas or both are needed",
        lambda window: "minReplicas" in window or "maxReplicas" in window,
    ),
    of_service(
        "window-bounds-in-order",
        "spec.schedules[]",
        "minReplicas",
        "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        "the window's minReplicas must not be greater than its maxReplicas",
        lambda window: (
            "minReplicas" not in window or "maxReplicas" not in window or window["minReplicas"] <= window["maxReplicas"]
        ),
    ),
    of_service(
        "window-begins-before-it-ends",
        "spec.schedules[]",
        "notAfter",
        "!has(self.notBefore) || !has(self.notAfter) || self.notBefore < self.notAfter",
        "must lie after notBefore",
        lambda window: (
            "notBefore" not in window
            or "notAfter" not in window
            or spec.moment_s(window["notBefore"]) < spec.moment_s(window["notAfter"])
        ),
    ),
    of_service(
        "window-fits-the-other-bound",
        "spec",
        "schedules",
        "!has(self.schedules) || self.schedules.all(w, "
        "(has(w.maxReplicas) || !has(w.minReplicas) || w.minReplicas <= self.maxReplicas) && "
        "(has(w.minReplicas) || !has(w.maxReplicas) || w.maxReplicas >= self.minReplicas))",
        "a window that gives one bound only must fit the spec's other one: its minReplicas at most maxReplicas, its maxReplicas at least "
        "minReplicas",
        lambda wanted: all(
            ("maxReplicas" in window or window.get("minReplicas", 0) <= wanted["maxReplicas"])
            and ("minReplicas" in window or window.get("maxReplicas", wanted["minReplicas"]) >= wanted["minReplicas"])
            for window in wanted.get("schedules", ())
        ),
    ),
    # ------------------------------------------------------------ roles
    of_service(
        "ratio-has-a-bound",
        "spec.role.ratios[]",
        "",
        "has(self.min) || has(self.max)",
        "a ratio needs min, max or both",
        lambda ratio: "min" in ratio or "max" in ratio,
    ),
    of_service(
        "ratio-bounds-in-order",
        "spec.role.ratios[]",
        "min",
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "the ratio's min must not be greater than its max",
        lambda ratio: "min" not in ratio or "max" not in ratio or ratio["min"] <= ratio["max"],
    ),
    of_service(
        "ratio-to-another-role",
        "spec.role",
        "ratios",
        "!has(self.ratios) || self.ratios.all(r, r.to != self.name)",
        "a ratio is to another role of the service, not to the role itself",
        lambda role: all(ratio["to"] != role["name"] for ratio in role.get("ratios", ())),
    ),
)
