"""An update of a target: replicas of another version take the place of those that are there, and the service keeps what it needs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoscaler.core.allocation import ChangeBudget, allocate
from autoscaler.core.model import Fallback, Memory, PoolSpec, Versions
from autoscaler.core.updates import SETTLES_S
from tests.core.test_engine import INTERVAL_S, Loop
from tests.ticks import a_spec

NAN = float("nan")
OLD: Versions = (("old", 1.0),)
HALF: Versions = (("new", 0.5), ("old", 0.5))
NEW: Versions = (("new", 1.0),)
STILL = int(SETTLES_S / INTERVAL_S)
"""Ticks for which a replacement keeps replicas from going."""


def shown(loop: Loop, *versions: Versions) -> Loop:
    loop.changes["versions"] = versions
    return loop


def test_nothing_goes_while_replicas_are_replaced() -> None:
    loop = shown(Loop([a_spec()], current=9), OLD)
    loop.tick(concurrency=90.0)
    shown(loop, HALF)
    decisions = loop.tick(concurrency=30.0)
    assert decisions.desired.tolist() == [9]
    (limit,) = decisions.limits(0)
    assert (limit.name, limit.before, limit.after) == ("Updating", 3, 9)
    assert "being updated (ready are 50% of version new and 50% of version old)" in limit.why
    assert "no scale-down to 3 within 300 s after a replacement, 9 stay" in limit.why
    shown(loop, NEW)
    assert [loop.desired(concurrency=30.0)[0] for _ in range(STILL + 1)] == [9] * STILL + [3]


def test_more_is_given_at_once_during_an_update() -> None:
    loop = shown(Loop([a_spec()], current=9), OLD)
    loop.tick(concurrency=90.0)
    assert shown(loop, HALF).desired(concurrency=120.0) == [12]


def pods(loop: Loop, **ready: int) -> Loop:
    """So many ready replicas of each version."""
    there = {version: count for version, count in sorted(ready.items()) if count}
    loop.changes["ready"] = np.array([sum(there.values())])
    return shown(loop, tuple((version, count / sum(there.values())) for version, count in there.items()))


def test_a_canary_that_stays_holds_nothing_while_the_count_falls() -> None:
    loop = pods(Loop([a_spec()], current=20), old=20)
    loop.tick(concurrency=200.0)
    pods(loop, old=18, new=2)
    assert [loop.desired(concurrency=190.0)[0] for _ in range(STILL + 1)] == [20] * STILL + [19]
    for wish in range(18, 4, -1):
        pods(loop, old=int(loop.current[0]) - 2, new=2)
        assert loop.desired(concurrency=10.0 * wish) == [wish]


@pytest.mark.parametrize("canaries", [1, 2])
@pytest.mark.parametrize("every", [1, 16, 60])
def test_a_canary_that_is_ready_now_and_then_holds_nothing(canaries: int, every: int) -> None:
    loop = pods(Loop([a_spec()], current=20), old=20 - canaries, new=canaries)
    loop.follows = False
    for tick in range(4 * every):
        pods(loop, old=20 - canaries, new=canaries - (tick // every) % 2)
        assert loop.desired(concurrency=50.0) == [5]


def test_a_canary_that_flaps_keeps_no_count_from_falling_step_by_step() -> None:
    loop = pods(Loop([a_spec()], current=20), old=18, new=2)
    for tick in range(60):
        wish = max(20 - tick // 4, 5)
        pods(loop, old=int(loop.current[0]) - 2, new=1 + tick // 3 % 2)
        assert loop.desired(concurrency=10.0 * wish) == [wish]


@pytest.mark.parametrize("seed", range(5))
def test_replicas_of_both_versions_that_flap_are_no_replacement(seed: int) -> None:
    rng = np.random.default_rng(seed)
    loop = Loop([a_spec()], current=40)
    loop.follows = False
    for _ in range(200):
        pods(loop, old=int(rng.binomial(25, 0.9)), new=int(rng.binomial(15, 0.9)))
        assert loop.desired(concurrency=50.0) == [5]


@pytest.mark.parametrize(
    "steps",
    [
        [(9, 0), (8, 0), (8, 1), (7, 1), (7, 2)],
        [(9, 0), (9, 1), (8, 1), (8, 2), (7, 2)],
        [(9, 0), (7, 0), (7, 1), (7, 2), (5, 2), (5, 4)],
        [(9, 0), (9, 3), (6, 3), (7, 3), (7, 2)],
    ],
    ids=["one by one", "with surge", "two by two", "rolled back"],
)
def test_each_replacement_begins_the_wait_anew_however_it_is_done(steps: list[tuple[int, int]]) -> None:
    loop = Loop([a_spec()], current=9)
    loop.follows = False
    for old, new in steps:
        pods(loop, old=old, new=new)
        for _ in range(STILL // 2):
            loop.tick(concurrency=90.0)
    assert [loop.desired(concurrency=30.0)[0] for _ in range(STILL // 2 + 1)] == [9] * (STILL // 2) + [3]


def test_replicas_of_a_canary_that_come_with_the_count_replace_none() -> None:
    loop = pods(Loop([a_spec()], current=9), old=8, new=1)
    loop.tick(concurrency=90.0)
    loop.tick(concurrency=180.0)
    loop.tick(concurrency=180.0)
    pods(loop, old=16, new=2).tick(concurrency=180.0)
    assert loop.desired(concurrency=90.0) == [9]


def test_a_promotion_at_a_count_that_has_fallen_is_a_replacement() -> None:
    loop = pods(Loop([a_spec()], current=20), old=10, new=10)
    loop.tick(concurrency=200.0)
    loop.tick(concurrency=60.0)
    pods(loop, old=3, new=3).tick(concurrency=60.0)
    assert pods(loop, old=2, new=4).desired(concurrency=30.0) == [6]


def test_a_restart_within_the_wait_goes_on_with_it() -> None:
    before = shown(Loop([a_spec()], current=9), OLD)
    before.tick(concurrency=90.0)
    shown(before, NEW).tick(concurrency=30.0)
    after = shown(Loop([a_spec()], current=9, memories={"team/llama": before.engine.memory(0)}), NEW)
    after.at_s = before.at_s
    assert [after.desired(concurrency=30.0)[0] for _ in range(STILL)] == [9] * (STILL - 1) + [3]
    assert after.engine.memory(0).replaced_at_s is None


def test_a_replacement_that_another_clock_puts_in_the_future_holds_no_longer_than_one_now() -> None:
    loop = Loop([a_spec()], current=9, versions=(NEW,), memories={"team/llama": Memory(replaced_at_s=9e12)})
    assert [loop.desired(concurrency=30.0)[0] for _ in range(STILL + 1)] == [9] * STILL + [3]


@pytest.mark.parametrize("first", [None, ((),), (OLD,), (HALF,)])
def test_what_is_seen_for_the_first_time_is_no_replacement(first: tuple[Versions, ...] | None) -> None:
    loop = Loop([a_spec()], current=9, versions=first)
    loop.tick(concurrency=90.0)
    assert loop.desired(concurrency=30.0) == [3]


def test_nothing_ready_for_a_while_is_no_replacement_and_another_version_after_it_is() -> None:
    loop = shown(Loop([a_spec()], current=9), OLD)
    loop.tick(concurrency=90.0)
    shown(loop, ()).tick(concurrency=90.0)
    assert shown(loop, OLD).desired(concurrency=30.0) == [3]
    shown(loop, ()).tick(concurrency=90.0)
    assert shown(loop, NEW).desired(concurrency=30.0) == [9]


def test_only_the_service_that_is_updated_is_held_and_rows_that_move_take_it_along() -> None:
    one, other = a_spec("one"), a_spec("other")
    loop = shown(Loop([one, other], current=9), OLD, OLD)
    loop.tick(concurrency=90.0)
    assert shown(loop, HALF, OLD).desired(concurrency=30.0) == [9, 3]
    loop.take([a_spec("first"), one], [9, 9])
    assert shown(loop, OLD, HALF).desired(concurrency=30.0) == [3, 9]
    loop.take([replace(one, target="Deployment/another")], [9])
    assert shown(loop, HALF).desired(concurrency=30.0) == [3]


def test_a_fallback_that_its_owner_wrote_is_stronger() -> None:
    loop = shown(Loop([a_spec(fallback=Fallback(after_s=0.0, action="Exactly", replicas=2))], current=9), OLD)
    loop.tick(concurrency=90.0)
    assert shown(loop, HALF).desired(concurrency=NAN) == [2]


def test_a_set_clock_and_a_restored_state_change_nothing() -> None:
    def updated(**changes: Any) -> Loop:
        loop = shown(Loop([a_spec()], current=9, **changes), OLD)
        loop.tick(concurrency=90.0)
        shown(loop, HALF).tick(concurrency=30.0)
        return loop

    set_back, restored = updated(), Loop([a_spec()], current=9)
    set_back.engine.shift(-86400.0)
    set_back.at_s -= 86400.0
    before = updated()
    restored.at_s = before.at_s
    restored.engine.prepare(restored.fleet(), restored.at_s)
    restored.engine.load(json.loads(json.dumps(before.engine.save(), allow_nan=False)))
    shown(restored, HALF)
    for loop in (set_back, restored):
        assert [loop.desired(concurrency=30.0)[0] for _ in range(STILL + 1)] == [9] * (STILL - 1) + [3] * 2
    # A replacement that came while nobody looked is seen by the one that takes over.
    late = Loop([a_spec()], current=9)
    late.at_s = before.at_s
    late.engine.prepare(late.fleet(), late.at_s)
    late.engine.load(before.engine.save())
    for _ in range(STILL):
        shown(late, HALF).tick(concurrency=90.0)
    assert shown(late, NEW).desired(concurrency=30.0) == [9]


def test_nodes_are_planned_for_what_an_update_sets_beside_the_rest() -> None:
    spec = a_spec(pool="h100", accelerators_per_replica=2)
    pool = PoolSpec(name="h100", min_nodes=0, max_nodes=9, accelerators_per_node=4)
    loop = Loop([spec], current=4, pools=(pool,))
    for surge, nodes in ((None, 2), (np.array([1]), 3)):
        loop.changes["surge"] = surge
        decisions = loop.tick(concurrency=40.0)
        plan = allocate(loop.engine.table, loop.fleet(), decisions, ChangeBudget())
        assert dict(plan.nodes) == {"h100": nodes}
        assert plan.replicas.tolist() == [4]
