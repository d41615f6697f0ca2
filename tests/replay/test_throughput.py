"""Replicas that do something else than the manifest says: the scenario's keys, and what both plants make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import Fleet, Floats, SignalColumn
from autoscaler.errors import InvalidSetting, UsageError
from replay.optimum.problem import settings_of
from replay.plant.throughput import Throughput, throughput_of
from replay.scenario import Scenario
from replay.world import World, build_world
from tests.replay.made import scenario, specs


def made(text: str = "[]", mixed: str = "[]") -> Throughput:
    found = throughput_of(scenario(replicas__throughput=text, replicas__mixed=mixed).replicas)
    assert found is not None
    return found


def test_without_the_keys_replicas_do_what_the_manifest_says() -> None:
    assert throughput_of(scenario().replicas) is None


def test_factors_jump_and_drift() -> None:
    found = made("[{factor: 0.5, at: 1h}, {factor: 1.5, at: 2h, over: 2h}]")
    hours = [0.0, 0.99, 1.0, 1.99, 2.0, 3.0, 4.0, 9.0]
    assert [round(found.factor(int(3600 * hour)), 6) for hour in hours] == [1.0, 1.0, 0.5, 0.5, 0.5, 1.0, 1.5, 1.5]
    assert made("[{factor: 0.6}]").factor(0) == 0.6
    assert found.factors_at(np.array([0.0, 3599.5, 3600.0, 10800.0])).tolist() == [1.0, 1.0, 0.5, 1.0]


def test_it_moves_by_the_minute_whatever_the_steps_are() -> None:
    found = made("[{factor: 2.0, over: 1h}]")
    assert {found.factor(second) for second in range(600, 660)} == {found.factor(600)}


def test_mixed_replicas_take_turns() -> None:
    found = made(mixed="[1.0, 0.5, 0.3]")
    assert [round(found.mean_of(count) * count, 6) for count in range(1, 7)] == [1.0, 1.5, 1.8, 2.8, 3.3, 3.6]
    assert found.capacity_per_s(np.array([2.0, 1.0]), np.array([2.0, 0.0]), 0).tolist() == [1.5, 1.0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"replicas__throughput": "[{factor: 1, at: 1h, over: 1h}, {factor: 2, at: 90m}]"},
            "before the end of the change before it",
        ),
        ({"replicas__throughput": "[{factor: 0}]"}, "more than 0 to 1000"),
        ({"replicas__throughput": "[{at: 1h}]"}, "factor"),
        ({"replicas__mixed": "[1, 0.5]", "plant": "requests"}, "plant: fluid only"),
    ],
)
def test_what_can_not_be_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSetting) as fault:
        scenario(**settings)
    assert words in str(fault.value)


def test_the_optimum_is_of_what_the_manifest_says() -> None:
    with pytest.raises(UsageError, match="throughput"):
        settings_of(specs()[0], scenario(replicas__throughput="[{factor: 0.5}]"), 5.0)


def world(setting: Scenario, demand_per_s: float = 12.0, seconds: int = 3600) -> World:
    demand: Floats = np.full((1, seconds), demand_per_s)
    return build_world(specs(1), (), setting, demand)


async def signals(here: World, at_s: int, *names: str) -> dict[str, float]:
    here.plant.advance_to(at_s)
    fleet: Fleet = await here.cluster.observe(here.start_s + at_s)
    found: dict[str, SignalColumn] = dict(
        (await here.metrics.read(fleet, dict.fromkeys(names, (0,)), here.start_s + at_s, 5.0)).signals
    )
    return {name: float(column.values[0]) for name, column in found.items()}


PLANTS: list[dict[str, Any]] = [
    {"plant": "fluid"},
    {"plant": "requests", "requests__outputTokens": "{distribution: Fixed, mean: 200}"},
]


@pytest.mark.parametrize("plant", PLANTS, ids=["fluid", "requests"])
async def test_slower_replicas_finish_less_and_let_requests_wait(plant: dict[str, str]) -> None:
    """Ten replicas of 1.6 requests/s do 12 in a second, and at half their speed 8."""
    here = world(scenario(replicas__throughput="[{factor: 0.5, at: 20m}]", metrics__window="60s", **plant))
    before = await signals(here, 1185, "throughput", "queue", "running")
    assert before["throughput"] == pytest.approx(12.0, rel=0.1)
    assert before["queue"] < 10
    after = await signals(here, 2700, "throughput", "queue", "running")
    assert after["throughput"] == pytest.approx(8.0, rel=0.12)
    assert after["queue"] > 1500
    assert after["running"] == pytest.approx(320, abs=2)


async def test_mixed_replicas_do_their_mean_in_the_fluid() -> None:
    here = world(scenario(replicas__mixed="[1.0, 0.5]"), demand_per_s=14.0)
    found = await signals(here, 900, "throughput", "queue")
    assert found["throughput"] == pytest.approx(12.0, rel=0.01)
    assert found["queue"] > 1000
