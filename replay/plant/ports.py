"""The controller's ports over a plant: it sees scrapes, scales replicas and sizes pools as it would in a cluster, one file for all three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from autoscaler.core.model import Bools, Fleet, Floats, Ints, Outcome, Plan, PoolSpec, Readings, ScalingSpec, SignalColumn, States
from autoscaler.core.rows import some
from autoscaler.core.seen_nodes import SeenPool
from autoscaler.core.signals import RATES, UNKNOWN
from autoscaler.core.value import maker
from autoscaler.ports import Backfill, PoolTold
from replay.plant.node_facts import NodeFacts, SeenOfNodes
from replay.plant.placing import Placing
from replay.plant.plant import Plant, Seen

OnPools = Mapping[int, Mapping[str, int]] | None
_column = maker(SignalColumn)
_readings = maker(Readings)
_fleet = maker(Fleet)
_outcome = maker(Outcome)


class PlantMetrics:
    """A MetricSource. start_s: Unix time of the plant's second 0. A decision sees a scrape that is `late` scrapes old, as through a
    Prometheus that has not got the latest one yet; when nothing new is scraped, values get old and then unknown."""

    def __init__(self, plant: Plant, specs: Sequence[ScalingSpec], start_s: float) -> None:
        n = len(specs)
        self._plant = plant
        self._start_s = start_s
        self._stale_s: Floats = np.array([spec.stale_after_s for spec in specs])
        self._freshest_stale_s = float(self._stale_s.min(initial=np.inf))
        self._ages: dict[float, Floats] = {}
        self._known: States = np.zeros(n, dtype=np.int8)
        self._window_s: Floats = np.full(n, float(plant.settings.window_s))
        self._all_samples_s: Floats = self._window_s + (plant.settings.samples - 1) * plant.settings.scrape_s
        self._nothing = SignalColumn(
            values=np.full(n, np.nan), age_s=np.full(n, np.inf), state=np.full(n, UNKNOWN, dtype=np.int8)
        )

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        plant = self._plant
        now_s = at_s - self._start_s
        seen: Seen | None = plant.seen(now_s)
        if seen is None or (plant.faults.known and plant.faults.holds("MetricsOutage", now_s)):
            words = "the metric source does not answer" if seen is not None else "nothing was scraped yet"
            return Readings(at_s=at_s, signals=dict.fromkeys(wanted, self._nothing), why=lambda _signal, _row: words)
        if plant.faults.known and plant.faults.holds("MetricsNaN", now_s):
            return self._with_nan(self._read(seen, fleet, wanted, at_s), now_s)
        return self._read(seen, fleet, wanted, at_s)

    def _read(self, seen: Seen, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float) -> Readings:
        plant = self._plant
        age_s = at_s - self._start_s - seen.at_s
        if age_s > self._freshest_stale_s:
            return self._stale(seen, wanted, at_s, age_s)
        ages = self._ages.get(age_s)
        if ages is None:
            ages = self._ages[age_s] = np.full(len(fleet), age_s)
        columns = {}
        for name in wanted:
            values, state = plant.signal(name, seen)
            span_s = self._window_s if name in RATES else None
            columns[name] = _column(values=values, age_s=ages, state=self._known if state is None else state, span_s=span_s)
        if plant.settings.samples > 1:
            self._take_means(columns, at_s)
        return _readings(at_s=at_s, signals=columns)

    def _take_means(self, columns: dict[str, SignalColumn], at_s: float) -> None:
        """Values become means of the samples since the last decision; what the newest one says of a state stands."""
        samples = self._plant.samples(at_s - self._start_s)
        for name, column in columns.items():
            total = sum((self._plant.signal(name, sample)[0] for sample in samples), np.zeros(len(column.values)))
            span_s = None if column.span_s is None else self._all_samples_s
            columns[name] = SignalColumn(
                values=total / max(len(samples), 1), age_s=column.age_s, state=column.state, span_s=span_s
            )

    def _stale(self, seen: Seen, wanted: Mapping[str, Sequence[int]], at_s: float, age_s: float) -> Readings:
        stale: Bools = age_s > self._stale_s
        columns = {}
        for name in wanted:
            values, state = self._plant.signal(name, seen)
            columns[name] = SignalColumn(
                values=np.where(stale, np.nan, values),
                age_s=np.full(len(stale), age_s),
                state=np.where(stale, UNKNOWN, self._known if state is None else state).astype(np.int8),
                span_s=self._window_s if name in RATES else None,
            )
        return Readings(
            at_s=at_s, signals=columns, why=lambda _signal, row: f"last scraped {age_s:.0f} s ago" if stale[row] else ""
        )

    def _with_nan(self, readings: Readings, now_s: float) -> Readings:
        faults = [one for one in self._plant.faults.known if one.kind == "MetricsNaN" and one.holds(now_s)]
        columns = dict(readings.signals)
        struck = {}
        for name, column in columns.items():
            rows = np.zeros(len(column.values), dtype=np.bool_)
            for fault in faults:
                if not fault.signals or name in fault.signals:
                    rows[slice(None) if fault.row is None else fault.row] = True
            struck[name] = rows
            columns[name] = SignalColumn(
                values=np.where(rows, np.nan, column.values),
                age_s=column.age_s,
                state=np.where(rows, UNKNOWN, column.state).astype(np.int8),
                span_s=column.span_s,
            )
        return Readings(
            at_s=readings.at_s,
            signals=columns,
            why=lambda name, row: "the metric source answers NaN" if struck[name][row] else readings.why(name, row),
        )

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        return Backfill()  # a trace has no past before its start


class PlantCluster:
    """A Cluster whose replicas are the plant's. The fleet object stays the same while nothing changes. nodes: what is told of nodes; None: nothing
    is, as of a cluster whose nodes can't be seen."""

    def __init__(
        self,
        plant: Plant,
        specs: Sequence[ScalingSpec],
        pools: Sequence[PoolSpec],
        start_s: float,
        nodes: NodeFacts | None = None,
    ) -> None:
        n = len(specs)
        self._plant = plant
        self._specs = tuple(specs)
        self._pools = tuple(pools)
        self._start_s = start_s
        self._nodes = nodes
        self._seen_of_nodes = SeenOfNodes()
        self._fleet: Fleet | None = None
        self._seen = -1
        self._nobody_elses: Bools = np.zeros(n, dtype=np.bool_)
        self._nothing = Outcome(written=np.zeros(n, dtype=np.int8))
        self._headroom: Ints = np.zeros(n, dtype=np.int64)
        self._last_headroom: Ints | None = None
        self._placings: dict[str, Placing] = {}
        self._several = [row for row, spec in enumerate(specs) if len(spec.pool_names) > 1]
        self._staying: dict[int, Mapping[str, int]] = {}
        self._leaving: dict[int, Mapping[str, int]] = {}
        self._placed_at = dict.fromkeys(self._several, -1)

    async def observe(self, at_s: float) -> Fleet:
        life = self._plant.life
        seen = self._seen_of_nodes if self._nodes is None else self._nodes.look(at_s)
        if self._fleet is None or self._seen != life.changes or seen is not self._seen_of_nodes:
            self._seen, self._seen_of_nodes = life.changes, seen
            updates, starting = life.updates, life.starting.copy()
            surge = None if updates is None else updates.surge()
            if surge is not None:
                # As in a cluster: what an update sets beside the rest is not on its way to the count.
                starting = np.maximum(life.current - life.ready.astype(np.int64), 0)
            placed, draining_on = self._on_pools()
            staying_lost, draining_lost = self._on_noticed(draining_on)
            self._fleet = _fleet(
                revision=1,
                specs=self._specs,
                current=life.current.copy(),
                ready=life.ready.astype(np.int64),
                starting=starting,
                draining=life.draining.copy(),
                lead_time_s=life.lead_time_s,
                node_lead_time_s=life.node_lead_time_s,
                hands_off=self._nobody_elses,
                pools=self._pools,
                surge=surge if surge is not None and surge.any() else None,
                versions=None if updates is None else updates.versions(),
                placed=placed,
                draining_on=draining_on,
                nodes_of=self._nodes_of,
                draining_lost=draining_lost,
                staying_lost=staying_lost,
                pool_facts=seen.pools,
                pool_nodes={name: facts.nodes for name, facts in seen.pools.items()} or None,
                stuck=seen.stuck,
            )
        return self._fleet

    def _on_pools(self) -> tuple[OnPools, dict[int, Mapping[str, int]] | None]:
        """As in a cluster: of services on several pools those on the nodes of each, staying and leaving; whoever waits for a place is on none."""
        if not self._several:
            return None, None
        life = self._plant.life
        for row in self._several:
            if (where := life.where.get(row)) is not None:
                if where.changes == self._placed_at[row]:
                    continue  # as nearly all, of ten thousand
                self._placed_at[row] = where.changes
            names = self._specs[row].pool_names
            staying, leaving = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
            for pool in (life.pools[number] for number in life.pools_of[row]):
                if pool.name in names:  # else it is on nodes of its own, since none of its pools is there
                    ready, starting, leaving[pool.name] = life.on_nodes(row, pool)
                    staying[pool.name] = ready + starting
            self._staying[row], self._leaving[row] = staying, leaving
        # Fleets that were given away stay as they are.
        return self._staying.copy(), self._leaving.copy()

    def _on_noticed(
        self, draining_on: dict[int, Mapping[str, int]] | None
    ) -> tuple[Mapping[int, Mapping[str, int]], Mapping[int, int]]:
        """Likewise those on nodes that were told to go: of all services that have any there. Who leaves there is taken out of draining_on."""
        staying: dict[int, dict[str, int]] = {}
        leaving: dict[int, int] = {}
        for pool in self._plant.life.pools:
            for notice in pool.notices:
                for row in notice.slots_each:
                    ready, starting, draining = notice.kinds(row)
                    if ready + starting:
                        here = staying.setdefault(row, {})
                        here[pool.name] = here.get(pool.name, 0) + ready + starting
                    if draining:
                        leaving[row] = leaving.get(row, 0) + draining
                        if draining_on is not None and pool.name in (there := draining_on.get(row, {})):
                            draining_on[row] = {**there, pool.name: there[pool.name] - draining}
        return staying, leaving

    def _nodes_of(self, pool: str) -> SeenPool | None:
        life = self._plant.life
        if pool not in self._placings:
            number = next((number for number, one in enumerate(life.pools) if one.name == pool), None)
            if number is None:
                return None  # no service runs on it
            on_nodes = partial(life.on_nodes, pool=life.pools[number])
            self._placings[pool] = Placing(life.pools[number], self._specs, life.orders.rows[number], on_nodes, self._start_s)
        return self._placings[pool].seen()

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        plant = self._plant
        life = plant.life
        outcome = self._nothing
        if plan.headroom is not self._last_headroom:
            self._last_headroom = plan.headroom
            changed = plan.headroom != self._headroom
            if some(changed):
                for row in np.flatnonzero(changed).tolist():
                    life.set_headroom(row, int(plan.headroom[row]), plant.now_s)
                self._headroom = plan.headroom.copy()
        if some(plan.act):
            rows = plan.act.nonzero()[0]
            for row, replicas in zip(rows.tolist(), plan.replicas[rows].tolist(), strict=True):
                life.set_replicas(row, replicas, plant.now_s)
            outcome = _outcome(written=plan.act.view(np.int8))  # True is DONE
        return outcome


class PlantNodePools:
    """A NodePools over the plant's pools, by name; for scenarios where the plan owns the node counts. tells: whether it says what was asked for."""

    def __init__(self, plant: Plant, *, tells: bool = False) -> None:
        self._plant = plant
        self._tells = tells
        self._number = {pool.name: number for number, pool in enumerate(plant.life.pools)}

    async def act(self, pools: Sequence[PoolSpec], plan: Plan, deadline_s: float) -> Mapping[str, str]:
        errors = {}
        for name, nodes in plan.nodes.items():
            number = self._number.get(name)
            if number is None:
                errors[name] = "no service of the replay runs on this pool"
            else:
                self._plant.life.set_nodes(number, nodes, self._plant.now_s)
        return errors

    def told(self) -> Mapping[str, PoolTold]:
        if not self._tells:
            return {}
        return {
            name: PoolTold(asked=pool.fixed, ready=pool.ready, owner="", ok=True, reason="Reconciled", message="")
            for name, number in self._number.items()
            if (pool := self._plant.life.pools[number]).fixed is not None
        }
