"""The engine: from readings to decisions, with policies that learn, fail, come and go; what survives a restart; one row as many."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.engine import Engine
from autoscaler.core.model import (
    Decisions,
    Fallback,
    Fleet,
    Floats,
    Ints,
    Memory,
    Observation,
    PolicyRef,
    PoolSpec,
    RatePolicy,
    Readings,
    Recommendation,
    ScalingRules,
    ScalingSpec,
    Schedule,
    SignalColumn,
)
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved, Stateless
from autoscaler.core.signals import SignalState
from policies import fixed, reactive, schedule, seasonal, target
from tests.ticks import HPA_DOWN, HPA_UP, NO_RULES, PER_REPLICA, a_spec

NAN = float("nan")
INTERVAL_S = 15.0
START_S = 1_750_000_000.0
WINDOW = replace(NO_RULES, stabilization_s=60.0)


class Highest:
    """Learns the highest concurrency that it has seen, and asks for a replica each 10 of it."""

    def __init__(self, params: Params) -> None:
        self.highest: Floats = np.full(len(params["per"]), NAN)
        self.params = params

    def observe(self, observation: Observation) -> None:
        self.highest = np.fmax(self.highest, observation.signals["concurrency"].values)

    def recommend(self, observation: Observation) -> Recommendation:
        return Recommendation(replicas=self.highest / self.params["per"], why=lambda row: f"{self.highest[row]:g} at most")

    def rearrange(self, rows: Ints, params: Params) -> None:
        self.params = params
        self.highest = np.append(self.highest, NAN)[rows]

    def save(self) -> Saved:
        return {"highest": [None if value != value else value for value in self.highest.tolist()]}

    def load(self, state: Saved) -> None:
        self.highest = np.array([NAN if value is None else value for value in state["highest"]], dtype=np.float64)


HIGHEST = PolicyType(
    name="highest",
    summary="the highest concurrency so far",
    parameters=(Parameter(name="per", kind="float", default=10.0, minimum=0.1, description="concurrency per replica"),),
    make=lambda params, _rng: Highest(params),
    signals=lambda _params: ("concurrency",),
    counts_starting=True,
)


class Given(Stateless):
    """Answers what a test put there."""

    answer: Any = None

    def recommend(self, observation: Observation) -> Recommendation:
        if isinstance(self.answer, Exception):
            raise self.answer
        return (
            self.answer
            if isinstance(self.answer, Recommendation)
            else Recommendation(replicas=self.answer, why=lambda _row: "given")
        )


GIVEN = PolicyType(
    name="given", summary="a test's answer", parameters=(), make=lambda params, _rng: Given(params), counts_starting=True
)
POLICIES = {
    policy.name: policy
    for policy in (PER_REPLICA, HIGHEST, GIVEN, fixed.POLICY, reactive.POLICY, schedule.POLICY, seasonal.POLICY, target.POLICY)
}


def refs(*names: str, **params: Any) -> tuple[PolicyRef, ...]:
    return tuple(PolicyRef(name=name, params=params) for name in names)


class Loop:
    """An engine with a cluster that does at once what is decided."""

    def __init__(self, specs: Sequence[ScalingSpec], current: Any = 10, **settings: Any) -> None:
        self.engine = Engine(settings.pop("policies", POLICIES), INTERVAL_S)
        self.revision, self.at_s = 1, START_S - INTERVAL_S
        self.changes: dict[str, Any] = settings
        self.follows = True
        self.take(specs, np.full(len(specs), current))

    def take(self, specs: Sequence[ScalingSpec], current: Any) -> None:
        self.specs, self.current = tuple(specs), np.array(current, dtype=np.int64)
        self.revision += 1

    def fleet(self) -> Fleet:
        n = len(self.specs)
        none = np.zeros(n, dtype=np.int64)
        fleet = Fleet(
            revision=self.revision, specs=self.specs, current=self.current.copy(), ready=self.current.copy(), starting=none, draining=none,
            lead_time_s=np.full(n, 120.0), node_lead_time_s=np.full(n, 180.0), hands_off=np.zeros(n, dtype=np.bool_),
        )  # fmt: skip
        return replace(fleet, **self.changes)

    def tick(self, **signals: Any) -> Decisions:
        self.at_s += INTERVAL_S
        fleet = self.fleet()
        self.engine.prepare(fleet, self.at_s)
        decisions = self.engine.decide(fleet, readings(self.at_s, len(self.specs), signals))
        if self.follows:
            self.current = decisions.desired.copy()
        return decisions

    def desired(self, **signals: Any) -> list[int]:
        return [int(count) for count in self.tick(**signals).desired]


def readings(at_s: float, n: int, signals: Mapping[str, Any]) -> Readings:
    columns = {}
    for name, value in signals.items():
        values = np.array(value if isinstance(value, (list, np.ndarray)) else [value] * n, dtype=np.float64)
        state = np.where(np.isnan(values), SignalState.UNKNOWN, SignalState.KNOWN).astype(np.int8)
        columns[name] = SignalColumn(values=values, age_s=np.zeros(n), state=state)
    return Readings(at_s=at_s, signals=columns)


# ---------------------------------------------------------------- one tick


def test_a_wish_becomes_a_decision_with_a_reason_and_limits() -> None:
    loop = Loop([a_spec(max_replicas=12)], current=5)
    decisions = loop.tick(concurrency=147.0)
    assert decisions.recommended.tolist() == [14.7]
    assert decisions.desired.tolist() == [12]
    assert decisions.reason(0) == "per-replica: 147 in flight ÷ 10"
    (limit,) = decisions.limits(0)
    assert (limit.name, limit.before, limit.after) == ("Bounds", 15, 12)


def test_of_several_policies_the_highest_counts_and_is_named() -> None:
    specs = [a_spec("a", policies=(*refs("fixed", replicas=4), *refs("per-replica"))), a_spec("b")]
    loop = Loop(specs)
    decisions = loop.tick(concurrency=[30.0, 30.0])
    assert decisions.desired.tolist() == [4, 3]
    assert decisions.reason(0) == "fixed: the manifest asks for 4 always"
    assert loop.tick(concurrency=[90.0, 30.0]).reason(0).startswith("per-replica")


def test_one_policy_may_be_named_twice_with_other_parameters() -> None:
    uses = (PolicyRef(name="target", params={"target": 10}), PolicyRef(name="target", params={"signal": "queue", "target": 2}))
    loop = Loop([a_spec(policies=uses)])
    assert loop.desired(concurrency=40.0, queue=2.0) == [4]
    assert loop.desired(concurrency=40.0, queue=18.0) == [9]
    assert loop.tick(concurrency=40.0, queue=18.0).reason(0) == "target: queue 18 at 2 a replica: 9"


def test_the_signals_that_policies_need_are_asked_for_by_those_who_need_them() -> None:
    loop = Loop([a_spec("a"), a_spec("b", policies=refs("reactive")), a_spec("c", policies=refs("fixed", replicas=1))])
    loop.tick()
    assert loop.engine.wanted == {"concurrency": [0, 1], "demand": [1], "queue": [1], "running": [1]}


def test_no_services_is_fine() -> None:
    loop = Loop([])
    assert loop.desired() == []
    loop.take([a_spec()], [5])
    assert loop.desired(concurrency=70.0) == [7]


# ---------------------------------------------------------------- unknown


def test_blind_holds_then_falls_back_then_recovers() -> None:
    loop = Loop([a_spec(fallback=Fallback(after_s=60.0, action="Exactly", replicas=3))])
    assert loop.desired(concurrency=70.0) == [7]
    assert [loop.desired(concurrency=NAN)[0] for _ in range(6)] == [7, 7, 7, 7, 3, 3]
    decisions = loop.tick()
    assert decisions.blind.tolist() == [True]
    assert decisions.reason(0).startswith("signals unknown for 90 s: holding 3 (per-replica: ")
    assert loop.desired(concurrency=70.0) == [7]
    assert loop.desired(concurrency=NAN) == [7], "the clock of blindness starts anew"


def test_a_write_that_failed_is_held_while_blind() -> None:
    loop = Loop([a_spec()], current=5)
    loop.follows = False
    assert loop.desired(concurrency=80.0) == [8]
    assert loop.desired(concurrency=NAN) == [8]


def test_with_one_of_two_signals_missing_it_grows_but_does_not_shrink() -> None:
    loop = Loop([a_spec(policies=(PolicyRef(name="target", params={"signal": "queue", "target": 1}), *refs("per-replica")))])
    assert loop.desired(concurrency=60.0, queue=2.0) == [6]
    assert loop.desired(concurrency=30.0, queue=NAN) == [6]
    assert [limit.name for limit in loop.tick(concurrency=30.0).limits(0)] == ["PartialData"]
    assert loop.desired(concurrency=90.0, queue=NAN) == [9]
    assert loop.desired(concurrency=30.0, queue=2.0) == [3]


@pytest.mark.parametrize(("settle_s", "holds_s"), [(None, 300.0), (60.0, 60.0)])
def test_a_service_without_a_known_past_does_not_shrink_before_it_has_settled(settle_s: float | None, holds_s: float) -> None:
    slow = replace(PER_REPLICA, lookback_s=300.0, settle_s=settle_s)
    loop = Loop([a_spec()], current=9, policies={slow.name: slow})
    counts = [loop.desired(concurrency=30.0)[0] for _ in range(40)]
    assert counts == [9] * int(holds_s / INTERVAL_S) + [3] * (40 - int(holds_s / INTERVAL_S))


def test_a_policy_that_cannot_tell_beside_one_that_can_stops_shrinking_unless_it_is_a_floor() -> None:
    beside = [
        a_spec("a", policies=refs("fixed", replicas=4) + refs("target", signal="demand")),
        a_spec("b", policies=refs("fixed", replicas=4) + refs("seasonal")),
    ]
    beside = [replace(spec, capacity=replace(spec.capacity, per_s=NAN)) for spec in beside]
    assert Loop(beside).desired(demand=20.0) == [10, 4]


# ---------------------------------------------------------------- policies that break


BROKEN = [
    RuntimeError("no idea"),
    np.zeros(7),
    [5.0],
    np.array(["5"]),
    None,
    Recommendation(replicas=np.array([5.0]), headroom=np.zeros(3)),
]


@pytest.mark.parametrize("answer", BROKEN, ids=[str(i) for i in range(len(BROKEN))])
def test_a_broken_policy_blinds_its_own_services_only(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Given, "answer", answer)
    loop = Loop([a_spec("a", policies=refs("given")), a_spec("b")])
    decisions = loop.tick(concurrency=70.0)
    assert decisions.desired.tolist() == [10, 7]
    assert decisions.blind.tolist() == [True, False]
    assert "policy 'given'" in decisions.reason(0)
    assert len(loop.engine.problems()) == 1


@pytest.mark.parametrize(
    ("count", "desired"), [(-3.0, 10), (np.inf, 10), (NAN, 10), (1e300, 100), (1e19, 100), (6.0000000001, 6), (0.0, 1)]
)
def test_no_count_is_absurd(count: float, desired: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Recommendation(replicas=np.array([count]), headroom=np.array([count]))
    monkeypatch.setattr(Given, "answer", answer)
    decisions = Loop([a_spec(policies=refs("given"))]).tick()
    assert decisions.desired.tolist() == [desired]
    assert decisions.headroom[0] >= 0


@pytest.mark.parametrize(("most", "room"), [(100, 3), (7, 2), (5, 0), (4, 0)])
def test_no_room_is_kept_for_replicas_that_can_never_come(most: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Given, "answer", Recommendation(replicas=np.array([5.0]), headroom=np.array([2.5])))
    decisions = Loop([a_spec(policies=refs("given"), max_replicas=most)]).tick()
    assert decisions.headroom.tolist() == [room]


@pytest.mark.parametrize(("least", "room"), [(0, 3), (5, 3), (6, 2), (8, 0), (20, 0)])
def test_no_room_is_kept_for_replicas_that_are_there_anyway(least: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five are wished and 2.5 may follow: of what minReplicas keeps beyond the five, room needs none."""
    monkeypatch.setattr(Given, "answer", Recommendation(replicas=np.array([5.0]), headroom=np.array([2.5])))
    decisions = Loop([a_spec(policies=refs("given"), min_replicas=least)]).tick()
    assert (decisions.desired.tolist(), decisions.headroom.tolist()) == ([max(least, 5)], [room])


def test_room_is_of_the_policy_that_reaches_furthest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Given, "answer", Recommendation(replicas=np.array([4.0]), headroom=np.array([5.0])))
    spec = a_spec(policies=[*refs("given"), *refs("fixed", replicas=8.0)])
    assert Loop([spec]).tick().headroom.tolist() == [1], "9 may be needed, and 8 are there"


def test_nodes_for_a_scheduled_minimum_are_asked_for_before_it_begins() -> None:
    """A node takes three minutes: from three minutes and an interval before on, and replicas as soon as the window is in force."""
    busy = Schedule(name="busy", days=frozenset(range(7)), start_minute=10, end_minute=20, timezone="UTC", min_replicas=7)
    pools = (PoolSpec(name="h100", min_nodes=0, max_nodes=9, accelerators_per_node=8),)
    specs = [
        a_spec("on-it", pool="h100", policies=refs("fixed", replicas=2.0), schedules=(busy,)),
        a_spec("elsewhere", policies=refs("fixed", replicas=2.0), schedules=(busy,)),
    ]
    loop = Loop(specs, pools=pools)
    loop.at_s = 20_254 * 86_400.0 - INTERVAL_S  # a midnight
    told = [loop.tick() for _ in range(4 * 25)]
    found = [(one.desired.tolist(), one.headroom.tolist()) for one in told]
    before, ahead = 4 * 10, 4 * 3 + 1
    assert (
        found
        == [([2, 2], [0, 0])] * (before - ahead) + [([2, 2], [5, 0])] * ahead + [([7, 7], [0, 0])] * 40 + [([2, 2], [0, 0])] * 20
    )


def test_words_that_fail_are_only_words(monkeypatch: pytest.MonkeyPatch) -> None:
    words: dict[int, str] = {}
    monkeypatch.setattr(Given, "answer", Recommendation(replicas=np.array([5.0]), why=words.__getitem__))
    assert Loop([a_spec(policies=refs("given"))]).tick().reason(0) == "given: (its reason failed: KeyError: 0)"


def test_a_policy_that_cannot_be_made_is_a_fault_of_its_services_only() -> None:
    def make(params: Params, _rng: np.random.Generator) -> Given:
        raise OSError("licence expired")

    policies = {**POLICIES, "given": replace(GIVEN, make=make)}
    loop = Loop(
        [a_spec("a", policies=refs("given")), a_spec("b"), a_spec("c", policies=refs("given", "per-replica"))], policies=policies
    )
    decisions = loop.tick(concurrency=70.0)
    assert decisions.desired.tolist() == [10, 7, 10], "the third may grow by its other policy, not shrink"
    assert decisions.reason(0) == "policy 'given' can't be made: OSError: licence expired"
    assert loop.desired(concurrency=130.0) == [10, 13, 13]


def test_faulty_parameters_and_unknown_names_are_said() -> None:
    loop = Loop(
        [
            a_spec("a", policies=refs("per-replica", target="much")),
            a_spec("b", policies=refs("magic")),
            a_spec("c", policies=refs("fixed", replicas=2)),
        ]
    )
    decisions = loop.tick()
    assert decisions.desired.tolist() == [10, 10, 2]
    assert decisions.reason(0) == "policy 'per-replica': target: 'much' is not a number"
    assert decisions.reason(1).startswith("policy 'magic' is not installed; there are fixed, given,")


# ---------------------------------------------------------------- services come and go


def test_what_was_learnt_moves_with_its_service() -> None:
    loop = Loop([a_spec("a", policies=refs("highest")), a_spec("b", policies=refs("highest"))])
    loop.tick(concurrency=[90.0, 20.0])
    loop.take(
        [a_spec("new", policies=refs("highest")), a_spec("b", policies=refs("highest")), a_spec("a", policies=refs("highest"))],
        [1, 2, 9],
    )
    assert loop.desired(concurrency=[30.0, 10.0, 10.0]) == [3, 2, 9]


def test_windows_move_with_their_service() -> None:
    loop = Loop([a_spec("a", scale_down=WINDOW), a_spec("b", scale_down=WINDOW)])
    loop.tick(concurrency=[90.0, 60.0])
    loop.take([a_spec("b", scale_down=WINDOW), a_spec("a", scale_down=WINDOW)], [10, 10])
    for _ in range(4):
        loop.tick(concurrency=10.0)
    assert loop.desired(concurrency=10.0) == [1, 1]
    loop.tick(concurrency=[50.0, 80.0])
    loop.take([a_spec("a", scale_down=WINDOW)], [8])
    assert loop.desired(concurrency=10.0) == [8]


# ---------------------------------------------------------------- HPA's behavior over time


def test_the_down_window_holds_the_highest_wish_of_its_minute() -> None:
    loop = Loop([a_spec(scale_down=replace(HPA_DOWN, stabilization_s=60.0))], current=8)
    desired = [loop.desired(concurrency=10.0 * wish)[0] for wish in (8, 6, 7, 3, 3, 3, 3, 3)]
    assert desired == [8, 8, 8, 8, 7, 7, 3, 3]


def test_growth_by_hpas_default_rates() -> None:
    loop = Loop([a_spec(scale_up=HPA_UP, max_replicas=1000)], current=1)
    assert [loop.desired(concurrency=10_000.0)[0] for _ in range(8)] == [5, 10, 20, 40, 80, 160, 320, 640]


def test_a_longer_period_counts_what_was_added_in_it() -> None:
    up = ScalingRules(stabilization_s=0.0, select="Max", policies=(RatePolicy(kind="Pods", value=4, period_s=60.0),))
    loop = Loop([a_spec(scale_up=up, max_replicas=1000)], current=10)
    assert [loop.desired(concurrency=10_000.0)[0] for _ in range(10)] == [14, 14, 14, 14, 18, 18, 18, 18, 22, 22]


# ---------------------------------------------------------------- restarts


def test_a_restart_does_not_scale_down_before_a_whole_window_has_passed() -> None:
    loop = Loop([a_spec(scale_down=WINDOW)], current=9)
    assert [loop.desired(concurrency=10.0)[0] for _ in range(6)] == [9, 9, 9, 9, 1, 1]


def test_what_the_status_remembers_goes_on_after_a_restart() -> None:
    up = ScalingRules(stabilization_s=0.0, select="Max", policies=(RatePolicy(kind="Pods", value=4, period_s=120.0),))
    spec = a_spec(scale_up=up, scale_down=WINDOW, fallback=Fallback(after_s=90.0, action="AtLeast", replicas=20))
    old = Loop([spec], current=5)
    for _ in range(3):
        old.tick(concurrency=200.0)
    old.tick(concurrency=NAN)
    old.tick(concurrency=NAN)
    memory = old.engine.memory(0)
    assert memory.desired == 9
    assert memory.blind_since_s == old.at_s - INTERVAL_S
    again = Loop([spec], current=9, memories={spec.key: memory})
    again.at_s = old.at_s
    for signals in ({"concurrency": 300.0}, {"concurrency": 10.0}, {"concurrency": NAN}, {}, {"concurrency": 300.0}):
        assert old.desired(**signals) == again.desired(**signals)


def test_what_was_added_in_the_last_tick_counts_after_a_restart() -> None:
    up = ScalingRules(stabilization_s=0.0, select="Max", policies=(RatePolicy(kind="Pods", value=4, period_s=60.0),))
    spec = a_spec(scale_up=up, max_replicas=1000)
    old = Loop([spec], current=10)
    assert old.desired(concurrency=10_000.0) == [14]
    # The process dies before it has seen its own write.
    again = Loop([spec], current=14, memories={spec.key: old.engine.memory(0)})
    again.at_s = old.at_s
    assert [again.desired(concurrency=10_000.0)[0] for _ in range(4)] == [14, 14, 14, 18]


@pytest.mark.parametrize("late_s", [0.004, 0.002, -0.004, 7.0])
def test_remembered_times_need_not_lie_on_the_new_ticks_grid(late_s: float) -> None:
    """Two ticks that came a little early and late must not fall into one, whatever the restart's own moments are."""
    up = ScalingRules(stabilization_s=0.0, select="Max", policies=(RatePolicy(kind="Pods", value=8, period_s=120.0),))
    spec = a_spec(scale_up=up, scale_down=WINDOW, max_replicas=1000)
    memory = Memory(
        desired=9,
        recommendations=((START_S - 30.0 + 0.004, 40), (START_S - 15.0 + 0.001, 9)),
        scale_events=((START_S - 60.0 + 0.004, 3), (START_S - 45.0 + 0.001, 4)),
    )
    loop = Loop([spec], current=9, memories={spec.key: memory})
    loop.at_s = START_S - 15.0 + late_s
    assert loop.desired(concurrency=10_000.0) == [10], "7 of the 8 were added already"
    loop = Loop([spec], current=50, memories={spec.key: memory})
    loop.at_s = START_S - 15.0 + late_s
    assert [loop.desired(concurrency=10.0)[0] for _ in range(3)] == [50, 50, 50]
    assert 40 in [count for _, count in loop.engine.memory(0).recommendations]


def test_a_moment_of_a_faster_clock_is_remembered_as_now() -> None:
    spec = a_spec(scale_down=WINDOW)
    loop = Loop([spec], current=9, memories={spec.key: Memory(desired=9, recommendations=((START_S + 5.0, 40),))})
    loop.tick(concurrency=10.0)
    assert (START_S, 40) in loop.engine.memory(0).recommendations


def test_what_is_remembered_from_long_ago_has_left_the_windows() -> None:
    up = ScalingRules(stabilization_s=0.0, select="Max", policies=(RatePolicy(kind="Pods", value=4, period_s=120.0),))
    spec = a_spec(scale_up=up, scale_down=WINDOW)
    day_ago_s = START_S - 86400.0
    memory = Memory(recommendations=((day_ago_s, 40),), scale_events=((day_ago_s, 4),), current=(day_ago_s, 3))
    loop = Loop([spec], current=9, memories={spec.key: memory})
    assert loop.desired(concurrency=10_000.0) == [13]
    loop = Loop([spec], current=50, memories={spec.key: memory})
    assert [loop.desired(concurrency=10.0)[0] for _ in range(5)] == [50, 50, 50, 50, 1]


def test_a_remembered_blindness_goes_on() -> None:
    spec = a_spec(fallback=Fallback(after_s=90.0, action="Exactly", replicas=2))
    memory = Memory(desired=8, blind_since_s=START_S - 60.0)
    loop = Loop([spec], current=8, memories={spec.key: memory})
    assert [loop.desired()[0] for _ in range(3)] == [8, 8, 2]


def test_a_schedule_does_not_begin_in_a_cold_starts_past(tmp_path: Any) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("at_s,replicas\n0,3\n30,5\n")
    loop = Loop([a_spec("a", policies=refs("schedule", file=str(file))), a_spec("b", policies=refs("per-replica", "seasonal"))])
    fleet = loop.fleet()
    loop.engine.prepare(fleet, START_S)
    taught = loop.engine.nursery(fleet, [spec.key for spec in fleet.specs])
    for ago in range(20, 0, -1):
        taught.learn(readings(START_S - 300.0 * ago, 2, {"demand": 5.0}), 300.0, far=True)
    assert loop.engine.adopt(taught, [spec.key for spec in fleet.specs], START_S) == ()
    assert [loop.desired(concurrency=30.0)[0] for _ in range(3)] == [3, 3, 5]


def test_another_target_under_the_same_name_is_another_service() -> None:
    """Nothing of what was wished, learnt or remembered of the one before counts for it; its neighbour keeps all."""
    both = [a_spec(name, policies=refs("highest"), scale_down=WINDOW) for name in "ab"]
    found = []
    for name in "bc":
        loop = Loop(both, current=20)
        for _ in range(3):
            assert loop.desired(concurrency=200.0) == [20, 20]
        loop.changes["memories"] = {both[1].key: Memory(desired=20, recommendations=((loop.at_s - 5.0, 20),))}
        loop.take([both[0], replace(both[1], name=name, target="Deployment/other")], [20, 3])
        found.append([loop.desired(concurrency=10.0) for _ in range(6)])
    assert found[0] == found[1], "as under a name of its own"
    assert (found[0][0], found[0][-1]) == ([20, 3], [20, 1])


# ---------------------------------------------------------------- invariants

NAMES = ("concurrency", "demand", "queue", "running")
level = st.one_of(st.floats(0, 400), st.just(NAN))


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[ScalingSpec], list[dict[str, list[float]]]]:
    """One to three services with policies and rules of many kinds, and what is seen of them for some ticks."""
    n = draw(st.integers(1, 3))
    mixed = refs("fixed", replicas=4) + refs("target", target=5)
    chosen = st.sampled_from([refs("per-replica"), refs("reactive"), refs("highest"), mixed, refs("reactive", "seasonal")])
    specs = [
        a_spec(
            f"s{row}",
            policies=draw(chosen),
            min_replicas=1,
            max_replicas=30,
            scale_up=draw(st.sampled_from([NO_RULES, HPA_UP, replace(HPA_UP, stabilization_s=30.0)])),
            scale_down=draw(st.sampled_from([NO_RULES, HPA_DOWN, replace(HPA_DOWN, stabilization_s=45.0)])),
            fallback=Fallback(after_s=30.0, action=draw(st.sampled_from(["Hold", "AtLeast", "Exactly"])), replicas=7),
            drain_max_at_once=draw(st.integers(0, 2)),
        )
        for row in range(n)
    ]
    row = st.lists(level, min_size=n, max_size=n)
    return specs, draw(st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, row)), min_size=1, max_size=12))


@settings(max_examples=40, deadline=None)
@given(stories())
def test_decisions_stay_in_bounds_and_blindness_never_shrinks(
    story: tuple[list[ScalingSpec], list[dict[str, list[float]]]],
) -> None:
    specs, ticks = story
    loop = Loop(specs)
    for signals in ticks:
        before = loop.current
        decisions = loop.tick(**signals)
        for row, spec in enumerate(specs):
            assert spec.min_replicas <= decisions.desired[row] <= spec.max_replicas
            if decisions.partial[row] or decisions.blind[row]:
                assert decisions.desired[row] >= before[row] or (decisions.blind[row] and spec.fallback.action == "Exactly")
            assert decisions.reason(row)
            assert all(limit.why for limit in decisions.limits(row))


@settings(max_examples=40, deadline=None)
@given(stories())
def test_equal_input_gives_equal_decisions_and_a_row_of_many_is_as_alone(
    story: tuple[list[ScalingSpec], list[dict[str, list[float]]]],
) -> None:
    specs, ticks = story
    lookback = max(POLICIES[ref.name].lookback_s for spec in specs for ref in spec.policies)
    together, again = Loop(specs), Loop(specs)
    alone = [Loop([spec]) for spec in specs]
    for signals in ticks:
        expected = together.desired(**signals)
        assert again.desired(**signals) == expected
        for row, loop in enumerate(alone):
            got = loop.desired(**{name: values[row] for name, values in signals.items()})
            if loop.engine.lookback_s == lookback:  # else it settles for another time
                assert got == [expected[row]]


@settings(max_examples=40, deadline=None)
@given(stories(), st.integers(0, 11))
def test_saving_and_loading_changes_no_decision(story: tuple[list[ScalingSpec], list[dict[str, list[float]]]], when: int) -> None:
    specs, ticks = story
    goes_on, restarted = Loop(specs), Loop(specs)
    for loop in (goes_on, restarted):
        loop.engine.prepare(loop.fleet(), loop.at_s)
    for number, signals in enumerate(ticks):
        if number == when:
            text = json.dumps(restarted.engine.save(), allow_nan=False)
            restarted.engine = Engine(POLICIES, INTERVAL_S)
            restarted.engine.prepare(restarted.fleet(), restarted.at_s)
            restarted.engine.load(json.loads(text))
        ours, theirs = goes_on.tick(**signals), restarted.tick(**signals)
        assert ours.desired.tolist() == theirs.desired.tolist()
        assert [ours.reason(row) for row in range(len(specs))] == [theirs.reason(row) for row in range(len(specs))]


def test_state_of_another_schema_or_of_other_services_is_ignored() -> None:
    other = Loop([a_spec("other"), a_spec("another")])
    other.tick(concurrency=200.0)
    loop = Loop([a_spec()])
    loop.engine.prepare(loop.fleet(), START_S)
    for state in ({"schema": 99}, {}, other.engine.save()):
        loop.engine.load(state)
    assert loop.desired(concurrency=70.0) == [7]


def test_a_fleet_that_was_not_prepared_is_refused() -> None:
    loop = Loop([a_spec()])
    with pytest.raises(ValueError, match="prepare"):
        loop.engine.decide(loop.fleet(), readings(START_S, 1, {}))
