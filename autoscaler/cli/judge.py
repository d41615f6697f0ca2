"""What is wrong with an object that the API server let in: the same checks as ``autoscaler validate``, on what the cluster holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from autoscaler.adapters.prometheus.settings import PrometheusSettings
from autoscaler.adapters.prometheus.wiring import check_signals
from autoscaler.beyond_schema import flaws
from autoscaler.core.policy import PolicyType
from autoscaler.spec import InferenceAutoscaler
from autoscaler.structure import dotted


def judge_with(
    policies: Mapping[str, PolicyType], prometheus: PrometheusSettings
) -> Callable[[dict[str, Any]], tuple[InferenceAutoscaler | None, str]]:
    """A Judge for the Kubernetes adapter: (manifest, "") or (None or manifest, what is wrong in words)."""

    def judge(item: dict[str, Any]) -> tuple[InferenceAutoscaler | None, str]:
        try:
            manifest = msgspec.convert(item, InferenceAutoscaler)
        except msgspec.ValidationError as fault:
            return None, str(fault)
        words = [f"{dotted(flaw.path)}: {flaw.message}" for flaw in flaws(manifest, policies=policies)]
        words += [
            f"spec.{path}: {why}" for path, why in check_signals(manifest.spec.signals, manifest.metadata.namespace, prometheus)
        ]
        return manifest, "; ".join(words)

    return judge
