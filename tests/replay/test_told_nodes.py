"""What a controller is told of nodes in a replay, and what it makes of it, with its own code: reckoned by hand, tick by tick."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from autoscaler.core.shortages import FIRST_PAUSE_S, LONGEST_PAUSE_S
from autoscaler.errors import UsageError
from autoscaler.manifests import load_manifests
from replay.run import run_replay
from replay.scenario import load_scenario
from replay.verify import verify
from tests.replay.made import series, write

START_S = 1704067200
MANIFEST = """
apiVersion: inference-autoscaler.io/v1alpha1
kind: AcceleratorPool
metadata: {name: spot}
spec:
  maxNodes: 9
  waitingCost: COST
  backend: {type: Scale, scale: {apiVersion: karpenter.sh/v1, kind: NodePool, name: spot}}
---
apiVersion: inference-autoscaler.io/v1alpha1
kind: InferenceAutoscaler
metadata: {namespace: team, name: chat}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
  mode: Active
  maxReplicas: 64
  nodePool: spot
  objective: {signal: queue_wait_s, target: 5s, promised: 99%}
  capacity: {requestsPerSecond: 1}
  leadTime: {replica: 120s, node: 90s}
  behavior: {scaleUp: {policies: []}, scaleDown: {stabilizationWindowSeconds: 0, policies: []}}
  policies: [{name: schedule, params: {file: FILE}}]
"""
SECOND = """
apiVersion: inference-autoscaler.io/v1alpha1
kind: AcceleratorPool
metadata: {name: on-demand}
spec:
  maxNodes: 9
  costPerHour: 30
  backend: {type: Scale, scale: {apiVersion: karpenter.sh/v1, kind: NodePool, name: on-demand}}
---"""
SETTING = """
scale: {mode: Factor, factor: 1}
noise: false
replicas: {initial: 16, start: 120s}
nodes: {start: 90s, owner: OWNER}
"""


class Played:
    """A replay in which a schedule says how many replicas are wanted. ticks: by second, the records."""

    def __init__(
        self,
        folder: Path,
        setting: str,
        *,
        manifest: str = MANIFEST,
        wishes: str = "0,16\n",
        minutes: int = 30,
        owner: str = "Plan",
        cost: float = 1,
    ) -> None:
        wanted = write(folder / "wanted.csv", "at_s,replicas\n" + wishes)
        text = manifest.replace("FILE", str(wanted)).replace("COST", str(cost))
        scenario = load_scenario(write(folder / "scenario.yaml", SETTING.replace("OWNER", owner) + setting))
        self.records = folder / "records.jsonl"
        result = run_replay(
            load_manifests([write(folder / "manifest.yaml", text)]), scenario, series([600.0] * minutes), records=self.records
        )
        self.lost: dict[str, Any] = result.score["node_losses"]
        lines = map(orjson.loads, self.records.read_bytes().splitlines())
        self.ticks = {int(line["at_s"]) - START_S: line for line in lines if line["kind"] == "tick"}

    def nodes(self, at_s: int, pool: str = "spot") -> int:
        return int(self.ticks[at_s]["nodes"][pool])

    def planned(self, at_s: int) -> int:
        return int(self.ticks[at_s]["planned"][0])

    def words(self, at_s: int) -> str:
        return str(self.ticks[at_s]["node_words"]["spot"])

    def again(self) -> tuple[int, int]:
        """Ticks that verify runs again, and how many came out otherwise."""
        verdict = verify([self.records])
        return verdict.ticks, len(verdict.differences)


def test_a_notice_orders_the_replacement_before_the_loss(tmp_path: Path) -> None:
    """Told at 480 s, lost at 600 s; the node that is ordered at 480 s is ready at 570 s. Eight replicas start there at 600 s and serve at 720 s."""
    here = Played(tmp_path, "faults: [{kind: SpotLoss, at: 10m, notice: 120s, share: 0.5}]")
    assert [here.nodes(at_s) for at_s in (465, 480, 585, 600)] == [2, 3, 3, 2]
    assert "1 more is there and counts for nothing" in here.words(480)
    assert [here.ticks[at_s].get("staying_lost") for at_s in (465, 480, 585, 600)] == [None, *[{"0": {"spot": 8}}] * 2, None]
    assert [here.ticks[at_s]["pools_seen"]["spot"]["nodes"] for at_s in (465, 555, 570, 600)] == [2, 2, 3, 2]
    assert [here.ticks[at_s]["ready"][0] for at_s in (585, 600, 705, 720)] == [16, 8, 8, 16]
    assert {here.planned(at_s) for at_s in here.ticks} == {16}
    assert here.lost == {
        "nodes": 1,
        "noticed": 1,
        "replicas": 8,
        "unplaced": 0,
        "missing_replica_hours": round(8 * 120 / 3600, 6),
    }
    assert here.again() == (120, 0)


def test_without_a_notice_they_wait_for_the_node_as_well(tmp_path: Path) -> None:
    here = Played(tmp_path, "faults: [{kind: SpotLoss, at: 10m, share: 0.5}]")
    assert {here.nodes(at_s) for at_s in here.ticks} == {2}
    assert [here.ticks[at_s]["ready"][0] for at_s in (585, 600, 795, 810)] == [16, 8, 8, 16]
    assert here.lost == {
        "nodes": 1,
        "noticed": 0,
        "replicas": 8,
        "unplaced": 8,
        "missing_replica_hours": round(8 * 210 / 3600, 6),
    }


def test_who_drains_on_a_node_that_is_told_to_go_needs_no_other(tmp_path: Path) -> None:
    """At 9 minutes one replica is wanted; fifteen leave, of which the eight on the node that goes are the last, but for one that stays."""
    here = Played(tmp_path, "faults: [{kind: SpotLoss, at: 10m, notice: 120s, share: 0.5}]", wishes="0,16\n540,1\n")
    assert here.ticks[555]["draining"] == [15]
    assert here.ticks[555]["draining_lost"] == {"0": 7}
    assert here.ticks[555]["staying_lost"] == {"0": {"spot": 1}}
    assert here.again() == (120, 0)


def test_where_the_rule_owns_the_nodes_the_plan_says_it_and_nobody_orders(tmp_path: Path) -> None:
    here = Played(tmp_path, "faults: [{kind: SpotLoss, at: 10m, notice: 120s, share: 0.5}]", owner="Rule")
    assert here.nodes(480) == 3
    assert here.ticks[585]["pools_seen"]["spot"]["nodes"] == 2
    assert here.lost["unplaced"] == 8
    assert here.lost["missing_replica_hours"] == round(8 * 210 / 3600, 6)


@pytest.mark.parametrize("owner", ["Plan", "Rule"])
def test_a_scarce_pool_s_replicas_are_released_and_tried_again_after_longer_and_longer_pauses(tmp_path: Path, owner: str) -> None:
    """24 are wanted from 300 s on and no third node is to be had for three hours. Nothing was measured yet, so a node is late after twice the
    manifest's 90 s; then eight replicas are released. After a pause of 300 s one node more is tried, and so on with doubled ones."""
    setting = "faults: [{kind: ScarceNodes, at: 0s, lasts: 3h, pool: spot}]"
    here = Played(tmp_path, setting, wishes="0,16\n300,24\n", minutes=270, owner=owner)
    # The schedule tells of the growth a lead time ahead, so the node is asked for (by the plan) before the replicas are.
    began = [after for before, after in pairwise(sorted(here.ticks)) if here.planned(before) == 16 and here.planned(after) == 24]
    ended = [after for before, after in pairwise(sorted(here.ticks)) if here.planned(before) == 24 and here.planned(after) == 16]
    assert began[0] <= 300 < 300 + 180 - 90 <= ended[0] <= 300 + 180 + 30
    (limit,) = here.ticks[ended[0]]["limits"][0]
    assert (limit["name"], limit["before"], limit["after"]) == ("ScaleUpStuck", 24, 16)
    assert "pool spot is short of nvidia.com/gpu" in limit["why"]
    assert "tried again at" in limit["why"]
    assert here.ticks[ended[0]]["current"] == [24], "what was stuck is given up by this tick"
    assert here.ticks[ended[0] + 15]["ready"] == [16], "what runs is not touched"
    found = min(at_s for at_s, tick in here.ticks.items() if tick.get("short", {}).get("pools"))
    assert began[1] - found == FIRST_PAUSE_S, "of the pool, whose node was asked for before the replicas were"
    pauses = [after - before for before, after in zip(ended[1:], began[2:], strict=False)]
    assert pauses[:3] == [2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S, LONGEST_PAUSE_S]
    assert here.ticks[max(here.ticks)]["ready"] == [24], "what is to be had again is found"
    last = [at_s for at_s in began if at_s > 3 * 3600 - 300]
    assert len(last) == 1
    assert here.again() == (4 * 270, 0)


def two_pools(folder: Path, owner: str) -> Played:
    """24 are wanted from 300 s on; spot, which costs nothing here, has 16 places, and a third node of it is not to be had."""
    manifest = SECOND + MANIFEST.replace("nodePool: spot", "nodePools: [{name: spot}, {name: on-demand}]")
    setting = "faults: [{kind: ScarceNodes, at: 0s, lasts: 3h, pool: spot}]"
    return Played(folder, setting, manifest=manifest, wishes="0,16\n300,24\n", minutes=40, owner=owner)


def test_the_next_pool_takes_what_a_scarce_one_can_t_and_nothing_is_released(tmp_path: Path) -> None:
    """Once spot is found short the other pool gets the node that is missing; 90 s later the last eight start there, and 120 s after that they serve,
    though meanwhile they wait for longer than nodes take."""
    here = two_pools(tmp_path, "Plan")
    first = min(at_s for at_s, tick in here.ticks.items() if "short" in tick)
    assert [here.nodes(first - 15, pool) for pool in ("spot", "on-demand")] == [3, 0]
    assert [here.nodes(first, pool) for pool in ("spot", "on-demand")] == [2, 1]
    assert any("stuck" in tick for at_s, tick in here.ticks.items() if at_s > first)
    assert {here.planned(at_s) for at_s in here.ticks if at_s >= 300} == {24}
    assert {pool for tick in here.ticks.values() for pool in tick.get("short", {}).get("pools", ())} == {"spot"}
    serving = min(at_s for at_s, tick in here.ticks.items() if tick["ready"] == [24])
    assert serving == first + 90 + 120
    assert here.ticks[serving]["placed"]["0"] == {"spot": 16, "on-demand": 8}
    assert here.again() == (4 * 40, 0)


def test_the_rule_makes_nodes_on_the_next_pool_by_itself(tmp_path: Path) -> None:
    here = two_pools(tmp_path, "Rule")
    assert here.ticks[420]["ready"] == [24], "as if there were no scarce pool"
    assert not any("short" in tick for tick in here.ticks.values())


def test_losses_teach_how_many_nodes_there_should_be_beyond_the_need(tmp_path: Path) -> None:
    """Waiting costs 999 times a node, so that what is lost within one lead time in a thousand counts. Two nodes of which L were lost in few hours:
    2 × (1 + L) ÷ 720 h × 90 s is more than 1/1000 from L = 14 on."""
    faults = ", ".join(f"{{kind: SpotLoss, at: {15 * n}m, share: 0.1}}" for n in range(1, 19))
    here = Played(tmp_path, f"faults: [{faults}]", minutes=300, cost=999)
    seen = {at_s: tick["pools_seen"]["spot"] for at_s, tick in here.ticks.items()}
    first = min(at_s for at_s in here.ticks if here.nodes(at_s) == 3)
    assert first == 14 * 900
    assert seen[first]["losses"] == pytest.approx(14, abs=0.2)
    rate = seen[first]["loss_per_node_hour"]
    assert rate == pytest.approx((1 + 14) / (720 + 2 * first / 3600), rel=0.02)
    assert "1 more for one that is lost: a node is lost every" in here.words(first)
    assert here.ticks[first]["short"]["loss_per_node_hour"] == {"spot": rate}
    assert here.lost["nodes"] == 18
    assert here.again() == (4 * 300, 0)


def test_a_spare_node_takes_what_a_loss_throws_out_at_once(tmp_path: Path) -> None:
    faults = ", ".join(f"{{kind: SpotLoss, at: {15 * n}m, share: 0.1}}" for n in range(1, 19))
    dear, cheap = (tmp_path / name for name in ("dear", "cheap"))
    for folder in (dear, cheap):
        folder.mkdir()
    with_spare = Played(dear, f"faults: [{faults}]", minutes=300, cost=999)
    without = Played(cheap, f"faults: [{faults}]", minutes=300, cost=0)
    assert max(without.nodes(at_s) for at_s in without.ticks) == 2
    assert with_spare.lost["unplaced"] < without.lost["unplaced"] == without.lost["replicas"]
    assert with_spare.lost["missing_replica_hours"] < without.lost["missing_replica_hours"]


def test_a_scenario_without_such_faults_tells_nothing_of_nodes(tmp_path: Path) -> None:
    here = Played(tmp_path, "faults: [{kind: SlowStarts, at: 1m}]", minutes=5)
    assert not any("pools_seen" in tick or "pool_nodes" in tick or "short" in tick for tick in here.ticks.values())


@pytest.mark.parametrize("kind", ["SpotLoss", "ScarceNodes"])
def test_a_pool_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match=r"^scenario\.faults: pool 'spott' is not there; there are spot$"):
        Played(tmp_path, f"faults: [{{kind: {kind}, at: 1m, pool: spott}}]")
