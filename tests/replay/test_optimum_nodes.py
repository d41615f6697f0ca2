"""The bound on nodes against every schedule of replicas and nodes there is, in worlds so small that all can be tried; and against real runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.manifests import load_manifests
from replay.clairvoyant import figures, optima
from replay.optimum.nodes import NodeNeed, Ordered, PoolShare, node_need, nodes_held_s
from replay.optimum.orders import held_in_warmup
from replay.optimum.problem import Problem, Settings
from replay.optimum.search import search
from replay.optimum.solve import follow
from replay.plugins import policy_ref
from replay.run import run_replay
from replay.traces.registry import read_trace
from replay.world import build_world
from tests.replay.made import STANDARD, manifests, scenario, specs, write

TICK_S, TICKS = 3, 5


@dataclass
class Service:
    """Replicas, one by one, as the scenario's words have them: created, waiting for a slot, starting, ready, draining, gone."""

    problem: Problem
    each: int
    waiting: int = 0
    started_s: list[int] = field(default_factory=list)  # when the start began; those of the trace's start long ago
    drained_s: list[int] = field(default_factory=list)
    line: deque[list[float]] = field(default_factory=deque)
    late: float = 0.0

    def order(self, wanted: int, second: int) -> None:
        own = self.problem.settings
        have = self.waiting + len(self.started_s)
        self.waiting += max(wanted - have, 0)
        for _ in range(have - wanted):
            if self.waiting:
                self.waiting -= 1
            elif second - self.started_s.pop() >= own.start_s:
                self.drained_s.append(second + own.drain_s)

    @property
    def slots(self) -> int:
        return self.each * (len(self.started_s) + len(self.drained_s))

    def serve(self, second: int) -> None:
        own = self.problem.settings
        self.line.append([second, float(self.problem.arrivals[second])])
        left = own.capacity_per_s * sum(second - began >= own.start_s for began in self.started_s)
        while self.line and left > 0.0:
            born, waits = self.line[0]
            part = min(waits, left)
            if born >= own.warmup_s and second - born > own.allowed_s:
                self.late += part
            self.line[0][1] -= part
            left -= part
            if self.line[0][1] <= 1e-12:
                self.line.popleft()

    def end(self) -> None:
        own = self.problem.settings
        seconds = self.problem.seconds
        self.late += sum(part for born, part in self.line if born >= own.warmup_s and seconds - born > own.allowed_s)


def lived(
    problems: Sequence[Problem], shares: Sequence[PoolShare], orders: Sequence[Sequence[int]], nodes: Sequence[int]
) -> tuple[float, list[float]]:
    """Node-seconds and the late requests of each service, of counts and nodes that are asked for tick by tick. A node goes only where what is
    left has room; slots are counted."""
    first, share = problems[0].settings, shares[0]
    services = [Service(problem, one.each) for problem, one in zip(problems, shares, strict=True)]
    for one in services:
        one.started_s = [-1000] * one.problem.settings.initial
    ready_s = [0] * share.initial_nodes
    paid = 0.0
    for second in range(problems[0].seconds):
        for one in services:
            one.drained_s = [at for at in one.drained_s if at > second]
        if second % TICK_S == 0:
            tick = second // TICK_S
            for one, counts in zip(services, orders, strict=True):
                one.order(counts[tick], second)
            ready_s += [second + share.node_s] * (nodes[tick] - len(ready_s))
        while len(ready_s) > nodes[second // TICK_S]:
            if ready_s[-1] <= second and (sum(at <= second for at in ready_s) - 1) * share.slots < sum(s.slots for s in services):
                break
            ready_s.pop()
        room = sum(at <= second for at in ready_s) * share.slots
        for one in services:
            while one.waiting and sum(s.slots for s in services) + one.each <= room:
                one.waiting -= 1
                one.started_s.append(second)
        if second >= first.warmup_s:
            paid += len(ready_s)
        for one in services:
            one.serve(second)
    for one in services:
        one.end()
    return paid, [one.late for one in services]


def share_of(each: int, *, services: int = 1, initial: int, slots: int, node_s: int) -> PoolShare:
    together = initial * each * services
    return PoolShare(
        pool="pool",
        slots=slots,
        each=each,
        services=services,
        initial_nodes=-(-together // slots),
        least_nodes=-(-each * services // slots),
        pool_least_nodes=0,
        node_s=node_s,
    )


loads = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 9.0]), min_size=TICK_S * TICKS - 1, max_size=TICK_S * TICKS)


def problem_of(arrivals: Sequence[float], most: int, start_s: int, drain_s: int, warmup_s: int, allowed_s: int) -> Problem:
    own = Settings(
        capacity_per_s=1.0,
        min_replicas=1,
        max_replicas=most,
        multiple=1,
        allowed_s=allowed_s,
        tick_s=TICK_S,
        start_s=start_s,
        drain_s=drain_s,
        warmup_s=warmup_s,
        initial=1,
    )
    return Problem(np.array(arrivals), own, most)


def need(problem: Problem, allowed: float, share: PoolShare) -> NodeNeed:
    return node_need(problem, search(problem, allowed, held_in_warmup(problem)), allowed, share)


@settings(max_examples=10, deadline=None)
@given(
    arrivals=loads,
    start_s=st.sampled_from([0, 2, 3]),
    node_s=st.sampled_from([0, 3, 4]),
    drain_s=st.integers(0, 4),
    warmup_s=st.sampled_from([0, 0, 3]),
    allowed_s=st.integers(0, 3),
    each=st.sampled_from([1, 2]),
)
def test_no_schedule_of_replicas_and_nodes_holds_fewer_node_hours(
    arrivals: list[float], start_s: int, node_s: int, drain_s: int, warmup_s: int, allowed_s: int, each: int
) -> None:
    problem = problem_of(arrivals, 4, start_s, drain_s, warmup_s, allowed_s)
    share = share_of(each, initial=1, slots=2, node_s=node_s)
    most = 4 * each // 2
    every = [
        lived([problem], [share], [counts], nodes)
        for counts in product((1, 2, 4), repeat=TICKS)
        for nodes in product((1, most), repeat=TICKS)
    ]
    for part in (0.0, 0.1, 0.4):
        allowed = part * problem.requests + 1e-7
        keeping = [paid for paid, (late,) in every if late <= allowed]
        if keeping:
            assert need(problem, allowed, share).bound_node_s <= min(keeping) + 1e-6


@settings(max_examples=6, deadline=None)
@given(first=loads, second=loads, node_s=st.sampled_from([0, 3]), drain_s=st.integers(0, 2), allowed_s=st.integers(0, 3))
def test_nor_do_two_services_that_share_a_pool(
    first: list[float], second: list[float], node_s: int, drain_s: int, allowed_s: int
) -> None:
    length = min(len(first), len(second))
    problems = [problem_of(one[:length], 2, 3, drain_s, 0, allowed_s) for one in (first, second)]
    shares = [share_of(1, services=2, initial=1, slots=2, node_s=node_s)] * 2
    every = [
        lived(problems, shares, [one, other], nodes)
        for one in product((1, 2), repeat=TICKS)
        for other in product((1, 2), repeat=TICKS)
        for nodes in product((1, 2), repeat=TICKS)
        if nodes[0] <= nodes[1]  # half of them are enough
    ]
    for part in (0.0, 0.3):
        allowed = [part * problem.requests + 1e-7 for problem in problems]
        keeping = [paid for paid, late in every if all(own <= most for own, most in zip(late, allowed, strict=True))]
        if keeping:
            found = [need(*one) for one in zip(problems, allowed, shares, strict=True)]
            bound_slot_s = max(sum(one.bound_slot_s for one in found), max(2 * one.bound_node_s for one in found))
            assert bound_slot_s <= 2 * min(keeping) + 1e-6


def test_whole_nodes_are_found_just_above_their_bound() -> None:
    (found,) = optima(manifests(), scenario(length="4h", warmup="1h"), read_trace(STANDARD / "traces" / "day.csv.gz"))
    told = figures([found])
    assert told["lower_bound_node_slot_hours"] <= told["node_slot_hours"] <= 1.02 * told["lower_bound_node_slot_hours"]
    # Replicas need them all, and a node's start besides.
    assert told["replica_hours"] < told["lower_bound_node_slot_hours"]


@pytest.mark.parametrize("policy", ["reactive", "fixed:replicas=24"])
@pytest.mark.parametrize("owner", ["Rule", "Plan"])
def test_no_run_that_keeps_its_promise_holds_fewer(tmp_path: Path, policy: str, owner: str) -> None:
    pool = "{apiVersion: inference-autoscaler.io/v1alpha1, kind: AcceleratorPool, metadata: {name: p}, spec: {maxNodes: 30}}"
    text = (STANDARD / "manifest.yaml").read_text("utf-8").replace("  mode: Active\n", "  mode: Active\n  nodePool: p\n")
    loaded = load_manifests([write(tmp_path / "pooled.yaml", f"{text}---\n{pool}\n")])
    trace = read_trace(STANDARD / "traces" / "day.csv.gz")
    setting = scenario(length="3h", warmup="30m", nodes__owner=owner)
    score = run_replay(loaded, setting, trace, policy=policy_ref(policy)).score
    assert score["attained_ratio"] >= score["promised_ratio"], "nothing is compared"
    told = figures(optima(loaded, setting, trace))
    assert told["lower_bound_node_slot_hours"] <= score["node_slot_hours"]


@pytest.mark.parametrize("each", [1, 3])
def test_the_nodes_of_given_counts_are_those_that_the_plant_pays(each: int) -> None:
    rng = np.random.Generator(np.random.PCG64(each))
    orders = np.repeat(rng.integers(1, 30, 20), 20)  # no dip shorter than a start
    (one,) = (replace(spec, accelerators_per_replica=each) for spec in specs())
    setting = scenario(nodes__start="0s", nodes__spare="0s", replicas__drain="15s", replicas__initial=str(orders[0] + 9))
    plant = build_world([one], [], setting, np.zeros((1, 15 * len(orders)))).plant
    follow(plant, orders, 15)
    held_s = nodes_held_s(
        [Ordered(orders=orders, each=each, initial=int(orders[0]) + 9)],
        slots=8,
        least=0,
        tick_s=15,
        drain_s=15,
        node_s=0,
        warmup_s=0,
        seconds=15 * len(orders),
    )
    assert held_s == plant.node_s()[0]
    # With a lead, what is given back for less than it is bridged.
    dip = Ordered(orders=np.array([9] * 20 + [1] * 10 + [9] * 20), each=1, initial=9)
    common = {"slots": 8, "least": 0, "tick_s": 15, "drain_s": 0, "warmup_s": 0, "seconds": 750}
    assert nodes_held_s([dip], node_s=150, **common) == 2 * 750
    assert nodes_held_s([dip], node_s=100, **common) == 2 * 750 - 50
