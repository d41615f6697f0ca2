"""What replicas, nodes and metrics do in a replay and what goes wrong with them, from the scenario file, for either plant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from autoscaler.core.model import PoolSpec, Readings
from autoscaler.core.signals import SIGNALS, SignalState
from autoscaler.manifests import load_manifests
from replay.plugins import policy_ref
from replay.run import run_replay
from replay.scenario import Scenario, load_scenario
from replay.world import World, build_world
from tests.replay.made import STANDARD, specs, wavy, write

pytestmark = pytest.mark.parametrize("plant", ["fluid", "requests"])
KNOWN, UNKNOWN = int(SignalState.KNOWN), int(SignalState.UNKNOWN)


@pytest.fixture
def scene(tmp_path: Path, plant: str) -> Any:
    """Makes a scenario from a file's text."""

    def made(text: str = "") -> Scenario:
        return load_scenario(write(tmp_path / "scenario.yaml", f"plant: {plant}\nnoise: false\n{text}"))

    return made


def world(setting: Scenario, services: Any = None, pools: Any = (), demand_per_s: float = 8.0) -> World:
    services = services or specs(1)
    return build_world(services, pools, setting, np.full((len(services), 7200), demand_per_s))


def ready(here: World, at_s: int, row: int = 0) -> int:
    here.plant.advance_to(at_s)
    return int(here.plant.life.ready[row])


async def seen(here: World, at_s: int) -> Readings:
    here.plant.advance_to(at_s)
    fleet = await here.cluster.observe(here.start_s + at_s)
    return await here.metrics.read(fleet, {name: [0] for name in SIGNALS}, here.start_s + at_s, 1.0)


def states(readings: Readings) -> set[int]:
    return {int(state) for column in readings.signals.values() for state in column.state}


def test_replicas_start_as_long_as_a_live_cluster_s_did(scene: Any) -> None:
    # A list as a live object's status.leadTime.recent holds it.
    here = world(scene("replicas: {initial: 2, startMeasuredSeconds: [60.2, 90, 200]}"))
    here.plant.life.set_replicas(0, 8, 0)
    steps = {at_s for at_s in range(1, 301) if ready(here, at_s - 1) != ready(here, at_s)}
    assert len(steps) > 1
    assert steps <= {61, 90, 200}
    assert ready(here, 300) == 8
    assert here.plant.life.lead_time_s[0] in (90.0, 200.0)


def test_starts_spread_around_their_mean(scene: Any) -> None:
    here = world(scene("replicas: {initial: 0, startSpread: 0.5}\nnodes: {start: 0s}"))
    here.plant.life.set_replicas(0, 400, 0)
    came = np.diff([ready(here, at_s) for at_s in range(901)])
    mean_s = float(came @ np.arange(1, 901)) / 400
    assert came.sum() == 400
    assert mean_s == pytest.approx(120, rel=0.08)
    assert np.sqrt(float(came @ (np.arange(1, 901) - mean_s) ** 2) / 400) == pytest.approx(60, rel=0.2)


def test_a_replica_without_a_slot_waits_for_a_node(scene: Any) -> None:
    here = world(scene("nodes: {start: 100s, slots: 5}"))
    here.plant.life.set_replicas(0, 12, 0)
    assert (ready(here, 219), here.plant.life.nodes(0)) == (10, 3)
    assert ready(here, 220) == 12


def test_lost_spot_nodes_take_what_runs_there(scene: Any) -> None:
    here = world(scene("replicas: {initial: 16}\nfaults: [{kind: SpotLoss, at: 10m, share: 0.5}]"), demand_per_s=20.0)
    assert ready(here, 599) == 16
    assert ready(here, 600) == 8
    assert here.plant.life.starting[0] == 8
    assert ready(here, 600 + 180 + 120) == 16
    assert here.plant.queues()[0] > 0
    assert here.plant.replica_s()[0] == 16 * 900
    assert here.plant.node_s()[0] == 2 * 900
    (verdict,) = here.plant.verdicts()
    assert verdict.requests == pytest.approx(20 * 900)
    assert verdict.attained_ratio < 0.9


def test_starts_that_fail_begin_anew_and_slow_ones_take_longer(scene: Any) -> None:
    failing = world(scene("faults: [{kind: FailedStarts, at: 0s, lasts: 200s, share: 1}]"))
    failing.plant.life.set_replicas(0, 12, 0)
    assert ready(failing, 239) == 10
    assert ready(failing, 240) == 12
    slow = world(scene("faults: [{kind: SlowStarts, at: 0s, lasts: 10m, factor: 2.5, service: default/service-0}]"))
    slow.plant.life.set_replicas(0, 12, 0)
    assert (ready(slow, 299), ready(slow, 300)) == (10, 12)
    assert slow.plant.life.lead_time_s[0] == 300.0


def test_no_node_is_to_be_had_for_a_while(scene: Any) -> None:
    here = world(scene("faults: [{kind: ScarceNodes, at: 0s, lasts: 1000s}]"))
    here.plant.life.set_replicas(0, 20, 10)
    assert (ready(here, 1000), here.plant.life.nodes(0)) == (16, 2)
    assert ready(here, 1005 + 180 + 120) == 20


def test_scarce_slots_of_a_shared_pool_go_by_priority(scene: Any) -> None:
    one, two = (replace(spec, pool="shared") for spec in specs(2))
    shared = PoolSpec(name="shared", min_nodes=0, max_nodes=2, accelerators_per_node=8)
    here = world(scene("replicas: {initial: 4}"), (one, replace(two, priority=10)), (shared,), demand_per_s=2.0)
    here.plant.life.set_replicas(0, 12, 0)
    here.plant.life.set_replicas(1, 10, 0)
    assert (ready(here, 900, 0), ready(here, 900, 1)) == (6, 10)
    assert here.plant.node_s().tolist() == [2 * 900]


def test_a_model_is_swapped_faster_than_a_replica_starts(scene: Any) -> None:
    services = tuple(replace(spec, pool="shared") for spec in specs(2))
    shared = PoolSpec(name="shared", min_nodes=1, max_nodes=1, accelerators_per_node=8)
    here = world(scene("replicas: {initial: 4, swap: 25s, grace: 0s, drain: 0s}"), services, (shared,), demand_per_s=1.0)
    here.plant.life.set_replicas(0, 1, 100)
    here.plant.advance_to(101)
    here.plant.life.set_replicas(1, 7, 101)
    assert (ready(here, 125, 1), ready(here, 126, 1)) == (4, 7)


async def test_metrics_lag_are_nan_old_or_dead(scene: Any) -> None:
    here = world(
        scene(
            """
faults:
  - {kind: MetricsLag, at: 10m, lasts: 2m, by: 30s}
  - {kind: MetricsNaN, at: 20m, lasts: 2m, signals: [demand, queue]}
  - {kind: ScrapeGap, at: 30m, lasts: 3m}
  - {kind: MetricsOutage, at: 40m, lasts: 2m}
"""
        )
    )
    assert (await seen(here, 585)).signals["demand"].age_s[0] == 15.0
    late = await seen(here, 660)
    assert (late.signals["demand"].age_s[0], late.signals["demand"].values[0]) == (45.0, 8.0)
    struck = await seen(here, 1260)
    assert [int(struck.signals[name].state[0]) for name in ("demand", "queue", "running")] == [UNKNOWN, UNKNOWN, KNOWN]
    assert np.isnan(struck.signals["demand"].values[0])
    assert (await seen(here, 1830)).signals["demand"].age_s[0] == 60.0
    assert states(await seen(here, 1860)) == {UNKNOWN}
    dead = await seen(here, 2415)
    assert states(dead) == {UNKNOWN}
    assert dead.why("demand", 0) == "the metric source does not answer"
    assert states(await seen(here, 2550)) == {KNOWN}


def test_a_surge_of_one_service(scene: Any) -> None:
    here = world(scene("faults: [{kind: Surge, at: 10m, lasts: 10m, factor: 2, service: default/service-1}]"), specs(2))
    here.plant.advance_to(1800)
    assert [verdict.requests for verdict in here.plant.verdicts()] == pytest.approx([8 * 1800, 8 * 2400], abs=1)


def test_what_goes_wrong_is_seeded(scene: Any) -> None:
    faults = """
replicas: {startSpread: 0.4}
faults: [{kind: FailedStarts, at: 0s, lasts: 2h, share: 0.5}, {kind: SpotLoss, at: 1h, share: 0.4}, {kind: MetricsNaN, at: 30m}]
"""
    manifests = load_manifests([STANDARD / "manifest.yaml"])

    def score(seed: int) -> bytes:
        found = run_replay(manifests, scene(f"seed: {seed}\n{faults}"), wavy(120), policy=policy_ref("reactive")).score
        return orjson.dumps({**found, "wall_s": 0, "services": None})

    first = score(1)
    assert score(1) == first
    assert score(2) != first
