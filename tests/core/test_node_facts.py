"""The words for what is stuck."""

from __future__ import annotations

import pytest

from autoscaler.core.node_facts import StageTime, StuckReplicas


@pytest.mark.parametrize(
    ("resource", "replicas", "who", "short"),
    [
        ("nvidia.com/gpu", 1, "1 replica waits", "nvidia.com/gpu is short"),
        ("", 3, "3 replicas wait", "no node fits"),
    ],
)
def test_stuck_replicas_name_the_resource_that_is_short(resource: str, replicas: int, who: str, short: str) -> None:
    stuck = StuckReplicas(replicas=replicas, since_s=1767225600.0, limit_s=240.0, resource=resource, said="said")
    assert stuck.words == f"{who} for a node longer than nodes take (240 s), the first since 2026-01-01T00:00:00Z: {short} (said)"


def test_a_stage_in_one_line() -> None:
    stage = StageTime(name="ready", samples=12, p50_s=61.4, p90_s=80.0, p99_s=95.5)
    assert stage.words == "ready 61 s (p90 80, p99 96, 12 seen)"
