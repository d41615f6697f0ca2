"""Rolling updates in the plant: what is there while replicas are replaced, which version each is of, and what policies are told of it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import Fleet, PolicyRef
from autoscaler.errors import InvalidSetting, UsageError
from replay.plant.faults import Fault
from replay.plant.lifecycle import Lifecycle
from replay.plant.ports import PlantCluster
from replay.plant.updates import Update, Updates
from replay.scenario import load_scenario
from replay.world import build_world
from tests.replay.made import lifecycle, scenario, specs
from tests.replay.test_lifecycle_faults import live


def updated(at_s: int = 0, surge: float = 0.25, unavailable: float = 0.0, version: str = "v2", **more: Any) -> Update:
    return Update(at_s=at_s, version=version, surge_ratio=surge, unavailable_ratio=unavailable, **more)


def rolling(replicas: int, *updates: Update) -> Lifecycle:
    life = lifecycle(slots=64)
    life.begin_with(0, replicas)
    life.updates = Updates(life, updates)
    return life


def versions(life: Lifecycle) -> dict[str, float]:
    assert life.updates is not None
    return dict(life.updates.versions()[0])


def test_replicas_are_replaced_within_surge_and_unavailability() -> None:
    life = rolling(8, updated(surge=0.25, unavailable=0.25))
    seen = []
    for at_s in range(700):
        live(life, at_s, at_s)
        ready, starting = int(life.ready[0]), int(life.starting[0])
        seen.append((ready, starting))
        assert ready >= 6
        assert ready + starting <= 10
    assert seen[0] == (6, 4)
    assert versions(life) == {"v2": 1.0}
    assert (int(life.ready[0]), int(life.starting[0]), life.current[0]) == (8, 0, 8)


def test_shares_are_rounded_as_a_deployment_rounds_them_and_both_zero_still_go_on() -> None:
    life = rolling(5, updated(surge=0.25, unavailable=0.25))
    live(life, 0, 0)
    assert (int(life.ready[0]), int(life.starting[0])) == (4, 3)
    life = rolling(3, updated(surge=0.0, unavailable=0.1))
    live(life, 0, 400)
    assert versions(life) == {"v2": 1.0}


def test_a_rollback_keeps_the_old_replicas_that_are_still_ready() -> None:
    life = rolling(8, updated(0, 0.5), updated(130, 0.5, version="v1"))
    live(life, 0, 125)
    assert versions(life) == {"v1": 0.5, "v2": 0.5}
    live(life, 126, 400)
    assert versions(life) == {"v1": 1.0}
    assert life.ready[0] == 8


@given(
    replicas=st.integers(1, 12),
    surge=st.floats(0, 1),
    unavailable=st.floats(0, 1),
    steps=st.lists(st.tuples(st.integers(1, 90), st.integers(0, 14)), max_size=8),
    again_s=st.integers(1, 400),
)
def test_scaling_in_the_middle_of_updates_ends_with_the_count_of_the_last_version(
    replicas: int, surge: float, unavailable: float, steps: list[tuple[int, int]], again_s: int
) -> None:
    life = rolling(replicas, updated(10, surge, unavailable), updated(again_s, surge, unavailable, "v3"))
    at_s = 0
    for after_s, count in steps:
        live(life, at_s, at_s + after_s)
        at_s += after_s
        life.set_replicas(0, count, at_s)
        assert life.ready[0] + life.starting[0] <= count + math.ceil(surge * count)
    assert life.updates is not None
    last = int(life.current[0])
    live(life, at_s, at_s + 5000)
    assert (int(life.ready[0]), int(life.starting[0]), int(life.draining[0])) == (last, 0, 0)
    assert versions(life) == ({"v3" if again_s >= 10 else "v2": 1.0} if last else {})
    assert life.pools[0].held == last


def test_lost_nodes_are_no_way_round_an_update() -> None:
    life = rolling(8, updated(0, 0.25))
    life.lose_nodes(Fault(kind="SpotLoss", from_s=150, until_s=200, share=1.0, row=0))
    live(life, 0, 149)
    assert set(versions(life)) == {"v1", "v2"}
    live(life, 150, 900)
    assert versions(life) == {"v2": 1.0}
    assert life.ready[0] == 8


def fleet_of(life: Lifecycle, plant: Any, world_specs: Any) -> Fleet:
    return asyncio.run(PlantCluster(plant, world_specs, (), 0.0).observe(0.0))


def test_the_controller_is_told_what_it_would_be_told_in_a_cluster() -> None:
    made = specs(2, PolicyRef(name="fixed", params={"replicas": 10}))
    setting = scenario(updates='[{at: 60s, maxSurge: 50%, maxUnavailable: 0%, service: "default/service-1", factor: 0.5}]')
    world = build_world(made, (), setting, np.full((2, 1800), 5.0))
    plant = world.plant
    plant.advance_to(30)
    fleet = fleet_of(plant.life, plant, made)
    assert (fleet.surge, fleet.versions) == (None, ((("v1", 1.0),), (("v1", 1.0),)))
    plant.advance_to(90)
    fleet = fleet_of(plant.life, plant, made)
    assert fleet.surge is not None
    assert (fleet.surge.tolist(), fleet.ready.tolist(), fleet.starting.tolist()) == ([0, 5], [10, 10], [0, 0])
    plant.advance_to(1799)
    fleet = fleet_of(plant.life, plant, made)
    assert fleet.versions == ((("v1", 1.0),), (("v2", 1.0),))
    assert plant.life.updates is not None
    assert plant.life.updates.factors().tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{at: 1h, service: default/other}]", "service 'default/other' is not there"),
        ("[{at: 1h, maxSurge: 120%}]", "updates"),
        ("[{maxSurge: 20%}]", "updates"),
    ],
)
def test_updates_that_can_not_be_are_refused(text: str, words: str) -> None:
    with pytest.raises((InvalidSetting, UsageError), match=words):
        build_world(specs(), (), scenario(updates=text), np.ones((1, 600)))


def test_the_requests_plant_updates_too_but_knows_no_factor() -> None:
    with pytest.raises(InvalidSetting, match="is allowed with plant: fluid only"):
        load_scenario(None, {"plant": "requests", "updates": "[{at: 1m, factor: 0.5}]"})
