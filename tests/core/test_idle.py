"""To zero and back: what counts as idle, what the clock counts, what wakes, and what of it survives a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.engine import Engine
from autoscaler.core.model import (
    Capacity,
    Decisions,
    Fallback,
    Fleet,
    Memory,
    Observation,
    PolicyRef,
    RatePolicy,
    Readings,
    Recommendation,
    ScalingRules,
    ScalingSpec,
    Schedule,
    SignalColumn,
)
from autoscaler.core.policy import PolicyType, Stateless
from autoscaler.core.signals import IDLE, KNOWN, UNKNOWN
from tests.ticks import a_spec

NAN = float("nan")
START_S = 1_750_000_000.0
INTERVAL_S = 15.0
AFTER_S = 60.0
NONE = {"demand": 0.0, "queue": 0.0, "running": 0.0}
WORK = {"demand": 3.2, "queue": 0.0, "running": 20.0}
DARK = {"demand": NAN, "queue": NAN, "running": NAN}
SAID_IDLE = "idle"
"""In place of a value: the metric source says so."""


class Wishes(Stateless):
    """Wishes what the test says, for all its services."""

    wish = 0.0

    def recommend(self, observation: Observation) -> Recommendation:
        return Recommendation(replicas=np.full(len(observation), self.wish), why=lambda _row: "the test's wish")


class World:
    """Services on an engine; what is decided is there at once, ready unless `ready` says otherwise."""

    def __init__(self, *specs: ScalingSpec, current: int = 3, interval_s: float = INTERVAL_S) -> None:
        self.specs = specs or (a_sleeper(),)
        self.current = np.full(len(self.specs), current, dtype=np.int64)
        self.ready: int | None = None
        self.at_s = START_S
        self.interval_s = interval_s
        self.memories: Mapping[str, Memory] = {}
        self.begin()

    def begin(self) -> None:
        """A new engine."""
        self.policy = Wishes({})
        wishes = PolicyType(
            name="wishes", summary="a test's", parameters=(), make=lambda _params, _rng: self.policy, counts_starting=True
        )
        self.engine = Engine({"wishes": wishes}, self.interval_s)

    def restart(self) -> None:
        """A new engine that knows what the status remembers, by way of JSON."""
        memory = self.engine.memory(0)
        assert json.dumps(memory.idle_s) is not None
        self.memories = {self.specs[0].key: memory}
        wish = self.policy.wish
        self.begin()
        self.policy.wish = wish

    def fleet(self) -> Fleet:
        n = len(self.specs)
        ready = self.current if self.ready is None else np.minimum(self.current, self.ready)
        return Fleet(
            revision=1,
            specs=self.specs,
            current=self.current.copy(),
            ready=ready,
            starting=self.current - ready,
            draining=np.zeros(n, dtype=np.int64),
            lead_time_s=np.full(n, 120.0),
            node_lead_time_s=np.full(n, 180.0),
            hands_off=np.zeros(n, dtype=np.bool_),
            memories=self.memories,
        )

    def tick(self, seen: Mapping[str, Any], wish: float = 0.0, times: int = 1) -> Decisions:
        """Decides on the same signals for so many ticks."""
        self.policy.wish = wish
        for _ in range(times):
            fleet = self.fleet()
            self.engine.prepare(fleet, self.at_s)
            decisions = self.engine.decide(fleet, readings(seen, len(self.specs), self.at_s))
            self.current = decisions.desired.copy()
            self.at_s += self.interval_s
        return decisions

    def counts(self, seen: Mapping[str, Any], times: int, wish: float = 0.0) -> list[int]:
        return [int(self.tick(seen, wish).desired[0]) for _ in range(times)]


def a_sleeper(**changes: Any) -> ScalingSpec:
    base: dict[str, Any] = {"min_replicas": 0, "idle_after_s": AFTER_S, "policies": (PolicyRef(name="wishes"),)}
    return a_spec(**(base | changes))


def readings(seen: Mapping[str, Any], n: int, at_s: float) -> Readings:
    """NaN is unknown."""
    columns = {}
    for name, value in seen.items():
        state = IDLE if value == SAID_IDLE else UNKNOWN if value != value else KNOWN
        columns[name] = SignalColumn(
            values=np.full(n, 0.0 if value == SAID_IDLE else value),
            age_s=np.zeros(n),
            state=np.full(n, state, dtype=np.int8),
        )
    return Readings(at_s=at_s, signals=columns)


def limit(decisions: Decisions, name: str) -> str:
    """The words of one limit, "" where it changed nothing."""
    return next((one.why for one in decisions.limits(0) if one.name == name), "")


# ---------------------------------------------------------------- to zero


def test_the_last_replica_goes_after_the_idle_time_and_not_before() -> None:
    world = World()
    assert world.counts(WORK, 2) == [1, 1], "a wish of 0 takes all but the last one, and none while there is work"
    assert world.counts(NONE, 6) == [1, 1, 1, 1, 0, 0], "known at 0, 15, 30, 45 and 60 s"


@pytest.mark.parametrize(
    ("seen", "count"),
    [
        (NONE, 0),
        ({"demand": SAID_IDLE, "queue": NAN}, 0),  # the source says so: what nothing offers has no say
        ({"concurrency": SAID_IDLE}, 0),
        ({"demand": 0.0, "concurrency": 0.0}, 0),
        (NONE | {"running": 0.9e-3}, 0),  # the tail of a mean
        (NONE | {"demand": 1e-6}, 1),
        (NONE | {"queue": 0.5}, 1),
        (NONE | {"running": 1.0}, 1),  # a long answer is still being written
        (NONE | {"concurrency": 2.0}, 1),
        (NONE | {"running": NAN}, 1),
        (NONE | {"queue": NAN}, 1),
        (NONE | {"demand": NAN}, 1),
        ({"demand": 0.0}, 1),
        (DARK, 1),
        ({}, 1),
    ],
)
def test_what_counts_as_idle(seen: Mapping[str, Any], count: int) -> None:
    assert int(World().tick(seen, times=20).desired[0]) == count


def test_what_is_unknown_stops_the_clock_and_does_not_complete_it() -> None:
    world = World()
    world.tick(NONE, times=4)  # 45 s known
    assert world.counts(DARK, 40) == [1] * 40
    assert world.counts(NONE, 2) == [1, 0], "15 s more make 60"


def test_work_sets_the_clock_back() -> None:
    world = World()
    world.tick(NONE, times=4)
    world.tick(NONE | {"running": 1.0})
    assert world.counts(NONE, 5) == [1, 1, 1, 1, 0]


def test_a_gap_between_ticks_is_not_idle_time() -> None:
    world = World()
    world.tick(NONE)
    world.at_s += 3600
    assert world.counts(NONE, 3) == [1, 1, 0], "two intervals are the most that a late tick speaks for"


def test_a_clock_that_is_set_completes_nothing() -> None:
    world = World()
    world.tick(NONE, times=2)
    world.engine.shift(86_400.0)
    world.at_s += 86_400.0
    assert world.counts(NONE, 3) == [1, 1, 0]


def test_only_where_the_lower_bound_is_zero() -> None:
    assert int(World(a_sleeper(min_replicas=1)).tick(NONE, times=20).desired[0]) == 1
    night = Schedule(name="always", timezone="UTC", days=frozenset(range(7)), start_minute=0, end_minute=0, min_replicas=0)
    by_calendar = World(a_sleeper(min_replicas=2, schedules=(night,)))
    assert int(by_calendar.tick(NONE, times=20).desired[0]) == 0
    assert int(by_calendar.tick(WORK).desired[0]) == 2, "and comes back, though its own minimum is above 0"


def test_without_an_idle_time_the_policies_decide_alone() -> None:
    world = World(a_sleeper(idle_after_s=None))
    assert world.counts(WORK, 1) == [0]
    assert world.counts(WORK, 1) == [0]


def test_multiples_and_several_services() -> None:
    world = World(a_sleeper(name="a", replica_multiple=2), a_sleeper(name="b", min_replicas=1))
    assert world.tick(NONE).desired.tolist() == [2, 1]
    assert world.tick(NONE, times=4).desired.tolist() == [0, 1]


def test_the_owners_word_for_blindness_goes_to_zero() -> None:
    blind = a_sleeper(fallback=Fallback(after_s=30.0, action="Exactly", replicas=0))
    assert World(blind).counts(DARK, 4, wish=NAN) == [3, 3, 0, 0]
    assert World().counts(DARK, 100, wish=NAN) == [3] * 100


def test_it_says_why_it_stays() -> None:
    world = World()
    assert limit(world.tick(WORK), "ScaleToZero") == "it has work (demand 3.2/s, 20 running): 1 stays"
    world.tick(NONE)
    words = "known to be idle for 15 s, idle.after is 60 s"
    assert limit(world.tick(NONE), "ScaleToZero") == f"{words}: 1 stays until then"
    unknown = limit(world.tick(DARK), "ScaleToZero")
    assert unknown == f"whether it is idle is not known now, and that time does not count ({words}): 1 stays"


# ---------------------------------------------------------------- and back


def asleep(**changes: Any) -> World:
    return World(a_sleeper(**changes), current=0)


@pytest.mark.parametrize(
    ("seen", "wish", "count"),
    [
        ({"demand": 0.01, "queue": 0.0}, 0.0, 1),
        ({"demand": NAN, "queue": 1.0}, NAN, 1),  # blind, and yet the queue is seen
        ({"demand": 8.0, "queue": 0.0}, 0.0, 5),  # ÷ 1.6/s
        ({"demand": 8.0, "queue": 240.0}, 0.0, 10),  # and 240 in 30 s
        ({"demand": 0.0, "queue": 0.0, "concurrency": 96.0}, 0.0, 2),
        ({"demand": 8.0, "queue": 240.0}, 30.0, 30),  # the policy wants more
        ({"demand": 800.0, "queue": 0.0}, 0.0, 100),  # maxReplicas
        ({"demand": 1e300, "queue": 1e300}, 0.0, 100),
        (NONE, 0.0, 0),
        (DARK, NAN, 0),
        (DARK, 0.0, 0),
        ({"demand": SAID_IDLE, "queue": SAID_IDLE}, NAN, 0),
    ],
)
def test_what_wakes_and_with_how_many(seen: Mapping[str, Any], wish: float, count: int) -> None:
    assert int(asleep().tick(seen, wish).desired[0]) == count


def test_a_wish_such_as_a_forecasts_wakes_at_any_time() -> None:
    world = asleep()
    world.tick(NONE)
    assert world.counts(NONE, 2, wish=2.0) == [2, 2]
    assert world.counts(NONE, 5) == [1, 1, 1, 0, 0], "60 s since it was there"


def test_waking_waits_for_no_window_and_no_rate() -> None:
    slow = ScalingRules(stabilization_s=300.0, select="Max", policies=(RatePolicy(kind="Percent", value=100, period_s=15.0),))
    world = asleep(scale_up=slow)
    world.tick(NONE, times=5)
    decisions = world.tick({"demand": 8.0, "queue": 240.0}, 10.0)
    assert int(decisions.desired[0]) == 10
    assert limit(decisions, "ScaleFromZero") == (
        "nothing is ready and there is work (demand 8/s, 240 waiting): 10 at once, not 0"
    )
    forecast = asleep(scale_up=slow)
    forecast.tick(NONE)
    woken = forecast.tick(NONE, 0.4)
    assert limit(woken, "ScaleFromZero") == "a policy wishes 0.4 and nothing runs: 1 at once, not 0"
    assert asleep(scale_up=replace(slow, select="Disabled")).counts(WORK, 2) == [0, 0], "never grow is the owner's word"


def test_the_backlog_may_grow_while_the_first_replica_starts() -> None:
    world = asleep()
    world.ready = 0
    assert world.counts({"queue": 1.0}, 1, NAN) == [1]
    assert world.counts({"queue": 480.0}, 1, NAN) == [10], "though the policy can't tell"
    assert world.counts(DARK, 3, NAN) == [10, 10, 10]
    world.ready = None
    assert world.counts({"queue": 4800.0}, 1, NAN) == [10], "once something is ready it is the policies' business"


def test_slots_tell_where_the_capacity_is_unknown() -> None:
    unknown = Capacity(per_s=NAN, slots=32, slots_slowdown=64.0)
    assert asleep(capacity=unknown).counts({"demand": 9.0, "queue": 65.0}, 1) == [3]
    assert asleep(capacity=unknown).counts({"demand": 9.0, "queue": 0.0}, 1) == [1]


# ---------------------------------------------------------------- restarts


def test_a_restart_goes_on_counting_and_never_gains() -> None:
    world = World(a_sleeper(idle_after_s=180.0))
    world.tick(NONE, times=9)  # 120 s
    world.at_s += 7200.0
    world.restart()
    counts = world.counts(NONE, 12)
    assert counts.index(0) == 4, "60 s after it: the hours without a controller do not count"
    ended = World(a_sleeper(idle_after_s=180.0))
    ended.tick(NONE, times=9)
    ended.tick(WORK)
    ended.restart()
    assert ended.counts(NONE, 12) == [1] * 12


def test_a_restart_at_zero_stays_there_until_there_is_work() -> None:
    world = asleep()
    world.tick(NONE, times=9)
    world.restart()
    assert world.counts(DARK, 3) == [0, 0, 0]
    assert world.counts(WORK, 1) == [2]


def test_saved_state_goes_on_bit_by_bit() -> None:
    world, other = World(), World()
    world.tick(NONE, times=3)
    other.current, other.at_s = world.current.copy(), world.at_s
    other.engine.prepare(other.fleet(), other.at_s)
    other.engine.load(json.loads(json.dumps(world.engine.save())))
    assert world.counts(NONE, 3) == other.counts(NONE, 3) == [1, 0, 0]


# ---------------------------------------------------------------- whatever comes

a_sight = st.sampled_from([NONE, WORK, DARK, NONE | {"queue": NAN}, {"queue": 5.0}, {"demand": SAID_IDLE}, {}])


@given(st.lists(st.tuples(a_sight, st.sampled_from([0.0, NAN, 0.5, 4.0])), min_size=1, max_size=60))
def test_nobody_goes_to_zero_but_after_so_much_known_idleness(ticks: Sequence[tuple[Mapping[str, Any], float]]) -> None:
    world = World()
    silent = 0
    for seen, wish in ticks:
        before = int(world.current[0])
        count = int(world.tick(seen, wish).desired[0])
        if seen in (WORK, {"queue": 5.0}):
            silent = 0
            assert count > 0
        elif seen in (NONE, {"demand": SAID_IDLE}):
            silent += 1
        if before > 0 and count == 0:
            assert silent > AFTER_S / INTERVAL_S
            assert seen in (NONE, {"demand": SAID_IDLE})
        if wish > 0:
            assert count > 0
