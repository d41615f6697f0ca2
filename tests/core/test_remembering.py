"""What a policy remembers of a service: in its memory, back at the first sight, and not replaced by a past that is learnt afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import Memory, Observation, PolicyMemory, PolicyRef, Recommendation
from autoscaler.core.policy import LONGEST_TEXT, Parameter, Params, PolicyType, Saved, Stateless
from tests.ticks import MadeCluster, MadeMetrics, a_spec


class Counting(Stateless):
    """Asks for as many replicas as it has seen moments, which only the memory brings over a restart."""

    text = ""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.seen = np.zeros(len(params["base"]))

    def observe(self, observation: Observation) -> None:
        self.seen = self.seen + 1.0

    def recommend(self, observation: Observation) -> Recommendation:
        return Recommendation(replicas=self.seen + self.params["base"], why=lambda row: f"saw {self.seen[row]:.0f}")

    def rearrange(self, rows: Any, params: Params) -> None:
        self.params = params
        self.seen = np.where(rows >= 0, self.seen[rows] if len(self.seen) else 0.0, 0.0)

    def adopt(self, other: Counting, rows: Any) -> None:
        self.seen = np.where(rows >= 0, other.seen[rows], self.seen)

    def save(self) -> Saved:
        return {"seen": self.seen.tolist()}

    def remember(self, row: int) -> str:
        return f"{self.seen[row]:.0f}" + self.text

    def recall(self, row: int, text: str) -> None:
        self.seen[row] = float(text)


class Chatty(Counting):
    text = "0" * LONGEST_TEXT


class Failing(Counting):
    def remember(self, row: int) -> str:
        raise RuntimeError("amnesia")

    def recall(self, row: int, text: str) -> None:
        raise RuntimeError("amnesia")


class Silent(Counting):
    def remember(self, row: int) -> str:
        return None  # type: ignore[return-value]


NOW_S = 1_750_000_000.0


def memory_of(text: str) -> Memory:
    """Of a minute and more ago."""
    return Memory(learnt={"counting": PolicyMemory(at_s=NOW_S - 75.0, text=text)})


def a_policy(kind: type[Counting]) -> PolicyType:
    return PolicyType(
        name="counting",
        summary="counts",
        parameters=(Parameter(name="base", kind="float", default=0.0, description="added"),),
        make=lambda params, _rng: kind(params),
        signals=lambda _params: ("demand",),
        lookback_s=300.0,
        counts_starting=True,
    )


def a_controller(
    kind: type[Counting], names: Sequence[str], memories: Mapping[str, Memory], past: bool = False
) -> tuple[Controller, MadeCluster, ManualClock]:
    metrics = MadeMetrics({"demand": lambda _at_s, _row: 1.0})
    metrics.past = metrics.signals if past else None
    cluster = MadeCluster([a_spec(name, policies=(PolicyRef(name="counting"),)) for name in names], current=1)
    cluster.changes = {"memories": memories}
    clock = ManualClock(NOW_S)
    controller = Controller(
        clock=clock, metrics=metrics, cluster=cluster, policies={"counting": a_policy(kind)}, waits_for_past=True
    )
    return controller, cluster, clock


async def test_a_memory_comes_back_at_the_first_sight_and_outlasts_the_past() -> None:
    memories = {"team/a": memory_of("70")}
    for past, known, fresh in ((False, 71, 1), (True, 75, 21)):
        controller, _, clock = a_controller(Counting, ["a", "b"], memories, past=past)
        tick = await controller.tick()
        assert tick.decisions.recommended.tolist() == [float(known), float(fresh)], "four moments of the past came after it"
        assert tick.memory(0).learnt == {"counting": PolicyMemory(at_s=clock.now_s(), text=str(known))}


async def test_under_the_same_name_another_target_takes_nothing_back() -> None:
    controller, cluster, clock = a_controller(Counting, ["a"], {"team/a": memory_of("70")})
    await controller.tick()
    cluster.specs = (replace(cluster.specs[0], target="Deployment/other"),)
    cluster.revision += 1
    clock.advance_to(clock.now_s() + 15.0)
    assert (await controller.tick()).decisions.recommended.tolist() == [1.0]


async def test_a_text_that_is_too_long_is_not_kept() -> None:
    controller, _, _ = a_controller(Chatty, ["a"], {})
    assert (await controller.tick()).memory(0).learnt == {}


@pytest.mark.parametrize("kind", [Failing, Silent])
async def test_a_policy_that_fails_at_it_decides_all_the_same(kind: type[Counting]) -> None:
    controller, _, _ = a_controller(kind, ["a"], {"team/a": memory_of("70")}, past=True)
    tick = await controller.tick()
    assert tick.decisions.recommended.tolist() == [21.0]
    assert tick.memory(0).learnt == {}
