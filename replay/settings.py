"""What ``--set`` changes of the manifest, and what of the scenario."""

from __future__ import annotations

from collections.abc import Mapping

from autoscaler.errors import UsageError
from autoscaler.overrides import apart_from, below, steps
from autoscaler.schema import schema_of
from autoscaler.spec import InferenceAutoscaler
from replay.scenario import Scenario


def split(overrides: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(overrides of the manifest, overrides of the scenario without ``scenario.``) by dotted path.

    Raises UsageError where one names a field of the scenario as if it were one of the manifest.
    """
    of_manifest, of_scenario = apart_from(overrides, "scenario"), below(overrides, "scenario")
    fields = schema_of(InferenceAutoscaler)["properties"]["spec"]["properties"]
    for path in of_manifest:
        first = str(steps(path)[0])
        if first not in fields and first in schema_of(Scenario)["properties"]:
            raise UsageError(f"--set {path}: a field of the scenario, not of the manifest; write scenario.{path}")
    return of_manifest, of_scenario
