"""What ``--set`` changes of the manifest, and what of the scenario."""

from __future__ import annotations

from collections.abc import Iterable

from autoscaler.errors import UsageError
from autoscaler.overrides import apart_from, below, pairs, steps
from autoscaler.schema import schema_of
from autoscaler.spec import InferenceAutoscaler
from replay.scenario import Scenario


def split(settings: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(overrides of the manifest, overrides of the scenario without ``scenario.``) by dotted path.

    Raises UsageError where one is no PATH=VALUE, or names a field of the scenario as if it were one of the manifest.
    """
    overrides = pairs(settings)
    of_manifest, of_scenario = apart_from(overrides, "scenario"), below(overrides, "scenario")
    fields = schema_of(InferenceAutoscaler)["properties"]["spec"]["properties"]
    for path in of_manifest:
        first = str(steps(path)[0])
        if first not in fields and first in schema_of(Scenario)["properties"]:
            raise UsageError(f"--set {path}: a field of the scenario, not of the manifest; write scenario.{path}")
    return of_manifest, of_scenario
