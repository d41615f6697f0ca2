"""The clairvoyant optimum of every service of a manifest on a trace, for comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoscaler import spec
from autoscaler.errors import UsageError
from replay.scenario import Scenario
from replay.traces.series import CountSeries


def optimum_of(manifests: Sequence[spec.Manifest], scenario: Scenario, trace: CountSeries) -> dict[str, Any]:
    """``services`` by key and ``fleet``: replica_hours, lower_bound_replica_hours, attained_ratio of each. Raises UsageError."""
    raise UsageError("--optimum: this version can't compute the optimum yet")
