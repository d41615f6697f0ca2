"""What a controller sees of the plant's nodes and of replicas that find none, as it is told in a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core.lead_samples import RECKONED_QUANTILE
from autoscaler.core.model import PoolSpec, ScalingSpec
from autoscaler.core.node_facts import WHOLE, PoolFacts, StuckReplicas, late_s, unmeasured_late_s
from autoscaler.core.node_losses import LOSSES_TOLD_S
from replay.plant.lifecycle import Lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenOfNodes:
    """pools: by name. stuck: by row of the fleet."""

    pools: Mapping[str, PoolFacts] = field(default_factory=dict)
    stuck: Mapping[int, StuckReplicas] = field(default_factory=dict)


class NodeFacts:
    """Of those AcceleratorPools on which services of the plant run. start_s: Unix time of its second 0.

    A node is there from its being ready on: the plant knows no node that is registered and not of use. Nobody replaces one that was told to go
    but whoever owns the count, and no system says that it is out of nodes: they don't come.
    """

    def __init__(self, life: Lifecycle, specs: Sequence[ScalingSpec], pools: Sequence[PoolSpec], start_s: float) -> None:
        number = {pool.name: place for place, pool in enumerate(life.pools)}
        self._life = life
        self._specs = specs
        self._pools = {number[pool.name]: pool for pool in pools if pool.name in number}
        self._start_s = start_s
        self._changes = -1
        self._told_at_s = 0.0
        self._seen = SeenOfNodes()

    def look(self, at_s: float) -> SeenOfNodes:
        """At `at_s` (Unix seconds); the same object as long as nothing in it changes."""
        changes = self._life.orders.changes
        facts: Mapping[str, PoolFacts] = self._seen.pools
        for place in self._pools:
            pool = self._life.pools[place]
            pool.losses.passed(pool.ready, at_s)
        if changes != self._changes or at_s - self._told_at_s >= LOSSES_TOLD_S:
            self._changes, self._told_at_s = changes, at_s
            facts = {pool.name: self._facts(place) for place, pool in self._pools.items()}
        stuck = self._stuck(at_s - self._start_s)
        if facts is not self._seen.pools or stuck != self._seen.stuck:
            self._seen = SeenOfNodes(pools=facts, stuck=stuck)
        return self._seen

    def _facts(self, place: int) -> PoolFacts:
        pool = self._life.pools[place]
        samples = self._life.orders.measured.samples[place]
        return pool.losses.told(
            PoolFacts(
                nodes=pool.ready,
                ready=pool.ready,
                advertised=pool.ready - pool.noticed,
                lead_s=samples.quantile_s(RECKONED_QUANTILE),
                stages=(samples.told(WHOLE),) if len(samples) else (),
                noticed=pool.noticed,
            )
        )

    def _stuck(self, now_s: float) -> dict[int, StuckReplicas]:
        found: dict[int, StuckReplicas] = {}
        for place, told in self._pools.items():
            pool = self._life.pools[place]
            late: dict[int, list[int]] = {}
            for cohort in pool.waiting:
                if cohort.count and now_s - cohort.created_s > self._limit_s(place, cohort.row):
                    late.setdefault(cohort.row, []).extend([cohort.created_s] * cohort.count)
            for row, since_s in late.items():
                found[row] = StuckReplicas(
                    replicas=len(since_s),
                    since_s=self._start_s + min(since_s),
                    limit_s=round(self._limit_s(place, row), 1),
                    resource=told.resource,
                    said=f"0/{pool.ready} nodes are available: {pool.ready} Insufficient {told.resource}.",
                )
        return found

    def _limit_s(self, place: int, row: int) -> float:
        p99_s = self._life.orders.measured.samples[place].quantile_s(0.99)
        return unmeasured_late_s(self._specs[row].node_lead_time_s) if p99_s is None else late_s(p99_s)
