"""A tick ends within its interval even where everybody it waits for hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from autoscaler import tick_budget
from autoscaler.adapters.kubernetes.status_reporter import StatusSettings
from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import Fleet, Outcome, Plan, PolicyRef, PoolSpec, Readings
from autoscaler.plugins import load_policies
from autoscaler.ports import Backfill, PoolTold
from tests.ticks import MadeCluster, MadeMetrics, a_spec


def test_the_shares_add_up_to_less_than_an_interval() -> None:
    shares = {name: value for name, value in vars(tick_budget).items() if isinstance(value, float) and name != "ALL"}
    assert sum(shares.values()) == pytest.approx(tick_budget.ALL)
    assert tick_budget.ALL < 0.96
    assert (StatusSettings().share, StatusSettings().events_share) == (tick_budget.STATUS, tick_budget.EVENTS)


async def test_when_all_ports_take_all_their_time_a_tick_is_over_in_time() -> None:
    clock = ManualClock(1_750_000_000.0)

    class Hanging(MadeMetrics):
        async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
            clock.advance_to(clock.now_s() + deadline_s)
            return Readings(at_s=at_s, signals={})

        async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
            await asyncio.Event().wait()
            raise AssertionError

    class Stuck(MadeCluster):
        async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
            clock.advance_to(clock.now_s() + deadline_s)
            return await super().act(fleet, plan, deadline_s)

    class Pools:
        async def act(self, pools: Sequence[PoolSpec], plan: Plan, deadline_s: float) -> Mapping[str, str]:
            clock.advance_to(clock.now_s() + deadline_s)
            return {}

        def told(self) -> Mapping[str, PoolTold]:
            return {}

    cluster = Stuck([a_spec(policies=(PolicyRef(name="reactive"),), pool="gpu")])
    cluster.changes = {"pools": (PoolSpec(name="gpu", min_nodes=1, max_nodes=9, accelerators_per_node=8),)}
    controller = Controller(
        clock=clock, metrics=Hanging({}), cluster=cluster, policies=load_policies(), node_pools=Pools(), interval_s=1.0
    )
    began_s = clock.now_s()
    tick = await controller.tick()
    await controller.past.close()
    assert tick.unlearnt
    assert tick.plan.nodes
    rest = tick_budget.PAST + tick_budget.POOLS + tick_budget.STATUS + tick_budget.EVENTS
    assert clock.now_s() - began_s + rest <= 0.95 + 1e-6
