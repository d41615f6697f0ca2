"""The closed loop, in both plants: replicas that don't do what the manifest says, and a controller that finds out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import Floats
from autoscaler.ports import Tick
from replay.run import run_replay
from replay.traces.series import CountSeries
from replay.verify import verify
from replay.world import World
from tests.replay.made import manifests, scenario, series

GIVEN_PER_S = 1.6
PLANTS = ["fluid", "requests"]


def day(hours: float, base_per_s: float = 10.0, from_h: float = 6.0, idle_below_per_s: float = 0.0) -> CountSeries:
    """Poisson counts of a day's wave, from that hour on: most at 14 h."""
    minutes = np.arange(int(hours * 60))
    rates = base_per_s * (1.4 + np.sin(2 * np.pi * (minutes / 60 + from_h - 8) / 24))
    rates[rates < idle_below_per_s] = 0.0
    return series(np.random.Generator(np.random.PCG64(1)).poisson(60 * rates))


class Watch:
    """Notes each tick: at_h, truth, told (requests/s of a replica), confidence."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rows: list[tuple[float, ...]] = []

    async def report(self, tick: Tick) -> None:
        plant = self._world.plant
        throughput = plant.settings.throughput
        truth = GIVEN_PER_S
        if throughput is not None:
            truth *= throughput.factor(plant.now_s) * throughput.mean_of(int(plant.life.ready[0]))
        confidence = tick.decisions.capacity_confidence
        self.rows.append(
            (
                plant.now_s / 3600,
                truth,
                float(tick.decisions.capacity_per_s[0]),
                float("nan") if confidence is None else float(confidence[0]),
            )
        )


@dataclass(frozen=True)
class Run:
    """A finished replay. Columns of its ticks (t,)."""

    score: dict[str, Any]
    at_h: Floats
    truth: Floats
    told: Floats
    confidence: Floats

    def error(self, from_h: float, to_h: float = np.inf) -> float:
        """The largest relative one in that time."""
        within = (self.at_h >= from_h) & (self.at_h <= to_h)
        return float(np.abs(self.told[within] / self.truth[within] - 1.0).max())


def run(trace: CountSeries, mode: str = "Learnt", records: Path | None = None, /, **settings: str) -> Run:
    watches: list[Watch] = []

    def watch(world: World) -> Watch:
        watches.append(Watch(world))
        return watches[0]

    found = run_replay(
        manifests(capacity__mode=mode), scenario(scale__mode="Factor", **settings), trace, watch=watch, records=records
    )
    return Run(found.score, *np.array(watches[0].rows).T)


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("factor", [0.6, 0.8])
def test_with_too_high_a_value_the_promise_is_kept_where_the_given_one_breaks_it(plant: str, factor: float) -> None:
    settings = {"plant": plant, "replicas__throughput": f"[{{factor: {factor}}}]", "warmup": "15m"}
    given, learnt = run(day(6), "Given", **settings), run(day(6), **settings)
    assert given.score["attained_ratio"] < 0.97
    assert learnt.score["attained_ratio"] >= 0.995
    assert learnt.error(0.5) < 0.1
    assert learnt.error(2.0) < 0.05
    assert learnt.confidence[0] == 0.0
    assert learnt.confidence[-1] > 0.95


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("factor", [1.3, 1.6])
def test_with_too_low_a_value_the_promise_costs_less(plant: str, factor: float) -> None:
    settings = {"plant": plant, "replicas__throughput": f"[{{factor: {factor}}}]", "warmup": "1h"}
    given, learnt = run(day(8), "Given", **settings), run(day(8), **settings)
    assert learnt.score["attained_ratio"] >= 0.995
    assert learnt.score["replica_hours"] < given.score["replica_hours"] * (1.0 - 0.7 * (1.0 - 1.0 / factor))
    assert learnt.error(3.0) < 0.06
    assert learnt.confidence[-1] > 0.95


@pytest.mark.parametrize("plant", PLANTS)
def test_a_right_value_costs_the_same_learnt_as_given(plant: str) -> None:
    given, learnt = run(day(6), "Given", plant=plant), run(day(6), plant=plant)
    assert learnt.score["replica_hours"] == pytest.approx(given.score["replica_hours"], rel=0.03)
    assert learnt.score["attained_ratio"] >= 0.995
    assert learnt.error(0.0) < 0.1
    assert learnt.error(0.5) < 0.03


@pytest.mark.parametrize("plant", PLANTS)
def test_requests_that_get_longer_over_hours_are_followed(plant: str) -> None:
    found = run(day(10), plant=plant, replicas__throughput="[{factor: 0.7, at: 2h, over: 6h}]")
    assert found.error(0.5) < 0.08
    assert found.error(9.5) < 0.04
    assert found.score["attained_ratio"] >= 0.995


@pytest.mark.parametrize("plant", PLANTS)
def test_a_slower_version_is_noticed_within_minutes(plant: str) -> None:
    found = run(day(5), plant=plant, replicas__throughput="[{factor: 0.6, at: 3h}]")
    assert found.error(3.25) < 0.1
    assert found.error(4.0) < 0.05
    dip = found.confidence[(found.at_h > 3.0) & (found.at_h < 3.3)].min()
    assert dip < found.confidence[found.at_h < 3.0][-1] - 0.1
    given = run(day(5), "Given", plant=plant, replicas__throughput="[{factor: 0.6, at: 3h}]")
    assert found.score["attained_ratio"] > given.score["attained_ratio"] + 0.1


@pytest.mark.parametrize("plant", PLANTS)
def test_a_faster_version_is_noticed_within_an_hour(plant: str) -> None:
    found = run(day(6), plant=plant, replicas__throughput="[{factor: 2.0, at: 3h}]")
    assert found.error(4.0) < 0.15
    assert found.error(5.0) < 0.05
    assert found.score["attained_ratio"] >= 0.995


def test_gpus_of_two_kinds_are_learnt_as_their_mean() -> None:
    found = run(day(8), replicas__mixed="[1.0, 0.5]")
    assert found.error(1.0) < 0.08
    assert found.score["attained_ratio"] >= 0.995


@pytest.mark.parametrize("window", ["15s", "60s"])
@pytest.mark.parametrize("plant", PLANTS)
def test_gaps_lies_and_losses_do_not_lead_astray(plant: str, window: str) -> None:
    faults = """[
      {kind: MetricsNaN, at: 1h, lasts: 20m, signals: [queue]},
      {kind: MetricsNaN, at: 90m, lasts: 1h, signals: [throughput]},
      {kind: ScrapeGap, at: 3h, lasts: 20m},
      {kind: MetricsLag, at: 4h, lasts: 30m, by: 45s},
      {kind: SpotLoss, at: 5h, share: 0.4},
      {kind: MetricsOutage, at: 6h, lasts: 20m},
      {kind: Surge, at: 7h, lasts: 15m, factor: 3},
      {kind: FailedStarts, at: 7h, lasts: 30m, share: 0.5},
      {kind: MetricsNaN, at: 8h, lasts: 1h, signals: [running]}
    ]"""
    found = run(day(9), plant=plant, metrics__window=window, replicas__throughput="[{factor: 0.7}]", faults=faults)
    assert found.error(0.75) < 0.08
    assert found.confidence[-1] > 0.95


@pytest.mark.parametrize("plant", PLANTS)
def test_idle_nights_lower_nothing(plant: str) -> None:
    found = run(day(36, base_per_s=5.0, idle_below_per_s=5.0), plant=plant, replicas__throughput="[{factor: 0.7}]")
    night = (found.at_h > 16.0) & (found.at_h < 24.25)
    assert (found.told[night] == found.told[night][0]).all()
    assert (found.confidence[night] == found.confidence[night][0]).all()
    assert found.error(16.0) < 0.05
    assert found.confidence[-1] > 0.95


@pytest.mark.parametrize("plant", PLANTS)
def test_a_small_service_takes_longer_and_gets_there(plant: str) -> None:
    found = run(day(20, base_per_s=0.6), plant=plant, replicas__throughput="[{factor: 0.6}]", replicas__initial="2")
    assert found.error(14.0) < 0.12
    assert found.confidence[-1] > 0.8
    assert found.score["attained_ratio"] >= 0.995


def test_the_records_of_a_learnt_capacity_run_again(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    first = run(day(2), "Learnt", file, replicas__throughput="[{factor: 0.6}]")
    verdict = verify([file])
    assert verdict.same
    assert verdict.ticks == 480
    again = run(day(2), replicas__throughput="[{factor: 0.6}]")
    assert again.told.tolist() == first.told.tolist()
