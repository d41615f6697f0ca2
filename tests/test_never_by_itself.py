"""Neither a restart nor blindness scales a service down, under the rules that a manifest without a `behavior` has, as the shipped examples are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import PolicyRef, ScalingSpec
from autoscaler.manifests import load_manifests
from autoscaler.plugins import load_policies
from replay.world import services
from tests.ticks import MadeCluster, MadeMetrics, a_spec

EXAMPLE = Path(__file__).parent.parent / "deploy" / "examples" / "vllm-deployment.yaml"
START_S = 1_750_000_000.0
WINDOW_S, INTERVAL_S = 300.0, 15.0
NEEDED, CURRENT = 21, 25
"""What `reactive` wants at 30 requests/s; what runs at a restart."""
Series = Callable[[float, int], float]


def a_service(**params: float) -> ScalingSpec:
    """A service with the example's rules, of a size of its own."""
    example = services(load_manifests([EXAMPLE]))[0]
    return a_spec(
        "llama",
        policies=(PolicyRef(name="reactive", params=params),),
        scale_up=example.scale_up,
        scale_down=example.scale_down,
        fallback=example.fallback,
    )


async def counts(
    demand: Series, queue: Series, ticks: int, past: Mapping[str, Series] | None = None, **params: float
) -> list[int]:
    """What is decided at each tick, from START_S on."""
    clock, metrics = ManualClock(START_S), MadeMetrics({"demand": demand, "queue": queue})
    metrics.past = metrics.signals if past is None else past
    controller = Controller(
        clock=clock,
        metrics=metrics,
        cluster=MadeCluster([a_service(**params)], current=CURRENT),
        policies=load_policies(),
        waits_for_past=True,
    )
    found = []
    for _ in range(ticks):
        found.append(int((await controller.tick()).decisions.desired[0]))
        clock.advance_to(clock.now_s() + INTERVAL_S)
    return found


def idle(_at_s: float, _row: int) -> float:
    return 0.0


def quiet(_at_s: float, _row: int) -> float:
    return 3.0


async def test_the_first_low_samples_after_an_outage_act_no_sooner_than_a_window_later() -> None:
    blind_s, back_s = START_S + 600, START_S + 1300

    def demand(at_s: float, _row: int) -> float:
        return 30.0 if at_s < blind_s else (math.nan if at_s < back_s else 3.0)

    def queue(at_s: float, _row: int) -> float:
        return math.nan if blind_s <= at_s < back_s else 0.0

    found = await counts(demand, queue, 120)
    first_seeing = math.ceil((back_s - START_S) / INTERVAL_S)
    kept = found[int(600 / INTERVAL_S) - 1 : first_seeing + int(WINDOW_S / INTERVAL_S) - 1]
    assert set(kept) == {NEEDED}
    assert found[-1] < NEEDED  # it does come down in the end


async def test_rates_that_read_low_while_prometheus_fills_up_again_cost_no_replica() -> None:
    blind_s, back_s = START_S + 600, START_S + 1300

    def demand(at_s: float, _row: int) -> float:
        if blind_s <= at_s < back_s:
            return math.nan
        return 3.0 if back_s <= at_s < back_s + 30 else 30.0

    def queue(at_s: float, _row: int) -> float:
        return math.nan if blind_s <= at_s < back_s else 0.0

    found = await counts(demand, queue, 120)
    assert min(found) == NEEDED


PASTS: dict[str, tuple[dict[str, Series], dict[str, float]]] = {
    "a young Prometheus": (
        {
            "demand": lambda t, _r: 3.0 if t > START_S - 20 else math.nan,
            "queue": lambda t, _r: 0.0 if t > START_S - 20 else math.nan,
        },
        {},
    ),
    "only one of two signals": ({"demand": lambda _t, _r: math.nan, "queue": idle}, {}),
    "a hold longer than the past that is read": (
        {"demand": lambda t, _r: 30.0 if t < START_S - 400 else 3.0, "queue": idle},
        {"hold_s": 1800.0},
    ),
    "an outage until just before": (
        {
            "demand": lambda t, _r: 30.0 if t < START_S - 700 else (math.nan if t < START_S - 15 else 3.0),
            "queue": lambda t, _r: math.nan if START_S - 700 <= t < START_S - 15 else 0.0,
        },
        {},
    ),
    "none at all": ({"demand": lambda _t, _r: math.nan, "queue": lambda _t, _r: math.nan}, {}),
}


@pytest.mark.parametrize("known", PASTS, ids=lambda known: known.replace(" ", "-"))
async def test_a_restart_keeps_what_runs_for_a_whole_window(known: str) -> None:
    past, params = PASTS[known]
    found = await counts(quiet, idle, 60, past=past, **params)
    assert set(found[: int(WINDOW_S / INTERVAL_S)]) == {CURRENT}
    assert found[-1] < CURRENT
