"""How long a replica and a node take, for people: what is reckoned with, the stages that were measured, and what does not come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoscaler.core.node_facts import PoolFacts, StageTime


def lead_times(
    replica_s: float, node_s: float, replica_stages: Sequence[StageTime], pool: PoolFacts | None, stuck: str
) -> dict[str, Any]:
    """A part of ``explanation``'s document. replica_s, node_s: what is reckoned with. replica_stages: empty where a record doesn't keep them.
    pool: None where the service has none, or its nodes aren't seen. stuck: ``StuckReplicas.words``."""
    node_stages = () if pool is None else pool.stages
    words = [
        f"a replica is ready {replica_s:.0f} s after its creation{_of(replica_stages)}",
        f"a new node adds {node_s:.0f} s{_of(node_stages)}",
    ]
    if pool is not None:
        words.append(f"of its pool {pool.nodes} nodes are there, {pool.ready} Ready, {pool.advertised} with accelerators")
        if pool.silent is not None:
            words.append(pool.silent.words)
    if stuck:
        words.append(stuck)
    return {
        "replica_s": replica_s,
        "node_s": node_s,
        "replica_stages": [_plain(stage) for stage in replica_stages],
        "node_stages": [_plain(stage) for stage in node_stages],
        "stuck": stuck,
        "words": words,
    }


def _of(stages: Sequence[StageTime]) -> str:
    return f": {', '.join(stage.words for stage in stages)}" if stages else ""


def _plain(stage: StageTime) -> dict[str, Any]:
    return {"name": stage.name, "samples": stage.samples, "p50_s": stage.p50_s, "p90_s": stage.p90_s, "p99_s": stage.p99_s}
