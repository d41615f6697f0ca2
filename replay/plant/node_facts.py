"""What a controller sees of the plant's nodes and of replicas that find none, as it is told in a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core.lead_samples import RECKONED_QUANTILE
from autoscaler.core.model import PoolSpec, ScalingSpec
from autoscaler.core.node_facts import WHOLE, PoolFacts, StuckReplicas, late_s, unmeasured_late_s
from autoscaler.core.node_losses import LOSSES_TOLD_S
from replay.plant.lifecycle import Lifecycle
from replay.plant.nodes import Cohort


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
        waiting: dict[int, list[Cohort]] = {}
        for place in self._pools:
            for cohort in self._life.pools[place].waiting:
                if cohort.count and self._life.pools_of[cohort.row][0] == place:  # who may run on several waits on each of them
                    waiting.setdefault(cohort.row, []).append(cohort)
        found = {}
        for row, cohorts in waiting.items():
            limit_s = self._limit_s(row)
            late = [cohort for cohort in cohorts if now_s - cohort.created_s > limit_s]
            if late:
                found[row] = self._late(row, late, limit_s)
        return found

    def _late(self, row: int, late: Sequence[Cohort], limit_s: float) -> StuckReplicas:
        places = self._life.pools_of[row]
        nodes = sum(self._life.pools[place].ready for place in places)
        resource = self._pools[places[0]].resource
        return StuckReplicas(
            replicas=sum(cohort.count for cohort in late),
            since_s=self._start_s + min(cohort.created_s for cohort in late),
            limit_s=round(limit_s, 1),
            resource=resource,
            said=f"0/{nodes} nodes are available: {nodes} Insufficient {resource}.",
        )

    def _limit_s(self, row: int) -> float:
        """From when on a service's replica waits for longer than nodes take, of several pools the slowest."""
        samples = self._life.orders.measured.samples
        p99_s = [samples[place].quantile_s(0.99) for place in self._life.pools_of[row]]
        known = [one for one in p99_s if one is not None]
        return late_s(max(known)) if len(known) == len(p99_s) else unmeasured_late_s(self._specs[row].node_lead_time_s)
