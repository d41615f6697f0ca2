"""What holds of every plan, whatever is wished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.allocation.sharing import share
from autoscaler.core.model import Plan, PoolSpec, PoolUse, Quota, ScalingSpec
from autoscaler.core.table import Table
from tests.core.allocation.fleets import a_pool, a_service, decided, fleet_of, plan_of

POOLS = ("a", "b", "c")
TEAMS = ("team-0", "team-1", "team-2")


@dataclass(frozen=True, kw_only=True)
class Case:
    specs: list[ScalingSpec]
    pools: list[PoolSpec]
    current: list[int]
    desired: list[int]

    def plan(self, budget: ChangeBudget | None = None) -> Plan:
        return plan_of(self.specs, self.current, self.desired, budget, pools=tuple(self.pools))


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    sizes: Sequence[int] = (1, 2, 3, 4, 8),
    multiples: Sequence[int] = (1, 1, 2),
    several: bool = True,
    priorities: int = 3,
    fresh: bool = False,
) -> Case:
    pools = [
        a_pool(
            name,
            draw(st.integers(0, 5)),
            cost_per_hour=draw(st.floats(0, 50)),
            min_replicas_first=draw(st.booleans()),
            quotas=tuple(
                Quota(namespace=team, accelerators=draw(st.none() | st.integers(0, 30)), weight=draw(st.integers(1, 3)))
                for team in TEAMS
                if draw(st.booleans())
            ),
        )
        for name in POOLS
    ]
    specs, current, desired = [], [], []
    for number in range(draw(st.integers(1, 8))):
        named = draw(st.lists(st.sampled_from(POOLS), min_size=1, max_size=3 if several else 1, unique=True))
        multiple = draw(st.sampled_from(multiples))
        specs.append(
            a_service(
                f"service-{number}",
                named[0],
                draw(st.sampled_from(TEAMS)),
                pools=tuple(PoolUse(name=name) for name in named) if len(named) > 1 else (),
                priority=draw(st.integers(0, priorities - 1)),
                accelerators_per_replica=draw(st.sampled_from(sizes)),
                replica_multiple=multiple,
                min_replicas=draw(st.integers(0, 3)) * multiple,
            )
        )
        current.append(0 if fresh else draw(st.integers(0, 6)) * multiple)
        desired.append(draw(st.integers(0, 12)) * multiple)
    return Case(specs=specs, pools=pools, current=current, desired=desired)


def takes(case: Case, replicas: Sequence[int], pool: str, team: str | None = None) -> int:
    return sum(
        spec.accelerators_per_replica * count
        for spec, count in zip(case.specs, replicas, strict=True)
        if spec.pool == pool and not spec.pools and team in (None, spec.namespace)
    )


def kept(case: Case) -> list[int]:
    """What is there and still wished: it stays where nobody takes it."""
    return [min(have, wish) for have, wish in zip(case.current, case.desired, strict=True)]


@given(cases(fresh=True))
def test_no_more_than_pools_hold_and_every_replica_has_a_node_that_it_fits_on(case: Case) -> None:
    plan = case.plan()
    for pool in case.pools:
        assert pool.min_nodes <= plan.nodes[pool.name] <= pool.max_nodes
        assert "would be needed" not in plan.node_words[pool.name]
    total = sum(spec.accelerators_per_replica * int(count) for spec, count in zip(case.specs, plan.replicas, strict=True))
    assert total <= 8 * sum(plan.nodes.values())


@given(cases(several=False))
def test_quotas_and_bounds_stop_growth_and_only_growth(case: Case) -> None:
    plan, there = case.plan(), kept(case)
    for pool in case.pools:
        planned, before = takes(case, plan.replicas.tolist(), pool.name), takes(case, there, pool.name)
        assert planned <= max(8 * pool.max_nodes, before)
        for quota in pool.quotas:
            if quota.accelerators is not None:
                mine = takes(case, plan.replicas.tolist(), pool.name, quota.namespace)
                assert mine <= max(quota.accelerators, takes(case, there, pool.name, quota.namespace))


@given(cases())
def test_nobody_gets_more_than_the_wish_and_groups_stay_whole(case: Case) -> None:
    plan = case.plan()
    assert (plan.replicas <= np.array(case.desired)).all()
    assert all(count % spec.replica_multiple == 0 for spec, count in zip(case.specs, plan.replicas.tolist(), strict=True))
    assert set(plan.limits) == {row for row, wish in enumerate(case.desired) if plan.replicas[row] < wish}
    for row, limit in plan.limits.items():
        assert (limit.before, limit.after) == (case.desired[row], plan.replicas[row])
        assert any(pool in limit.why for pool in ("pool a", "pool b", "pool c", "pools"))


@given(cases(), st.data())
def test_who_leaves_with_its_node_is_as_if_it_had_left(case: Case, data: st.DataObject) -> None:
    draining = data.draw(st.lists(st.integers(0, 9), min_size=len(case.specs), max_size=len(case.specs)))
    lost = {row: data.draw(st.integers(0, count)) for row, count in enumerate(draining)}
    left = [count - lost[row] for row, count in enumerate(draining)]

    def planned(**changes: Any) -> Plan:
        return plan_of(case.specs, case.current, case.desired, pools=tuple(case.pools), **changes)

    one, other = planned(draining=np.array(draining), draining_lost=lost), planned(draining=np.array(left))
    assert (one.nodes, one.taken, one.replicas.tolist()) == (other.nodes, other.taken, other.replicas.tolist())


@given(cases())
def test_the_same_input_gives_the_same_plan(case: Case) -> None:
    one, other = case.plan(), case.plan()
    assert one.replicas.tolist() == other.replicas.tolist()
    assert (one.nodes, one.node_words) == (other.nodes, other.node_words)


@given(cases(several=False, sizes=(1,), multiples=(1,), fresh=True))
def test_a_lower_priority_gets_nothing_that_a_higher_one_misses(case: Case) -> None:
    """Of one accelerator a replica nothing is left over for reasons of size; lower bounds come first where the pool says so."""
    plan = case.plan()
    strict = {pool.name for pool in case.pools if not pool.min_replicas_first}
    unbounded = {(pool.name, quota.namespace) for pool in case.pools for quota in pool.quotas if quota.accelerators is not None}
    for high, one in enumerate(case.specs):
        if plan.replicas[high] >= case.desired[high] or (one.pool, one.namespace) in unbounded:
            continue
        for low, other in enumerate(case.specs):
            if other.pool == one.pool and other.priority < one.priority:
                assert plan.replicas[low] <= (0 if one.pool in strict else min(other.min_replicas, case.desired[low]))


@given(cases(several=False, sizes=(1,), multiples=(1,), fresh=True), st.sampled_from(POOLS), st.integers(1, 3))
def test_more_nodes_take_nothing_from_anybody(case: Case, pool: str, more: int) -> None:
    small = case.plan().replicas
    larger = [replace(one, max_nodes=one.max_nodes + more) if one.name == pool else one for one in case.pools]
    assert (replace(case, pools=larger).plan().replicas >= small).all()


@given(cases(), st.integers(0, 1))
def test_a_smaller_pool_hurts_nobody_who_does_not_use_it(case: Case, nodes: int) -> None:
    """Nor who shares another pool with somebody who uses it, as long as that one names no other pool."""
    if any(spec.pools for spec in case.specs):
        specs = [replace(spec, pools=()) for spec in case.specs]
        case = replace(case, specs=specs)
    cut = [replace(pool, max_nodes=min(nodes, pool.max_nodes)) if pool.name == "a" else pool for pool in case.pools]
    before, after = case.plan().replicas, replace(case, pools=cut).plan().replicas
    for row, spec in enumerate(case.specs):
        if spec.pool != "a":
            assert after[row] == before[row]


@given(cases(several=False, sizes=(1, 2, 4, 8), multiples=(1,), priorities=1), st.integers(0, 20), st.integers(0, 20))
def test_a_budget_of_changes_is_kept_and_nobody_goes_for_a_replica_that_is_not_added(case: Case, add: int, remove: int) -> None:
    plan = case.plan(ChangeBudget(add=add, remove=remove))
    change = plan.replicas - np.array(case.current)
    assert change[change > 0].sum() <= add
    assert -change[change < 0].sum() <= remove
    for pool in case.pools:
        before = takes(case, case.current, pool.name)
        assert takes(case, plan.replicas.tolist(), pool.name) <= max(8 * pool.max_nodes, before)
        if not any(change[row] > 0 for row, spec in enumerate(case.specs) if spec.pool == pool.name):
            for row, spec in enumerate(case.specs):
                if spec.pool == pool.name:
                    assert plan.replicas[row] >= min(case.current[row], case.desired[row])


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=10),
    st.integers(0, 8),
    st.sampled_from((1, 2, 4)),
)
def test_equals_are_within_one_replica_of_their_fair_share(services: list[tuple[int, int]], nodes: int, size: int) -> None:
    """Of a namespace of its own each; whatever they had before, as long as the pool holds that."""
    specs = [a_service(f"s{n}", namespace=f"team-{n}", accelerators_per_replica=size) for n in range(len(services))]
    current, desired = [s[0] for s in services], [s[1] for s in services]
    nodes = max(nodes, -(-size * sum(min(have, wish) for have, wish in services) // 8))
    plan = plan_of(specs, current, desired, pools=(a_pool(max_nodes=nodes),))
    shares = max_min(desired, nodes * 8 // size)
    assert all(abs(count - share) < 1 + 1e-6 for count, share in zip(plan.replicas.tolist(), shares, strict=True))
    assert plan.replicas.sum() == min(sum(desired), nodes * 8 // size)


def max_min(wishes: Sequence[float], total: float) -> list[float]:
    """Progressive filling, as the textbook says it."""
    shares = [0.0] * len(wishes)
    hungry = {number for number, wish in enumerate(wishes) if wish > 0}
    while hungry and total > 1e-9:
        step = min(total / len(hungry), min(wishes[number] - shares[number] for number in hungry))
        for number in hungry:
            shares[number] += step
        total -= step * len(hungry)
        hungry = {number for number in hungry if wishes[number] - shares[number] > 1e-9}
    return shares


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_over_ticks_with_churn_nobody_starves_and_nothing_moves_without_a_reason(seed: int) -> None:
    rng = np.random.default_rng(seed)
    specs = [a_service(f"s{n}", namespace=f"team-{n % 4}", min_replicas=1) for n in range(12)]
    pools = (a_pool(max_nodes=3),)
    current = [0] * 12
    wishes = rng.integers(1, 12, 12)
    served = np.zeros(12)
    for _ in range(40):
        wishes = np.clip(wishes + rng.integers(-2, 3, 12), 1, 12)
        plan = plan_of(specs, current, wishes.tolist(), pools=pools)
        again = plan_of(specs, plan.replicas.tolist(), wishes.tolist(), pools=pools)
        assert again.replicas.tolist() == plan.replicas.tolist()  # it stands still when nothing changes
        assert plan.replicas.sum() <= 24
        current = plan.replicas.tolist()
        served += plan.replicas > 0
    assert (served == 40).all()


@given(cases(several=False, sizes=(1, 2, 4), multiples=(1,)), st.integers(0, 2))
def test_a_pool_that_is_said_to_be_smaller_than_what_runs_costs_nobody_more_than_higher_priorities_get(
    case: Case, nodes: int
) -> None:
    pools = [replace(pool, max_nodes=nodes, quotas=(), min_replicas_first=False) for pool in case.pools]
    plan = replace(case, pools=pools).plan()
    for pool in pools:
        rows = [row for row, spec in enumerate(case.specs) if spec.pool == pool.name]
        if takes(case, kept(case), pool.name) <= 8 * nodes:
            continue
        for row in rows:
            lost = min(case.current[row], case.desired[row]) - int(plan.replicas[row])
            if lost > 0:
                assert any(
                    plan.replicas[other] > case.current[other] and case.specs[other].priority > case.specs[row].priority
                    for other in rows
                )


@given(cases())
def test_the_same_wishes_soon_stand_still(case: Case) -> None:
    """Who makes room on one pool comes back on another, and then nothing moves any more. Pods are where the plan made room, and that is known."""
    seen = [case.current]
    placed: dict[int, dict[str, int]] = {}
    for _ in range(8):
        fleet = fleet_of(case.specs, seen[-1], pools=tuple(case.pools), placed=placed)
        table, decisions = Table(fleet), decided(case.desired)
        plan = allocate(table, fleet, decisions, ChangeBudget())
        shared = share(table, fleet, decisions)
        placed = {row: {} for row in range(len(case.specs))}
        for row, pool, count in zip(
            shared.table.row.tolist(), shared.table.pool.tolist(), shared.placed(plan.replicas).tolist(), strict=True
        ):
            placed[row][shared.table.names[pool]] = count
        seen.append(plan.replicas.tolist())
    assert seen[-1] == seen[-2] == seen[-3]
