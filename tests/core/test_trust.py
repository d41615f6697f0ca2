"""Forecasts of any policy say whether they are trusted; of several for one service the worst counts, and nonsense costs no decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import Forecast, Observation, Parts, PolicyRef, Recommendation
from autoscaler.core.policy import PolicyType, Stateless
from autoscaler.core.trust import trust_of
from autoscaler.ports import Tick
from autoscaler.told_forecasts import told_forecasts, with_words
from tests.ticks import MadeCluster, MadeMetrics, a_spec

Made = Callable[[Observation], dict[str, Any]]


class Stranger(Stateless):
    """Five replicas, and a forecast with what `made` says."""

    def __init__(self, params: Any, made: Made) -> None:
        super().__init__(params)
        self._made = made

    def recommend(self, observation: Observation) -> Recommendation:
        n = len(observation)
        given: dict[str, Any] = {
            "made_at_s": observation.at_s,
            "times_s": np.array([observation.at_s + 60.0]),
            "quantiles": np.array([0.5, 0.9]),
            "values": np.tile(np.array([[8.0], [10.0]]), (n, 1, 1)),
            "unit": "requests/s",
        }
        forecast = Forecast(**{**given, **self._made(observation)})
        return Recommendation(replicas=np.full(n, 5.0), forecast=forecast, why=lambda _row: "five")


def a_policy(name: str, made: Made) -> PolicyType:
    return PolicyType(name=name, summary="five", parameters=(), make=lambda params, _rng: _sized(params, made), source="")


def _sized(params: Any, made: Made) -> Stranger:
    return Stranger(params, made)


async def ticked(policies: dict[str, Made], *named: tuple[str, ...]) -> Tick:
    """One tick of a service for each tuple of policies' names."""
    specs = [a_spec(f"s{row}", policies=tuple(PolicyRef(name=name) for name in names)) for row, names in enumerate(named)]
    controller = Controller(
        clock=ManualClock(),
        metrics=MadeMetrics({}),
        cluster=MadeCluster(specs),
        policies={name: a_policy(name, made) for name, made in policies.items()},
        waits_for_past=True,
    )
    return await controller.tick()


def scored(trusted: bool, missed: float) -> Made:
    return lambda observation: {
        "trusted": np.full(len(observation), trusted),
        "missed_ratio": np.full(len(observation), missed),
        "claimed_ratio": 0.1,
    }


async def test_the_least_trusted_forecast_of_a_service_counts() -> None:
    policies = {"good": scored(True, 0.2), "bad": scored(False, 0.1), "worse": scored(False, 0.4), "mute": lambda _: {}}
    tick = await ticked(policies, ("good",), ("bad", "good"), ("good", "worse", "bad"), ("mute",), ("mute", "good"))
    trust = trust_of(tick.decisions)
    assert trust is not None
    np.testing.assert_array_equal(trust.trusted, [1.0, 0.0, 0.0, np.nan, 1.0])
    np.testing.assert_array_equal(trust.missed_ratio, [0.2, 0.1, 0.4, np.nan, 0.2])
    np.testing.assert_array_equal(trust.claimed_ratio, [0.1, 0.1, 0.1, np.nan, 0.1])
    assert tick.decisions.desired.tolist() == [5] * 5


async def test_where_nobody_scores_a_forecast_nothing_is_said_of_trust() -> None:
    tick = await ticked({"mute": lambda _: {}}, ("mute",))
    assert trust_of(tick.decisions) is None
    (told,) = told_forecasts(tick.decisions, 0)
    assert "trusted" not in told
    assert with_words(told, 0.0)["words"] == [
        "in 60 s (00:01:00Z) demand will need capacity for 8/s as likely as not, at most 10/s with 90% probability"
    ]


async def test_what_a_forecast_is_made_of_is_told_and_a_fault_in_it_costs_nothing() -> None:
    def says(_row: int) -> Parts:
        return Parts(now=10.0, factors={"the moon": 0.8, "the tide": 1.0})

    def fails(_row: int) -> Parts:
        raise RuntimeError("new moon")

    def odd(_row: int) -> Parts:
        return Parts(now=10.0, factors={"the moon": None})  # type: ignore[dict-item]

    told_of = {"moon": lambda _: {"parts": says}, "none": lambda _: {"parts": fails}, "odd": lambda _: {"parts": odd}}
    tick = await ticked(told_of, ("moon",), ("none",), ("odd",))
    (told,) = told_forecasts(tick.decisions, 0)
    assert (told["now"], told["factors"]) == (10.0, {"the moon": 0.8, "the tide": 1.0})
    assert "it starts from 10 now, moved by the moon −20.0%, the tide +0.0%" in with_words(told, 0.0)["words"]
    for row in (1, 2):
        (silent,) = told_forecasts(tick.decisions, row)
        assert "factors" not in silent


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"values": np.ones((2, 1))}, "values has shape (2, 1)"),
        ({"trusted": np.ones(1)}, "trusted is float64"),
        ({"trusted": np.ones(3, dtype=np.bool_)}, "bool of (1,) is needed"),
        ({"missed_ratio": np.ones(2)}, "missed_ratio has shape (2,)"),
        ({"times_s": np.ones((4, 1))}, "times_s has shape (4, 1)"),
        ({"trusted": [True]}, "trusted is of type list; an array of bool is needed"),
        ({"quantiles": [0.5]}, "quantiles is of type list; an array of numbers is needed"),
        ({"values": np.full((1, 1, 1), None)}, "values is an array of object"),
        ({"missed_ratio": np.array([None])}, "missed_ratio is an array of object"),
        ({"made_at_s": None}, "made_at_s is of type NoneType; a number is needed"),
        ({"claimed_ratio": "0.05"}, "claimed_ratio is of type str"),
        ({"unit": None}, "unit is of type NoneType; a text is needed"),
    ],
)
async def test_a_misshapen_forecast_is_named_and_costs_no_decision(wrong: dict[str, Any], words: str) -> None:
    tick = await ticked({"odd": lambda _: wrong}, ("odd",))
    assert tick.decisions.forecasts == ()
    assert tick.decisions.desired.tolist() == [5]
    assert not tick.decisions.partial.any()
    (problem,) = tick.problems
    assert "policy 'odd' gave a forecast that can't be used" in problem
    assert words in problem
