"""Nodes beyond the need for those that are lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.allocation.cool_down import NodeNeeds
from autoscaler.core.allocation.losses import beyond_need
from autoscaler.core.model import Plan
from autoscaler.core.node_facts import PoolFacts
from autoscaler.core.short import Bounds
from autoscaler.core.shortages import Shortages
from autoscaler.core.table import Table
from tests.core.allocation.fleets import a_pool, a_service, decided, fleet_of


@given(st.integers(0, 400), st.floats(0.0, 2.0), st.floats(0.0, 1800.0), st.floats(0.0, 1000.0))
@settings(max_examples=300, deadline=None)
def test_as_the_poisson_distribution_has_it(nodes: int, per_node_hour: float, lead_s: float, waiting_cost: float) -> None:
    found = beyond_need(np.array([nodes]), np.array([per_node_hour]), np.array([lead_s]), np.array([waiting_cost]))[0]
    mean = min(nodes * per_node_hour * lead_s / 3600.0, 500.0)
    wanted = 0 if waiting_cost == 0.0 else int(poisson.ppf(1.0 - 1.0 / (1.0 + waiting_cost), mean))
    assert 0 <= found <= nodes
    assert found == min(wanted, nodes) or abs(poisson.sf(min(wanted, found), mean) - 1.0 / (1.0 + waiting_cost)) < 1e-9


def test_nobody_has_seen_a_loss() -> None:
    beyond = beyond_need(np.array([50, 50]), np.array([np.nan, 1.0]), np.full(2, 300.0), np.full(2, 8.0))
    assert beyond.tolist()[0] == 0
    assert beyond.tolist()[1] > 0


def planned(bounds: Bounds | None, *, waiting_cost: float, max_nodes: int = 40) -> Plan:
    """20 nodes of 8, which take 3 minutes."""
    pool = a_pool(max_nodes=max_nodes, waiting_cost=waiting_cost)
    fleet = fleet_of([a_service("llama", accelerators_per_replica=1)], [160], pools=(pool,))
    return allocate(Table(fleet), fleet, decided([160]), ChangeBudget(), needs=NodeNeeds(), bounds=bounds)


def test_the_plan_counts_with_what_is_lost_and_says_so() -> None:
    often = Bounds(loss_per_node_hour={"h100": 0.5})  # of 20 nodes one every 6 minutes, of which a node takes 3
    assert planned(None, waiting_cost=8.0).nodes["h100"] == 20
    plan = planned(often, waiting_cost=8.0)
    assert plan.nodes["h100"] == 21
    assert "1 more for one that is lost: a node is lost every 2 h, and another one takes 180 s" in plan.node_words["h100"]
    assert planned(often, waiting_cost=1.0).nodes["h100"] == 20, "more often than not none is lost within the time"
    assert planned(often, waiting_cost=100.0).nodes["h100"] == 23
    assert planned(often, waiting_cost=0.0).nodes["h100"] == 20
    assert planned(often, waiting_cost=100.0, max_nodes=21).nodes["h100"] == 21, "never beyond its bounds"


def test_only_losses_that_were_seen_count() -> None:
    service, pool = a_service("llama", accelerators_per_replica=1), a_pool(max_nodes=40)
    for losses, told in ((0.0, {}), (3.0, {"h100": 0.25})):
        seen = PoolFacts(nodes=20, ready=20, advertised=20, losses=losses, node_hours=12.0, loss_per_node_hour=0.25)
        fleet = fleet_of([service], [160], pools=(pool,), pool_facts={"h100": seen})
        bounds = Shortages().look(fleet, {}, {"h100": 20}, 0.0)
        assert (bounds.loss_per_node_hour if bounds else {}) == told
