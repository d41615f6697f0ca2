"""The search finds what an exhaustive sweep finds, whoever plays the batches, and goes on after an interruption as if there had been none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from autoscaler.errors import UsageError
from autoscaler.manifests import load_manifests
from autoscaler.plugins import installed
from replay.run import run_replay
from replay.tune.batch import Batch, Setting, batches, scores_of
from replay.tune.result import Tuned
from replay.tune.run import prepared
from replay.tune.search import Player, search
from replay.tune.study import Study
from replay.tune.trial import needed_ratio, standing
from replay.tune.words import words
from replay.tune.workers import Here, Scores
from tests.tune.made import asked, ref, trace, tuned


def swept(what: Any, name: str, values: Sequence[float]) -> list[tuple[float, float, float]]:
    """(value, cost per hour, attained) of every value on the training part."""
    (one,) = prepared(what.loaded())
    own = one.setting.spec.policies if what.policy is None else (what.policy,)
    refs = [(replace(own[0], params={**own[0].params, name: value}),) for value in values]
    (batch,) = batches(0, one.parts[0].training, refs, len(refs))
    found = [standing([score]) for score in scores_of(one.setting, batch)]
    return [(value, each.cost_per_h, each.attained_ratio) for value, each in zip(values, found, strict=True)]


def test_the_best_count_of_fixed_is_found_exactly(tmp_path: Path) -> None:
    what = asked([trace(tmp_path)], ref("fixed", replicas=15))
    needed = needed_ratio(0.995, 0.25)
    best = min(value for value, _, attained in swept(what, "replicas", range(1, 21)) if attained >= needed)
    (found,) = tuned(what, tmp_path / "out.yaml").results
    assert found.values == {"fixed.replicas": best}
    assert 1 < best < 15


def test_the_best_target_is_found(tmp_path: Path) -> None:
    """Of 131 targets from end to end of the range, tried one by one, none is more than a hundredth cheaper."""
    what = asked([trace(tmp_path)], ref("target", signal="concurrency"), kept=["target.tolerance"], trials=96)
    grid = np.round(np.arange(9.6, 35.3, 0.2), 1).tolist()
    needed = needed_ratio(0.995, 0.25)
    kept = [(cost, value) for value, cost, attained in swept(what, "target", grid) if attained >= needed]
    assert 5 < len(kept) < len(grid), "some keep the promise and some don't, or there is nothing to find"
    (found,) = tuned(what, tmp_path / "out.yaml").results
    assert found.chosen.standing is not None
    assert found.chosen.standing.attained_ratio >= needed
    assert found.chosen.standing.cost_per_h <= 1.01 * min(kept)[0]


def test_the_worse_half_stops_after_the_first_stretch(tmp_path: Path) -> None:
    """Three days, of which two are trained on, of which one is the first stretch."""
    slow = {
        "scenario.interval": "600s",
        "scenario.metrics.period": "600s",
        "scenario.metrics.window": "600s",
        "scenario.metrics.late": "0",
    }
    what = asked(
        [trace(tmp_path, hours=73.0)], ref("fixed", replicas=15), trials=16, settings={**slow, "scenario.nodes.check": "600s"}
    )
    (found,) = tuned(what, tmp_path / "out.yaml").results
    assert sum(trial.pruned for trial in found.trials) == 8
    needed = needed_ratio(0.995, 0.25)
    enough = [trial for trial in found.trials if trial.standing is not None and trial.standing.attained_ratio >= needed]
    assert found.values == min(enough, key=lambda trial: float(trial.values["fixed.replicas"])).values, "the best half goes on"
    document = found.as_json()
    assert (document["pruned"], document["finished"]) == (8, 8)
    assert document["parts"][0]["first_stretch_s"] == [0, 86_400]


def test_a_candidate_of_a_batch_is_what_replay_run_says(tmp_path: Path) -> None:
    """Rows of one replay don't touch each other, and the parts are those of the whole trace."""
    what = asked([trace(tmp_path)])
    loaded = what.loaded()
    (one,) = prepared(loaded)
    chosen = [(ref("reactive", z=z, hold_s=hold),) for z, hold in ((0.0, 0.0), (2.0, 300.0), (4.0, 900.0))]
    part = one.parts[0].held_out
    (batch,) = batches(0, part, chosen, 16)
    for refs, score in zip(chosen, scores_of(one.setting, batch), strict=True):
        scenario = loaded.scenarios[0].__class__(**{**_fields(loaded.scenarios[0]), "warmup": f"{part.from_s}s"})
        alone = run_replay(loaded.manifests, scenario, loaded.traces[0], policy=refs[0]).score
        for field in ("attained_ratio", "replica_hours", "node_hours", "actions", "evaluated_s", "requests", "cost"):
            assert score[field] == alone[field], field


def _fields(scenario: Any) -> dict[str, Any]:
    return {name: getattr(scenario, name) for name in scenario.__struct_fields__}


def test_jobs_and_the_number_of_processes_change_nothing(tmp_path: Path) -> None:
    what = asked([trace(tmp_path)], trials=24)
    one = tuned(what, tmp_path / "one.yaml", jobs=1)
    two = tuned(what, tmp_path / "two.yaml", jobs=2)
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()
    assert one.results[0].as_json() == two.results[0].as_json()
    other = tuned(replace(what, seed=1), tmp_path / "other.yaml").results[0]
    assert other.as_json()["front"] != one.results[0].as_json()["front"], "the seed is used"


class _PowerCut(Exception):  # noqa: N818
    pass


class FallsOver:
    """Plays so many batches and then falls over, in the middle of a generation."""

    def __init__(self, setting: Setting, after: int) -> None:
        self._here = Here(setting)
        self.left = after

    def play(self, work: Sequence[Batch]) -> Iterator[Scores]:
        for scores in self._here.play(work):
            if self.left == 0:
                raise _PowerCut
            self.left -= 1
            yield scores

    def __enter__(self) -> FallsOver:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("after", [1, 3])
def test_interrupted_and_taken_up_again_is_as_uninterrupted(tmp_path: Path, after: int) -> None:
    what = asked([trace(tmp_path)], trials=32)
    loaded = what.loaded()
    (one,) = prepared(loaded)
    needed = needed_ratio(0.995, 0.25)

    def searched(study: Study | None, batches_left: int) -> tuple[Any, int]:
        workers = FallsOver(one.setting, batches_left)
        player = Player(service="default/standard", workers=workers, study=study, parts=one.parts)
        return search(player, one.space, trials=32, seed=0, needed_ratio=needed), batches_left - workers.left

    whole, played = searched(None, 1000)
    path = tmp_path / "x.study"
    study = Study(path, loaded.fingerprints())
    with pytest.raises(_PowerCut):
        searched(study, after)
    study.close()
    again = Study(path, loaded.fingerprints())
    resumed, further = searched(again, 1000)
    again.close()
    assert resumed == whole
    assert (played, further) == (4, 4 - after), "what was played is not played again"
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*), sum(pruned) FROM trials").fetchone() == (32, 0)
    file.close()


def test_a_finished_study_goes_on_with_more_trials(tmp_path: Path) -> None:
    what = asked([trace(tmp_path)], trials=16)
    tuned(what, tmp_path / "a.yaml", tmp_path / "x.study")
    more = tuned(replace(what, trials=32), tmp_path / "b.yaml", tmp_path / "x.study")
    at_once = tuned(replace(what, trials=32), tmp_path / "c.yaml")
    assert more.results[0].as_json() == at_once.results[0].as_json()


def test_a_promise_that_breaks_on_held_out_traffic_is_told(tmp_path: Path) -> None:
    """The last third has half as many requests again: a count that was just enough is not."""
    what = asked(
        [trace(tmp_path, growth=1.5)], ref("fixed", replicas=18), settings={"policies": "[{name: fixed, params: {replicas: 18}}]"}
    )
    (found,) = tuned(what, tmp_path / "out.yaml").results
    assert found.tuned.keeps("training")
    assert not found.tuned.keeps("held_out")
    (told,) = found.warnings
    assert told.startswith("the promise is NOT kept on held-out traffic, which it never saw (waves): ")
    assert "the untuned manifest kept it (100.000%)" in told
    assert f"#   WARNING: {told}" in (tmp_path / "out.yaml").read_text("utf-8").replace("#     WARNING", "#   WARNING")


def test_a_gain_that_vanishes_is_told(tmp_path: Path) -> None:
    what = asked([trace(tmp_path)], settings={"policies": "[{name: fixed, params: {replicas: 18}}]"})
    (found,) = tuned(what, tmp_path / "out.yaml").results

    def with_held_out(cost: float) -> Tuned:
        scores = [{**score, "replica_hours": score["replica_hours"] * cost} for score in found.untuned.held_out]
        return replace(found, tuned=replace(found.tuned, held_out=scores))

    learnt = found.saved("training")
    assert learnt > 0.1
    assert found.warnings == []
    assert "the gain does not hold" in with_held_out(1.01).warnings[0]
    assert "most of the gain does not hold" in with_held_out(1 - learnt / 3).warnings[0]
    assert with_held_out(1 - learnt * 0.9).warnings == []

    # Where the untuned one does not keep the promise in training, no gain was expected; more money for nothing is still said.
    worse = [{**score, "attained_ratio": 0.9} for score in found.untuned.training]
    dearer = replace(with_held_out(1.1), untuned=replace(found.untuned, training=worse))
    assert dearer.warnings == ["10.0% dearer than untuned on held-out traffic, and attains no more there"]
    less = [{**score, "attained_ratio": 0.9} for score in found.untuned.held_out]
    assert replace(dearer, untuned=replace(dearer.untuned, held_out=less)).warnings == []


def test_the_legend_says_why_the_chosen_one_was_chosen(tmp_path: Path) -> None:
    (found,) = tuned(asked([trace(tmp_path)], ref("fixed", replicas=15), trials=4), tmp_path / "out.yaml").results
    one = found.chosen.standing
    assert one is not None
    for attained, said in (
        (0.99625, "★ is taken: the cheapest with 99.625%"),
        (0.996, "★ is taken: the cheapest that keeps the promise; none attains 99.625%"),
        (0.99, "★ is taken: what attains most; none keeps the promise"),
    ):
        assert said in words(replace(found, chosen=replace(found.chosen, standing=replace(one, attained_ratio=attained))))


def test_a_promise_that_nobody_can_keep(tmp_path: Path) -> None:
    what = asked([trace(tmp_path, peak_per_s=60.0)], ref("fixed", replicas=3), trials=24)
    (found,) = tuned(what, tmp_path / "out.yaml").results
    assert found.values == {"fixed.replicas": 20}, "the one that attains most"
    assert "NOT kept on the training part" in found.warnings[0]
    assert "did not keep it either" in found.warnings[0]
    assert any("fixed.replicas=20 lies at an end of its range" in note for note in found.notes)


def test_on_several_traces_the_promise_holds_on_each(tmp_path: Path) -> None:
    low, high = trace(tmp_path, "low.csv", peak_per_s=6.0), trace(tmp_path, "high.csv", peak_per_s=14.0)

    def best(*traces: Path) -> float:
        (found,) = tuned(asked(traces, ref("fixed", replicas=15)), tmp_path / "out.yaml").results
        assert found.traces == [path.stem for path in traces]
        return float(found.values["fixed.replicas"])

    assert best(low) < best(high) == best(low, high) == best(high, low)


def test_money_where_the_pool_has_prices(tmp_path: Path) -> None:
    text = (asked([]).manifests[0]).read_text("utf-8").replace("  minReplicas: 1\n", "  minReplicas: 1\n  nodePool: big\n")
    pool = "---\napiVersion: inference-autoscaler.io/v1alpha1\nkind: AcceleratorPool\nmetadata: {name: big}\n"
    pool += "spec: {acceleratorsPerNode: 8, maxNodes: 3, costPerHour: 30}\n"
    path = tmp_path / "priced.yaml"
    path.write_text(text + pool, encoding="utf-8")
    what = asked([trace(tmp_path)], trials=8, manifests=[path])
    (found,) = tuned(what, tmp_path / "out.yaml").results
    assert found.money
    for score in (*found.tuned.training, *found.untuned.training):
        assert score["cost"] == pytest.approx(30 * score["node_hours"])
    assert load_manifests([tmp_path / "out.yaml"], policies=installed().policies)


def test_requests_one_by_one_can_be_tuned_too(tmp_path: Path) -> None:
    what = asked([trace(tmp_path, hours=1.5)], ref("fixed", replicas=8), trials=6, settings={"scenario.plant": "requests"})
    (found,) = tuned(what, tmp_path / "out.yaml").results
    assert found.tuned.keeps("training")
    assert "ttft_s" in orjson.dumps(found.as_json()).decode()


def test_what_fits_nobody_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    path = trace(tmp_path)
    with pytest.raises(UsageError, match="no policy here has a parameter"):
        prepared(asked([path], kept=["reactive.nothing"]).loaded())
    with pytest.raises(UsageError, match="leave"):
        prepared(asked([path], settings={"scenario.length": "20m"}).loaded())
