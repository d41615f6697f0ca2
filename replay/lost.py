"""What lost nodes took: of a service, or of all together; since the warm-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from replay.plant.losses import LossCounts

_HOUR_S: Final = 3600.0


def lost_as_json(lost: LossCounts, pools: list[int], rows: list[int]) -> dict[str, Any]:
    """Of these pools and services: nodes, noticed, replicas, unplaced as in LossCounts; missing_replica_hours."""
    return {
        "nodes": int(lost.nodes[pools].sum()),
        "noticed": int(lost.noticed[pools].sum()),
        "replicas": int(lost.replicas[rows].sum()),
        "unplaced": int(lost.unplaced[rows].sum()),
        "missing_replica_hours": round(float(lost.missing_s[rows].sum()) / _HOUR_S, 6),
    }


def lost_words(lost: Mapping[str, Any] | None) -> str:
    """For people; "" where no node was lost."""
    if not lost or not lost["nodes"]:
        return ""
    return (
        f"{lost['nodes']} {'node' if lost['nodes'] == 1 else 'nodes'}, {lost['noticed']} with notice; {lost['replicas']} replicas began anew, "
        f"{lost['unplaced']} without room on a node; {lost['missing_replica_hours']:.2f} replica hours were missing"
    )
