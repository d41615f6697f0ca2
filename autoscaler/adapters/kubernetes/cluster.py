"""The Cluster port on a real cluster: what is there, from memory, and the hand that scales it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType

import numpy as np

from autoscaler.adapters.kubernetes.acting import write_all
from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.columns import Columns, OnLost, OnPools
from autoscaler.adapters.kubernetes.deletion_costs import DeletionCosts, Said, Shrinking
from autoscaler.adapters.kubernetes.foreign_writers import HOLD_S
from autoscaler.adapters.kubernetes.informer import DEFAULTS, InformerSettings, Key
from autoscaler.adapters.kubernetes.node_strip import seen_pool
from autoscaler.adapters.kubernetes.picture import Picture
from autoscaler.adapters.kubernetes.pod_index import Members
from autoscaler.adapters.kubernetes.pods import Pod, PodState
from autoscaler.adapters.kubernetes.scale import ScaleClient, ScaleState
from autoscaler.adapters.kubernetes.services import Judge, Service, decoded
from autoscaler.adapters.kubernetes.stuck import stuck_replicas
from autoscaler.clock import ClockSteps
from autoscaler.core.model import Direction, Fleet, Ints, Memory, Outcome, Pause, Plan, Written
from autoscaler.core.node_facts import POD_STAGES, StageTime, StuckReplicas
from autoscaler.core.seen_nodes import SeenPool
from autoscaler.errors import OutsideError
from autoscaler.ports import Clock, Tick
from autoscaler.shared_demand import shared_demand

STALE_S = 240.0
"""Longer than the longest quiet watch. What has not been heard of for so long must not lead to removing replicas."""
_COSTS_SHARE = 0.3
"""Of the time to act, for saying which pods are to leave first."""
_NOTHING_SAID = Said(words={}, wait=frozenset())
log = logging.getLogger(__name__)


class KubernetesCluster:
    """Implements the ports Cluster and ReadyPods. `async with` runs the informers.

    may_write: asked right before each write whether this process leads. namespaces: those to serve; empty for all.
    own_namespace: where the pause switch lies. judge: makes manifests of objects, see ``services.Judge``. sets_costs: whether pods may be told to
    leave first, see ``deletion_costs``.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        clock: Clock,
        rng: np.random.Generator,
        own_namespace: str,
        may_write: Callable[[], bool],
        namespaces: Sequence[str] = (),
        judge: Judge = decoded,
        informer_settings: InformerSettings = DEFAULTS,
        foreign_hold_s: float = HOLD_S,
        sets_costs: bool = True,
    ) -> None:
        self.may_write = may_write
        self.picture = Picture(
            api,
            clock=clock,
            rng=rng,
            own_namespace=own_namespace,
            namespaces=namespaces,
            judge=judge,
            informer_settings=informer_settings,
            foreign_hold_s=foreign_hold_s,
        )
        self.services = self.picture.services
        self.pods = self.picture.pods
        self._clock = clock
        self._steps = ClockSteps(clock)
        self._scales = ScaleClient(api, may_write)
        self._costs = DeletionCosts(api, self.pods, self.picture.replicas, may_write, clock.monotonic_s)
        self._sets_costs = sets_costs
        self._emptying: tuple[int, list[Service]] = (-1, [])
        self._columns = Columns()
        self._memories: dict[str, Memory] = {}
        self._met: set[Key] = set()
        self._sees_nodes = False
        self._observed: tuple[Fleet, list[ScaleState | None]] | None = None
        self._shared: tuple[int, Mapping[int, str]] = (-1, {})
        self._ready_rows: tuple[int, dict[Key, int], dict[int, list[int]]] = (-1, {}, {})

    async def __aenter__(self) -> KubernetesCluster:
        await self.picture.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.picture.stop()

    def missing(self) -> list[str]:
        """What has not been listed yet and has to be before anything may be decided, in words. Empty: ready."""
        return self.picture.missing()

    async def wait_synced(self, timeout_s: float) -> None:
        """Returns once everything has been listed. Raises OutsideError with what is missing, and why, after `timeout_s`."""
        end_s = self._clock.monotonic_s() + timeout_s
        while words := self.missing():
            if self._clock.monotonic_s() > end_s:
                raise OutsideError(f"the API server did not give in {timeout_s:g} s: {', '.join(words)}")
            await asyncio.sleep(0.02)

    # ------------------------------------------------------------ the port: observe

    async def observe(self, at_s: float) -> Fleet:
        if set_by_s := self._steps.set_by_s():
            self.picture.foreign.shift(set_by_s)
            self.picture.pools.shift(set_by_s)
        self.picture.aim_all()
        services = self.services
        if (before := services.arrange()) is not None:
            self._columns.rearrange(before)
            self.picture.dirty |= {services.rows[row].key for row in np.flatnonzero(before < 0).tolist()}
            self._remember_new()
        for target in self.pods.touched:
            self.picture.dirty |= services.by_target.get(target, set())
        self.pods.touched.clear()
        self._find_again(self.picture.pools.moved)
        if not self._sees_nodes and self.picture.pools.synced:
            # Nodes are listed a page at a time, with ticks in between, or much later: when the right to see them comes.
            self._sees_nodes = True
            self.picture.dirty |= {one.key for one in services.rows if one.spec is not None and one.spec.pool_names}
        self.picture.take_in_lead_times()
        self.picture.dirty |= self.picture.held
        self._refresh_dirty(at_s)
        facts = self.picture.pools.facts(self._serving)
        # Nodes fall silent by the clock alone, and who serves has a say in it.
        self._find_again(self.picture.pools.moved)
        self._refresh_dirty(at_s)
        fleet = self._columns.fleet(
            revision=services.revision,
            services=services.rows,
            memories=self._memories,
            pools=self.picture.pools.specs(),
            paused=self.paused(),
            pool_facts=facts,
            pool_nodes={name: seen.nodes for name, seen in facts.items()} or None,
            stuck=self._stuck(at_s),
            lead_stages=self._lead_stages,
            nodes_of=self._nodes_of,
            pool_memories=self.picture.pools.memories(),
        )
        self._observed = fleet, list(self._columns.decided_on)
        return fleet

    def _refresh_dirty(self, at_s: float) -> None:
        for key in self.picture.dirty:
            service = self.services.all.get(key)
            if service is not None and service.row >= 0:
                self._refresh(service, at_s)
        self.picture.dirty.clear()

    def _refresh(self, service: Service, at_s: float) -> None:
        """Brings the service's row up to date."""
        target = self.picture.targets.objects.get(service.target) if service.target is not None else None
        why = self.picture.hands_off(service, target, at_s)
        state = None if target is None or target.replicas is None else target.scale_state()
        if state is not None and service.target in self.picture.wrote:
            # Our own write, while the watch has not yet told of it.
            before, written = self.picture.wrote[service.target]
            if before == state.resource_version:
                state = written
            else:
                del self.picture.wrote[service.target]
        members = self.pods.members(service.target) if service.target is not None else None
        pools = () if service.spec is None else service.spec.pool_names
        placed, lost = None, None
        if pools and members is not None and self.picture.pools.synced:
            placed, lost = self._on_nodes(members, pools)
        self._columns.set_row(service, state, members, why, self.picture.pools.lead_s(pools), placed, lost)

    def _on_nodes(self, members: Members, pools: Collection[str]) -> tuple[OnPools | None, OnLost | None]:
        """As ``Columns.set_row`` takes them. Of each pool those on other nodes, or on none, are left out."""
        nodes = self.picture.pools
        on_lost = (self.pods.on_node[node] for node in nodes.to_replace if node in self.pods.on_node)
        if len(pools) == 1 and not members.counts[PodState.DRAINING] and all(map(members.pods.isdisjoint, on_lost)):
            return None, None  # as nearly always: there are tens of thousands of pods
        found = OnPools(staying=dict.fromkeys(pools, 0), draining=dict.fromkeys(pools, 0))
        staying_lost: dict[str, int] = {}
        draining_lost = 0
        for key in members.pods:
            pod = self.pods.pods[key]
            counts = found.of(pod.state)
            if counts is None or not pod.node:
                continue
            if pod.state is PodState.DRAINING and nodes.lost(pod.node):
                draining_lost += 1
                continue
            if (pool := nodes.pool_of_node(pod.node)) in counts:
                counts[pool] += 1
                if pod.node in nodes.to_replace:
                    staying_lost[pool] = staying_lost.get(pool, 0) + 1
        lost = OnLost(staying_lost, draining_lost) if staying_lost or draining_lost else None
        return found if len(pools) > 1 else None, lost

    def _find_again(self, nodes: set[str]) -> None:
        """Has the services looked at again whose pods are on nodes that became another pool's, or began or ceased to be lost."""
        for node in nodes:
            for pod in self.pods.on_node.get(node, ()):
                for target in self.pods.targets_of(pod):
                    self.picture.dirty |= self.services.by_target.get(target, set())
        nodes.clear()

    def _serving(self, pool: str) -> bool:
        """Whether replicas that run on the pool are ready."""
        serves = self._columns.serves
        return any(
            service.spec is not None and pool in service.spec.pool_names and serves(service.row, pool)
            for service in self.services.rows
        )

    def _stuck(self, at_s: float) -> Mapping[int, StuckReplicas]:
        found: dict[int, StuckReplicas] = {}
        for row in np.flatnonzero(self._columns.unschedulable).tolist():
            service = self.services.rows[row]
            members = self.pods.members(service.target) if service.target is not None else None
            assert service.spec is not None
            assert service.manifest is not None
            measured = service.manifest.spec.lead_time.measured
            measured_p99_s = self.picture.pools.late_s(service.spec.pool_names) if measured else None
            pods = (self.pods.pods[key] for key in (members.pods if members is not None else ()))
            stuck = stuck_replicas(pods, at_s, measured_p99_s=measured_p99_s, start_s=service.spec.node_lead_time_s)
            if stuck is not None:
                found[row] = stuck
        return found

    def _lead_stages(self, row: int) -> tuple[StageTime, ...]:
        return self.services.rows[row].lead.told(POD_STAGES)

    def _nodes_of(self, pool: str) -> SeenPool | None:
        found = self.picture.pools.nodes_of(pool)
        if found is None:
            return None
        return seen_pool(
            found,
            self.pods,
            self.picture.service_of,
            now_s=self._clock.now_s(),
            serving=lambda: self._serving(pool),
            whole=self.picture.watches.namespaces == (None,),
        )

    def pool_statuses(self, tick: Tick) -> dict[str, Object]:
        """What the status of each AcceleratorPool is to say of its nodes; of those only whose nodes are seen."""
        pools, now_s = self.picture.pools, self._clock.now_s()
        return {name: pools.status(name, facts, now_s) for name, facts in tick.fleet.pool_facts.items()}

    def ready_nodes(self, pool: str) -> int | None:
        """How many of the pool's nodes were Ready and not leaving at the last look; None where nodes can't be seen."""
        if self._observed is None or (facts := self._observed[0].pool_facts.get(pool)) is None:
            return None
        return facts.ready

    def nodes_requested(self, targets: Mapping[str, int | None]) -> None:
        """Whoever sizes node pools tells which counts are asked for now, by pool, so that what comes can be measured from then on, and what goes
        told from what was to stay. None: no number is asked for."""
        self.picture.pools.aim(targets, self._clock.now_s())

    def _remember_new(self) -> None:
        """What the status remembers of services that nobody has been told of yet."""
        new = [service for service in self.services.rows if service.key not in self._met]
        self._met = {service.key for service in self.services.rows}
        remembered = ((service.name, service.memory()) for service in new)
        self._memories = {name: memory for name, memory in remembered if memory is not None}

    def paused(self) -> Pause | None:
        """What is paused for the whole cluster now: by the switch, or since we don't see what is there."""
        # Targets have no say in this: one that isn't known keeps hands off its own row only, and a write over a stale one is refused.
        if missing := self.picture.watches.missing():
            return Pause(direction="Both", until_s=None, reason=f"not listed yet: {', '.join(missing)}")
        stale_s = self.picture.watches.staleness_s()
        if stale_s > STALE_S and (self.picture.switch is None or self.picture.switch.direction == "Up"):
            direction: Direction = "Down" if self.picture.switch is None else "Both"
            return Pause(direction=direction, until_s=None, reason=f"nothing was heard from the API server for {stale_s:.0f} s")
        return self.picture.switch

    def trouble(self) -> tuple[Ints, Ints]:
        """Of the last observed fleet (n,): replicas that find no node, replicas whose containers do not start."""
        return self._columns.unschedulable, self._columns.failing

    def troubled_pods(self, service: Service) -> list[tuple[str, Pod]]:
        """(name, pod) of the service's replicas that find no node or do not start, by name."""
        members = self.pods.members(service.target) if service.target is not None else None
        found = ((key[1], self.pods.pods[key]) for key in (members.pods if members is not None else ()))
        return sorted(
            (f for f in found if f[1].state is PodState.STARTING and (f[1].unschedulable or f[1].waiting)), key=lambda f: f[0]
        )

    def shared_demand(self) -> Mapping[int, str]:
        """Rows whose work other objects read as well, and what their owner is to do."""
        services = self.services
        if self._shared[0] != services.revision:
            objects = [service.manifest for service in services.rows if service.manifest is not None]
            self._shared = services.revision, shared_demand(objects)
        return self._shared[1]

    # ------------------------------------------------------------ the port: act

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        end_s = self._clock.monotonic_s() + deadline_s
        rows = np.flatnonzero(plan.act).tolist()
        written = np.zeros(len(fleet), dtype=np.int8)
        if not rows and not self.pods.marked:
            return Outcome(written=written)
        if self._observed is None or self._observed[0] is not fleet:
            written[rows] = Written.REFUSED
            return Outcome(written=written, errors=dict.fromkeys(rows, "decided on a fleet that is no longer the latest one"))
        decided_on = self._observed[1]
        services = self.services.rows
        said = await self._say_who_leaves(fleet, plan, rows, _COSTS_SHARE * deadline_s)
        rows = [row for row in rows if row not in said.wait]
        wishes = []
        for row in rows:
            service, state = services[row], decided_on[row]
            resource = self.picture.targets.resource(service.kind)
            if resource is not None and state is not None and service.target is not None:
                wishes.append((row, resource, service.target, int(plan.replicas[row]), state))
        errors = dict.fromkeys(rows, "the target is not known")
        written[rows] = Written.FAILED
        async for row, result in write_all(self._scales, wishes, end_s - self._clock.monotonic_s(), self._clock.monotonic_s):
            written[row] = result.written
            errors.pop(row, None)
            service = services[row]
            if result.written is Written.DONE and result.state is not None and service.target is not None:
                before = decided_on[row]
                known = self.picture.targets.objects.get(service.target)
                if before is not None and known is not None and known.resource_version == before.resource_version:
                    self.picture.wrote[service.target] = known.resource_version, result.state
                service.scaled_at_s = self._clock.now_s()
                self.picture.dirty.add(service.key)
            else:
                errors[row] = result.why
        return Outcome(written=written, errors=errors, leaving=said.words)

    async def _say_who_leaves(self, fleet: Fleet, plan: Plan, rows: Sequence[int], deadline_s: float) -> Said:
        """Of the rows that shrink and choose which pods go."""
        shrinking = [
            Shrinking(row=row, target=target, replicas=int(plan.replicas[row]))
            for row in rows
            if fleet.specs[row].drain_empties_nodes
            and plan.replicas[row] < fleet.current[row]
            and (target := self.services.rows[row].target) is not None
        ]
        if not self._sets_costs or not (shrinking or (self.pods.marked and self.paused() is None)):
            return _NOTHING_SAID
        try:
            return await self._costs.say(shrinking, deadline_s)
        except Exception:  # a fault of ours here must not keep anybody from being scaled
            log.exception("which pods are to leave first was not said; they leave in any order")
            return _NOTHING_SAID

    def emptying(self) -> Mapping[int, tuple[bool, str, str]]:
        """Of the rows that choose which pods leave: whether they can, the reason and words."""
        if self._emptying[0] != self.services.revision:
            rows = [s for s in self.services.rows if s.spec is not None and s.spec.drain_empties_nodes and s.active]
            self._emptying = self.services.revision, rows
        return {service.row: self._costs.condition(service.target) for service in self._emptying[1]}

    # ------------------------------------------------------------ the port: which pods count

    @property
    def revision(self) -> int:
        """ReadyPods: moves when an answer of rows_by_pod may have changed."""
        return self.pods.revision + self.services.revision

    def rows_by_pod(self) -> Mapping[tuple[str, str], int]:
        """ReadyPods: the row that a ready pod counts for: its target's owner, or the oldest service of it."""
        return self._counted()[0]

    def sharing_rows(self) -> Mapping[int, Sequence[int]]:
        """ReadyPods: that row → the target's other services."""
        return self._counted()[1]

    def _counted(self) -> tuple[dict[Key, int], dict[int, list[int]]]:
        revision = self.revision
        if self._ready_rows[0] != revision:
            rows: dict[Key, int] = {}
            sharing: dict[int, list[int]] = {}
            for target, keys in self.services.by_target.items():
                members = self.pods.members(target)
                services = self.services.on(target) if len(keys) > 1 else [self.services.all[key] for key in keys]
                placed = [service for service in services if service.row >= 0]
                if members is None or not placed:
                    continue
                first = next((service for service in placed if service.active), placed[0])
                if len(placed) > 1:
                    sharing[first.row] = [service.row for service in placed if service is not first]
                for key in members.pods:
                    if self.pods.pods[key].state is PodState.READY:
                        rows.setdefault(key, first.row)
            self._ready_rows = revision, rows, sharing
        return self._ready_rows[1:]
