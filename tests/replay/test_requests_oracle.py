"""The request-level plant against ciw, an independent simulator: the same arrivals and the same work, request by request."""

from __future__ import annotations

import ciw
import numpy as np
import pytest

from autoscaler.core.model import Floats
from replay.plant.requests.kernel import compiled
from tests.replay.requests_made import outcome, station

COUNT = 1500


def traffic(rate_per_s: float, seed: int) -> tuple[Floats, Floats]:
    """Arrivals and work: Poisson, and lognormal, as lengths of requests are."""
    rng = np.random.Generator(np.random.PCG64([seed, 12]))
    return np.cumsum(rng.exponential(1 / rate_per_s, COUNT)), rng.lognormal(-0.35, 0.83, COUNT)


def by_ciw(came: Floats, work: Floats, servers: int, shared_from: float | None = None) -> tuple[Floats, Floats]:
    """When ciw starts and ends each request. shared_from: one processor that its requests share, at most `servers` of them at once: up to so
    many of them each runs at full speed."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*np.diff(came, prepend=0.0).tolist(), float("inf")])],
        service_distributions=[ciw.dists.Sequential(work.tolist())],
        number_of_servers=[servers],
        **({} if shared_from is None else {"ps_thresholds": [shared_from]}),
    )
    ran = ciw.Simulation(network, node_class=None if shared_from is None else ciw.PSNode)
    ran.simulate_until_max_customers(COUNT, method="Finish")
    records = sorted(ran.get_all_records(), key=lambda record: record.id_number)[:COUNT]
    assert [record.id_number for record in records] == list(range(1, COUNT + 1))
    return np.array([one.service_start_date for one in records]), np.array([one.exit_date for one in records])


def ours(replicas: int, times: Floats, came: Floats, work: Floats) -> tuple[Floats, Floats]:
    made = station(replicas, times, came, np.zeros(COUNT), work, fast=compiled() is not None)
    made.run(0.0, 1e9)
    started, _, ended = outcome(made)
    return started, ended


@pytest.mark.parametrize(("replicas", "slots", "load"), [(1, 1, 0.7), (3, 4, 0.9), (5, 2, 0.95)])
def test_slots_that_don_t_slow_each_other_down_are_servers(replicas: int, slots: int, load: float) -> None:
    came, work = traffic(load * replicas * slots, replicas)
    for mine, its in zip(ours(replicas, np.ones(slots + 1), came, work), by_ciw(came, work, replicas * slots), strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=1e-6)
    assert (ours(replicas, np.ones(slots + 1), came, work)[0] > came + 0.1).mean() > 0.2, "nobody waited: the case is too easy"


@pytest.mark.parametrize(("slots", "shared_from", "load"), [(4, 1.0, 0.9), (8, 3.0, 0.95)])
def test_a_batch_whose_requests_slow_each_other_down_is_a_shared_processor(slots: int, shared_from: float, load: float) -> None:
    came, work = traffic(load * shared_from, slots)
    times = np.maximum(np.arange(slots + 1) / shared_from, 1.0)
    for mine, its in zip(ours(1, times, came, work), by_ciw(came, work, slots, shared_from), strict=True):
        # All that differs is rounding, at most some fractions of a second long where it changes an order.
        np.testing.assert_allclose(mine, its, rtol=0, atol=1e-6)
    assert (ours(1, times, came, work)[0] > came + 0.1).mean() > 0.1
