"""A policy with a loop of its own runs in it, alone; beside others all run at the scenario's interval, as in a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler.core.model import Fleet, PolicyRef
from autoscaler.errors import UsageError
from autoscaler.manifests import load_manifests
from policies.kpa import POLICY as KPA
from policies.reactive import POLICY as REACTIVE
from replay.compare import TraceSetting, compare
from replay.plugins import policy_ref
from replay.rhythm import in_their_rhythm
from replay.run import run_replay
from replay.verify import verify
from replay.world import build_world
from tests.replay.made import STANDARD, manifests, scenario, specs, wavy, write


def test_kpa_alone_decides_every_two_seconds_on_samples_of_every_second() -> None:
    own = in_their_rhythm(scenario(), [KPA])
    assert (own.interval, own.metrics.period, own.metrics.window, own.metrics.samples, own.metrics.late) == (
        "2s",
        "1s",
        "1s",
        2,
        0,
    )


@pytest.mark.parametrize("loops", ["Own", "Controller"])
def test_beside_another_policy_or_if_told_so_it_decides_when_the_controller_does(loops: str) -> None:
    given = scenario(loops=loops)
    policies = [KPA, REACTIVE] if loops == "Own" else [KPA]
    assert in_their_rhythm(given, policies) is given


@pytest.mark.parametrize(("interval_s", "sample_s"), [(0.5, 0.5), (3.0, 2.0), (2.5, None)])
def test_a_loop_that_steps_of_a_second_cannot_play_is_refused(interval_s: float, sample_s: float | None) -> None:
    with pytest.raises(UsageError, match=r"policy kpa: its own loop .* scenario\.loops=Controller"):
        in_their_rhythm(scenario(), [replace(KPA, interval_s=interval_s, sample_s=sample_s)])


async def test_a_decision_sees_the_mean_of_its_samples() -> None:
    setting = in_their_rhythm(scenario(replicas__initial="1"), [KPA])
    demand = np.zeros((1, 60))
    demand[0, 10:12] = 5.0, 1.0
    world = build_world(specs(), (), setting, demand)
    plant, rates = world.plant, []
    for at_s in range(0, 16, 2):
        plant.advance_to(at_s)
        fleet: Fleet = await world.cluster.observe(world.start_s + at_s)
        readings = await world.metrics.read(fleet, {"demand": [0]}, world.start_s + at_s, 1.0)
        rates.append(float(readings.signals["demand"].values[0]))
    assert rates[5:8] == [0.0, 3.0, 0.0]


def test_a_replay_and_a_comparison_give_it_its_loop(tmp_path: Path) -> None:
    trace = wavy(60)
    alone = run_replay(manifests(), scenario(warmup="600s"), trace, policy=policy_ref("kpa"))
    assert alone.score["ticks"] == 1800
    assert alone.score["actions"] > 0
    file = write(
        tmp_path / "wavy.csv", "offset_s,requests\n" + "".join(f"{60 * i},{count}\n" for i, count in enumerate(trace.counts))
    )
    setting = TraceSetting(path=file, label="wavy", scenario=scenario(warmup="600s"))
    compared = compare(manifests(), [setting], [policy_ref("fixed:replicas=30"), policy_ref("kpa")])
    assert [score["ticks"] for score in compared.scores] == [240, 1800]
    assert compared.scores[1]["replica_hours"] == alone.score["replica_hours"]


def test_several_services_share_its_loop_and_with_another_policy_beside_it_all_are_the_controller_s(tmp_path: Path) -> None:
    text = (STANDARD / "manifest.yaml").read_text(encoding="utf-8")
    other = text.replace("name: standard", "name: other")
    trace = wavy(30)
    services = load_manifests([write(tmp_path / "two.yaml", f"{text}---\n{other}")])
    together = run_replay(services, scenario(), trace, policy=policy_ref("kpa"))
    first, second = together.score["services"].values()
    assert together.score["ticks"] == 900
    assert first["replica_hours"] == second["replica_hours"] > 0
    with_kpa = other.replace("- name: reactive", "- name: kpa")
    mixed = run_replay(load_manifests([write(tmp_path / "mixed.yaml", f"{text}---\n{with_kpa}")]), scenario(), trace)
    assert mixed.score["ticks"] == 120
    assert [score["policy"] for score in mixed.score["services"].values()] == ["reactive", "kpa"]


def test_its_records_run_again_to_the_same_decisions(tmp_path: Path) -> None:
    run_replay(manifests(), scenario(), wavy(10), policy=PolicyRef(name="kpa"), records=tmp_path / "records.jsonl")
    verdict = verify([tmp_path / "records.jsonl"])
    assert (verdict.ticks, verdict.differences) == (300, [])
