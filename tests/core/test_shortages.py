"""What is short, and when it is tried again: by the clock alone, over many cycles, through the plan that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.allocation.cool_down import NodeNeeds
from autoscaler.core.model import Fleet, Plan, PoolSpec, PoolUse, ScalingSpec
from autoscaler.core.node_facts import PoolFacts, SilentNodes, StageTime, StuckReplicas
from autoscaler.core.short import Short
from autoscaler.core.shortages import FIRST_PAUSE_S, LONGEST_PAUSE_S, PoolAsked, Shortages
from autoscaler.core.table import Table
from tests.core.allocation.fleets import a_pool, a_service, decided, fleet_of
from tests.ticks import a_spec

NODE_S = 200.0
LATE_S = 260.0
"""From when on a node that takes 200 s is late."""
TICK_S = 15.0
STAGES = (StageTime(name="whole", samples=20, p50_s=180.0, p90_s=195.0, p99_s=NODE_S),)


@dataclass
class World:
    """Pools whose systems give what they have, and services whose replicas run where there is room: 8 to a node.

    has: nodes that a pool's system can give at the most. desired: what each service wants. says: whether the system tells of its lack."""

    specs: list[ScalingSpec]
    pools: list[PoolSpec]
    has: dict[str, int]
    desired: list[int]
    says: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    at_s: float = 0.0
    history: list[tuple[float, list[int], dict[str, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.current = [0] * len(self.specs)
        self.shortages = Shortages()
        self._coming: list[tuple[float, str]] = []
        self._pending: dict[int, list[float]] = {row: [] for row in range(len(self.specs))}
        self.plan: Plan | None = None
        self._table = Table(self.fleet())

    def ran(self) -> list[int]:
        return [current - len(self._pending[row]) for row, current in enumerate(self.current)]

    def fleet(self, memories: Mapping[str, Short] | None = None) -> Fleet:
        stuck = {}
        for row, since in self._pending.items():
            late = [one for one in since if self.at_s - one > LATE_S]
            if late:
                stuck[row] = StuckReplicas(
                    replicas=len(late), since_s=min(late), limit_s=LATE_S, resource="nvidia.com/gpu", said="0/9 nodes"
                )
        facts = {
            pool.name: PoolFacts(nodes=there, ready=there, advertised=there, stages=STAGES)
            for pool in self.pools
            for there in (self.nodes.get(pool.name, 0),)
        }
        return fleet_of(
            self.specs,
            self.current,
            ready=np.array(self.ran(), dtype=np.int64),
            pools=tuple(self.pools),
            pool_facts=facts,
            pool_nodes={name: seen.nodes for name, seen in facts.items()},
            stuck=stuck,
            pool_memories=memories or {},
        )

    def tick(self) -> Plan:
        for due_s, pool in [one for one in self._coming if one[0] <= self.at_s]:
            self._coming.remove((due_s, pool))
            self.nodes[pool] = self.nodes.get(pool, 0) + 1
        self._schedule()
        fleet = self.fleet()
        told = {
            name: PoolAsked(asked=asked, short=self.says.get(name, "") if asked > self.nodes.get(name, 0) else "")
            for name, asked in self.asked.items()
        }
        bounds = self.shortages.look(fleet, told, {} if self.plan is None else self.plan.nodes, self.at_s)
        plan = self.plan = allocate(self._table, fleet, decided(self.desired), ChangeBudget(), bounds=bounds)
        for row, replicas in enumerate(plan.replicas.tolist()):
            more = replicas - self.current[row]
            pending = self._pending[row]
            if more > 0:
                pending += [self.at_s] * more
            else:
                del pending[max(len(pending) + more, 0) :]  # a ReplicaSet removes those without a node first
            self.current[row] = replicas
        for name, nodes in plan.nodes.items():
            there = self.nodes.get(name, 0)
            on_their_way = sum(pool == name for _, pool in self._coming)
            for _ in range(min(nodes, self.has[name]) - there - on_their_way):
                self._coming.append((self.at_s + NODE_S, name))
            self.nodes[name] = max(min(there, nodes), 0)
            self.asked[name] = nodes
        self.history.append((self.at_s, list(self.current), dict(plan.nodes)))
        self.at_s += TICK_S
        return plan

    def _schedule(self) -> None:
        """Pods that wait take what nodes have left, of any pool that their service names."""
        left = 8 * sum(self.nodes.values()) - sum(self.ran())
        for pending in self._pending.values():
            taken = min(len(pending), max(left, 0))
            del pending[:taken]
            left -= taken

    def run(self, seconds: float) -> Plan:
        until_s = self.at_s + seconds
        plan = self.tick()
        while self.at_s < until_s:
            plan = self.tick()
        return plan


def one_pool(**changes: object) -> World:
    given: dict[str, object] = {
        "specs": [a_service("chat")],
        "pools": [a_pool(max_nodes=9)],
        "has": {"h100": 2},
        "desired": [40],
    }
    return World(**{**given, **changes})  # type: ignore[arg-type]


def test_what_is_stuck_is_released_and_named() -> None:
    world = one_pool()
    assert world.tick().replicas.tolist() == [40]
    plan = world.run(LATE_S + NODE_S + 60.0)
    assert plan.replicas.tolist() == [16]
    limit = plan.limits[0]
    assert (limit.name, limit.before, limit.after) == ("ScaleUpStuck", 40, 16)
    assert "pool h100 is short of nvidia.com/gpu" in limit.why
    assert "tried again at" in limit.why
    assert plan.nodes == {"h100": 2}
    assert "short of nvidia.com/gpu" in plan.node_words["h100"]


def test_a_system_that_says_it_has_none_is_believed_at_once() -> None:
    world = one_pool(says={"h100": "NoCapacity: no such machines"})
    world.tick()
    plan = world.tick()
    assert plan.replicas.tolist() == [40]  # nothing is stuck yet: pods may stay until they are late
    assert plan.bounds is not None
    assert "no such machines" in plan.bounds.pools["h100"].words


def test_pauses_double_to_the_longest_and_each_ends_in_one_attempt() -> None:
    world = one_pool()
    world.run(6 * 3600.0)
    settled = [(at_s, replicas[0], nodes["h100"]) for at_s, replicas, nodes in world.history if at_s > LATE_S + NODE_S + 60.0]
    assert {nodes for _, _, nodes in settled} == {2, 3}, "never more than one node is tried"
    assert {replicas for _, replicas, _ in settled} == {16, 24}
    began = [at_s for (_, before, _), (at_s, after, _) in pairwise(settled) if (before, after) == (16, 24)]
    gaps = np.diff(began)
    assert (np.diff(gaps) >= -TICK_S).all(), "attempts come no closer together"
    assert gaps[0] == pytest.approx(2 * FIRST_PAUSE_S + LATE_S, abs=4 * TICK_S)
    assert gaps[-1] == pytest.approx(LONGEST_PAUSE_S + LATE_S, abs=4 * TICK_S)
    assert len(began) <= 6 * 3600.0 / LONGEST_PAUSE_S + 3


def test_what_runs_is_never_touched() -> None:
    world = one_pool()
    world.run(LATE_S + NODE_S + 60.0)
    for _ in range(1000):
        world.tick()
        assert world.ran()[0] == 16


def test_capacity_that_is_back_is_taken_in_doubling_steps() -> None:
    world = one_pool(pools=[a_pool(max_nodes=9)])
    world.run(2000.0)
    world.has["h100"] = 9
    plan = world.run(LONGEST_PAUSE_S + 4 * (NODE_S + 2 * TICK_S))
    assert plan.replicas.tolist() == [40]
    assert plan.nodes == {"h100": 5}
    plan = world.run(2 * LONGEST_PAUSE_S)
    assert plan.bounds is None, "nothing is remembered when it was well for as long as the last pause"


def test_the_next_pool_takes_the_growth_and_the_first_one_is_taken_again() -> None:
    spec = a_spec(
        "chat",
        pool=None,
        min_replicas=0,
        max_replicas=100,
        pools=(PoolUse(name="h100", per_s=4.0), PoolUse(name="l40s", per_s=1.0)),
    )
    world = World(
        specs=[spec],
        pools=[a_pool(max_nodes=9, cost_per_hour=10.0), a_pool("l40s", max_nodes=9, cost_per_hour=10.0)],
        has={"h100": 1, "l40s": 9},
        desired=[24],
    )
    plan = world.tick()
    assert plan.nodes == {"h100": 3, "l40s": 0}
    plan = world.run(LATE_S + NODE_S + 60.0)
    assert plan.nodes["l40s"] >= 1
    plan = world.run(LATE_S + NODE_S)
    assert world.ran() == [24], "all run, on two pools"
    assert {tuple(replicas) for _, replicas, _ in world.history} == {(24,)}, "nothing was released: there was a place for it"
    world.has["h100"] = 9
    world.run(2 * LONGEST_PAUSE_S)
    world.desired = [40]
    plan = world.run(1000.0)
    assert plan.nodes["h100"] > 1, "growth goes to the first pool again"


def test_who_fits_nowhere_waits_alone() -> None:
    """A service whose pods no node takes (a wrong selector): the pool has room, others grow."""
    specs = [a_service("broken"), a_service("chat")]
    shortages = Shortages()
    facts = {"h100": PoolFacts(nodes=3, ready=3, advertised=3, stages=STAGES)}
    stuck = {0: StuckReplicas(replicas=4, since_s=0.0, limit_s=LATE_S, resource="", said="3 node(s) didn't match")}
    fleet = fleet_of(specs, [5, 8], pools=(a_pool(max_nodes=3),), pool_facts=facts, stuck=stuck)
    bounds = shortages.look(fleet, {"h100": PoolAsked(asked=3)}, {"h100": 3}, 1000.0)
    assert bounds is not None
    assert not bounds.pools
    plan = allocate(Table(fleet), fleet, decided([5, 16]), ChangeBudget(), bounds=bounds)
    assert plan.replicas.tolist() == [1, 16]
    assert plan.limits[0].name == "ScaleUpStuck"
    after = fleet_of(specs, [1, 16], pools=(a_pool(max_nodes=3),), pool_facts=facts)
    for tick in range(15):
        bounds = shortages.look(after, {}, {"h100": 3}, 1010.0 + tick * TICK_S)
        plan = allocate(Table(after), after, decided([5, 16]), ChangeBudget(), bounds=bounds)
        assert plan.replicas.tolist() == [1, 16], "not asked for again until the pause is over"
    bounds = shortages.look(after, {}, {"h100": 3}, 1000.0 + FIRST_PAUSE_S)
    plan = allocate(Table(after), after, decided([5, 16]), ChangeBudget(), bounds=bounds)
    assert plan.replicas.tolist() == [2, 16], "one is tried"


@pytest.mark.parametrize("kind", ["StatefulSet/chat", "LeaderWorkerSet/chat"])
def test_kinds_that_may_remove_a_running_one_keep_what_is_stuck(kind: str) -> None:
    spec = a_service("chat", target=kind)
    facts = {"h100": PoolFacts(nodes=1, ready=1, advertised=1, stages=STAGES)}
    stuck = {0: StuckReplicas(replicas=4, since_s=0.0, limit_s=LATE_S, resource="nvidia.com/gpu", said="")}
    fleet = fleet_of([spec], [12], pools=(a_pool(max_nodes=3),), pool_facts=facts, stuck=stuck)
    shortages = Shortages()
    for at_s in (1000.0, 1015.0):
        bounds = shortages.look(fleet, {"h100": PoolAsked(asked=2)}, {"h100": 2}, at_s)
    plan = allocate(Table(fleet), fleet, decided([20]), ChangeBudget(), bounds=bounds)
    assert plan.replicas.tolist() == [12]


def test_the_blind_keep_what_is_stuck() -> None:
    facts = {"h100": PoolFacts(nodes=1, ready=1, advertised=1, stages=STAGES)}
    stuck = {0: StuckReplicas(replicas=4, since_s=0.0, limit_s=LATE_S, resource="nvidia.com/gpu", said="")}
    fleet = fleet_of([a_service("chat")], [12], pools=(a_pool(max_nodes=3),), pool_facts=facts, stuck=stuck)
    shortages = Shortages()
    for at_s in (1000.0, 1015.0):
        bounds = shortages.look(fleet, {}, {"h100": 2}, at_s)
    plan = allocate(Table(fleet), fleet, decided([12], blind=np.array([True])), ChangeBudget(), bounds=bounds)
    assert plan.replicas.tolist() == [12]


def test_nodes_that_count_for_nothing_are_ordered_again() -> None:
    silent = SilentNodes(nodes=1, names=("a",), since_s=0.0, limit_s=60.0)
    fleet = fleet_of(
        [a_service("chat")],
        [16],
        pools=(a_pool(max_nodes=9),),
        pool_facts={"h100": PoolFacts(nodes=2, ready=2, advertised=1, stages=STAGES, silent=silent)},
    )
    bounds = Shortages().look(fleet, {"h100": PoolAsked(asked=2)}, {"h100": 2}, 0.0)
    plan = allocate(Table(fleet), fleet, decided([16]), ChangeBudget(), bounds=bounds)
    assert plan.nodes == {"h100": 3}
    assert "1 more is there and counts for nothing" in plan.node_words["h100"]
    assert plan.replicas.tolist() == [16]


@pytest.mark.parametrize(("replaced", "nodes"), [(0, 3), (1, 2)])
def test_a_node_that_is_told_to_go_is_ordered_before_it_goes_unless_its_owner_does(replaced: int, nodes: int) -> None:
    fleet = fleet_of(
        [a_service("chat")],
        [16],
        pools=(a_pool(max_nodes=9),),
        pool_facts={"h100": PoolFacts(nodes=2, ready=2, advertised=2, stages=STAGES, noticed=1, replaced=replaced)},
    )
    bounds = Shortages().look(fleet, {"h100": PoolAsked(asked=2)}, {"h100": 2}, 0.0)
    plan = allocate(Table(fleet), fleet, decided([16]), ChangeBudget(), bounds=bounds)
    assert plan.nodes == {"h100": nodes}
    assert "is its least" not in plan.node_words["h100"]
    assert plan.replicas.tolist() == [16], "the workload's controller replaces its pods by itself"


def test_a_restart_goes_on_from_the_status() -> None:
    world = one_pool()
    world.run(LATE_S + NODE_S + 60.0)
    plan = world.tick()
    assert plan.bounds is not None
    fleet = world.fleet({"h100": plan.bounds.pools["h100"].state})
    bounds = Shortages().look(fleet, {}, {}, world.at_s)
    assert bounds is not None
    assert bounds.pools["h100"].state == plan.bounds.pools["h100"].state


def test_a_clock_that_is_set_ends_no_pause() -> None:
    world = one_pool()
    world.run(LATE_S + NODE_S + 60.0)
    before = world.tick()
    world.shortages.shift(86_400.0)
    world.at_s += 86_400.0
    world._pending = {0: []}
    after = world.tick()
    assert before.replicas.tolist() == after.replicas.tolist()


def test_a_node_that_we_gave_back_is_not_ordered_again() -> None:
    """An Auto Scaling group marks what it removes as it marks what it loses."""
    fleet = fleet_of(
        [a_service("chat")],
        [16],
        pools=(a_pool(max_nodes=9),),
        pool_facts={"h100": PoolFacts(nodes=3, ready=3, advertised=2, stages=STAGES, noticed=1)},
    )
    bounds = Shortages().look(fleet, {"h100": PoolAsked(asked=2)}, {"h100": 2}, 0.0)
    plan = allocate(Table(fleet), fleet, decided([16]), ChangeBudget(), bounds=bounds)
    assert plan.nodes == {"h100": 2}


def test_a_standby_follows_what_the_leader_found_and_goes_on_from_there() -> None:
    world = one_pool()
    world.run(LATE_S + NODE_S + 60.0)
    plan = world.tick()
    assert plan.bounds is not None
    state = plan.bounds.pools["h100"].state
    standby = Shortages()
    assert standby.look(world.fleet(), None, {}, world.at_s) is None
    bounds = standby.look(world.fleet({"h100": state}), None, {}, world.at_s)
    assert bounds is not None
    assert bounds.pools["h100"].state == state
    bounds = standby.look(world.fleet({"h100": state}), {"h100": PoolAsked(asked=2)}, plan.nodes, world.at_s + TICK_S)
    assert bounds is not None
    assert bounds.pools["h100"].state == state
    assert standby.look(world.fleet(), None, {}, world.at_s) is None, "it is over for the leader"


def test_nodes_that_are_not_seen_are_not_given_back() -> None:
    """A nodeSelector that finds nothing: no node of those that carry replicas may go for it."""
    fleet = fleet_of(
        [a_service("chat")], [16], pools=(a_pool(max_nodes=9),), pool_facts={"h100": PoolFacts(nodes=0, ready=0, advertised=0)}
    )
    shortages = Shortages()
    for tick in range(200):
        bounds = shortages.look(fleet, {"h100": PoolAsked(asked=3, short="NoCapacity")}, {"h100": 3}, tick * TICK_S)
        plan = allocate(Table(fleet), fleet, decided([24]), ChangeBudget(), bounds=bounds)
        assert (plan.replicas.tolist(), plan.nodes) == ([24], {"h100": 3})


@pytest.mark.parametrize("waiting_cost", [0.0, 1.0])
def test_fewer_nodes_seen_than_carry_replicas_give_none_back_and_room_waits(waiting_cost: float) -> None:
    facts = PoolFacts(nodes=1, ready=1, advertised=1, stages=STAGES)
    pool = a_pool(max_nodes=9, waiting_cost=waiting_cost)
    fleet = fleet_of([a_service("chat")], [16], pools=(pool,), pool_facts={"h100": facts})
    shortages = Shortages()
    bounds = shortages.look(fleet, {"h100": PoolAsked(asked=3, short="NoCapacity")}, {"h100": 3}, 0.0)
    plan = allocate(Table(fleet), fleet, decided([16], [8]), ChangeBudget(), needs=NodeNeeds(), bounds=bounds)
    assert plan.nodes == {"h100": 2}
