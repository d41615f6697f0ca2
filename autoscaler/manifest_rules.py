"""Rules between fields of a manifest, each once in CEL (for the API server) and once in Python (for files), with the same meaning.

The Python predicate sees what CEL sees: plain data with the schema's defaults filled in, optional fields absent where left out. A rule
is looked at only where the data has the schema's types. tests/realparts judge both by the same data on a real API server.

The API server estimates what a rule may cost and refuses expensive ones: every list and text that a rule walks needs a maximum in ``spec``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from autoscaler import spec

Data: TypeAlias = Mapping[str, Any]
Path: TypeAlias = tuple[str | int, ...]
Kind: TypeAlias = Literal["InferenceAutoscaler", "AcceleratorPool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """at: path of the object that the rule is about, items of a list as ``[]``; "" is the manifest itself. field: path below it to blame.

    cel is true, and holds(data) is true, where the rule is kept. message says what is allowed.
    """

    name: str
    kind: Kind
    at: str
    field: str
    cel: str
    message: str
    holds: Callable[[Data], bool]


def _service(name: str, at: str, field: str, cel: str, message: str, holds: Callable[[Data], bool]) -> Rule:
    return Rule(name=name, kind="InferenceAutoscaler", at=at, field=field, cel=cel, message=message, holds=holds)


def _both_or_neither(data: Data, one: str, other: str) -> bool:
    return (one in data) == (other in data)


def _positive(text: str) -> bool:
    return re.search("[1-9]", text) is not None


_UNITS: Final = {"s": "duration", "utilization": "percentage"}


def _unit(target: str) -> str:
    """What a target is, by its last character."""
    return "percentage" if target.endswith("%") else "number" if target[-1].isdigit() else "duration"


def _in_our_time(data: Data, field: str) -> bool:
    return field not in data or spec.moment_s(data[field]) > 0


def _smallest_multiple(wanted: Data) -> int:
    least, multiple = int(wanted["minReplicas"]), int(wanted["replicaMultiple"])
    return (least + multiple - 1) // multiple * multiple


def _plain_secret_header(header: Data) -> bool:
    return "value" in header and header["name"].lower() in ("authorization", "proxy-authorization", "cookie", "x-api-key")


_OWN_CREDENTIALS: Final = ("bearerToken", "basicAuth", "tls", "headers")

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
    _service(
        "name-fits-a-label",
        "",
        "metadata.name",
        "size(self.metadata.name) <= 63",
        "metadata.name must have at most 63 characters: the name is the value of a label selector in the external metrics API",
        lambda whole: len(whole["metadata"]["name"]) <= 63,
    ),
    # ------------------------------------------------------------ bounds
    _service(
        "bounds-in-order",
        "spec",
        "minReplicas",
        "self.minReplicas <= self.maxReplicas",
        "minReplicas must not be greater than maxReplicas",
        lambda wanted: wanted["minReplicas"] <= wanted["maxReplicas"],
    ),
    _service(
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
    _service(
        "target-is-a-workload",
        "spec.scaleTargetRef",
        "apiVersion",
        "!self.apiVersion.startsWith('inference-autoscaler.io/') && !self.apiVersion.startsWith('autoscaling/')",
        "an autoscaler can't be scaled; name the workload, such as apps/v1 Deployment",
        lambda target: not target["apiVersion"].startswith(("inference-autoscaler.io/", "autoscaling/")),
    ),
    _service(
        "pool-needs-accelerators",
        "spec",
        "acceleratorsPerReplica",
        "!has(self.nodePool) || self.acceleratorsPerReplica > 0",
        "must be at least 1 where nodePool is given",
        lambda wanted: "nodePool" not in wanted or wanted["acceleratorsPerReplica"] > 0,
    ),
    _service(
        "one-way-to-name-pools",
        "spec",
        "nodePools",
        "!has(self.nodePools) || !has(self.nodePool) || size(self.nodePools) == 0",
        "only one of nodePool and nodePools is allowed",
        lambda wanted: "nodePool" not in wanted or not wanted.get("nodePools"),
    ),
    _service(
        "pools-need-accelerators",
        "spec",
        "acceleratorsPerReplica",
        "!has(self.nodePools) || size(self.nodePools) == 0 || self.acceleratorsPerReplica > 0",
        "must be at least 1 where nodePools are given",
        lambda wanted: not wanted.get("nodePools") or wanted["acceleratorsPerReplica"] > 0,
    ),
    # ------------------------------------------------------------ objective
    _service(
        "target-has-the-unit-of-its-signal",
        "spec.objective",
        "target",
        "self.signal.endsWith('utilization') == self.target.endsWith('%')",
        "a percentage such as 70% for a utilization, a duration such as 5s for a wait or latency",
        lambda objective: objective["signal"].endswith("utilization") == objective["target"].endswith("%"),
    ),
    _service(
        "target-above-zero",
        "spec.objective",
        "target",
        "self.target.matches('[1-9]')",
        "a target above zero is expected",
        lambda objective: _positive(objective["target"]),
    ),
    _service(
        "target-at-most-everything",
        "spec.objective",
        "target",
        "!self.target.endsWith('%') || double(self.target.split('%')[0]) <= 100.0",
        "a utilization of at most 100% is allowed",
        lambda objective: not objective["target"].endswith("%") or float(objective["target"][:-1]) <= 100,
    ),
    _service(
        "promise-above-zero",
        "spec.objective",
        "promised",
        "self.promised.matches('[1-9]')",
        "a promise above zero is expected",
        lambda objective: _positive(objective["promised"]),
    ),
    # ------------------------------------------------------------ capacity
    _service(
        "bounds-are-of-what-is-learnt",
        "spec.capacity",
        "bounds",
        "!has(self.bounds) || self.mode == 'Learnt'",
        "allowed with mode Learnt only: a given value has no bounds",
        lambda capacity: "bounds" not in capacity or capacity["mode"] == "Learnt",
    ),
    _service(
        "capacity-bounds-in-order",
        "spec.capacity.bounds",
        "min",
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "bounds.min must not be greater than bounds.max",
        lambda bounds: "min" not in bounds or "max" not in bounds or bounds["min"] <= bounds["max"],
    ),
    _service(
        "given-capacity-within-bounds",
        "spec.capacity",
        "requestsPerSecond",
        "!has(self.bounds) || !has(self.requestsPerSecond) || (!has(self.bounds.min) || self.bounds.min <= self.requestsPerSecond) "
        "&& (!has(self.bounds.max) || self.requestsPerSecond <= self.bounds.max)",
        "requestsPerSecond must lie within bounds: learning begins with it",
        lambda capacity: (
            "bounds" not in capacity
            or "requestsPerSecond" not in capacity
            or capacity["bounds"].get("min", 0) <= capacity["requestsPerSecond"] <= capacity["bounds"].get("max", math.inf)
        ),
    ),
    # ------------------------------------------------------------ further objectives
    _service(
        "further-target-has-the-unit-of-its-signal",
        "spec.objectives[]",
        "target",
        "self.signal == 'running' ? self.target.matches('^[0-9.]+$') : "
        "!self.target.matches('^[0-9.]+$') && self.signal.endsWith('utilization') == self.target.endsWith('%')",
        "a percentage such as 70% for a utilization, a duration such as 50ms for a wait or latency, a number such as 24 for running",
        lambda objective: _unit(objective["target"]) == _UNITS.get(objective["signal"].rpartition("_")[2], "number"),
    ),
    _service(
        "further-target-above-zero",
        "spec.objectives[]",
        "target",
        "self.target.matches('[1-9]')",
        "objectives need targets above zero",
        lambda objective: _positive(objective["target"]),
    ),
    _service(
        "further-target-at-most-everything",
        "spec.objectives[]",
        "target",
        "!self.target.endsWith('%') || double(self.target.split('%')[0]) <= 100.0",
        "objectives allow at most 100% for a utilization",
        lambda objective: not objective["target"].endswith("%") or float(objective["target"][:-1]) <= 100,
    ),
    _service(
        "start-values-above-zero",
        "spec.capacity",
        "",
        "(!has(self.interTokenLatency) || self.interTokenLatency.matches('[1-9]')) && "
        "(!has(self.prefill) || self.prefill.matches('[1-9]'))",
        "interTokenLatency and prefill take more than no time",
        lambda capacity: all(_positive(capacity.get(name, "1")) for name in ("interTokenLatency", "prefill")),
    ),
    # ------------------------------------------------------------ signals
    _service(
        "signals-go-stale-after-a-while",
        "spec.signals",
        "staleAfter",
        "self.staleAfter.matches('[1-9]')",
        "must be above zero, or every signal would always be unknown",
        lambda signals: _positive(signals["staleAfter"]),
    ),
    _service(
        "published-values-age",
        "spec.publish",
        "maxAge",
        "!has(self.maxAge) || self.maxAge.matches('[1-9]')",
        "must be above zero, or no value would ever be served",
        lambda publish: "maxAge" not in publish or _positive(publish["maxAge"]),
    ),
    _service(
        "published-labels-are-not-ours",
        "spec.publish.labels[]",
        "name",
        "!(self.name in ['quantile', 'policy']) && !self.name.startsWith('inference-autoscaler.io/')",
        "quantile, policy and names that begin with inference-autoscaler.io/ are given by the API itself; choose another name",
        lambda label: label["name"] not in ("quantile", "policy") and not label["name"].startswith("inference-autoscaler.io/"),
    ),
    _service(
        "one-prometheus",
        "spec.signals.prometheus",
        "",
        "has(self.name) != has(self.url)",
        "exactly one of name and url is allowed",
        lambda server: ("name" in server) != ("url" in server),
    ),
    _service(
        "credentials-only-for-an-own-url",
        "spec.signals.prometheus",
        "",
        "has(self.url) || !(has(self.bearerToken) || has(self.basicAuth) || has(self.tls) || has(self.headers))",
        "bearerToken, basicAuth, tls and headers are allowed with url only; a named server's are the administrator's",
        lambda server: "url" in server or not any(name in server for name in _OWN_CREDENTIALS),
    ),
    _service(
        "one-way-to-sign-in",
        "spec.signals.prometheus",
        "basicAuth",
        "!(has(self.bearerToken) && has(self.basicAuth))",
        "only one of bearerToken and basicAuth is allowed",
        lambda server: not ("bearerToken" in server and "basicAuth" in server),
    ),
    _service(
        "tls-needs-https",
        "spec.signals.prometheus",
        "tls",
        "!has(self.tls) || !has(self.url) || self.url.startsWith('https://')",
        "certificates are allowed with an https:// url only",
        lambda server: "tls" not in server or "url" not in server or server["url"].startswith("https://"),
    ),
    _service(
        "certificate-with-key",
        "spec.signals.prometheus.tls",
        "cert",
        "has(self.cert) == has(self.key)",
        "cert and key are needed together",
        lambda tls: _both_or_neither(tls, "cert", "key"),
    ),
    _service(
        "header-has-one-value",
        "spec.signals.prometheus.headers[]",
        "value",
        "has(self.value) != has(self.valueFrom)",
        "exactly one of value and valueFrom is allowed",
        lambda header: ("value" in header) != ("valueFrom" in header),
    ),
    _service(
        "secret-header-from-a-secret",
        "spec.signals.prometheus.headers[]",
        "value",
        "!has(self.value) || !(self.name.lowerAscii() in ['authorization', 'proxy-authorization', 'cookie', 'x-api-key'])",
        "a credential must come from a Secret: use valueFrom",
        lambda header: not _plain_secret_header(header),
    ),
    # ------------------------------------------------------------ fallback
    _service(
        "fallback-needs-a-count",
        "spec.fallback",
        "replicas",
        "(self.action == 'Hold') != has(self.replicas)",
        "needed with AtLeast and Exactly, not allowed with Hold",
        lambda fallback: (fallback["action"] == "Hold") != ("replicas" in fallback),
    ),
    _service(
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
    _service(
        "whole-nodes-are-of-a-pool",
        "spec",
        "drain.wholeNodes",
        "!has(self.drain) || !has(self.drain.wholeNodes) || !self.drain.wholeNodes || has(self.nodePool)",
        "is allowed only with a nodePool, whose acceleratorsPerNode says how many replicas fill a node",
        lambda wanted: not wanted.get("drain", {}).get("wholeNodes", False) or "nodePool" in wanted,
    ),
    # ------------------------------------------------------------ moments
    # Also because the API server lets a list pass where a format is given (kube-openapi's type check); a rule that reads it does not.
    _service(
        "pause-ends-in-our-time",
        "spec.pause",
        "until",
        "!has(self.until) || self.until > timestamp('1970-01-01T00:00:00Z')",
        "until must be a moment after 1970",
        lambda pause: _in_our_time(pause, "until"),
    ),
    _service(
        "window-lies-in-our-time",
        "spec.schedules[]",
        "notBefore",
        "(!has(self.notBefore) || self.notBefore > timestamp('1970-01-01T00:00:00Z')) && "
        "(!has(self.notAfter) || self.notAfter > timestamp('1970-01-01T00:00:00Z'))",
        "notBefore and notAfter must be moments after 1970",
        lambda window: _in_our_time(window, "notBefore") and _in_our_time(window, "notAfter"),
    ),
    # ------------------------------------------------------------ schedules
    _service(
        "window-has-a-bound",
        "spec.schedules[]",
        "",
        "has(self.minReplicas) || has(self.maxReplicas)",
        "minReplicas, maxReplicas or both are needed",
        lambda window: "minReplicas" in window or "maxReplicas" in window,
    ),
    _service(
        "window-bounds-in-order",
        "spec.schedules[]",
        "minReplicas",
        "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        "the window's minReplicas must not be greater than its maxReplicas",
        lambda window: (
            "minReplicas" not in window or "maxReplicas" not in window or window["minReplicas"] <= window["maxReplicas"]
        ),
    ),
    _service(
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
    _service(
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
    _service(
        "ratio-has-a-bound",
        "spec.role.ratios[]",
        "",
        "has(self.min) || has(self.max)",
        "a ratio needs min, max or both",
        lambda ratio: "min" in ratio or "max" in ratio,
    ),
    _service(
        "ratio-bounds-in-order",
        "spec.role.ratios[]",
        "min",
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "the ratio's min must not be greater than its max",
        lambda ratio: "min" not in ratio or "max" not in ratio or ratio["min"] <= ratio["max"],
    ),
    _service(
        "ratio-to-another-role",
        "spec.role",
        "ratios",
        "!has(self.ratios) || self.ratios.all(r, r.to != self.name)",
        "a ratio is to another role of the service, not to the role itself",
        lambda role: all(ratio["to"] != role["name"] for ratio in role.get("ratios", ())),
    ),
    # ------------------------------------------------------------ pools
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


def broken(kind: str, whole: Data, flawed: Collection[Path] = ()) -> Iterator[tuple[Rule, Path]]:
    """The rules that a manifest with defaults breaks, each with the path to blame.

    flawed: paths whose data hasn't the schema's type or range; rules that read them are left out, since they could only guess.
    """
    for rule in RULES:
        if rule.kind == kind:
            for path, data in _places(whole, rule.at):
                if not _reads_any(rule, path, flawed) and not rule.holds(data):
                    yield rule, (*path, *filter(None, rule.field.split(".")))


def _reads_any(rule: Rule, place: Path, flawed: Collection[Path]) -> bool:
    reads = {(*place, field) for field in re.findall(r"self\.([A-Za-z]+)", rule.cel)}
    return any(place[: len(path)] == path or path[: len(place) + 1] in reads for path in flawed)


def _places(data: Any, at: str) -> list[tuple[Path, Data]]:
    """Every object that `at` means here, with its path; none where it was left out."""
    places: list[tuple[Path, Any]] = [((), data)]
    for step in filter(None, at.split(".")):
        name = step.removesuffix("[]")
        places = [((*path, name), value[name]) for path, value in places if isinstance(value, Mapping) and name in value]
        if step.endswith("[]"):
            places = [
                ((*path, index), item) for path, value in places if isinstance(value, list) for index, item in enumerate(value)
            ]
    return [(path, value) for path, value in places if isinstance(value, Mapping)]
