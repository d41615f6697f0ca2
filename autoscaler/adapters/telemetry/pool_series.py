"""Series of the node pools: what is there, how long nodes take, and what is stuck."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autoscaler.adapters.telemetry.families import Family, Labels
from autoscaler.ports import Tick


def pool_series(tick: Tick) -> Iterator[Family]:
    """Nothing of pools whose nodes aren't seen."""
    fleet = tick.fleet
    facts = sorted(fleet.pool_facts.items())
    families = (
        _gauge(
            "pool_nodes",
            "Nodes that are there; of them Ready; of those with accelerators and schedulable.",
            (
                ((("pool", pool), ("state", state)), count)
                for pool, seen in facts
                for state, count in (("there", seen.nodes), ("ready", seen.ready), ("advertised", seen.advertised))
            ),
        ),
        _by_pool(
            "pool_silent_nodes",
            "Nodes that are Ready without accelerators for longer than it takes.",
            ((pool, 0 if seen.silent is None else seen.silent.nodes) for pool, seen in facts),
        ),
        _by_pool(
            "pool_short",
            "1 while the pool has no more nodes to give, as far as is known: only what is there is counted on, and a few more are tried at times.",
            ((pool.name, int(tick.plan.bounds is not None and pool.name in tick.plan.bounds.pools)) for pool in fleet.pools),
        ),
        _by_pool(
            "pool_noticed_nodes",
            "Nodes that were told to go (a spot reclaim, maintenance), and not by us.",
            ((pool, seen.noticed) for pool, seen in facts),
        ),
        _by_pool(
            "pool_lost_nodes",
            "Nodes that went though nobody asked them to, as far back as is remembered.",
            ((pool, seen.losses) for pool, seen in facts if seen.loss_per_node_hour is not None),
        ),
        _by_pool(
            "pool_losses_per_node_hour",
            "How often a node of the pool is lost, as learnt.",
            ((pool, seen.loss_per_node_hour) for pool, seen in facts if seen.loss_per_node_hour is not None),
        ),
        _gauge(
            "pool_lead_time_seconds",
            "What a node of the pool took, by stage: quantiles of the last ones.",
            (
                ((("pool", pool), ("stage", stage.name), ("quantile", quantile)), value)
                for pool, seen in facts
                for stage in seen.stages
                for quantile, value in (("0.5", stage.p50_s), ("0.9", stage.p90_s), ("0.99", stage.p99_s))
            ),
        ),
        _gauge(
            "stuck_replicas",
            "Replicas that find no node for longer than nodes take; absent where there are none.",
            (
                (
                    (("namespace", fleet.specs[row].namespace), ("name", fleet.specs[row].name), ("resource", stuck.resource)),
                    stuck.replicas,
                )
                for row, stuck in sorted(fleet.stuck.items())
            ),
        ),
    )
    return (family for family in families if family.samples)


def _by_pool(name: str, help_text: str, values: Iterable[tuple[str, float]]) -> Family:
    return _gauge(name, help_text, (((("pool", pool),), value) for pool, value in values))


def _gauge(name: str, help_text: str, samples: Iterable[tuple[Labels, float]]) -> Family:
    return Family(name=name, help=help_text, kind="gauge", samples=dict(samples))
