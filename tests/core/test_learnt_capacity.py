"""A capacity that is learnt, in the engine: who wants which signals, who sees what, and what survives whom."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from autoscaler.core.capacity import batch_at
from autoscaler.core.model import Capacity, LearntMemory, Memory, ScalingSpec
from tests.core.test_engine import START_S, Loop, refs
from tests.ticks import a_spec

LEARNT = Capacity(per_s=1.6, slots=32, slots_slowdown=64.0, learnt=True, min_per_s=0.4, max_per_s=6.4)


def learning(name: str = "llama", **changes: Any) -> ScalingSpec:
    return a_spec(name, policies=refs("reactive"), capacity=replace(LEARNT, **changes))


def busy(demand: float, capacity: float, ready: float) -> dict[str, float]:
    """What a service shows that serves that demand with so many replicas."""
    return {
        "demand": demand,
        "throughput": demand,
        "queue": 0.0,
        "running": ready * float(batch_at(demand / (capacity * ready), 32.0, 64.0)),
    }


def taught(loop: Loop, capacity: float, minutes: int = 60) -> float:
    """The first service's capacity, after serving that long with replicas that do `capacity`."""
    for _ in range(minutes * 4):
        ready = float(loop.current[0])
        loop.tick(**busy(min(6.0, 0.9 * capacity * ready), capacity, ready))
    return float(loop.engine.table.capacity_per_s[0])


def test_given_values_stay_what_they_are_and_want_no_further_signals() -> None:
    loop = Loop([a_spec("a", policies=refs("reactive"))])
    for _ in range(20):
        decisions = loop.tick(**busy(6.0, 1.0, 10.0))
    assert "throughput" not in loop.engine.wanted
    assert decisions.capacity_per_s is loop.engine.table.given_per_s
    assert decisions.capacity_confidence is None
    assert loop.engine.memory(0).capacity is None
    mixed = Loop([a_spec("a", policies=refs("reactive")), learning("b")])
    mixed.tick(**busy(6.0, 1.0, 10.0))
    assert mixed.engine.wanted["throughput"] == [1]


def test_policies_see_what_is_learnt_row_by_row() -> None:
    loop = Loop([learning("a"), a_spec("b", policies=refs("reactive"))], current=4)
    loop.follows = False
    for _ in range(240):
        decisions = loop.tick(**busy(3.0, 0.9, 4.0))
    assert decisions.capacity_per_s[0] == pytest.approx(0.9, rel=0.03)
    assert decisions.capacity_per_s[1] == 1.6
    assert decisions.capacity_confidence is not None
    assert decisions.capacity_confidence[0] > 0.9
    assert np.isnan(decisions.capacity_confidence[1])
    assert decisions.recommended[0] > decisions.recommended[1]


def test_small_moves_are_kept_from_policies() -> None:
    loop = Loop([learning()], current=4)
    loop.follows = False
    for _ in range(240):
        loop.tick(**busy(4.0, 1.59, 4.0))
    told = loop.engine.table.capacity_per_s
    loop.tick(**busy(4.1, 1.59, 4.0))
    assert loop.engine.table.capacity_per_s is told
    assert told[0] == 1.6


def test_the_status_remembers_what_was_learnt() -> None:
    loop = Loop([learning()], current=8)
    per_s = taught(loop, 1.0)
    assert per_s == pytest.approx(1.0, rel=0.05)
    memory = msgspec.convert(json.loads(msgspec.json.encode(loop.engine.memory(0))), Memory)
    again = Loop([learning()], current=8, memories={"team/llama": memory})
    decisions = again.tick(**busy(6.0, 1.0, 8.0))
    assert decisions.capacity_per_s[0] == pytest.approx(per_s, rel=0.03)
    assert decisions.capacity_confidence is not None
    assert decisions.capacity_confidence[0] > 0.9


@pytest.mark.parametrize(
    "change", [{"per_s": 0.0}, {"per_s": float("nan")}, {"weight": -1.0}, {"seen": 900.0}, {"seen": float("inf")}]
)
def test_a_memory_that_can_not_be_is_ignored(change: dict[str, Any]) -> None:
    kept = LearntMemory(per_s=1.0, weight=500.0, seen=480.0, given_per_s=1.6, slots=32, slots_slowdown=64.0)
    loop = Loop([learning()], memories={"team/llama": Memory(capacity=replace(kept, **change))})
    assert loop.tick().capacity_per_s.tolist() == [1.6]


@pytest.mark.parametrize("change", [{"per_s": 2.0}, {"slots": 16}, {"slots_slowdown": 32.0}])
def test_another_given_value_or_batch_begins_anew(change: dict[str, Any]) -> None:
    loop = Loop([learning()], current=8)
    taught(loop, 1.0)
    memory = loop.engine.memory(0)
    changed = learning(**change)
    loop.take([changed], loop.current)
    fresh = Loop([changed], memories={"team/llama": memory})
    for one in (loop, fresh):
        decisions = one.tick()
        assert decisions.capacity_per_s.tolist() == [changed.capacity.per_s]
        assert decisions.capacity_confidence is not None
        assert decisions.capacity_confidence.tolist() == [0.0]


def test_other_bounds_keep_what_was_learnt_within_them() -> None:
    loop = Loop([learning()], current=8)
    taught(loop, 1.0)
    loop.take([learning(min_per_s=1.2)], loop.current)
    decisions = loop.tick()
    assert decisions.capacity_per_s.tolist() == [1.2]
    assert decisions.capacity_confidence is not None
    assert decisions.capacity_confidence[0] > 0.9


def test_rows_that_move_take_it_along_and_another_target_does_not() -> None:
    one, other = learning("one"), learning("other")
    loop = Loop([one], current=8)
    per_s = taught(loop, 1.0)
    loop.take([other, one], [8, 8])
    assert loop.tick().capacity_per_s.tolist() == [1.6, per_s]
    loop.take([one, a_spec("given")], [8, 8])
    assert loop.tick().capacity_per_s.tolist() == [per_s, 1.6]
    loop.take([replace(one, target="Deployment/another")], [8])
    assert loop.tick().capacity_per_s.tolist() == [1.6]


def test_a_memory_of_a_service_that_is_no_longer_learnt_is_left_alone() -> None:
    memory = Memory(capacity=LearntMemory(per_s=1.0, weight=500.0, seen=480.0, given_per_s=1.6, slots=32, slots_slowdown=64.0))
    loop = Loop([a_spec("llama", policies=refs("reactive"))], memories={"team/llama": memory})
    assert loop.tick(demand=1.0).capacity_per_s.tolist() == [1.6]


def test_what_was_saved_goes_on_exactly() -> None:
    loop, other = Loop([learning()], current=8), Loop([learning()], current=8)
    taught(loop, 1.0, 20)
    other.current, other.at_s = loop.current.copy(), loop.at_s
    other.engine.prepare(other.fleet(), other.at_s)
    other.engine.load(json.loads(json.dumps(loop.engine.save(), allow_nan=False)))
    for _ in range(80):
        seen = busy(5.0, 1.3, float(loop.current[0]))
        one, two = loop.tick(**seen), other.tick(**seen)
        assert one.capacity_per_s.tolist() == two.capacity_per_s.tolist()
        assert one.desired.tolist() == two.desired.tolist()
    assert loop.engine.memory(0).capacity == other.engine.memory(0).capacity


def test_without_a_given_value_policies_hear_nothing_until_enough_was_seen() -> None:
    loop = Loop([learning(per_s=float("nan"), min_per_s=None, max_per_s=None)], current=4)
    loop.follows = False
    assert np.isnan(loop.tick(**busy(5.0, 1.5, 4.0)).capacity_per_s[0])
    assert loop.engine.memory(0).capacity is None
    assert taught(loop, 1.5, 30) == pytest.approx(1.5, rel=0.05)
    memory = loop.engine.memory(0)
    assert memory.capacity is not None
    assert memory.capacity.given_per_s is None
    again = Loop([learning(per_s=float("nan"), min_per_s=None, max_per_s=None)], memories={"team/llama": memory})
    assert again.tick().capacity_per_s[0] == pytest.approx(1.5, rel=0.05)


def test_a_set_clock_does_not_stop_the_learning() -> None:
    loop = Loop([learning()], current=8)
    taught(loop, 1.0, 20)
    loop.engine.shift(-86400.0)
    loop.at_s -= 86400.0
    assert loop.at_s < START_S
    assert taught(loop, 1.5, 60) == pytest.approx(1.5, rel=0.06)


# ---------------------------------------------------------------- versions


def of(**shares: float) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Versions of a fleet of one."""
    return (tuple(sorted(shares.items())),)


def confidence(loop: Loop) -> float:
    capacity = loop.engine._capacity
    assert capacity is not None
    return float(capacity.confidence(1)[0])


def updated(loop: Loop, versions: Any, capacity: float, minutes: int) -> float:
    loop.changes["versions"] = versions
    return taught(loop, capacity, minutes)


def test_a_new_version_begins_with_what_the_old_one_did_and_learns_on_its_own() -> None:
    loop = Loop([learning()], current=8, versions=of(v1=1.0))
    old = taught(loop, 1.0)
    sure = confidence(loop)
    loop.changes["versions"] = of(v2=1.0)
    assert loop.tick().capacity_per_s.tolist() == [old]
    assert confidence(loop) < 0.35 < 0.9 < sure
    assert taught(loop, 1.5, 30) == pytest.approx(1.5, rel=0.06)


def test_a_rollback_brings_back_what_was_learnt() -> None:
    loop = Loop([learning()], current=8, versions=of(v1=1.0))
    old, sure = taught(loop, 1.0), confidence(loop)
    updated(loop, of(v2=1.0), 2.0, 40)
    loop.changes["versions"] = of(v1=1.0)
    assert loop.tick().capacity_per_s[0] == pytest.approx(old, rel=0.02)
    assert confidence(loop) == pytest.approx(sure, rel=0.01)
    # And forward again.
    loop.changes["versions"] = of(v2=1.0)
    assert loop.tick().capacity_per_s[0] == pytest.approx(2.0, rel=0.05)


def test_two_versions_at_once_teach_neither_and_are_told_as_their_mean() -> None:
    loop = Loop([learning()], current=8, versions=of(v1=1.0))
    old = taught(loop, 1.0)
    new = updated(loop, of(v2=1.0), 2.0, 40)
    loop.changes["versions"] = of(v1=0.25, v2=0.75)
    assert loop.tick().capacity_per_s[0] == pytest.approx(0.25 * old + 0.75 * new, rel=0.02)
    # What the mix shows is no longer what either does: of a version that nobody knows nothing is learnt before it runs alone.
    taught(loop, 0.6, 60)
    loop.changes["versions"] = of(v2=1.0)
    assert loop.tick().capacity_per_s[0] == pytest.approx(new, rel=0.02)
    assert loop.engine.memory(0).capacity is not None


def test_a_single_canary_among_many_leaves_the_learning_on() -> None:
    loop = Loop([learning()], current=40, versions=of(v1=1.0))
    updated(loop, of(v1=0.975, v2=0.025), 1.0, 60)
    assert loop.engine.table.capacity_per_s[0] == pytest.approx(1.0, rel=0.05)


def test_an_unknown_part_of_a_mix_is_taken_to_do_what_the_known_one_does() -> None:
    loop = Loop([learning()], current=8, versions=of(v1=1.0))
    old = taught(loop, 1.0)
    loop.changes["versions"] = of(v1=0.5, v2=0.5)
    assert loop.tick().capacity_per_s.tolist() == [old]


def test_pods_that_tell_no_version_are_all_of_one() -> None:
    loop = Loop([learning()], current=8)
    old = taught(loop, 1.0)
    for versions in (((),), of(v1=1.0), ((),), of(v1=1.0)):
        loop.changes["versions"] = versions
        assert loop.tick().capacity_per_s.tolist() == [old]
    assert confidence(loop) > 0.9


def test_the_status_remembers_some_versions() -> None:
    loop = Loop([learning()], current=8, versions=of(v0=1.0))
    for number in range(7):
        updated(loop, of(**{f"v{number}": 1.0}), 1.0 + 0.2 * number, 20)
    memory = msgspec.convert(json.loads(msgspec.json.encode(loop.engine.memory(0))), Memory)
    assert memory.capacity is not None
    assert memory.capacity.version == "v6"
    assert [one.version for one in memory.capacity.others] == ["v2", "v3", "v4", "v5"]
    again = Loop([learning()], current=8, memories={"team/llama": memory}, versions=of(v6=1.0))
    assert again.tick().capacity_per_s[0] == pytest.approx(2.2, rel=0.08)
    # Somebody rolled back while no controller ran.
    other = Loop([learning()], current=8, memories={"team/llama": memory}, versions=of(v3=1.0))
    assert other.tick().capacity_per_s[0] == pytest.approx(1.6, rel=0.08)


def test_versions_move_with_their_rows_and_what_was_saved_goes_on_exactly() -> None:
    one = learning("one")
    loop = Loop([one], current=8, versions=of(v1=1.0))
    old = taught(loop, 1.0)
    updated(loop, of(v2=1.0), 2.0, 40)
    loop.changes["versions"] = (*of(x=1.0), *of(v2=1.0))
    loop.take([learning("another"), one], [8, 8])
    loop.tick()
    other = Loop([learning("another"), one], current=8, versions=loop.changes["versions"])
    other.revision, other.at_s = loop.revision, loop.at_s
    other.engine.prepare(other.fleet(), other.at_s)
    other.engine.load(json.loads(json.dumps(loop.engine.save(), allow_nan=False)))
    for each in (loop, other):
        each.changes["versions"] = (*of(x=1.0), *of(v1=1.0))
        assert each.tick().capacity_per_s[1] == pytest.approx(old, rel=0.02)
    # Another given value is another number, for every version.
    loop.take([learning("another"), learning("one", per_s=2.0)], [8, 8])
    loop.changes["versions"] = (*of(x=1.0), *of(v2=1.0))
    assert loop.tick().capacity_per_s[1] == 2.0
