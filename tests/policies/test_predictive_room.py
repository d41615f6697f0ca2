"""What `predictive` keeps nodes for: the demand when a replica would serve on a node that is ordered now."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import Floats, Ints
from policies.predictive import POLICY, Predictive
from tests.policies.observations import NAN, Services

NODE_S = 180.0
LATER = round(NODE_S / 15)
PERIOD = 240
"""Ticks: an hour."""


def rhythm(ticks: int, seed: int = 0) -> Floats:
    """Up and down by a factor of eight within the hour."""
    mean = np.exp(math.log(24.0) - math.log(8.0) / 2 * np.cos(2 * np.pi * np.arange(ticks) / PERIOD))
    return np.asarray(np.random.default_rng(seed).poisson(mean * 15) / 15)


def noisy(rate: float, ticks: int, seed: int = 0) -> Floats:
    return np.asarray(np.random.default_rng(seed).poisson(rate * 15, size=ticks) / 15)


def shown(services: Services, demand: Floats, **columns: Any) -> tuple[Floats, Floats]:
    """Replicas (ticks, n) that come at once, and the room beyond them."""
    replicas, room = np.zeros(demand.shape), np.zeros(demand.shape)
    current: Ints = np.full(demand.shape[1], 20)
    for tick, rates in enumerate(demand):
        answer = services.see(demand=rates, queue=np.where(np.isnan(rates), NAN, 0.0), current=current, ready=current, **columns)
        assert answer.headroom is not None
        replicas[tick], room[tick] = answer.replicas, answer.headroom
        current = np.where(np.isnan(answer.replicas), current, answer.replicas).astype(np.int64)
    return replicas, room


def test_nodes_are_ordered_a_node_s_lead_time_before_the_replicas() -> None:
    """On an hour's rhythm, by what an hour before has taught. Without a pool room is what may be needed when a replica serves, as ever."""
    demand = np.repeat(rhythm(8 * PERIOD)[:, None], 2, axis=1)
    replicas, room = shown(Services(POLICY, [{}, {}]), demand, pooled=[True, False], node_lead_time_s=NODE_S)
    wanted = (replicas + room)[-4 * PERIOD : -LATER]
    later = np.stack([replicas[len(replicas) - 4 * PERIOD + ticks : len(replicas) - LATER + ticks] for ticks in range(LATER + 1)])
    lacking = (later - wanted[None]).max(axis=0)
    there = (lacking <= 4).mean(axis=0)
    assert there[0] >= 0.93, "of what is ordered up to a node's lead time later nearly all has its place by then"
    assert there[1] <= 0.8, "it is the forecast further ahead that does it"
    rising = np.arange(len(wanted)) % PERIOD < PERIOD // 3
    assert room[-4 * PERIOD : -LATER, 0][rising].mean() >= 1.5 > 0.5 >= room[-4 * PERIOD : -LATER, 1].mean()


def test_the_replicas_are_the_same_however_long_a_node_takes() -> None:
    demand = np.repeat(rhythm(4 * PERIOD)[:, None], 3, axis=1)
    node_s = np.array([0.0, NODE_S, 3 * NODE_S])
    replicas, room = shown(Services(POLICY, [{}] * 3), demand, pooled=[True] * 3, node_lead_time_s=node_s)
    assert (replicas == replicas[:, :1]).all()
    mean = room[PERIOD:].mean(axis=0)
    assert mean[0] < mean[1] < mean[2]


def test_steady_traffic_keeps_next_to_no_room() -> None:
    _, room = shown(Services(POLICY, [{}]), noisy(32.0, 2400)[:, None], pooled=[True], node_lead_time_s=NODE_S)
    assert room[-800:].mean() <= 0.5, "of 22 replicas"


def test_a_young_service_orders_nodes_for_no_more_than_twice_what_was_needed() -> None:
    """A ramp that no forecast has fallen due for yet is no reason to order a fleet."""
    ramp = np.linspace(4.0, 40.0, 24)[:, None]
    replicas, room = shown(Services(POLICY, [{}]), ramp, pooled=[True], node_lead_time_s=600.0)
    assert ((replicas + room) <= np.ceil(2.0 * np.maximum.accumulate(ramp) / 1.6) + 2).all()


def test_what_is_unknown_keeps_no_room_and_no_pool_keeps_no_state() -> None:
    services = Services(POLICY, [{}, {}])
    shown(services, np.repeat(rhythm(60)[:, None], 2, axis=1), pooled=[True, False])
    assert services.policy.save()["room"]["rows"] == [0]
    _, blind = shown(services, np.full((20, 2), NAN), pooled=[True, False])
    assert not blind[-1].any()
    services.see(demand=20.0, queue=0.0)
    assert "room" not in services.policy.save()


def test_a_service_is_told_the_same_alone_and_among_others() -> None:
    demand = np.stack([noisy(9.0, 700, 1), rhythm(700), noisy(30.0, 700, 2), rhythm(700, 3)], axis=1)
    _, among = shown(Services(POLICY, [{}] * 4), demand, pooled=[False, True, False, True], node_lead_time_s=NODE_S)
    for row in (1, 3):
        _, alone = shown(Services(POLICY, [{}]), demand[:, [row]], pooled=[True], node_lead_time_s=NODE_S)
        assert (alone[:, 0] == among[:, row]).all()
        assert alone.any()


@pytest.mark.parametrize("way", ["saved", "moved", "taken over"])
def test_whatever_becomes_of_its_row_a_service_goes_on_as_it_was(way: str) -> None:
    demand, further = np.stack([noisy(9.0, 500, 1), rhythm(500)], axis=1), rhythm(200, 5)[:, None]
    columns = {"pooled": [False, True], "node_lead_time_s": NODE_S}
    services, twin = Services(POLICY, [{}] * 2), Services(POLICY, [{}] * 2)
    shown(services, demand, **columns)
    shown(twin, demand, **columns)
    _, expected = shown(twin, np.repeat(further, 2, axis=1), **columns)
    policy, params = services.policy, twin.policy
    assert isinstance(policy, Predictive)
    assert isinstance(params, Predictive)
    if way == "saved":
        fresh = Services(POLICY, [{}] * 2, at_s=services.at_s + 15.0)
        fresh.policy.load(json.loads(json.dumps(policy.save())))
        _, found = shown(fresh, np.repeat(further, 2, axis=1), **columns)
        assert (found[:, 1] == expected[:, 1]).all()
    else:
        rows, given = np.array([1]), {name: column[:1] for name, column in policy.params.items()}
        if way == "moved":
            policy.rearrange(rows, given)
            services.forget_signals(1)
        else:
            services = Services(POLICY, [{}], at_s=services.at_s + 15.0)
            assert isinstance(services.policy, Predictive)
            services.policy.adopt(policy, rows)
        _, found = shown(services, further, pooled=[True], node_lead_time_s=NODE_S)
        # Who takes over a past needs not know all that its neighbour knew of the present.
        assert np.abs(found[:, 0] - expected[:, 1]).max() <= (0 if way == "moved" else 4)
    assert expected[:, 1].any()


def test_what_is_remembered_of_a_service_on_a_pool_tells_of_its_nodes_too() -> None:
    learnt = Services(POLICY, [{}, {}])
    shown(learnt, np.repeat(rhythm(1300)[:, None], 2, axis=1), pooled=[False, True], node_lead_time_s=NODE_S)
    policy = learnt.policy
    assert isinstance(policy, Predictive)
    without, text = policy.remember(0), policy.remember(1)
    assert "." not in without
    assert len(without) < len(text) < 8000
    fresh = Services(POLICY, [{}])
    assert isinstance(fresh.policy, Predictive)
    fresh.policy.recall(0, text)
    mine, theirs = fresh.policy._room.outlook, policy._room.outlook
    np.testing.assert_allclose(mine.mix.weights, theirs.mix.weights, rtol=1e-5, atol=1e-5)
    assert mine.spreads.seen[0] == theirs.spreads.seen[0]
    fresh.see(demand=20.0, queue=0.0, pooled=[True])
    assert fresh.policy.remember(0) != ""


def test_a_start_with_many_services_gives_rows_once_and_keeps_those_on_pools() -> None:
    learnt = Services(POLICY, [{}])
    shown(learnt, rhythm(1300)[:, None], pooled=[True], node_lead_time_s=NODE_S)
    assert isinstance(learnt.policy, Predictive)
    text, n = learnt.policy.remember(0), 40
    fresh = Services(POLICY, [{}] * n)
    assert isinstance(fresh.policy, Predictive)
    room = fresh.policy._room
    fresh.policy.recall(7, text)
    rows = room.rows
    for row in (3, 39):
        fresh.policy.recall(row, text)
        assert room.rows is rows, "not once for each: each time costs as much as there are services"
    pooled = np.isin(np.arange(n), (3, 5, 39))
    fresh.see(demand=20.0, queue=0.0, pooled=pooled, node_lead_time_s=NODE_S)
    assert room.rows.tolist() == [3, 5, 39]
    taught = learnt.policy._room.outlook
    for place in (0, 2):
        np.testing.assert_allclose(room.outlook.mix.weights[place], taught.mix.weights[0], rtol=1e-5, atol=1e-5)
    assert (room.outlook.spreads.seen >= taught.spreads.seen[0]).tolist() == [True, False, True]
    # One that comes later, beside those that are there.
    fresh.policy.recall(5, text)
    assert room.rows.tolist() == [3, 5, 39]
    fresh.policy.recall(8, text)
    fresh.see(demand=20.0, queue=0.0, pooled=pooled | (np.arange(n) == 8), node_lead_time_s=NODE_S)
    assert room.rows.tolist() == [3, 5, 8, 39]
    assert (room.outlook.spreads.seen >= taught.spreads.seen[0]).all()
