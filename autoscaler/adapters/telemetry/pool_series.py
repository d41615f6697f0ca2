"""Series of the node pools: what is there, how long nodes take, and what is stuck."""

from __future__ import annotations

from collections.abc import Iterator

from autoscaler.ports import Tick


def pool_series(tick: Tick, prefix: str) -> Iterator[str]:
    """In Prometheus' text format. Nothing of pools whose nodes aren't seen."""
    fleet = tick.fleet
    yield from _family(
        f"{prefix}pool_planned_nodes",
        "Nodes that the services' plan needs.",
        ((f'pool="{p}"', n) for p, n in tick.plan.nodes.items()),
    )
    facts = sorted(fleet.pool_facts.items())
    yield from _family(
        f"{prefix}pool_nodes",
        "Nodes that are there; of them Ready; of those with accelerators and schedulable.",
        (
            (f'pool="{pool}",state="{state}"', count)
            for pool, seen in facts
            for state, count in (("there", seen.nodes), ("ready", seen.ready), ("advertised", seen.advertised))
        ),
    )
    yield from _family(
        f"{prefix}pool_silent_nodes",
        "Nodes that are Ready without accelerators for longer than it takes.",
        ((f'pool="{pool}"', 0 if seen.silent is None else seen.silent.nodes) for pool, seen in facts),
    )
    yield from _family(
        f"{prefix}pool_lead_time_seconds",
        "What a node of the pool took, by stage: quantiles of the last ones.",
        (
            (f'pool="{pool}",stage="{stage.name}",quantile="{quantile}"', value)
            for pool, seen in facts
            for stage in seen.stages
            for quantile, value in (("0.5", stage.p50_s), ("0.9", stage.p90_s), ("0.99", stage.p99_s))
        ),
    )
    yield from _family(
        f"{prefix}stuck_replicas",
        "Replicas that find no node for longer than nodes take; absent where there are none.",
        (
            (
                f'namespace="{fleet.specs[row].namespace}",name="{fleet.specs[row].name}",resource="{stuck.resource}"',
                stuck.replicas,
            )
            for row, stuck in sorted(fleet.stuck.items())
        ),
    )


def _family(name: str, help_text: str, samples: Iterator[tuple[str, float]]) -> Iterator[str]:
    lines = [f"{name}{{{labels}}} {value}\n" for labels, value in samples]
    if lines:
        yield f"# HELP {name} {help_text}\n# TYPE {name} gauge\n"
        yield from lines
