"""What holds of promises and of what a replica can do."""

from __future__ import annotations

import math
from typing import Final

from autoscaler.manifest_rules.rule import Rule, of_service, positive

_UNITS: Final = {"s": "duration", "utilization": "percentage"}


def _unit(target: str) -> str:
    """What a target is, by its last character."""
    return "percentage" if target.endswith("%") else "number" if target[-1].isdigit() else "duration"


RULES: Final[tuple[Rule, ...]] = (
    # ------------------------------------------------------------ objective
    of_service(
        "target-has-the-unit-of-its-signal",
        "spec.objective",
        "target",
        "self.signal.endsWith('utilization') == self.target.endsWith('%')",
        "a percentage such as 70% for a utilization, a duration such as 5s for a wait or latency",
        lambda objective: objective["signal"].endswith("utilization") == objective["target"].endswith("%"),
    ),
    of_service(
        "target-above-zero",
        "spec.objective",
        "target",
        "self.target.matches('[1-9]')",
        "a target above zero is expected",
        lambda objective: positive(objective["target"]),
    ),
    of_service(
        "target-at-most-everything",
        "spec.objective",
        "target",
        "!self.target.endsWith('%') || double(self.target.split('%')[0]) <= 100.0",
        "a utilization of at most 100% is allowed",
        lambda objective: not objective["target"].endswith("%") or float(objective["target"][:-1]) <= 100,
    ),
    of_service(
        "promise-above-zero",
        "spec.objective",
        "promised",
        "self.promised.matches('[1-9]')",
        "a promise above zero is expected",
        lambda objective: positive(objective["promised"]),
    ),
    # ------------------------------------------------------------ capacity
    of_service(
        "bounds-are-of-what-is-learnt",
        "spec.capacity",
        "bounds",
        "!has(self.bounds) || self.mode == 'Learnt'",
        "allowed with mode Learnt only: a given value has no bounds",
        lambda capacity: "bounds" not in capacity or capacity["mode"] == "Learnt",
    ),
    of_service(
        "capacity-bounds-in-order",
        "spec.capacity.bounds",
        "min",
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "bounds.min must not be greater than bounds.max",
        lambda bounds: "min" not in bounds or "max" not in bounds or bounds["min"] <= bounds["max"],
    ),
    of_service(
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
    of_service(
        "further-target-has-the-unit-of-its-signal",
        "spec.objectives[]",
        "target",
        "self.signal == 'running' ? self.target.matches('^[0-9.]+$') : "
        "!self.target.matches('^[0-9.]+$') && self.signal.endsWith('utilization') == self.target.endsWith('%')",
        "a percentage such as 70% for a utilization, a duration such as 50ms for a wait or latency, a number such as 24 for running",
        lambda objective: _unit(objective["target"]) == _UNITS.get(objective["signal"].rpartition("_")[2], "number"),
    ),
    of_service(
        "further-target-above-zero",
        "spec.objectives[]",
        "target",
        "self.target.matches('[1-9]')",
        "objectives need targets above zero",
        lambda objective: positive(objective["target"]),
    ),
    of_service(
        "further-target-at-most-everything",
        "spec.objectives[]",
        "target",
        "!self.target.endsWith('%') || double(self.target.split('%')[0]) <= 100.0",
        "objectives allow at most 100% for a utilization",
        lambda objective: not objective["target"].endswith("%") or float(objective["target"][:-1]) <= 100,
    ),
    of_service(
        "start-values-above-zero",
        "spec.capacity",
        "",
        "(!has(self.interTokenLatency) || self.interTokenLatency.matches('[1-9]')) && "
        "(!has(self.prefill) || self.prefill.matches('[1-9]'))",
        "interTokenLatency and prefill take more than no time",
        lambda capacity: all(positive(capacity.get(name, "1")) for name in ("interTokenLatency", "prefill")),
    ),
)
